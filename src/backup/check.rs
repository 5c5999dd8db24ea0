//! Checks a backup line by line, and trusts nothing that the file itself does not prove.

use std::collections::HashSet;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::write::hex;
use super::{FORMAT, FORMAT_MIN, Header, KEPT, KeptLine, Summary, TRAILER, Trailer, UserLine};
use crate::domain::clock::Timestamp;
use crate::domain::key::KeyId;
use crate::domain::session::Sessions;
use crate::domain::user::{User, UserId, Username};
use crate::password::PasswordHash;
use crate::token::offline::PublicKeys;
use crate::token::statement::{Stated, Subject};

/// A fault of a backup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It does not begin as a backup does.
    #[error("this is no backup of gatelet")]
    NoBackup,
    /// A newer version has written it, in this version of the format.
    #[error("it was made by a newer version of gatelet (format {0}): use that version")]
    Newer(u64),
    /// This line, counted from one, is wrong in this way.
    #[error("line {0}: {1}")]
    Line(u64, &'static str),
    /// It ends in the middle.
    #[error("it ends in the middle: it was cut short, or never finished")]
    Cut,
    /// It is not gzip, or damaged.
    #[error("it is damaged: it cannot be decompressed")]
    Compression,
    /// Something follows its end.
    #[error("something follows its end")]
    AfterEnd,
    /// Its number of users is not what it says.
    #[error("it does not hold as many users as it says")]
    Count,
    /// Its checksum is wrong.
    #[error("its checksum is wrong: it was changed since it was made")]
    Checksum,
    /// The signature is not by the key that it names, or of something else.
    #[error("its signature is wrong: it was changed since it was made")]
    Signature,
    /// None of the known keys has signed it.
    #[error("{}", unknown_key(.0.as_ref()))]
    UnknownKey(Option<KeyId>),
}

fn unknown_key(key: Option<&KeyId>) -> String {
    match key {
        Some(key) => format!("it is signed by {key}, which is not among the keys given"),
        None => "it is not signed".into(),
    }
}

/// A backup that was read to its end and found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its first line.
    pub header: Header,
    /// Whether a known key has signed it; otherwise only the key in its own header has.
    pub vouched: bool,
}

/// Checks a backup line by line. Keeps only a hash of each name, about 35 MB for a million users.
pub struct Checker<'a> {
    /// One of these keys must have signed.
    known: Option<&'a PublicKeys>,
    header: Option<Header>,
    sum: Sha256,
    lines: u64,
    users: u64,
    last: Option<UserId>,
    names: Option<HashSet<NameHash>>,
    /// A name of a deleted user has been read; no users follow.
    kept: bool,
    ended: bool,
}

/// Half of SHA-256: no two names of a billion share it.
type NameHash = [u8; 16];

impl<'a> Checker<'a> {
    /// A checker before the first line. With `known`, one of those keys must have signed.
    pub fn new(known: Option<&'a PublicKeys>) -> Self {
        Self {
            known,
            header: None,
            sum: Sha256::new(),
            lines: 0,
            users: 0,
            last: None,
            names: Some(HashSet::new()),
            kept: false,
            ended: false,
        }
    }

    /// A checker that does not look for names that occur twice: the store that has just written the backup rules them out.
    #[must_use]
    pub fn without_names(self) -> Self {
        Self { names: None, ..self }
    }

    /// The first line, once it has been read.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// How many users have been read.
    pub fn users(&self) -> u64 {
        self.users
    }

