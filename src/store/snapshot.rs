//! All records as they were at one moment, read while changes go on.

use std::fmt;

use uuid::Uuid;

use super::changes::user_id;
use super::error::StoreError;
use super::names::{self, Entry as Name};
use super::record;
use super::table::{Entry, Table};
use crate::domain::clock::Timestamp;
use crate::domain::user::{User, Username};
use crate::password::PasswordHash;

/// Why a snapshot cannot be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// A record cannot be read.
    Store(StoreError),
    /// A page cannot be read; why. What else is in the store goes on to be served.
    Page(String),
    /// More was changed meanwhile than is kept for a slow reader.
    TooSlow,
    /// The records do not add up to what the store says about itself.
    Damaged,
    /// The caller has given it up.
    Abandoned,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Page(why) => write!(f, "a page of the store cannot be read: {why}: run `gatelet verify`"),
            Self::TooSlow => {
                f.write_str("more was changed meanwhile than fits into memory: reading was too slow")
            }
            Self::Abandoned => f.write_str("nobody waits for it any more"),
            Self::Damaged => f.write_str("the store's records do not add up: run `gatelet verify`"),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl From<StoreError> for SnapshotError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Gives up a snapshot that another thread reads, and may never come back from.
pub struct Abandon(Box<dyn Fn() + Send + Sync>);

impl Abandon {
    pub(super) fn new(abandon: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Box::new(abandon))
    }

    /// Frees what is kept for the snapshot. Its next read, if there is one, is its last.
    pub fn abandon(&self) {
        (self.0)();
    }
}

/// What a snapshot shows.
#[derive(Clone, Copy, Debug)]
pub enum Shown<'a> {
    /// A user, and the hash of their password.
    User(&'a User, &'a PasswordHash),
    /// The name of a deleted user, and until when no other user may have it.
    KeptName(&'a Username, Timestamp),
}

/// The records of an engine as they were at one moment.
pub(super) trait Records: Send {
    /// The next records, in the order of tables and keys. After the last one it fails unless all add up.
    fn next(&mut self) -> Result<Option<(Table, Vec<Entry>)>, SnapshotError>;

    /// Gives them up from elsewhere.
    fn abandoner(&self) -> Abandon;
}

/// All records as they were when this began. Dropping it frees what is kept for it.
pub struct Snapshot {
    store_id: Uuid,
    changes: u64,
    users: u64,
    records: Box<dyn Records>,
}

impl Snapshot {
    pub(super) fn new(store_id: Uuid, changes: u64, users: u64, records: impl Records + 'static) -> Self {
        Self { store_id, changes, users, records: Box::new(records) }
    }

    /// Gives this snapshot up from elsewhere.
    pub fn abandoner(&self) -> Abandon {
        self.records.abandoner()
    }

    /// Which store this is.
    pub fn store_id(&self) -> Uuid {
        self.store_id
    }

    /// How many changes there had been in the store's life.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// How many users there were.
    pub fn users(&self) -> u64 {
        self.users
    }

    /// Shows all users to `visit`, in order of creation, and then the names of deleted users. Blocks.
    ///
    /// # Errors
    /// Those of `visit`, or [`SnapshotError`]; what was shown is then not all.
    pub fn read<E: From<SnapshotError>>(
        mut self,
        mut visit: impl FnMut(Shown<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some((table, records)) = self.next()? {
            for (key, value) in &records {
                match table {
                    Table::Users => {
                        let read = user_id(key).and_then(|id| record::decode_user_with_hash(id, value));
                        let (user, hash) = read.map_err(SnapshotError::Store)?;
                        visit(Shown::User(&user, &hash))?;
                    }
                    Table::Usernames => {
                        let entry = Name::decode(value).map_err(SnapshotError::Store)?;
                        let (_, name) =
                            names::parts(key).ok_or(SnapshotError::Store(StoreError::Unreadable))?;
                        if let Name::Deleted(until) = entry {
                            visit(Shown::KeptName(&Username::from_stored(name), until))?;
                        }
                    }
                    // Read for the checksum alone: whether the store is whole shows in all of them.
                    Table::Revoked | Table::Rotations | Table::Keys | Table::Facts => {}
                }
            }
        }
        Ok(())
    }

    /// See [`Records::next`].
    pub(super) fn next(&mut self) -> Result<Option<(Table, Vec<Entry>)>, SnapshotError> {
        self.records.next()
    }
}
