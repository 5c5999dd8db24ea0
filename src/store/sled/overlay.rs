//! Snapshots of sled: all records of one moment, read while changes go on.
//!
//! sled 0.34 has no snapshots. But there is one writer, and each of its edits carries the value that it
//! replaces. A snapshot begins on the committer's thread, between two changes, and shares an *overlay* with
//! it. From then on the writer saves the value before each edit there, and the reader prefers a saved value
//! to the store's current one. Neither waits for the other: the reader holds the overlay's lock while it
//! merges one chunk, the committer for a few keys.
//!
//! Why no change slips through: for each key, the committer *saves* its first value before any other value is
//! visible, and the reader checks the overlay after it has *read* the key, in the same critical section in
//! which it marks the key as passed:
//!
//! * Saved before the reader passes the key: the saved value is used, whatever was read.
//! * Not saved by then: no edit was visible when the key was read, so the value read is the original. Later
//!   edits find the key passed and save nothing.
//!
//! This is also checked: the sum over everything read must equal the seal's at the beginning (see
//! [`super::seal`]).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::reason;
use super::seal::Seal;
use super::trees::Trees;
use crate::store::change::{Range, Replacement};
use crate::store::snapshot::{Abandon, SnapshotError, SnapshotRecords};
use crate::store::table::{Entry, Table};

/// SnapshotRecords read at once: some hundred kilobytes, about a millisecond.
const CHUNK: usize = 512;

/// The most bytes of saved values for one reader: some 200,000 changes. A slower reader is given up.
const OVERLAY_MAX: usize = 64 << 20;

/// Memory of an entry besides key and value.
const ENTRY: usize = 96;

/// The values of one moment that have changed since.
pub(super) struct Overlay(Mutex<ReaderState>);

struct ReaderState {
    /// The table being read; earlier ones are done.
    tree: Table,
    /// The last key read in it.
    after: Option<Vec<u8>>,
    before: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
    /// Memory of `before`.
    bytes: usize,
    /// Why the reader was given up, if it was; nothing is saved then.
    given_up: Option<SnapshotError>,
}

impl ReaderState {
    fn has_passed(&self, tree: Table, key: &[u8]) -> bool {
        tree < self.tree || (tree == self.tree && self.after.as_deref().is_some_and(|after| key <= after))
    }

    fn give_up(&mut self, why: SnapshotError) {
        self.before.clear();
        self.given_up = Some(why);
    }
}

impl Overlay {
    /// For a reader that begins with the table `first`.
    fn new(first: Table) -> Self {
        let before = BTreeMap::new();
        Self(Mutex::new(ReaderState { tree: first, after: None, before, bytes: 0, given_up: None }))
    }

    fn lock(&self) -> MutexGuard<'_, ReaderState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Saves the values before these edits. Call it before the edits are visible.
    pub(super) fn leave(&self, edits: &[Replacement]) {
        let mut state = self.lock();
        for Replacement { table: tree, key, before, .. } in edits {
            if state.given_up.is_some() || state.has_passed(*tree, key) {
                continue;
            }
            let place = (*tree, key.clone());
            if state.before.contains_key(&place) {
                continue;
            }
            let before = before.clone();
            state.bytes += entry_size(key, before.as_deref());
            state.before.insert(place, before);
            if state.bytes > OVERLAY_MAX {
                state.give_up(SnapshotError::TooSlow);
            }
        }
    }

    /// Merges saved values into `read`, the records of `tree` up to `end`, or to the end of the tree, and
    /// marks those as passed.
    fn pass(
        &self,
        tree: Table,
        end: Option<&Vec<u8>>,
        read: Vec<Entry>,
    ) -> Result<Vec<Entry>, SnapshotError> {
        let mut state = self.lock();
        if let Some(why) = &state.given_up {
            return Err(why.clone());
        }
        match (end, tree.next()) {
            (Some(end), _) => state.after = Some(end.clone()),
            (None, Some(next)) => (state.tree, state.after) = (next, None),
            (None, None) => {} // the reader is done
        }
        let mut left = Vec::new();
        while let Some(first) = state.before.first_entry() {
            let (of, key) = first.key();
            if *of != tree || end.is_some_and(|end| key > end) {
                break;
            }
            let ((_, key), before) = first.remove_entry();
            state.bytes -= entry_size(&key, before.as_deref());
            left.push((key, before));
        }
        drop(state);
        if left.is_empty() {
            return Ok(read);
        }
        let mut merged: BTreeMap<_, _> = read.into_iter().map(|(key, value)| (key, Some(value))).collect();
        merged.extend(left);
        Ok(merged.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }
}

fn entry_size(key: &[u8], before: Option<&[u8]>) -> usize {
    key.len() + before.map_or(0, <[u8]>::len) + ENTRY
}

/// sled's records at one moment. Holds memory until it is dropped.
pub(super) struct SledSnapshot {
    trees: Trees,
    overlay: Arc<Overlay>,
    /// The seal at the beginning.
    seal: Seal,
    /// The next table, and the key in it after which to continue.
    next: Option<Table>,
    after: Option<Vec<u8>>,
    /// The sum over all records read.
    sum: Seal,
}

impl SledSnapshot {
    /// Begins a snapshot; only on the committer's thread.
    pub(super) fn begin(trees: Trees, seal: Seal) -> Self {
        let [first, ..] = Table::RECORDS;
        Self {
            trees,
            overlay: Arc::new(Overlay::new(first)),
            seal,
            next: Some(first),
            after: None,
            sum: seal.empty(),
        }
    }

