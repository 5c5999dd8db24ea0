//! Checking a backup, line by line: nothing is believed that the file itself does not show.

use std::collections::HashSet;
use std::fmt;

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

/// What is wrong with a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It does not begin as a backup does.
    NoBackup,
    /// A newer version has written it, in this version of the format.
    Newer(u64),
    /// This line, counted from one, is not what it has to be.
    Line(u64, &'static str),
    /// It ends in the middle.
    Cut,
    /// It is not compressed as it has to be, or damaged.
    Compression,
    /// Something follows its end.
    AfterEnd,
    /// There are not as many users as it says.
    Count,
    /// Something was changed since it was written.
    Checksum,
    /// The signature is not by the key that it names, or of something else.
    Signature,
    /// A key has signed it that is not among those that are known.
    UnknownKey(Option<KeyId>),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBackup => f.write_str("this is no backup of gatelet"),
            Self::Newer(format) => {
                write!(f, "it was made by a newer version of gatelet (format {format}): use that version")
            }
            Self::Line(line, what) => write!(f, "line {line}: {what}"),
            Self::Cut => f.write_str("it ends in the middle: it was cut short, or never finished"),
            Self::Compression => f.write_str("it is damaged: it cannot be decompressed"),
            Self::AfterEnd => f.write_str("something follows its end"),
            Self::Count => f.write_str("it does not hold as many users as it says"),
            Self::Checksum => f.write_str("its checksum is wrong: it was changed since it was made"),
            Self::Signature => f.write_str("its signature is wrong: it was changed since it was made"),
            Self::UnknownKey(Some(key)) => {
                write!(f, "it is signed by {key}, which is not among the keys given")
            }
            Self::UnknownKey(None) => f.write_str("it is not signed"),
        }
    }
}

impl std::error::Error for Flaw {}

/// A backup that was read to its end and found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its first line.
    pub header: Header,
    /// Whether a key that is known to be the server's has signed it; otherwise it vouches for itself.
    pub vouched: bool,
}

/// Takes a backup line by line. Keeps a hash of each name, some 35 MB for a million users, unless told not to, and
/// nothing else.
pub struct Checker<'a> {
    /// The keys of which one must have signed.
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

    /// The same, without a look at whether names come again: for what a store has just written, which rules that out.
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

    /// Takes the next line, without its end. Answers the user or the name in it, if it holds one.
    ///
    /// # Errors
    /// [`Flaw`]: this is no good backup, whatever follows.
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

/// What a line of a backup puts into a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// A user, and the hash of their password.
    User(User, PasswordHash),
    /// A name that a deleted user had, and until when nobody else may have it.
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
