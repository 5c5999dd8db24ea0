//! Who somebody is: names, ids, roles.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::random;

/// The most characters a name may have. Generous for people, small enough for a record of 4 KiB.
pub const USERNAME_MAX_CHARS: usize = 128;

/// A name: NFC-normalised, 1 to 128 characters, none of them a control character, compared exactly.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Username(String);

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsernameError {
    /// It has no characters.
    Empty,
    /// It has more than [`USERNAME_MAX_CHARS`].
    TooLong,
    /// It holds a control character (Unicode class Cc).
    ControlCharacter,
}

impl Username {
    /// A name that was parsed before it was stored.
    pub(crate) fn from_stored(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The name as text, normalised.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Username {
    type Err = UsernameError;

    fn from_str(text: &str) -> Result<Self, UsernameError> {
        let name: String = text.nfc().collect();
        match name.chars().take(USERNAME_MAX_CHARS + 1).count() {
            0 => Err(UsernameError::Empty),
            n if n > USERNAME_MAX_CHARS => Err(UsernameError::TooLong),
            _ if name.chars().any(char::is_control) => Err(UsernameError::ControlCharacter),
            _ => Ok(Self(name)),
        }
    }
}

/// A user's id: a UUIDv7 (RFC 9562), so that ids sort by the moment of creation. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(Uuid);

impl UserId {
    /// A new id, made at `now`.
    ///
    /// # Errors
    /// When the system has no random numbers to give.
    pub fn generate(now: Timestamp) -> Result<Self, random::NoRandomness> {
        let random = random::bytes::<10>()?;
        Ok(Self(uuid::Builder::from_unix_timestamp_millis(now.unix_millis(), &random).into_uuid()))
    }

    /// The id as stored: 16 bytes, in order of creation.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id from its stored form.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A text that is not a UUID in its hyphenated form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedId;

impl FromStr for UserId {
    type Err = MalformedId;

    /// Only the hyphenated form (RFC 9562), not the braced, bare and URN forms that the library reads as well.
    fn from_str(text: &str) -> Result<Self, MalformedId> {
        if text.len() != uuid::fmt::Hyphenated::LENGTH {
            return Err(MalformedId);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| MalformedId)
    }
}

/// What a user may do to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Own account only.
    User,
    /// Every account.
    Admin,
}

/// A user as others may see them: no hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Never changes.
    pub id: UserId,
    /// Unique among all users.
    pub name: Username,
    /// What they may do to others.
    pub role: Role,
    /// When they registered.
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_after_normalisation_and_otherwise_free() {
        let composed: Username = "Zo\u{eb}".parse().unwrap();
        let decomposed: Username = "Zoe\u{308}".parse().unwrap();
        assert_eq!(composed, decomposed);
        assert_ne!(composed, "zo\u{eb}".parse().unwrap());
        for name in ["a b", "名前", "👩‍🚀", " ", &"x".repeat(128)] {
            assert!(name.parse::<Username>().is_ok(), "{name:?}");
        }
    }

    #[test]
    fn names_that_are_empty_long_or_hold_control_characters_are_refused() {
        assert_eq!("".parse::<Username>(), Err(UsernameError::Empty));
        assert_eq!("x".repeat(129).parse::<Username>(), Err(UsernameError::TooLong));
        for name in ["a\nb", "\u{1b}[31m", "\0", "\u{85}"] {
            assert_eq!(name.parse::<Username>(), Err(UsernameError::ControlCharacter));
        }
    }

    #[test]
    fn ids_are_read_in_the_hyphenated_form_alone() {
        let id = UserId::generate(Timestamp::from_unix_secs(1_764_000_000)).unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        let bare = id.to_string().replace('-', "");
        for text in [bare.clone(), format!("{{{id}}}"), format!("urn:uuid:{id}"), "me".into()] {
            assert_eq!(text.parse::<UserId>(), Err(MalformedId), "{text}");
        }
    }
}
