//! The numbers of users and revoked sessions, kept up to date by every write.

use std::sync::atomic::{AtomicU64, Ordering};

use super::change::Replacement;
use super::table::Table;

/// Counts of the records whose number is asked for: counting on demand would read all of them.
#[derive(Debug, Default)]
pub(super) struct Counts {
    users: AtomicU64,
    revoked: AtomicU64,
}

impl Counts {
    pub(super) fn new(users: u64, revoked: u64) -> Self {
        Self { users: users.into(), revoked: revoked.into() }
    }

    pub(super) fn users(&self) -> u64 {
        self.users.load(Ordering::Relaxed)
    }

    /// Revocations not yet pruned.
    pub(super) fn revoked(&self) -> u64 {
        self.revoked.load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, written: &[Replacement]) {
        for Replacement { table, before, after, .. } in written {
            let count = match table {
                Table::Users => &self.users,
                Table::Revoked => &self.revoked,
                Table::Usernames | Table::Rotations | Table::Keys | Table::Facts => continue,
            };
            match (before, after) {
                (None, Some(_)) => count.fetch_add(1, Ordering::Relaxed),
                (Some(_), None) => count.fetch_sub(1, Ordering::Relaxed),
                (Some(_), Some(_)) | (None, None) => continue,
            };
        }
    }
}
