//! Users: id, name, role.

mod fold;
mod name;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::{Uuid, Variant, Version};

use crate::domain::clock::Timestamp;
use crate::domain::session::Sessions;

pub use name::{NewName, USERNAME_MAX_CHARS, Username, UsernameError, Usernames};

/// A user's id: a UUIDv7 (RFC 9562). Its twelve bits after the milliseconds are a counter (section 6.2,
/// method 1), so that ids sort by creation. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(Uuid);

impl UserId {
    /// The id of a user created at `now`. Sorts after `last` even if the clock has gone back.
    pub fn next(last: Option<Self>, now: Timestamp, random: [u8; 8]) -> Self {
        const COUNT_MAX: u16 = 0xfff;
        let now = now.unix_millis();
        let (millis, count) = match last.map(Self::millis_and_count) {
            Some((millis, COUNT_MAX)) if millis >= now => (millis + 1, 0),
            Some((millis, count)) if millis >= now => (millis, count + 1),
            _ => (now, 0),
        };
        let mut below = [0; 10];
        below[..2].copy_from_slice(&count.to_be_bytes());
        below[2..].copy_from_slice(&random);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &below).into_uuid())
    }

    fn millis_and_count(self) -> (u64, u16) {
        let [a, b, c, d, e, f, g, h, ..] = *self.0.as_bytes();
        (u64::from_be_bytes([0, 0, a, b, c, d, e, f]), u16::from_be_bytes([g & 0xf, h]))
    }

    /// Whether [`next`](Self::next) could have made it by `last`.
    pub fn is_v7_until(self, last: Timestamp) -> bool {
        let (version, variant) = (self.0.get_version(), self.0.get_variant());
        version == Some(Version::SortRand)
            && variant == Variant::RFC4122
            && self.millis_and_count().0 <= last.unix_millis()
    }

    /// The id as stored: 16 bytes, in order of creation.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id from its stored form.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A text that is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID in its hyphenated form")]
pub struct MalformedId;

impl FromStr for UserId {
    type Err = MalformedId;

    /// Accepts only the hyphenated form (RFC 9562), not the braced, simple and URN forms that the library
    /// reads as well.
    fn from_str(text: &str) -> Result<Self, MalformedId> {
        if text.len() != uuid::fmt::Hyphenated::LENGTH {
            return Err(MalformedId);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| MalformedId)
    }
}

/// What a user is authorised to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Manages their own account only.
    User,
    /// Manages every account.
    Admin,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither user nor admin")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        [Self::User, Self::Admin].into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// A user without the password hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Never changes.
    pub id: UserId,
    /// Unique among all users.
    pub name: Username,
    /// The user's role.
    pub role: Role,
    /// Disabled users cannot log in and have no live sessions.
    pub disabled: bool,
    /// When the user was created.
    pub created_at: Timestamp,
    /// Which of their sessions are live.
    pub sessions: Sessions,
}

impl User {
    /// Whether this user counts as an administrator: the store always keeps at least one.
    pub fn is_enabled_admin(&self) -> bool {
        self.role == Role::Admin && !self.disabled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_unix_secs(1_764_000_000);

    #[test]
    fn ids_sort_by_creation_also_within_a_millisecond_and_when_the_clock_steps_back() {
        let mut last = UserId::next(None, NOON, [0xff; 8]);
        for step in 0..10_000 {
            let now = NOON.before(std::time::Duration::from_secs(step % 2));
            let next = UserId::next(Some(last), now, [0; 8]);
            assert!(next > last, "{next} after {last}");
            last = next;
        }
        assert_eq!(last.0.get_version_num(), 7);
        assert_eq!(
            UserId::next(Some(last), NOON.after(std::time::Duration::from_secs(9)), [0; 8])
                .millis_and_count()
                .1,
            0
        );
    }

    #[test]
    fn ids_are_read_in_the_hyphenated_form_alone() {
        let id = UserId::next(None, NOON, [7; 8]);
        assert_eq!(id.to_string().parse(), Ok(id));
        let bare = id.to_string().replace('-', "");
        for text in [bare.clone(), format!("{{{id}}}"), format!("urn:uuid:{id}"), "me".into()] {
            assert_eq!(text.parse::<UserId>(), Err(MalformedId), "{text}");
        }
    }
}
