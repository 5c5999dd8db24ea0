//! The one way to write: edits of records, gathered by a change and applied with their seal in one transaction.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use sled::IVec;
use sled::Transactional;
use sled::transaction::{TransactionError, TransactionalTree};
use uuid::Uuid;

use super::closed::Closed;
use super::commit::Progress;
use super::files::Survey;
use super::seal::Seal;
use super::snapshot::{Overlay, Snapshot};
use super::{StoreError, meta};
use crate::clock::{Clock, Timestamp};
use crate::user::UserId;

/// The trees.
#[derive(Clone)]
pub(super) struct Trees {
    /// User id → user record.
    pub(super) users: sled::Tree,
    /// Fold and name → user id, or until when the name stays taken: see [`super::names`].
    pub(super) usernames: sled::Tree,
    /// Session id → nothing. Sorted by the session's end.
    pub(super) revoked: sled::Tree,
    /// Session id → which of its refresh tokens is good, where they rotate. Sorted by the session's end.
    pub(super) rotations: sled::Tree,
    /// Key id → what is remembered about the key.
    pub(super) keys: sled::Tree,
    /// What the store knows about itself: see [`meta`].
    pub(super) meta: sled::Tree,
}

/// Which tree a sealed record is in. The numbers go into the seal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum In {
    Users = 1,
    Usernames = 2,
    Revoked = 3,
    Rotations = 4,
    Keys = 5,
}

impl In {
    /// All of them, in their order.
    pub(super) const ALL: [Self; 5] =
        [Self::Users, Self::Usernames, Self::Revoked, Self::Rotations, Self::Keys];

    /// The one after this.
    pub(super) fn next(self) -> Option<Self> {
        Self::ALL.into_iter().find(|tree| *tree > self)
    }
}

impl Trees {
    pub(super) fn tree(&self, tree: In) -> &sled::Tree {
        match tree {
            In::Users => &self.users,
            In::Usernames => &self.usernames,
            In::Revoked => &self.revoked,
            In::Rotations => &self.rotations,
            In::Keys => &self.keys,
        }
    }
}

/// One record's old and new value; nothing where there is none.
pub(super) struct Edit {
    pub(super) tree: In,
    pub(super) key: IVec,
    pub(super) before: Option<IVec>,
    pub(super) after: Option<Vec<u8>>,
}

/// What one change writes, all of it or nothing.
#[derive(Default)]
pub(super) struct Edits {
    edits: Vec<Edit>,
    meta: Vec<(&'static [u8], Vec<u8>)>,
}

impl Edits {
    /// Writes a record in the place of `before`.
    pub(super) fn put(&mut self, tree: In, key: &[u8], before: Option<IVec>, after: Vec<u8>) {
        self.edits.push(Edit { tree, key: key.into(), before, after: Some(after) });
    }

    /// Removes a record that reads `before`.
    pub(super) fn remove(&mut self, tree: In, key: &[u8], before: IVec) {
        self.edits.push(Edit { tree, key: key.into(), before: Some(before), after: None });
    }

    /// Writes what the store knows about itself.
    pub(super) fn note(&mut self, key: &'static [u8], value: Vec<u8>) {
        self.meta.push((key, value));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.edits.is_empty() && self.meta.is_empty()
    }

    /// How many records are edited.
    pub(super) fn len(&self) -> usize {
        self.edits.len()
    }

    /// Applies everything in one transaction. Answers the seal as it is then.
    pub(super) fn apply(&self, trees: &Trees, seal: Seal) -> Result<Seal, sled::Error> {
        let seal = self.edits.iter().fold(seal.next(), |seal, Edit { tree, key, before, after }| {
            let seal = before.iter().fold(seal, |seal, before| seal.without(*tree, key, before));
            after.iter().fold(seal, |seal, after| seal.with(*tree, key, after))
        });
        let Trees { users, usernames, revoked, rotations, keys, meta } = trees;
        let applied = (users, usernames, revoked, rotations, keys, meta).transaction(
            |(users, usernames, revoked, rotations, keys, meta)| {
                let tree = |tree: In| -> &TransactionalTree {
                    match tree {
                        In::Users => users,
                        In::Usernames => usernames,
                        In::Revoked => revoked,
                        In::Rotations => rotations,
                        In::Keys => keys,
                    }
                };
                for edit in &self.edits {
                    match &edit.after {
                        Some(after) => tree(edit.tree).insert(&edit.key, after.as_slice())?,
                        None => tree(edit.tree).remove(&edit.key)?,
                    };
                }
                for (key, value) in &self.meta {
                    meta.insert(*key, value.as_slice())?;
                }
                meta.insert(meta::SEAL, &seal.to_bytes())?;
                Ok(())
            },
        );
        match applied {
            Ok(()) => Ok(seal),
            Err(TransactionError::Storage(error)) => Err(error),
            Err(TransactionError::Abort(never)) => {
                let never: Infallible = never;
                match never {}
            }
        }
    }
}

/// What has been found among the records while opening.
#[derive(Default)]
pub(super) struct Found {
    /// The enabled administrators.
    pub(super) admins: HashSet<UserId>,
    /// The user created last.
    pub(super) last_id: Option<UserId>,
    /// How many users there are.
    pub(super) users: u64,
    /// How many ended sessions are remembered.
    pub(super) ended_sessions: u64,
}

/// What changes read and write: the store as its only writer sees it.
pub(super) struct Ledger {
    pub(super) trees: Trees,
    /// The enabled administrators: somebody always has to be one.
    pub(super) admins: HashSet<UserId>,
    /// The user created last, deleted since or not: the next id comes after it.
    pub(super) last_id: Option<UserId>,
    /// The end of sessions before this moment may have been forgotten in this run.
    pub(super) pruned_until: Timestamp,
    /// The name after which to go on looking for those of users who were deleted long ago.
    pub(super) names_seen: Option<IVec>,
    store_id: Uuid,
    clock: Arc<Clock>,
    progress: Arc<Progress>,
    /// Of the snapshots that are being read.
    snapshots: Vec<Weak<Overlay>>,
    /// As it stands in the store.
    seal: Seal,
    kept_mark: Timestamp,
    may_write: bool,
    has_changed: bool,
}

impl Ledger {
    pub(super) fn new(
        trees: Trees,
        store_id: Uuid,
        found: Found,
        seal: Seal,
        kept_mark: Timestamp,
        clock: Arc<Clock>,
        progress: Arc<Progress>,
    ) -> Self {
        let Found { admins, last_id, users, ended_sessions } = found;
        progress.users.store(users, Ordering::Relaxed);
        progress.ended_sessions.store(ended_sessions, Ordering::Relaxed);
        Self {
            trees,
            admins,
            last_id,
            pruned_until: Timestamp::default(),
            names_seen: None,
            store_id,
            clock,
            progress,
            snapshots: Vec::new(),
            seal,
            kept_mark,
            may_write: false,
            has_changed: false,
        }
    }

