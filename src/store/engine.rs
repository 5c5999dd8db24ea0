//! The engines that can hold a store. The rules are above them, in [`super::changes`] and [`super::Store`].

use uuid::Uuid;

use super::change::{Change, Range};
use super::counts::Counts;
use super::error::StoreError;
use super::inspect::{Beside, LookBeside};
use super::memory::Memory;
use super::sled::Sled;
use super::snapshot::Snapshot;
use super::table::{Entry, Table};
use super::terms::Extent;
use crate::domain::user::UserId;
use crate::metrics::{Commits, Counter};

/// An open store's engine.
pub(super) enum Engine {
    /// The embedded default, on this machine's disk.
    Sled(Box<Sled>),
    /// For tests, and as the model that the other engine is compared with. Nothing survives the process.
    Memory(Memory),
}

impl Engine {
    /// A key's current value.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Sled(sled) => sled.get(table, key),
            Self::Memory(memory) => Ok(memory.get(table, key)),
        }
    }

    /// Whether a key has a value.
    pub(super) fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        match self {
            Self::Sled(sled) => sled.has(table, key),
            Self::Memory(memory) => Ok(memory.get(table, key).is_some()),
        }
    }

    /// The current entries of a range, in key order.
    pub(super) fn scan(&self, range: &Range) -> Result<Vec<Entry>, StoreError> {
        match self {
            Self::Sled(sled) => sled.scan(range),
            Self::Memory(memory) => Ok(memory.scan(range)),
        }
    }

    /// Returns once a user's record as read is durable. Call it between the read and an answer that rests on
    /// it.
    pub(super) async fn durable(&self, id: UserId) -> Result<(), StoreError> {
        match self {
            Self::Sled(sled) => sled.durable(id).await,
            Self::Memory(_) => Ok(()),
        }
    }

    /// Returns once everything read before is durable.
    pub(super) async fn all_durable(&self) -> Result<(), StoreError> {
        match self {
            Self::Sled(sled) => sled.all_durable().await,
            Self::Memory(_) => Ok(()),
        }
    }

    /// Runs a change in one atomic step. Returns once it is durable.
    pub(super) async fn run<C: Change>(&self, change: C) -> Result<C::Outcome, StoreError> {
        match self {
            Self::Sled(sled) => sled.run(change).await,
            Self::Memory(memory) => memory.run(&change),
        }
    }

    /// Writes the clock mark, which also shows whether writing works.
    pub(super) async fn keep_time(&self) -> Result<(), StoreError> {
        match self {
            Self::Sled(sled) => sled.keep_time().await,
            Self::Memory(_) => Ok(()),
        }
    }

    /// A snapshot of all records, once they are durable.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        match self {
            Self::Sled(sled) => sled.snapshot().await,
            Self::Memory(memory) => Ok(memory.snapshot()),
        }
    }

    /// Begins the checks beside the records. Call it before a snapshot.
    pub(super) fn beside(&self) -> LookBeside {
        match self {
            Self::Sled(sled) => sled.beside(),
            Self::Memory(memory) => {
                let id = memory.id();
                Box::new(move |changes| Beside::nothing(id, changes))
            }
        }
    }

    pub(super) fn counts(&self) -> &Counts {
        match self {
            Self::Sled(sled) => sled.counts(),
            Self::Memory(memory) => memory.counts(),
        }
    }

    /// The store's size. Asks the file system: blocks.
    pub(super) fn extent(&self) -> Extent {
        let counts = self.counts();
        let extent = Extent {
            users: counts.users(),
            revoked_sessions: counts.revoked(),
            bytes: None,
            free_bytes: None,
            min_free_bytes: 0,
        };
        match self {
            Self::Sled(sled) => sled.extent(extent),
            Self::Memory(_) => extent,
        }
    }

    pub(super) fn id(&self) -> Uuid {
        match self {
            Self::Sled(sled) => sled.id(),
            Self::Memory(memory) => memory.id(),
        }
    }

    /// Counts failed reads of pages.
    pub(super) fn unread(&self) -> Counter {
        match self {
            Self::Sled(sled) => sled.unread(),
            Self::Memory(_) => Counter::default(),
        }
    }

    /// Measurements of commits.
    pub(super) fn commits(&self) -> Commits {
        match self {
            Self::Sled(sled) => sled.commits(),
            Self::Memory(_) => Commits::default(),
        }
    }

    /// Returns once the engine has failed.
    pub(super) async fn failure(&self) {
        match self {
            Self::Sled(sled) => sled.failure().await,
            Self::Memory(_) => std::future::pending().await,
        }
    }

    /// Commits queued changes and refuses later ones. Blocks.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        match self {
            Self::Sled(sled) => sled.close(),
            Self::Memory(memory) => {
                memory.close();
                Ok(())
            }
        }
    }
}
