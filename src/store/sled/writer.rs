//! The one writer of sled's trees: lets changes decide, and applies their edits with the checksum in one transaction.

use std::convert::Infallible;
use std::sync::{Arc, Weak};

use sled::Transactional;
use sled::transaction::{TransactionError, TransactionalTree};
use uuid::Uuid;

use super::super::StoreError;
use super::super::change::{Change, Range, Replacement};
use super::super::changes::{number, user_id};
use super::super::snapshot::Snapshot;
use super::super::table::{Entry, Table, facts};
use super::closed::Closed;
use super::commit::Progress;
use super::files::Survey;
use super::meta;
use super::overlay::{Overlay, SledSnapshot};
use super::seal::Seal;
use crate::domain::clock::{Mark, Timestamp};
use crate::domain::user::UserId;

/// sled's trees, one for each table.
#[derive(Clone)]
pub(super) struct Trees {
    pub(super) users: sled::Tree,
    pub(super) usernames: sled::Tree,
    pub(super) revoked: sled::Tree,
    pub(super) rotations: sled::Tree,
    pub(super) keys: sled::Tree,
    /// [`Table::Facts`], and [`meta`].
    pub(super) meta: sled::Tree,
}

impl Trees {
    pub(super) fn tree(&self, table: Table) -> &sled::Tree {
        match table {
            Table::Users => &self.users,
            Table::Usernames => &self.usernames,
            Table::Revoked => &self.revoked,
            Table::Rotations => &self.rotations,
            Table::Keys => &self.keys,
            Table::Facts => &self.meta,
        }
    }

    pub(super) fn scan(&self, range: &Range) -> Result<Vec<Entry>, sled::Error> {
        let Range { table, from, to, limit } = range;
        let entries = self.tree(*table).range((from.clone(), to.clone())).take(*limit);
        entries.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
    }

