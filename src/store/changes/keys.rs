//! The change of key records.

use std::ops::Bound;

use crate::domain::key::KeyRecord;
use crate::store::change::{Change, Decision, Edits, Range, ReadSet, Seen};
use crate::store::error::StoreError;
use crate::store::record;
use crate::store::table::Table;

/// Replaces all key records with these.
pub(in crate::store) struct KeepKeys(pub(in crate::store) Vec<KeyRecord>);

impl Change for KeepKeys {
    type Outcome = ();

    fn reads(&self) -> ReadSet {
        let all = Range {
            table: Table::Keys,
            from: Bound::Unbounded,
            to: Bound::Unbounded,
            limit: usize::MAX, // a handful
        };
        let keys = self
            .0
            .iter()
            .fold(ReadSet::default(), |reads, key| reads.key(Table::Keys, key.id.as_str().as_bytes()));
        keys.range(all)
    }

    fn decide(&self, seen: &Seen) -> Result<Decision<()>, StoreError> {
        let mut edits = Edits::default();
        for (id, _) in seen.entries(Table::Keys) {
            if !self.0.iter().any(|key| key.id.as_str().as_bytes() == id) {
                edits.remove(Table::Keys, id);
            }
        }
        for key in &self.0 {
            let id = key.id.as_str().as_bytes();
            let after = record::encode_key(key)?;
            if seen.get(Table::Keys, id) != Some(&after) {
                edits.put(Table::Keys, id, after);
            }
        }
        Ok(Decision::of((), edits))
    }
}
