//! The one writer of sled's trees: lets changes decide, and applies their edits with the checksum in one transaction.

use std::sync::{Arc, Weak};

use uuid::Uuid;

use super::closed::Closed;
use super::files::Survey;
use super::layout;
use super::overlay::{Overlay, SledSnapshot};
use super::progress::Progress;
use super::seal::Seal;
use super::trees::Trees;
use crate::domain::clock::{Mark, Timestamp};
use crate::store::change::{Change, Replacement};
use crate::store::changes::user_id;
use crate::store::error::StoreError;
use crate::store::snapshot::Snapshot;
use crate::store::table::Table;

/// The store's only writer.
pub(super) struct Writer {
    trees: Trees,
    store_id: Uuid,
    clock: Arc<dyn Mark>,
    progress: Arc<Progress>,
    /// The overlays of open snapshots.
    snapshots: Vec<Weak<Overlay>>,
    /// The stored seal.
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

    /// Begins a batch; `may_write` says whether there is room to write.
    pub(super) fn begin(&mut self, may_write: bool) {
        self.may_write = may_write;
        self.has_changed = false;
    }

    /// Whether this batch has written anything.
    pub(super) fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// The mark of a clean stop for files as in `survey`.
    pub(super) fn closed(&self, survey: &Survey) -> Closed {
        let counts = &self.progress.counts;
        Closed::of(self.store_id, self.seal, counts.users(), counts.revoked(), survey)
    }

    /// The number of changes so far.
    pub(super) fn changes(&self) -> u64 {
        self.seal.changes
    }

    /// A snapshot of the current records. Answered after this batch's sync, it rests on nothing that a power
    /// cut could undo; later changes of the batch are not part of it.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        let snapshot = SledSnapshot::begin(self.trees.clone(), self.seal);
        self.snapshots.push(Arc::downgrade(snapshot.overlay()));
        Snapshot::new(self.store_id, self.seal.changes, self.progress.counts.users(), snapshot)
    }

    /// Runs a change: reads, lets it decide, writes.
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

    /// Writes all edits or none.
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
            None => false, // read or given up
        });
        self.seal = self.trees.apply(edits, self.seal).map_err(Stop::Storage)?;
        self.has_changed = true;
        self.progress.counts.note(edits);
        Ok(())
    }

    /// Makes this batch sync and write the clock mark, unless that was done within the second: many callers
    /// share one write, so that they cannot wear out the disk.
    pub(super) fn sync_once_a_second(&mut self) -> Result<(), Stop> {
        self.demand_room()?;
        self.has_changed |= self.clock.mark().unix_secs() > self.kept_mark.unix_secs();
        Ok(())
    }

    /// Reports a page that a change could not read.
    pub(super) fn unread(&self, error: &sled::Error) -> StoreError {
        self.progress.unread(error)
    }

    fn demand_room(&self) -> Result<(), StoreError> {
        if self.may_write { Ok(()) } else { Err(StoreError::DiskFull) }
    }

    /// Writes the clock mark with the batch, at most once a second.
    pub(super) fn keep_time(&mut self) -> Result<(), sled::Error> {
        let mark = self.clock.mark();
        if mark.unix_secs() > self.kept_mark.unix_secs() {
            self.trees.meta.insert(layout::CLOCK_MARK, &mark.unix_millis().to_be_bytes())?;
            self.kept_mark = mark;
        }
        Ok(())
    }
}

/// Why a change was not made: a record is invalid, a page cannot be read and nothing was written, or the
/// whole store has failed.
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

/// Changes read first, so an error is of a page. [`Writer::write`] marks errors while writing as
/// [`Stop::Storage`].
impl From<sled::Error> for Stop {
    fn from(error: sled::Error) -> Self {
        Self::Page(error)
    }
}
