//! The whole store read through and held against what it must be, while it is in use or not.

use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use super::changes::user_id;
use super::digest::digest;
use super::error::StoreError;
use super::exposure::Exposed;
use super::names::{self, Entry};
use super::odd_names::OddNames;
use super::record;
use super::snapshot::{Snapshot, SnapshotError};
use super::table::Table;
use crate::domain::clock::Timestamp;
use crate::domain::session::SessionId;
use crate::password::PasswordHash;

/// How long something that is over may still be there: pruning comes every minute, and a busy disk takes its time.
const OVERDUE: Duration = Duration::from_secs(3600);

/// The records of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// How many there are.
    pub count: u64,
    /// How many of them this version cannot read.
    pub unreadable: u64,
}

/// What was seen of something beside the store, or why it could not be looked at.
pub type Look<T> = Result<T, String>;

/// What lies beside the records.
#[derive(Clone, Debug)]
pub struct Beside {
    /// What stands in the marker beside the store, if there is one.
    pub marker: Look<Option<Uuid>>,
    /// How many changes the file beside the store knows of; `None` where there is no such file.
    pub acknowledged: Look<Option<u64>>,
    /// The file that the store was opened from is still where a start would look for it.
    pub in_place: Look<bool>,
    /// Free bytes on the disk.
    pub free: Look<u64>,
    /// Bytes below which nothing is written.
    pub min_free: u64,
    /// The data directory, where others than its owner may write to it.
    pub exposed: Option<PathBuf>,
    /// What holds hashes or keys and is open to more than its owner.
    pub readable: Look<Vec<Exposed>>,
}

impl Beside {
    /// Of a store that has nothing beside it.
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

/// Looks at what lies beside the records of a store with so many changes. Blocks.
pub(super) type LookBeside = Box<dyn FnOnce(u64) -> Beside + Send>;

/// What an inspection has found.
#[derive(Clone, Debug)]
pub struct Findings {
    /// What the store says that it is.
    pub store: Uuid,
    /// How many changes there have been.
    pub changes: u64,
    /// What lies beside the records.
    pub beside: Beside,
    /// Why a page cannot be read, if there is one. What is said of records is then only of those before it.
    pub unreadable_page: Option<String>,
    /// All records add up to what the store says about itself.
    pub adds_up: bool,
    /// Users; also those whose hash cannot be read count as unreadable.
    pub users: Records,
    /// Names of users.
    pub names: Records,
    /// Names of deleted users.
    pub kept_names: u64,
    /// Names that could pass for others.
    pub odd_names: OddNames,
    /// Every name belongs to the user of that name, and every user to their name.
    pub names_fit: bool,
    /// Revoked sessions.
    pub ended: Records,
    /// Sessions whose tokens rotate.
    pub rotations: Records,
    /// How many of these two have been over for so long that they should have been pruned.
    pub overdue: u64,
    /// Keys that are remembered.
    pub keys: Records,
}

/// An inspection that has begun.
pub struct Inspection {
    beside: LookBeside,
    snapshot: Snapshot,
}

impl Inspection {
    pub(super) fn new(beside: LookBeside, snapshot: Snapshot) -> Self {
        Self { beside, snapshot }
    }

    /// Reads everything. Stops early where `gone` says that the caller has gone. Blocks.
    ///
    /// # Errors
    /// [`SnapshotError`]: there is no saying how the store is.
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
            ended: Records::default(),
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
                    Table::Usernames => match (Entry::decode(value), names::parts(key)) {
                        (Ok(Entry::User(_)), Some((fold, name))) => {
                            by_name = by_name.wrapping_add(digest(Table::Usernames, key, value));
                            found.odd_names.look_at(fold, name);
                            true
                        }
                        (Ok(Entry::Deleted(_)), Some(_)) => {
                            found.kept_names += 1;
                            continue; // nobody's name
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
                    Table::Revoked => &mut found.ended,
                    Table::Rotations => &mut found.rotations,
                    Table::Keys => &mut found.keys,
                    Table::Facts => continue,
                };
                of_kind.count += 1;
                of_kind.unreadable += u64::from(!is_good);
            }
        }
        // Two sums over the same pairs, each in an order of its own: neither list has to be kept.
        found.names_fit = found.users.count == found.names.count && by_user == by_name;
        Ok(found)
    }
}

/// What the index of names must hold for a user, as a number, and the user's hash.
fn user(key: &[u8], value: &[u8]) -> Result<(u64, PasswordHash), StoreError> {
    let (user, hash) = record::decode_user_with_hash(user_id(key)?, value)?;
    Ok((digest(Table::Usernames, &names::key(&user.name), key), hash))
}

fn session(key: &[u8]) -> Option<SessionId> {
    key.try_into().ok().map(SessionId::from_bytes)
}
