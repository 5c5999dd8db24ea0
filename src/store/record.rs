//! The encoding of records: a version byte, then bincode. The only file that names `bincode`.

use std::time::Duration;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use crate::domain::clock::Timestamp;
use crate::domain::key::KeyRecord;
use crate::domain::session::{Generation, SessionId, Sessions};
use crate::domain::user::{Role, User, UserId, Username};
use crate::password::PasswordHash;

/// The largest record. sled writes values beyond some 128 KiB to files that it never syncs; ours stay far
/// below.
const RECORD_MAX: usize = 4096;

/// Current version bytes. Users of version 1 could not be disabled and had no generation.
const USER: u8 = 2;
const ROTATION: u8 = 1;
const KEY: u8 = 1;

const CONFIG: Configuration<LittleEndian, Varint, Limit<RECORD_MAX>> =
    bincode::config::standard().with_limit::<RECORD_MAX>();

/// A user's record. Borrows, so that reading copies only the fields used.
#[derive(Serialize, Deserialize)]
struct UserRecord<'a> {
    name: &'a str,
    role: Role,
    created_at_millis: u64,
    password_hash: &'a str,
    disabled: bool,
    generation: Generation,
    /// A [`SessionId`], or empty.
    spared_session: &'a [u8],
}

#[derive(Deserialize)]
struct UserRecordV1<'a> {
    name: &'a str,
    role: Role,
    created_at_millis: u64,
    password_hash: &'a str,
}

pub(super) fn encode_user(user: &User, hash: &PasswordHash) -> Result<Vec<u8>, StoreError> {
    encode(
        USER,
        &UserRecord {
            name: user.name.as_str(),
            role: user.role,
            created_at_millis: user.created_at.unix_millis(),
            password_hash: hash.as_str(),
            disabled: user.disabled,
            generation: user.sessions.generation,
            spared_session: user.sessions.spared.as_ref().map_or(&[], |session| session.as_bytes()),
        },
    )
}

pub(super) fn decode_user(id: UserId, bytes: &[u8]) -> Result<User, StoreError> {
    user(id, &user_record(bytes)?)
}

pub(super) fn decode_user_with_hash(id: UserId, bytes: &[u8]) -> Result<(User, PasswordHash), StoreError> {
    let record = user_record(bytes)?;
    let hash = PasswordHash::from_stored(record.password_hash.to_owned());
    Ok((user(id, &record)?, hash))
}

fn user_record(bytes: &[u8]) -> Result<UserRecord<'_>, StoreError> {
    let Some((1, body)) = bytes.split_first() else {
        return decode(USER, bytes);
    };
    let UserRecordV1 { name, role, created_at_millis, password_hash } = decode_body(body)?;
    Ok(UserRecord {
        name,
        role,
        created_at_millis,
        password_hash,
        disabled: false,
        generation: Generation::default(),
        spared_session: &[],
    })
}

fn user(id: UserId, record: &UserRecord<'_>) -> Result<User, StoreError> {
    let spared = match record.spared_session {
        [] => None,
        bytes => Some(SessionId::from_bytes(bytes.try_into().map_err(|_| StoreError::Unreadable)?)),
    };
    Ok(User {
        id,
        name: Username::from_stored(record.name),
        role: record.role,
        disabled: record.disabled,
        created_at: Timestamp::from_unix_millis(record.created_at_millis),
        sessions: Sessions { generation: record.generation, spared },
    })
}

/// A session's refresh tokens, under the session's id; there is no record before the first rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RotationRecord {
    pub(super) current: [u8; 16],
    pub(super) issued_at_millis: u64,
    /// Tokens replaced a moment ago, and when.
    pub(super) retired: Vec<([u8; 16], u64)>,
}

pub(super) fn encode_rotation(rotation: &RotationRecord) -> Result<Vec<u8>, StoreError> {
    encode(ROTATION, rotation)
}

pub(super) fn decode_rotation(bytes: &[u8]) -> Result<RotationRecord, StoreError> {
    decode(ROTATION, bytes)
}

/// A key's record, under its id.
#[derive(Serialize, Deserialize)]
struct StoredKey {
    longest_secs: u64,
    not_after_millis: Option<u64>,
}

