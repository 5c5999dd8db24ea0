//! Inspection: reads the whole store and checks its invariants, while it is in use or not.

use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use super::changes::user_id;
use super::checksum::checksum;
use super::error::StoreError;
use super::exposure::Exposed;
use super::names::{self, NameEntry};
use super::odd_names::OddNames;
use super::record;
use super::snapshot::{Snapshot, SnapshotError};
use super::table::Table;
use crate::domain::clock::Timestamp;
use crate::domain::session::SessionId;
use crate::password::PasswordHash;

/// How long a session's records may outlive it: pruning runs every minute, and a busy disk takes its time.
const OVERDUE: Duration = Duration::from_secs(3600);

/// The number of records of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// How many there are.
    pub count: u64,
    /// Of these, the ones that this version cannot read.
    pub unreadable: u64,
}

/// A fact beside the store, or why it could not be read.
pub type Look<T> = Result<T, String>;

/// Facts beside the records.
#[derive(Clone, Debug)]
pub struct Beside {
    /// The id in the marker file, if there is one.
    pub marker: Look<Option<Uuid>>,
    /// The number of changes in the file `commits`; `None` if there is no such file.
    pub acknowledged: Look<Option<u64>>,
    /// Whether the file that the store was opened from is still at its path.
    pub in_place: Look<bool>,
    /// Free bytes on the disk.
    pub free: Look<u64>,
    /// Writing stops below this number of free bytes.
    pub min_free: u64,
    /// The data directory, if others than its owner may write to it.
    pub exposed: Option<PathBuf>,
    /// Files with hashes or keys that others than their owner have permissions on.
    pub readable: Look<Vec<Exposed>>,
}

impl Beside {
    /// For a store that has no files.
    pub(super) fn nothing(store: Uuid, changes: u64) -> Self {
        Self {
            marker: Ok(Some(store)),
            acknowledged: Ok(Some(changes)),
            in_place: Ok(true),
            free: Ok(u64::MAX),
            min_free: 0,
            exposed: None,
            readable: Ok(Vec::new()),
        }
    }
}

/// Collects the facts beside the records of a store with this number of changes. Blocks.
pub(super) type LookBeside = Box<dyn FnOnce(u64) -> Beside + Send>;

/// The results of an inspection.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The store's id.
    pub store: Uuid,
    /// The number of changes so far.
    pub changes: u64,
    /// Facts beside the records.
    pub beside: Beside,
    /// Why a page cannot be read, if any. The other results then cover only records before that page.
    pub unreadable_page: Option<String>,
    /// Whether the checksums of all records add up to the seal.
    pub adds_up: bool,
    /// Users. Those with an invalid hash count as unreadable.
    pub users: Records,
    /// Names of users.
    pub names: Records,
    /// Names of deleted users.
    pub kept_names: u64,
    /// Names that could pass for others.
    pub odd_names: OddNames,
    /// Whether names and users match one to one.
    pub names_fit: bool,
    /// Revoked sessions.
    pub revoked: Records,
    /// Sessions whose refresh tokens rotate.
    pub rotations: Records,
    /// Of these two, records of sessions that ended so long ago that they should have been pruned.
    pub overdue: u64,
    /// Key records.
    pub keys: Records,
}

/// An inspection that has begun: a snapshot, and the checks beside it.
pub struct Inspection {
    beside: LookBeside,
    snapshot: Snapshot,
}

impl Inspection {
    pub(super) fn new(beside: LookBeside, snapshot: Snapshot) -> Self {
        Self { beside, snapshot }
    }

    /// Reads everything. Stops early once `gone` returns true. Blocks.
    ///
    /// # Errors
    /// [`SnapshotError`]: the store's state cannot be determined.
    pub fn finish(
        mut self,
        now: Timestamp,
        is_readable: impl Fn(&PasswordHash) -> bool,
        gone: impl Fn() -> bool,
    ) -> Result<Findings, SnapshotError> {
        let (store, changes) = (self.snapshot.store_id(), self.snapshot.changes());
        let mut found = Findings {
            store,
            changes,
            beside: (self.beside)(changes),
            unreadable_page: None,
            adds_up: true,
            users: Records::default(),
            names: Records::default(),
            kept_names: 0,
            odd_names: OddNames::default(),
            names_fit: false,
            revoked: Records::default(),
            rotations: Records::default(),
            overdue: 0,
            keys: Records::default(),
        };
        let (mut by_user, mut by_name) = (0_u64, 0_u64);
        loop {
            let (tree, records) = match self.snapshot.next() {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(SnapshotError::Damaged) => {
                    found.adds_up = false;
                    break;
                }
                Err(SnapshotError::Page(why)) => {
                    found.unreadable_page = Some(why);
                    break;
                }
                Err(error) => return Err(error),
            };
            if gone() {
                return Err(SnapshotError::Abandoned);
            }
            for (key, value) in &records {
                let is_good = match tree {
                    Table::Users => match user(key, value) {
                        Ok((pair, hash)) => {
                            by_user = by_user.wrapping_add(pair);
                            is_readable(&hash)
                        }
                        Err(_) => false,
                    },
                    Table::Usernames => match (NameEntry::decode(value), names::parts(key)) {
                        (Ok(NameEntry::User(_)), Some((fold, name))) => {
                            by_name = by_name.wrapping_add(checksum(Table::Usernames, key, value));
                            found.odd_names.look_at(fold, name);
                            true
                        }
                        (Ok(NameEntry::Deleted(_)), Some(_)) => {
                            found.kept_names += 1;
                            continue; // no user's name
                        }
                        _ => false,
                    },
                    Table::Revoked | Table::Rotations => match session(key) {
                        Some(session) => {
                            found.overdue += u64::from(session.ends_at().after(OVERDUE) < now);
                            if tree == Table::Revoked {
                                value.is_empty()
                            } else {
                                record::decode_rotation(value).is_ok()
                            }
                        }
                        None => false,
                    },
                    Table::Keys => record::decode_key(key, value).is_ok(),
                    Table::Facts => continue,
                };
                let of_kind = match tree {
                    Table::Users => &mut found.users,
                    Table::Usernames => &mut found.names,
                    Table::Revoked => &mut found.revoked,
                    Table::Rotations => &mut found.rotations,
                    Table::Keys => &mut found.keys,
                    Table::Facts => continue,
                };
                of_kind.count += 1;
                of_kind.unreadable += u64::from(!is_good);
            }
        }
        // Two order-independent sums over the same pairs, so that neither list has to be kept.
        found.names_fit = found.users.count == found.names.count && by_user == by_name;
        Ok(found)
    }
}

/// The checksum of the user's entry in the index of names, and the user's hash.
fn user(key: &[u8], value: &[u8]) -> Result<(u64, PasswordHash), StoreError> {
    let (user, hash) = record::decode_user_with_hash(user_id(key)?, value)?;
    Ok((checksum(Table::Usernames, &names::key(&user.name), key), hash))
}

fn session(key: &[u8]) -> Option<SessionId> {
    key.try_into().ok().map(SessionId::from_bytes)
}
