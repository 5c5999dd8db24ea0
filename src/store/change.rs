//! Changes: pure decisions over a declared read set, independent of the engine.
//!
//! A change declares what it reads, and decides what to write from that alone. The engine reads, lets it
//! decide, and writes all of it in one atomic step, provided that the values read have not changed. An engine
//! with optimistic transactions may let a change decide again after a conflict, so a decision has no side
//! effects.

use std::ops::Bound;

use super::error::StoreError;
use super::table::{Entry, Table};

/// A change to the store, made in one atomic step.
pub(super) trait Change: Send + 'static {
    /// The result for the caller.
    type Outcome: Send + 'static;

    /// The read set. Only declared keys can be written.
    fn reads(&self) -> ReadSet;

    /// Decides from what was read. Pure: it may run again on other values.
    fn decide(&self, seen: &Seen) -> Result<Decision<Self::Outcome>, StoreError>;
}

/// The outcome of a change, and its write set.
pub(super) struct Decision<T> {
    pub(super) outcome: T,
    pub(super) edits: Edits,
}

impl<T> Decision<T> {
    /// An outcome that writes nothing.
    pub(super) fn unchanged(outcome: T) -> Self {
        Self { outcome, edits: Edits::default() }
    }

    pub(super) fn of(outcome: T, edits: Edits) -> Self {
        Self { outcome, edits }
    }

    pub(super) fn map<U>(self, of: impl FnOnce(T) -> U) -> Decision<U> {
        Decision { outcome: of(self.outcome), edits: self.edits }
    }
}

/// Up to `limit` entries of a table between two keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) table: Table,
    pub(super) from: Bound<Vec<u8>>,
    pub(super) to: Bound<Vec<u8>>,
    pub(super) limit: usize,
}

/// The read set of a change: single keys and ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ReadSet {
    pub(super) keys: Vec<(Table, Vec<u8>)>,
    pub(super) ranges: Vec<Range>,
}

impl ReadSet {
    #[must_use]
    pub(super) fn key(mut self, table: Table, key: &[u8]) -> Self {
        self.keys.push((table, key.to_vec()));
        self
    }

    #[must_use]
    pub(super) fn range(mut self, range: Range) -> Self {
        self.ranges.push(range);
        self
    }

    /// Reads the set with `get` and `scan`.
    pub(super) fn read<E>(
        self,
        mut get: impl FnMut(Table, &[u8]) -> Result<Option<Vec<u8>>, E>,
        mut scan: impl FnMut(&Range) -> Result<Vec<Entry>, E>,
    ) -> Result<Seen, E> {
        let mut seen = Seen::default();
        for (table, key) in self.keys {
            let value = get(table, &key)?;
            seen.keys.push((table, key, value));
        }
        for range in self.ranges {
            let entries = scan(&range)?;
            seen.ranges.push((range.table, entries));
        }
        Ok(seen)
    }
}

/// The values of a read set, all of one state.
#[derive(Debug, Default)]
pub(super) struct Seen {
    keys: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
    ranges: Vec<(Table, Vec<Entry>)>,
}

impl Seen {
    /// The value of a declared key.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<&[u8]> {
        self.value(table, key).flatten()
    }

    /// The entries of a table in all declared ranges.
    pub(super) fn entries(&self, table: Table) -> impl Iterator<Item = (&[u8], &[u8])> {
        let of_table = self.ranges.iter().filter(move |(of, _)| *of == table);
        of_table.flat_map(|(_, entries)| entries).map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// A key's value if it was read. `None` if it was declared neither by itself nor in a range.
    pub(super) fn value(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>> {
        let single = self.keys.iter().find(|(of, read, _)| *of == table && read == key);
        match single {
            Some((_, _, value)) => Some(value.as_deref()),
            None => self.entries(table).find(|(read, _)| *read == key).map(|(_, value)| Some(value)),
        }
    }
}

/// A record's new value; `None` removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    pub(super) after: Option<Vec<u8>>,
    /// The key cannot exist yet, so it was not read.
    is_new: bool,
}

/// The write set of one change, written atomically.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Edits(Vec<Edit>);

impl Edits {
    pub(super) fn put(&mut self, table: Table, key: &[u8], after: Vec<u8>) {
        self.0.push(Edit { table, key: key.to_vec(), after: Some(after), is_new: false });
    }

    /// Writes a record under a new key, which cannot exist yet.
    pub(super) fn create(&mut self, table: Table, key: &[u8], after: Vec<u8>) {
        self.0.push(Edit { table, key: key.to_vec(), after: Some(after), is_new: true });
    }

    pub(super) fn remove(&mut self, table: Table, key: &[u8]) {
        self.0.push(Edit { table, key: key.to_vec(), after: None, is_new: false });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Each edit with the value that it replaces.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]: the change writes a key that it has not read, so nothing guards it against
    /// a race.
    pub(super) fn replacing(self, seen: &Seen) -> Result<Vec<Replacement>, StoreError> {
        let replacement = |Edit { table, key, after, is_new }| {
            let before = if is_new { Some(None) } else { seen.value(table, &key) };
            debug_assert!(before.is_some(), "{table:?} {key:02x?} is written and was not declared");
            let before = before.ok_or(StoreError::Unreadable)?.map(<[u8]>::to_vec);
            Ok(Replacement { table, key, before, after })
        };
        self.0.into_iter().map(replacement).collect()
    }
}

/// An edit with the value that it replaces; `None` if there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replacement {
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    pub(super) before: Option<Vec<u8>>,
    pub(super) after: Option<Vec<u8>>,
}