    /// Every edit from now on must be passed to it.
    pub(super) fn overlay(&self) -> &Arc<Overlay> {
        &self.overlay
    }
}

impl SnapshotRecords for SledSnapshot {
    fn abandoner(&self) -> Abandon {
        let overlay = Arc::downgrade(&self.overlay);
        Abandon::new(move || {
            if let Some(overlay) = overlay.upgrade() {
                overlay.lock().give_up(SnapshotError::Abandoned);
            }
        })
    }

    fn next(&mut self) -> Result<Option<(Table, Vec<Entry>)>, SnapshotError> {
        let Some(tree) = self.next else {
            return if self.sum == self.seal { Ok(None) } else { Err(SnapshotError::Damaged) };
        };
        let begin = self.after.take().map_or(Bound::Unbounded, Bound::Excluded);
        let range = Range { table: tree, from: begin, to: Bound::Unbounded, limit: CHUNK };
        // Neither sled nor the store fails for an unreadable page: it may never be needed.
        let read = self.trees.scan(&range).map_err(|error| SnapshotError::Page(reason(&error)))?;
        let end = read.last().filter(|_| read.len() == CHUNK).map(|(key, _)| key.clone());
        let records = self.overlay.pass(tree, end.as_ref(), read)?;
        self.next = if end.is_some() { Some(tree) } else { tree.next() };
        self.after = end;
        self.sum = records.iter().fold(self.sum, |sum, (key, value)| sum.with(tree, key, value));
        Ok(Some((tree, records)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half the largest size of a record.
    const VALUE: usize = 2048;

    fn edit(key: usize) -> Replacement {
        let key = key.to_be_bytes().to_vec();
        Replacement { table: Table::Users, key, before: Some(vec![0; VALUE]), after: None }
    }

    #[test]
    fn a_reader_that_falls_far_behind_is_given_up_and_takes_no_more_memory() {
        let overlay = Overlay::new(Table::Users);
        let enough = OVERLAY_MAX / (VALUE + ENTRY + size_of::<usize>());
        overlay.leave(&[edit(1), edit(2)]);
        for key in 3..=enough {
            overlay.leave(&[edit(key), edit(key)]);
            overlay.leave(&[edit(key)]);
        }
        // A reader that keeps reading frees memory.
        let passed = overlay.pass(Table::Users, Some(&edit(2).key), Vec::new()).unwrap();
        assert_eq!(passed.len(), 2);
        overlay.leave(&[edit(1), edit(2), edit(enough + 1), edit(enough + 2)]);
        assert_eq!(overlay.lock().before.len(), enough);
        overlay.leave(&[edit(enough + 3)]);
        assert_eq!(overlay.lock().before.len(), 0);
        overlay.leave(&[edit(enough + 4)]);
        assert_eq!(overlay.lock().before.len(), 0);
        assert_eq!(overlay.pass(Table::Users, None, Vec::new()), Err(SnapshotError::TooSlow));
    }

    #[test]
    fn a_reader_that_is_abandoned_takes_no_more_memory_and_reads_no_further() {
        let overlay = Arc::new(Overlay::new(Table::Users));
        overlay.leave(&[edit(1), edit(2)]);
        overlay.lock().give_up(SnapshotError::Abandoned);
        overlay.leave(&[edit(3)]);
        assert_eq!(overlay.lock().before.len(), 0);
        assert_eq!(overlay.pass(Table::Users, None, Vec::new()), Err(SnapshotError::Abandoned));
    }
}
