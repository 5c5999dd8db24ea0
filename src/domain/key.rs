//! Key ids, and the store's record of a key; no key material.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::clock::Timestamp;

/// A key's PASERK id: a hash of the key, 51 ASCII characters.
///
/// <https://github.com/paseto-standard/paserk/blob/master/operations/ID.md>
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Box<str>);

/// A key's use, which decides its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Signs and verifies access tokens (`k4.pid.…`).
    Signing,
    /// Encrypts and decrypts refresh tokens (`k4.lid.…`).
    Encrypting,
}

impl KeyKind {
    /// The prefix of such keys' ids; all prefixes have the same length.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Signing => "k4.pid.",
            Self::Encrypting => "k4.lid.",
        }
    }
}

impl KeyId {
    /// Characters after the prefix: 33 bytes of base64url, which leave no bit over.
    const HASH_LENGTH: usize = 44;

    /// The kind, by the prefix.
    pub fn kind(&self) -> KeyKind {
        if self.0.starts_with(KeyKind::Signing.prefix()) { KeyKind::Signing } else { KeyKind::Encrypting }
    }

    /// The id as in footers and file names.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not the id of a signing or encrypting key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not the id of a key (k4.pid.… or k4.lid.…)")]
pub struct MalformedKeyId;

impl FromStr for KeyId {
    type Err = MalformedKeyId;

    fn from_str(text: &str) -> Result<Self, MalformedKeyId> {
        let hash = [KeyKind::Signing, KeyKind::Encrypting]
            .iter()
            .find_map(|kind| text.strip_prefix(kind.prefix()))
            .ok_or(MalformedKeyId)?;
        let base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if hash.len() != Self::HASH_LENGTH || !hash.bytes().all(base64url) {
            return Err(MalformedKeyId);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

as_text!(KeyId);

/// The store's record of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The key's id.
    pub id: KeyId,
    /// The longest lifetime of any token made with it. Never shrinks.
    pub longest: Duration,
    /// Set when the key is retired: the moment, in whole seconds, at which the last token it made has
    /// expired.
    pub not_after: Option<Timestamp>,
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Makes new tokens.
    Active,
    /// Checks old ones only.
    Retiring,
}

impl KeyRecord {
    /// The stage, by `not_after`.
    pub fn state(&self) -> KeyState {
        if self.not_after.is_none() { KeyState::Active } else { KeyState::Retiring }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_prefix_and_a_hash_and_nothing_else() {
        let hash = "A-_z".repeat(11);
        for (prefix, kind) in [("k4.pid.", KeyKind::Signing), ("k4.lid.", KeyKind::Encrypting)] {
            let id: KeyId = format!("{prefix}{hash}").parse().unwrap();
            assert_eq!((id.kind(), id.as_str().len()), (kind, 51));
        }
        let umlaut = format!("k4.pid.{}é", "A".repeat(42));
        let dotted = format!("k4.pid.{}/..", "A".repeat(41));
        for wrong in
            ["", "k4.pid.", &hash, &format!("k4.sid.{hash}"), &format!("k4.pid.{hash}A"), &umlaut, &dotted]
        {
            assert_eq!(wrong.parse::<KeyId>(), Err(MalformedKeyId), "{wrong}");
        }
    }

    #[test]
    fn a_record_comes_back_as_written() {
        let record = KeyRecord {
            id: format!("k4.lid.{}", "A".repeat(44)).parse().unwrap(),
            longest: Duration::from_millis(1500),
            not_after: Some(Timestamp::from_unix_secs(1_764_000_000)),
        };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<KeyRecord>(&text).unwrap(), record);
    }
}
