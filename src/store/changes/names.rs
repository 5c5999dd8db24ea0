//! Changes of the names of deleted users.

use std::ops::Bound;

use super::sessions::PRUNE_BATCH;
use crate::domain::clock::Timestamp;
use crate::domain::user::{Username, Usernames};
use crate::store::change::{Change, Decision, Edits, Range, ReadSet, Seen};
use crate::store::error::StoreError;
use crate::store::names::{self, NameEntry};
use crate::store::table::Table;

/// The most names freed in one change. With the default rule there is at most one.
const FREED_MAX: usize = 64;

/// Names examined in one change, which takes about a millisecond. Run once a minute, it covers a million
/// names in nine hours.
const NAMES_LOOKED_AT: usize = 2048;

/// Frees names of deleted users that equal `name` by `rule`. Returns those names.
pub(in crate::store) struct FreeNames {
    pub(in crate::store) name: Username,
    pub(in crate::store) rule: Usernames,
}

impl Change for FreeNames {
    type Outcome = Vec<Username>;

    fn reads(&self) -> ReadSet {
        ReadSet::default().range(names::range(&self.name, self.rule))
    }

    fn decide(&self, seen: &Seen) -> Result<Decision<Vec<Username>>, StoreError> {
        let (mut edits, mut freed) = (Edits::default(), Vec::new());
        for (key, value) in seen.entries(Table::Usernames) {
            if let (NameEntry::Deleted(_), Some((_, name))) = (NameEntry::decode(value)?, names::parts(key)) {
                freed.push(Username::from_stored(name));
                edits.remove(Table::Usernames, key);
            }
            if freed.len() == FREED_MAX {
                break;
            }
        }
        Ok(Decision::of(freed, edits))
    }
}

/// Removes names of deleted users that are free since `moment`, from the names after a key. Returns the key
/// after which to continue; `None` at the end.
pub(in crate::store) struct PruneNames {
    pub(in crate::store) after: Option<Vec<u8>>,
    pub(in crate::store) moment: Timestamp,
}

impl Change for PruneNames {
    type Outcome = Option<Vec<u8>>;

    fn reads(&self) -> ReadSet {
        ReadSet::default().range(Range {
            table: Table::Usernames,
            from: self.after.clone().map_or(Bound::Unbounded, Bound::Excluded),
            to: Bound::Unbounded,
            limit: NAMES_LOOKED_AT,
        })
    }

    fn decide(&self, seen: &Seen) -> Result<Decision<Option<Vec<u8>>>, StoreError> {
        let mut edits = Edits::default();
        let (mut last, mut looked_at) = (None, 0);
        for (key, value) in seen.entries(Table::Usernames) {
            if let NameEntry::Deleted(until) = NameEntry::decode(value)?
                && until <= self.moment
            {
                edits.remove(Table::Usernames, key);
            }
            (last, looked_at) = (Some(key), looked_at + 1);
            if edits.len() == PRUNE_BATCH {
                looked_at = NAMES_LOOKED_AT; // there may be more
                break;
            }
        }
        let next = last.filter(|_| looked_at == NAMES_LOOKED_AT).map(<[u8]>::to_vec);
        Ok(Decision::of(next, edits))
    }
}
