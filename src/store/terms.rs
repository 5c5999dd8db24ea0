//! What the store is asked with, and what it answers.

use crate::domain::clock::Timestamp;
use crate::domain::session::TokenId;
use crate::domain::user::{NewName, Role};
use crate::password::PasswordHash;
use crate::random;

/// What the store needs to know to open.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Bytes of sled's page cache.
    pub cache: u64,
    /// Bytes of free space below which nothing is written.
    pub min_free: u64,
    /// The time to believe, even if the store has seen a later one.
    pub accept_clock: Option<Timestamp>,
}

/// A user to be.
#[derive(Debug)]
pub struct NewUser {
    pub(super) name: NewName,
    pub(super) role: Role,
    pub(super) disabled: bool,
    pub(super) hash: PasswordHash,
    pub(super) created_at: Timestamp,
    /// For the id.
    pub(super) random: [u8; 8],
}

impl NewUser {
    /// A user who registers at `now`.
    ///
    /// # Errors
    /// When the system has no random numbers to give.
    pub fn new(
        name: NewName,
        role: Role,
        hash: PasswordHash,
        now: Timestamp,
    ) -> Result<Self, random::NoRandomness> {
        Ok(Self { name, role, disabled: false, hash, created_at: now, random: random::bytes()? })
    }

    /// The same, and whether they may not log in.
    #[must_use]
    pub fn disabled(self, disabled: bool) -> Self {
        Self { disabled, ..self }
    }
}

/// What is to change about a user; what is not named stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserChange {
    /// The new role.
    pub role: Option<Role>,
    /// Disabling ends all sessions.
    pub disabled: Option<bool>,
}

/// What became of a change to a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It was made.
    Done(T),
    /// Things were so already.
    Unchanged(T),
    /// There is no such user.
    Missing,
    /// Not made: nobody would be left who is an administrator and enabled.
    LastAdmin,
}

/// What became of a new password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It is the user's.
    Done,
    /// There is no such user.
    Missing,
    /// Not set: all sessions have been ended meanwhile, maybe along with the password that was checked.
    Outdated,
}

/// The refresh token that takes the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Successor {
    /// Its id.
    pub id: TokenId,
    /// When it was made.
    pub issued_at: Timestamp,
}

/// What a refresh token that was presented turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The good one; it has been replaced.
    Advanced(Successor),
    /// One that was replaced a moment ago, by whatever is good now.
    Again(Successor),
    /// One that was replaced long ago: somebody has a copy. The session has been ended.
    Reused,
    /// One of a session that has ended.
    Ended,
}

/// How much the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Users there are.
    pub users: u64,
    /// Ended sessions that are remembered.
    pub ended_sessions: u64,
    /// Bytes of its files; nothing where they cannot be looked at.
    pub bytes: Option<u64>,
    /// Bytes that are free beside them, likewise.
    pub free_bytes: Option<u64>,
    /// Bytes of free space below which nothing is written.
    pub min_free_bytes: u64,
}