pub(super) fn encode_key(key: &KeyRecord) -> Result<Vec<u8>, StoreError> {
    encode(
        KEY,
        &StoredKey {
            longest_secs: key.longest.as_secs(),
            not_after_millis: key.not_after.map(Timestamp::unix_millis),
        },
    )
}

pub(super) fn decode_key(id: &[u8], bytes: &[u8]) -> Result<KeyRecord, StoreError> {
    let StoredKey { longest_secs, not_after_millis } = decode(KEY, bytes)?;
    let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok()).ok_or(StoreError::Unreadable)?;
    Ok(KeyRecord {
        id,
        longest: Duration::from_secs(longest_secs),
        not_after: not_after_millis.map(Timestamp::from_unix_millis),
    })
}

/// The key ids of layout 1: a list in one record.
pub(super) fn decode_key_ids_v1(bytes: &[u8]) -> Result<Vec<String>, StoreError> {
    match bytes.split_first() {
        Some((1, body)) => decode_body(body),
        _ => Err(StoreError::Unreadable),
    }
}

fn encode<T: Serialize>(version: u8, record: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(version);
    bincode::serde::encode_into_std_write(record, &mut bytes, CONFIG).map_err(|_| StoreError::Unreadable)?;
    if bytes.len() > RECORD_MAX {
        return Err(StoreError::Unreadable);
    }
    Ok(bytes)
}

fn decode<'a, T: Deserialize<'a>>(version: u8, bytes: &'a [u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&found, body)) if found == version => decode_body(body),
        _ => Err(StoreError::Unreadable),
    }
}

fn decode_body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, StoreError> {
    match bincode::serde::borrow_decode_from_slice(body, CONFIG) {
        Ok((record, read)) if read == body.len() => Ok(record),
        _ => Err(StoreError::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::super::changes::RETIRED_MAX;
    use super::*;

    fn user_with_name(name: &str) -> User {
        User {
            id: UserId::from_bytes([7; 16]),
            name: name.parse().unwrap(),
            role: Role::User,
            disabled: true,
            created_at: Timestamp::from_unix_millis(1_764_000_000_123),
            sessions: Sessions::default().revoked_except(Some(SessionId::from_bytes([9; SessionId::LENGTH]))),
        }
    }

    #[test]
    fn a_user_of_the_first_version_is_enabled_and_has_all_sessions() {
        let v1 = b"\x01\x04anna\x01\xfd\x7b\xd8\xf1\xb4\x9a\x01\x00\x00\x04hash";
        let (user, hash) = decode_user_with_hash(UserId::from_bytes([7; 16]), v1).unwrap();
        assert_eq!((user.name.as_str(), user.role, user.disabled), ("anna", Role::Admin, false));
        assert_eq!((user.sessions, hash.as_str()), (Sessions::default(), "hash"));
        assert_eq!(user.created_at.unix_millis(), 1_763_972_339_835);
    }

    #[test]
    fn a_user_comes_back_as_written() {
        let user = user_with_name(&"\u{10ffff}".repeat(128));
        let hash = PasswordHash::from_stored("$scrypt$…".into());
        let bytes = encode_user(&user, &hash).unwrap();
        assert_eq!(decode_user_with_hash(user.id, &bytes).unwrap(), (user, hash));
    }

    #[test]
    fn a_rotation_record_is_small() {
        let retired = vec![([0xff; 16], u64::MAX); RETIRED_MAX];
        let rotation = RotationRecord { current: [0xff; 16], issued_at_millis: u64::MAX, retired };
        let bytes = encode_rotation(&rotation).unwrap();
        assert!(bytes.len() < 300, "{} bytes", bytes.len());
        assert_eq!(decode_rotation(&bytes).unwrap(), rotation);
    }

    #[test]
    fn records_that_are_cut_prolonged_of_another_version_or_too_long_are_refused() {
        let user = user_with_name("anna");
        let bytes = encode_user(&user, &PasswordHash::from_stored("h".into())).unwrap();
        for wrong in
            [&[][..], &bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat(), &[&[3], &bytes[1..]].concat()]
        {
            assert!(decode_user(user.id, wrong).is_err());
        }
        let long = PasswordHash::from_stored("x".repeat(RECORD_MAX));
        assert!(encode_user(&user, &long).is_err());
    }
}
