//! Arguments and results of store calls.

use crate::domain::clock::Timestamp;
use crate::domain::session::TokenId;
use crate::domain::user::{NewName, Role};
use crate::password::PasswordHash;
use crate::random;

/// Settings of the store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Bytes of sled's page cache.
    pub cache: u64,
    /// Writing stops below this number of free bytes.
    pub min_free: u64,
    /// A clock reading to trust even if the store has seen a later time.
    pub accept_clock: Option<Timestamp>,
}

/// A user to be created.
#[derive(Debug)]
pub struct NewUser {
    pub(super) name: NewName,
    pub(super) role: Role,
    pub(super) disabled: bool,
    pub(super) hash: PasswordHash,
    pub(super) created_at: Timestamp,
    /// Random bits of the id.
    pub(super) random: [u8; 8],
}

impl NewUser {
    /// A user created at `now`.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn new(
        name: NewName,
        role: Role,
        hash: PasswordHash,
        now: Timestamp,
    ) -> Result<Self, random::NoRandomness> {
        Ok(Self { name, role, disabled: false, hash, created_at: now, random: random::bytes()? })
    }

    /// Sets whether the user is disabled.
    #[must_use]
    pub fn disabled(self, disabled: bool) -> Self {
        Self { disabled, ..self }
    }
}

/// A change of a user; `None` leaves a field as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserChange {
    /// The new role.
    pub role: Option<Role>,
    /// Disabling revokes all sessions.
    pub disabled: Option<bool>,
}

/// The outcome of a change of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// The change was made.
    Done(T),
    /// The user already had these values.
    Unchanged(T),
    /// There is no such user.
    Missing,
    /// Not made: it would remove the last enabled administrator.
    LastAdmin,
}

/// The outcome of setting a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The password was set.
    Done,
    /// There is no such user.
    Missing,
    /// Not set: the sessions were revoked meanwhile, and the password that was checked may have changed.
    Outdated,
}

/// The refresh token that replaces another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Successor {
    /// Its id.
    pub id: TokenId,
    /// When it was issued.
    pub issued_at: Timestamp,
}

/// The outcome of presenting a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It was current and has been replaced.
    Advanced(Successor),
    /// It was replaced a moment ago; this is the current token.
    Again(Successor),
    /// It was replaced long ago, so it was copied. The session is revoked.
    Reused,
    /// Its session was revoked before.
    Revoked,
}

/// The store's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Users.
    pub users: u64,
    /// Revocations not yet pruned.
    pub revoked_sessions: u64,
    /// Bytes in its files; `None` if they cannot be read.
    pub bytes: Option<u64>,
    /// Free bytes on its disk; `None` if they cannot be read.
    pub free_bytes: Option<u64>,
    /// Writing stops below this number of free bytes.
    pub min_free_bytes: u64,
}
