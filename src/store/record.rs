//! How records lie on disk: a version byte, then bincode. The only file that names `bincode`.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::clock::Timestamp;
use crate::password::PasswordHash;
use crate::user::{Role, User, UserId, Username};

/// The most bytes a record may have. sled writes values beyond some 128 KiB to files of their own, which it
/// never syncs; nothing of ours comes near this.
const RECORD_MAX: usize = 4096;

const VERSION: u8 = 1;

const CONFIG: Configuration<LittleEndian, Varint, Limit<RECORD_MAX>> =
    bincode::config::standard().with_limit::<RECORD_MAX>();

/// A user as stored, under the user's id. Borrows, so that reading copies only what is used.
#[derive(Serialize, Deserialize)]
struct UserRecord<'a> {
    name: &'a str,
    role: Role,
    created_at_millis: u64,
    password_hash: &'a str,
}

pub(super) fn encode_user(user: &User, hash: &PasswordHash) -> Result<Vec<u8>, StoreError> {
    encode(&UserRecord {
        name: user.name.as_str(),
        role: user.role,
        created_at_millis: user.created_at.unix_millis(),
        password_hash: hash.as_str(),
    })
}

pub(super) fn decode_user(id: UserId, bytes: &[u8]) -> Result<User, StoreError> {
    Ok(user(id, &decode(bytes)?))
}

pub(super) fn decode_user_with_hash(id: UserId, bytes: &[u8]) -> Result<(User, PasswordHash), StoreError> {
    let record: UserRecord<'_> = decode(bytes)?;
    let hash = PasswordHash::from_stored(record.password_hash.to_owned());
    Ok((user(id, &record), hash))
}

fn user(id: UserId, record: &UserRecord<'_>) -> User {
    User {
        id,
        name: Username::from_stored(record.name),
        role: record.role,
        created_at: Timestamp::from_unix_millis(record.created_at_millis),
    }
}

/// The ids of the keys that must be there, as [`crate::token::KeyRing::ids`] gives them.
pub(super) fn encode_key_ids(ids: &[String]) -> Result<Vec<u8>, StoreError> {
    encode(&ids)
}

pub(super) fn decode_key_ids(bytes: &[u8]) -> Result<Vec<String>, StoreError> {
    decode(bytes)
}

fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(VERSION);
    bincode::serde::encode_into_std_write(record, &mut bytes, CONFIG).map_err(|_| StoreError::Unreadable)?;
    if bytes.len() > RECORD_MAX {
        return Err(StoreError::Unreadable);
    }
    Ok(bytes)
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&VERSION, body)) => match bincode::serde::borrow_decode_from_slice(body, CONFIG) {
            Ok((record, read)) if read == body.len() => Ok(record),
            _ => Err(StoreError::Unreadable),
        },
        _ => Err(StoreError::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user_with_name(name: &str) -> User {
        User {
            id: UserId::from_bytes([7; 16]),
            name: name.parse().unwrap(),
            role: Role::User,
            created_at: Timestamp::from_unix_millis(1_764_000_000_123),
        }
    }

    #[test]
    fn a_user_comes_back_as_written() {
        let user = user_with_name(&"\u{10ffff}".repeat(128));
        let hash = PasswordHash::from_stored("$scrypt$…".into());
        let bytes = encode_user(&user, &hash).unwrap();
        assert_eq!(decode_user_with_hash(user.id, &bytes).unwrap(), (user, hash));
    }

    #[test]
    fn records_that_are_cut_prolonged_of_another_version_or_too_long_are_refused() {
        let user = user_with_name("anna");
        let bytes = encode_user(&user, &PasswordHash::from_stored("h".into())).unwrap();
        for wrong in
            [&[][..], &bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat(), &[&[2], &bytes[1..]].concat()]
        {
            assert!(decode_user(user.id, wrong).is_err());
        }
        let long = PasswordHash::from_stored("x".repeat(RECORD_MAX));
        assert!(encode_user(&user, &long).is_err());
    }
}
