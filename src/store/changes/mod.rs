//! The changes: what each reads, decides and writes.

mod keys;
mod names;
mod sessions;
mod users;

use super::change::{Change, Decision, ReadSet, Seen};
use super::error::StoreError;
use super::table::{Table, facts};
use crate::domain::user::UserId;

pub(super) use keys::KeepKeys;
pub(super) use names::{FreeNames, PruneNames};
#[cfg(test)]
pub(super) use sessions::RETIRED_MAX;
pub(super) use sessions::{Prune, RevokeAllSessions, RevokeSession, Rotate, pruned_until};
pub(super) use users::{CreateUser, DeleteUser, RenewHash, SetPassword, UpdateUser};

/// Whether there is an enabled administrator. A change, so that the answer is durable.
pub(super) struct HasAdmin;

impl Change for HasAdmin {
    type Outcome = bool;

    fn reads(&self) -> ReadSet {
        ReadSet::default().key(Table::Facts, facts::ADMINS)
    }

    fn decide(&self, seen: &Seen) -> Result<Decision<bool>, StoreError> {
        Ok(Decision::unchanged(admins(seen)? > 0))
    }
}

/// The number of enabled administrators.
fn admins(seen: &Seen) -> Result<u64, StoreError> {
    number(seen.get(Table::Facts, facts::ADMINS))
}

/// A number among the facts; 0 if it is missing.
pub(super) fn number(value: Option<&[u8]>) -> Result<u64, StoreError> {
    let Some(bytes) = value else { return Ok(0) };
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Unreadable)
}

pub(super) fn user_id(key: &[u8]) -> Result<UserId, StoreError> {
    key.try_into().map(UserId::from_bytes).map_err(|_| StoreError::Unreadable)
}