    /// Takes the next line, without its line end. Answers the user or the name in it, if there is one.
    ///
    /// # Errors
    /// [`Flaw`]: the backup is bad; the rest cannot mend it.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<Restored>, Flaw> {
        self.lines += 1;
        let flaw = |what| Flaw::Line(self.lines, what);
        if self.ended {
            return Err(Flaw::AfterEnd);
        }
        let Some(header) = &self.header else {
            self.header = Some(header(line)?);
            self.add(line);
            return Ok(None);
        };
        if line.starts_with(TRAILER) {
            let trailer = serde_json::from_slice(line).map_err(|_| flaw("no trailer"))?;
            self.ended = true;
            self.end(header, &trailer)?;
            return Ok(None);
        }
        if line.starts_with(KEPT) && header.format >= 2 {
            let (name, until) = kept_name(line).map_err(flaw)?;
            if self.names.as_mut().is_some_and(|names| !names.insert(name_hash(&name))) {
                return Err(flaw("the name was there before"));
            }
            self.kept = true;
            self.add(line);
            return Ok(Some(Restored::KeptName(name, until)));
        }
        if self.kept {
            return Err(flaw("a user follows the names of deleted users"));
        }
        if self.users == header.users {
            return Err(Flaw::Count);
        }
        let (user, hash) = user(line).map_err(flaw)?;
        if self.last.is_some_and(|last| last >= user.id) {
            return Err(flaw("the user's id is not after the one before"));
        }
        if self.names.as_mut().is_some_and(|names| !names.insert(name_hash(&user.name))) {
            return Err(flaw("the user's name was there before"));
        }
        self.last = Some(user.id);
        self.users += 1;
        self.add(line);
        Ok(Some(Restored::User(user, hash)))
    }

    fn add(&mut self, line: &[u8]) {
        self.sum.update(line);
        self.sum.update(b"\n");
    }

    fn end(&self, header: &Header, trailer: &Trailer) -> Result<(), Flaw> {
        if trailer.users != self.users || header.users != self.users {
            return Err(Flaw::Count);
        }
        let sha256 = hex(self.sum.clone());
        if trailer.sha256 != sha256 {
            return Err(Flaw::Checksum);
        }
        let own = header.key.public_key.parse().map_err(|_| Flaw::Signature)?;
        match self.known.unwrap_or(&own).stated(Subject::Backup, &trailer.signature) {
            Stated::Good(key, stated) if key == header.key.id => {
                let expected = Summary { created_at: header.created_at, users: self.users, sha256 };
                match serde_json::from_str::<Summary>(&stated) {
                    Ok(summary) if summary == expected => Ok(()),
                    _ => Err(Flaw::Signature),
                }
            }
            Stated::UnknownKey(key) if self.known.is_some() => Err(Flaw::UnknownKey(key)),
            Stated::Good(..) | Stated::UnknownKey(_) | Stated::Forged => Err(Flaw::Signature),
        }
    }

    /// After the last line.
    ///
    /// # Errors
    /// [`Flaw::Cut`].
    pub fn finish(self) -> Result<Checked, Flaw> {
        match self.header {
            Some(header) if self.ended => Ok(Checked { header, vouched: self.known.is_some() }),
            _ => Err(Flaw::Cut),
        }
    }
}

fn header(line: &[u8]) -> Result<Header, Flaw> {
    #[derive(Deserialize)]
    struct Format {
        gatelet_backup: u64,
    }
    match serde_json::from_slice::<Format>(line) {
        Ok(Format { gatelet_backup: FORMAT_MIN..=FORMAT }) => {
            serde_json::from_slice(line).map_err(|_| Flaw::Line(1, "no header of a backup"))
        }
        Ok(Format { gatelet_backup: newer }) if newer > FORMAT => Err(Flaw::Newer(newer)),
        _ => Err(Flaw::NoBackup),
    }
}

/// 9999-12-31T23:59:59.999Z
const LAST: u64 = 253_402_300_799_999;

/// What a line of a backup restores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// A user, and the hash of their password.
    User(User, PasswordHash),
    /// The name of a deleted user, and until when it stays taken.
    KeptName(Username, Timestamp),
}

fn normal_name(text: &str) -> Result<Username, &'static str> {
    let name: Username = text.parse().map_err(|_| "the name is none that a user may have")?;
    if name.as_str() == text { Ok(name) } else { Err("the name is not in its normal form") }
}

fn kept_name(line: &[u8]) -> Result<(Username, Timestamp), &'static str> {
    let line: KeptLine<'_> = serde_json::from_slice(line).map_err(|_| "no name of a deleted user")?;
    if line.until_millis > LAST {
        return Err("the time until which the name is kept is none");
    }
    Ok((normal_name(&line.kept_name)?, Timestamp::from_unix_millis(line.until_millis)))
}

fn user(line: &[u8]) -> Result<(User, PasswordHash), &'static str> {
    let line: UserLine<'_> = serde_json::from_slice(line).map_err(|_| "no user")?;
    let id = line.id.parse::<UserId>().ok().filter(|id| id.is_v7_until(Timestamp::from_unix_millis(LAST)));
    let name = normal_name(&line.username)?;
    if line.created_at_millis > LAST {
        return Err("the time of creation is none");
    }
    let hash = PasswordHash::import(line.password_hash.into_owned())
        .map_err(|_| "the password's hash cannot be read, or asks for too much")?;
    let user = User {
        id: id.ok_or("the id is none that a user may have")?,
        name,
        role: line.role,
        disabled: line.disabled,
        created_at: Timestamp::from_unix_millis(line.created_at_millis),
        sessions: Sessions::default(),
    };
    Ok((user, hash))
}

fn name_hash(name: &Username) -> NameHash {
    let mut half = NameHash::default();
    let whole = Sha256::digest(name.as_str());
    half.copy_from_slice(&whole[..16]);
    half
}
