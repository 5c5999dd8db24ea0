//! The engine in memory: a plain map behind a lock.

use std::collections::BTreeMap;
use std::ops::RangeBounds as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::StoreError;
use super::change::{Change, Range, Replacement};
use super::engine::Counts;
use super::snapshot::Snapshot;
use super::table::{Entry, Table};

/// All records, by table and key.
type Records = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// A store in memory.
pub(super) struct Memory {
    records: Mutex<State>,
    counts: Counts,
    id: Uuid,
    is_closed: AtomicBool,
}

#[derive(Default)]
struct State {
    records: Records,
    changes: u64,
}

impl Memory {
    pub(super) fn new(id: Uuid) -> Self {
        let (records, counts) = (Mutex::default(), Counts::default());
        Self { records, counts, id, is_closed: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
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
        let records = Table::RECORDS.map(|table| (table, state.all(table)));
        Snapshot::of_records(self.id, state.changes, self.counts.users(), records.into())
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

impl State {
    fn get(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        self.records.get(&(table, key.to_vec())).cloned()
    }

    fn scan(&self, range: &Range) -> Vec<Entry> {
        let Range { table, from, to, limit } = range;
        let of_table = self.all(*table).into_iter();
        of_table.filter(|(key, _)| (from.clone(), to.clone()).contains(key)).take(*limit).collect()
    }

    fn all(&self, table: Table) -> Vec<Entry> {
        let from = self.records.range((table, Vec::new())..);
        let of_table = from.take_while(|((of, _), _)| *of == table);
        of_table.map(|((_, key), value)| (key.clone(), value.clone())).collect()
    }
}