    /// Applies edits in one transaction. Answers the seal as it is then.
    pub(super) fn apply(&self, edits: &[Replacement], seal: Seal) -> Result<Seal, sled::Error> {
        let sealed = edits.iter().filter(|edit| edit.table != Table::Facts);
        let seal = sealed.fold(seal.next(), |seal, Replacement { table, key, before, after }| {
            let seal = before.iter().fold(seal, |seal, before| seal.without(*table, key, before));
            after.iter().fold(seal, |seal, after| seal.with(*table, key, after))
        });
        let Self { users, usernames, revoked, rotations, keys, meta } = self;
        let applied = (users, usernames, revoked, rotations, keys, meta).transaction(
            |(users, usernames, revoked, rotations, keys, meta)| {
                let tree = |table: Table| -> &TransactionalTree {
                    match table {
                        Table::Users => users,
                        Table::Usernames => usernames,
                        Table::Revoked => revoked,
                        Table::Rotations => rotations,
                        Table::Keys => keys,
                        Table::Facts => meta,
                    }
                };
                for Replacement { table, key, after, .. } in edits {
                    match after {
                        Some(after) => tree(*table).insert(key.as_slice(), after.as_slice())?,
                        None => tree(*table).remove(key.as_slice())?,
                    };
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

/// What was found among the records while opening.
#[derive(Default)]
pub(super) struct Found {
    /// How many administrators are enabled.
    pub(super) admins: u64,
    /// The newest user.
    pub(super) last_id: Option<UserId>,
    /// How many users there are.
    pub(super) users: u64,
    /// How many revoked sessions are remembered.
    pub(super) revoked: u64,
}

impl Found {
    /// Whether the facts that changes go by are those of the records.
    pub(super) fn fit(&self, trees: &Trees) -> Result<bool, sled::Error> {
        let (admins, last_id) = (trees.meta.get(facts::ADMINS)?, trees.meta.get(facts::LAST_ID)?);
        let newest = self.last_id.as_ref().map(UserId::as_bytes);
        let comes_last = newest.is_none_or(|id| last_id.is_some_and(|last| id.as_slice() <= &*last));
        Ok(comes_last && number(admins.as_deref()) == Ok(self.admins))
    }

    /// Those facts.
    pub(super) fn facts(&self) -> Vec<(&'static [u8], Vec<u8>)> {
        let last_id = self.last_id.map(|id| (facts::LAST_ID, id.as_bytes().to_vec()));
        std::iter::once((facts::ADMINS, self.admins.to_be_bytes().to_vec())).chain(last_id).collect()
    }
}

/// The store as its only writer sees it.
pub(super) struct Writer {
    trees: Trees,
    store_id: Uuid,
    clock: Arc<dyn Mark>,
    progress: Arc<Progress>,
    /// Of the snapshots that are being read.
    snapshots: Vec<Weak<Overlay>>,
    /// As it stands in the store.
    seal: Seal,
    kept_mark: Timestamp,
    may_write: bool,
    has_changed: bool,
}

impl Writer {
    pub(super) fn new(
        trees: Trees,
        store_id: Uuid,
        seal: Seal,
        kept_mark: Timestamp,
        clock: Arc<dyn Mark>,
        progress: Arc<Progress>,
    ) -> Self {
        let (snapshots, may_write, has_changed) = (Vec::new(), false, false);
        Self { trees, store_id, clock, progress, snapshots, seal, kept_mark, may_write, has_changed }
    }

    /// Begins a batch, in which there is room to write or not.
    pub(super) fn begin(&mut self, may_write: bool) {
        self.may_write = may_write;
        self.has_changed = false;
    }

    /// Whether anything was written in this batch.
    pub(super) fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// The mark of a clean stop now, when the files are as in `survey`.
    pub(super) fn closed(&self, survey: &Survey) -> Result<Closed, sled::Error> {
        Closed::of(&self.trees, self.store_id, self.seal, &self.progress.counts, survey)
    }

    /// How many changes there have been in the store's life.
    pub(super) fn changes(&self) -> u64 {
        self.seal.changes
    }

    /// All records as they are now. An answer that waits until this batch is synced rests on nothing that a power cut
    /// could undo: what comes later in the batch is not part of it.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        let snapshot = SledSnapshot::begin(self.trees.clone(), self.seal);
        self.snapshots.push(Arc::downgrade(snapshot.overlay()));
        Snapshot::of_sled(self.store_id, self.seal.changes, self.progress.counts.users(), snapshot)
    }

    /// Makes a change: reads, lets it decide, writes.
    pub(super) fn run<C: Change>(&mut self, change: &C) -> Result<C::Outcome, Stop> {
        let trees = &self.trees;
        let seen = change.reads().read(
            |table, key| Ok::<_, Stop>(trees.tree(table).get(key)?.map(|value| value.to_vec())),
            |range| Ok(trees.scan(range)?),
        )?;
        let decision = change.decide(&seen)?;
        let edits = decision.edits.replacing(&seen)?;
        if !edits.is_empty() {
            self.write(&edits)?;
        }
        Ok(decision.outcome)
    }

    /// Writes all of it or nothing.
    fn write(&mut self, edits: &[Replacement]) -> Result<(), Stop> {
        self.demand_room()?;
        for edit in edits.iter().filter(|edit| edit.table == Table::Users && edit.after.is_some()) {
            self.progress.unsettle(user_id(&edit.key)?);
        }
        self.snapshots.retain(|snapshot| match snapshot.upgrade() {
            Some(overlay) => {
                overlay.leave(edits);
                true
            }
            None => false, // read, or given up
        });
        self.seal = self.trees.apply(edits, self.seal).map_err(Stop::Storage)?;
        self.has_changed = true;
        self.progress.counts.note(edits);
        Ok(())
    }

    /// Sees to it that this batch is synced and carries the mark of time, unless that was done within the second: many
    /// callers share one write, so that none of them can wear out the disk.
    pub(super) fn sync_once_a_second(&mut self) -> Result<(), Stop> {
        self.demand_room()?;
        self.has_changed |= self.clock.mark().unix_secs() > self.kept_mark.unix_secs();
        Ok(())
    }

    /// A change met a page that cannot be read.
    pub(super) fn unread(&self, error: &sled::Error) -> StoreError {
        self.progress.unread(error)
    }

    fn demand_room(&self) -> Result<(), StoreError> {
        if self.may_write { Ok(()) } else { Err(StoreError::DiskFull) }
    }

    /// Every batch carries the mark of time along, once a second at the most.
    pub(super) fn keep_time(&mut self) -> Result<(), sled::Error> {
        let mark = self.clock.mark();
        if mark.unix_secs() > self.kept_mark.unix_secs() {
            self.trees.meta.insert(meta::CLOCK_MARK, &mark.unix_millis().to_be_bytes())?;
            self.kept_mark = mark;
        }
        Ok(())
    }
}

/// Why a change was not made: the record is at fault, a page cannot be read and nothing was written, or the whole store is
/// at fault.
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

/// Changes read first. What fails while they write, [`Writer::write`] calls by its name.
impl From<sled::Error> for Stop {
    fn from(error: sled::Error) -> Self {
        Self::Page(error)
    }
}