    /// Begins a batch, in which there is room to write or not.
    pub(super) fn begin(&mut self, may_write: bool) {
        self.may_write = may_write;
        self.has_changed = false;
    }

    /// Whether anything has been written in this batch.
    pub(super) fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// The mark of a clean stop now, when the files are as in `survey`.
    pub(super) fn closed(&self, survey: &Survey) -> Closed {
        let found = Found {
            admins: self.admins.clone(),
            last_id: self.last_id,
            users: self.progress.users.load(Ordering::Relaxed),
            ended_sessions: self.progress.ended_sessions.load(Ordering::Relaxed),
        };
        Closed::new(self.store_id, self.seal, &found, survey)
    }

    /// How many changes there have been in the store's life.
    pub(super) fn changes(&self) -> u64 {
        self.seal.changes
    }

    /// All records as they are now. Whoever is answered after this batch has been synced reads nothing that a power
    /// cut could undo: what comes later in the batch is not part of it.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        let snapshot = Snapshot::begin(
            self.trees.clone(),
            self.store_id,
            self.seal,
            self.progress.users.load(Ordering::Relaxed),
        );
        self.snapshots.push(Arc::downgrade(snapshot.overlay()));
        snapshot
    }

    /// Writes all of it or nothing.
    pub(super) fn write(&mut self, edits: &Edits) -> Result<(), Stop> {
        self.demand_room()?;
        for edit in edits.edits.iter().filter(|edit| edit.tree == In::Users && edit.after.is_some()) {
            let id = (*edit.key).try_into().map_err(|_| StoreError::Unreadable)?;
            self.progress.unsettle(UserId::from_bytes(id));
        }
        self.snapshots.retain(|snapshot| match snapshot.upgrade() {
            Some(overlay) => {
                overlay.leave(&edits.edits);
                true
            }
            None => false, // read, or given up
        });
        self.seal = edits.apply(&self.trees, self.seal).map_err(Stop::Storage)?;
        self.has_changed = true;
        self.count(edits);
        Ok(())
    }

    /// Keeps count of what nobody could count later without reading all of it.
    fn count(&self, edits: &Edits) {
        for edit in &edits.edits {
            let count = match edit.tree {
                In::Users => &self.progress.users,
                In::Revoked => &self.progress.ended_sessions,
                In::Usernames | In::Rotations | In::Keys => continue,
            };
            match (&edit.before, &edit.after) {
                (None, Some(_)) => count.fetch_add(1, Ordering::Relaxed),
                (Some(_), None) => count.fetch_sub(1, Ordering::Relaxed),
                (Some(_), Some(_)) | (None, None) => continue,
            };
        }
    }

    /// Sees to it that this batch is synced and carries the clock's mark, if that has not been done within the
    /// second: many who ask share one write, so that none of them can wear out the disk.
    pub(super) fn sync_once_a_second(&mut self) -> Result<(), Stop> {
        self.demand_room()?;
        self.has_changed |= self.clock.mark().unix_secs() > self.kept_mark.unix_secs();
        Ok(())
    }

    /// A change met a page that cannot be read.
    pub(super) fn unread(&self, error: &sled::Error) -> StoreError {
        self.progress.unread(error)
    }

    /// The time, or the highest that was seen where the clock is not believed.
    pub(super) fn now_or_mark(&self) -> Timestamp {
        self.clock.now_or_mark()
    }

    fn demand_room(&self) -> Result<(), StoreError> {
        if self.may_write { Ok(()) } else { Err(StoreError::DiskFull) }
    }

    /// Every batch carries the clock's mark along, once a second at the most.
    pub(super) fn keep_time(&mut self) -> Result<(), sled::Error> {
        let mark = self.clock.mark();
        if mark.unix_secs() > self.kept_mark.unix_secs() {
            self.trees.meta.insert(meta::CLOCK_MARK, &mark.unix_millis().to_be_bytes())?;
            self.kept_mark = mark;
        }
        Ok(())
    }
}

/// Why a change was not made: the record is at fault, a page cannot be read and nothing has been written, or the whole
/// store is at fault.
pub(super) enum Stop {
    Record(StoreError),
    Page(sled::Error),
    Storage(sled::Error),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Record(error)
    }
}

/// Changes read first. What fails while they write, [`Ledger::write`] calls by its name.
impl From<sled::Error> for Stop {
    fn from(error: sled::Error) -> Self {
        Self::Page(error)
    }
}
