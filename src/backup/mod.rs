//! Backups: all users in one file that proves itself.
//!
//! A file is gzip of JSON, one object a line: a [`Header`], a [`UserLine`] for each user in order of creation, since
//! format 2 a [`KeptLine`] for each name of a deleted user that is still taken, and a [`Trailer`] with the number of
//! users, the SHA-256 of every byte before it, and a signature over both by the active key. A file that was cut short
//! has no trailer; one that was changed has a wrong one.
//!
//! A backup holds no key and no session. A thief can guess at passwords, but makes no token. A restored store begins with
//! new keys, so that no revoked token comes back.

mod check;
mod file;
mod restore;
mod write;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::domain::key::KeyId;
use crate::domain::user::Role;

pub use check::{Checked, Checker, Flaw, Restored};
pub use file::{BackupFile, BackupName, NewFile, ReadError, compressed};
pub use restore::{RestoreError, restore};
pub use write::{Backup, WriteError};

/// The version of the format that is written, and the newest that can be read.
const FORMAT: u64 = 2;

/// The oldest version that can be read.
const FORMAT_MIN: u64 = 1;

/// The longest line in bytes: a stored record has at most 4 KiB, and JSON escapes double few of its bytes.
pub(crate) const LINE_MAX: usize = 16 * 1024;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The version of the format.
    #[serde(rename = "gatelet_backup")]
    format: u64,
    /// The moment of the snapshot.
    pub created_at: Timestamp,
    /// The version of Gatelet that made it.
    pub version: String,
    /// The id of the store.
    pub store: Uuid,
    /// The issuer of the store's tokens.
    pub issuer: String,
    /// How many users follow.
    pub users: u64,
    /// The signing key.
    pub key: Signer,
}

/// The key that signs a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// Its id.
    #[serde(rename = "kid")]
    pub id: KeyId,
    /// Its public half: `k4.public.…`.
    pub public_key: String,
}

/// A user.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UserLine<'a> {
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    username: std::borrow::Cow<'a, str>,
    role: Role,
    disabled: bool,
    created_at_millis: u64,
    #[serde(borrow)]
    password_hash: std::borrow::Cow<'a, str>,
}

/// The name of a deleted user.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptLine<'a> {
    #[serde(borrow)]
    kept_name: std::borrow::Cow<'a, str>,
    until_millis: u64,
}

/// How such a line begins, which no other does.
const KEPT: &[u8] = br#"{"kept_name":"#;

/// The last line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trailer {
    users: u64,
    /// Hexadecimal; of every byte before this line.
    sha256: String,
    /// States a [`Summary`].
    signature: String,
}

/// How the trailer begins, which no other line does.
const TRAILER: &[u8] = br#"{"users":"#;

/// The signed text.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Summary {
    created_at: Timestamp,
    users: u64,
    sha256: String,
}
