//! Snapshots: all records of one moment, read while changes go on.

use thiserror::Error;
use uuid::Uuid;

use super::changes::user_id;
use super::error::StoreError;
use super::names::{self, NameEntry};
use super::record;
use super::table::{Entry, Table};
use crate::domain::clock::Timestamp;
use crate::domain::user::{User, Username};
use crate::password::PasswordHash;

/// Why a snapshot cannot be read to the end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// A record cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A page cannot be read, for this reason. The store still serves records on other pages.
    #[error("a page of the store cannot be read: {0}: run `gatelet verify`")]
    Page(String),
    /// More changed meanwhile than is kept for a slow reader.
    #[error("more changed meanwhile than is kept in memory: reading was too slow")]
    TooSlow,
    /// The checksums of the records do not add up to the seal.
    #[error("the store's records do not add up: run `gatelet verify`")]
    Damaged,
    /// The caller abandoned the snapshot.
    #[error("its caller has abandoned it")]
    Abandoned,
}

/// A handle to abandon a snapshot whose reading thread may never return.
pub struct Abandon(Box<dyn Fn() + Send + Sync>);

impl Abandon {
    pub(super) fn new(abandon: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Box::new(abandon))
    }

    /// Frees the snapshot's memory. Its next read fails.
    pub fn abandon(&self) {
        (self.0)();
    }
}

/// An item of a snapshot.
#[derive(Clone, Copy, Debug)]
pub enum Shown<'a> {
    /// A user and their hash.
    User(&'a User, &'a PasswordHash),
    /// The name of a deleted user, and the moment until which it stays taken.
    KeptName(&'a Username, Timestamp),
}

/// The records of an engine at one moment.
pub(super) trait SnapshotRecords: Send {
    /// The next records, in the order of tables and keys. After the last one it fails unless the checksums
    /// add up.
    fn next(&mut self) -> Result<Option<(Table, Vec<Entry>)>, SnapshotError>;

    fn abandoner(&self) -> Abandon;
}

/// All records of one moment. Holds memory until it is dropped.
pub struct Snapshot {
    store_id: Uuid,
    changes: u64,
    users: u64,
    records: Box<dyn SnapshotRecords>,
}

impl Snapshot {
    pub(super) fn new(
        store_id: Uuid,
        changes: u64,
        users: u64,
        records: impl SnapshotRecords + 'static,
    ) -> Self {
        Self { store_id, changes, users, records: Box::new(records) }
    }

    /// A handle that abandons this snapshot from another thread.
    pub fn abandoner(&self) -> Abandon {
        self.records.abandoner()
    }

    /// The store's id.
    pub fn store_id(&self) -> Uuid {
        self.store_id
    }

    /// The number of changes so far.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The number of users.
    pub fn users(&self) -> u64 {
        self.users
    }

    /// Calls `visit` with all users in order of creation, then with the names of deleted users. Blocks.
    ///
    /// # Errors
    /// Those of `visit`, or [`SnapshotError`]; then not everything was visited.
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
                        let entry = NameEntry::decode(value).map_err(SnapshotError::Store)?;
                        let (_, name) =
                            names::parts(key).ok_or(SnapshotError::Store(StoreError::Unreadable))?;
                        if let NameEntry::Deleted(until) = entry {
                            visit(Shown::KeptName(&Username::from_stored(name), until))?;
                        }
                    }
                    // Read only for the checksum, which covers all tables.
                    Table::Revoked | Table::Rotations | Table::Keys | Table::Facts => {}
                }
            }
        }
        Ok(())
    }

    pub(super) fn next(&mut self) -> Result<Option<(Table, Vec<Entry>)>, SnapshotError> {
        self.records.next()
    }
}
