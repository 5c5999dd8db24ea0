//! sled's trees: reads, scans, and writes in one transaction with the seal.

use std::convert::Infallible;

use sled::Transactional;
use sled::transaction::{TransactionError, TransactionalTree};

use super::layout;
use super::seal::Seal;
use crate::domain::user::UserId;
use crate::store::change::{Range, Replacement};
use crate::store::changes::number;
use crate::store::table::{Entry, Table, facts};

/// sled's trees, one for each table.
#[derive(Clone)]
pub(super) struct Trees {
    pub(super) users: sled::Tree,
    pub(super) usernames: sled::Tree,
    pub(super) revoked: sled::Tree,
    pub(super) rotations: sled::Tree,
    pub(super) keys: sled::Tree,
    /// [`Table::Facts`] and the keys of [`layout`].
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

    /// Applies edits in one transaction. Returns the new seal.
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
                meta.insert(layout::SEAL, &seal.to_bytes())?;
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

    /// Whether all records add up to `seal`. Passes every record to `visit`.
    pub(super) fn add_up_to(
        &self,
        seal: Seal,
        mut visit: impl FnMut(Table, &[u8], &[u8]),
    ) -> Result<bool, sled::Error> {
        let mut found = seal.empty();
        for table in Table::RECORDS {
            for entry in self.tree(table) {
                let (key, value) = entry?;
                visit(table, &key, &value);
                found = found.with(table, &key, &value);
            }
        }
        Ok(found == seal)
    }
}

/// Totals over the records, gathered while opening.
#[derive(Default)]
pub(super) struct Totals {
    /// Enabled administrators.
    pub(super) admins: u64,
    /// The newest user.
    pub(super) last_id: Option<UserId>,
    pub(super) users: u64,
    /// Revocations not yet pruned.
    pub(super) revoked: u64,
}

impl Totals {
    /// Whether the stored facts match the records.
    pub(super) fn fit(&self, trees: &Trees) -> Result<bool, sled::Error> {
        let (admins, last_id) = (trees.meta.get(facts::ADMINS)?, trees.meta.get(facts::LAST_ID)?);
        let newest = self.last_id.as_ref().map(UserId::as_bytes);
        let comes_last = newest.is_none_or(|id| last_id.is_some_and(|last| id.as_slice() <= &*last));
        Ok(comes_last && number(admins.as_deref()) == Ok(self.admins))
    }

    /// The facts to store for these totals.
    pub(super) fn facts(&self) -> Vec<(&'static [u8], Vec<u8>)> {
        let last_id = self.last_id.map(|id| (facts::LAST_ID, id.as_bytes().to_vec()));
        std::iter::once((facts::ADMINS, self.admins.to_be_bytes().to_vec())).chain(last_id).collect()
    }
}
