//! The engine in memory: a plain map behind a lock.

use std::collections::BTreeMap;
use std::ops::RangeBounds as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::change::{Change, Range, Replacement};
use super::counts::Counts;
use super::error::StoreError;
use super::snapshot::{Abandon, Snapshot, SnapshotError, SnapshotRecords};
use super::table::{Entry, Table};

pub(super) struct Memory {
    state: Mutex<MemoryState>,
    counts: Counts,
    id: Uuid,
    is_closed: AtomicBool,
}

#[derive(Default)]
struct MemoryState {
    /// By table and key.
    records: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    changes: u64,
}

impl Memory {
    pub(super) fn new(id: Uuid) -> Self {
        let (state, counts) = (Mutex::default(), Counts::default());
        Self { state, counts, id, is_closed: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        self.lock().get(table, key)
    }

    pub(super) fn scan(&self, range: &Range) -> Vec<Entry> {
        self.lock().scan(range)
    }

    pub(super) fn run<C: Change>(&self, change: &C) -> Result<C::Outcome, StoreError> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(StoreError::Failed);
        }
        let mut state = self.lock();
        let read = change.reads().read(|table, key| Ok(state.get(table, key)), |range| Ok(state.scan(range)));
        let seen = read?;
        let decision = change.decide(&seen)?;
        let written = decision.edits.replacing(&seen)?;
        if written.is_empty() {
            return Ok(decision.outcome);
        }
        self.counts.note(&written);
        state.changes += 1;
        for Replacement { table, key, after, .. } in written {
            match after {
                Some(value) => state.records.insert((table, key), value),
                None => state.records.remove(&(table, key)),
            };
        }
        Ok(decision.outcome)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        let mut tables = Table::RECORDS.map(|table| (table, state.all(table))).to_vec();
        tables.reverse();
        Snapshot::new(self.id, state.changes, self.counts.users(), Copied(tables))
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }
}

impl MemoryState {
    fn get(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        self.records.get(&(table, key.to_vec())).cloned()
    }

    fn scan(&self, range: &Range) -> Vec<Entry> {
        let Range { table, from, to, limit } = range;
        let of_table = self.of(*table);
        of_table
            .filter(|(key, _)| (from.as_ref(), to.as_ref()).contains(key))
            .take(*limit)
            .map(copied)
            .collect()
    }

    fn all(&self, table: Table) -> Vec<Entry> {
        self.of(table).map(copied).collect()
    }

    fn of(&self, table: Table) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
        let from = self.records.range((table, Vec::new())..);
        from.take_while(move |((of, _), _)| *of == table).map(|((_, key), value)| (key, value))
    }
}

fn copied((key, value): (&Vec<u8>, &Vec<u8>)) -> Entry {
    (key.clone(), value.clone())
}

/// A copy of all records: the unread tables, the next one last.
struct Copied(Vec<(Table, Vec<Entry>)>);

impl SnapshotRecords for Copied {
    fn next(&mut self) -> Result<Option<(Table, Vec<Entry>)>, SnapshotError> {
        Ok(self.0.pop())
    }

    fn abandoner(&self) -> Abandon {
        Abandon::new(|| {}) // holds no resources
    }
}
