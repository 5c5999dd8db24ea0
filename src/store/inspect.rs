//! The whole store read through and held against what it must be, while it is in use or not.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sled::IVec;
use uuid::Uuid;

use super::changes::user_id;
use super::ledger::In;
use super::names::{self, Entry};
use super::odd_names::OddNames;
use super::open::{DEADLINE, read_marker, time_to_read};
use super::record;
use super::seal::{Acknowledged, digest};
use super::snapshot::{Snapshot, SnapshotError};
use super::space::Space;
use super::{Exposed, FileId, Store, StoreError, exposure};
use crate::clock::Timestamp;
use crate::password::PasswordHash;
use crate::session::SessionId;

/// For so long something that is over may still be there: housekeeping comes every minute, and a busy disk takes its
/// time.
const OVERDUE: Duration = Duration::from_secs(3600);

/// How much longer than opening an inspection may take: others use the store meanwhile.
const IN_USE: u32 = 8;

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

/// What an inspection has found.
#[derive(Clone, Debug)]
pub struct Findings {
    /// What stands in the marker beside the store, if there is one.
    pub marker: Look<Option<Uuid>>,
    /// What the store says that it is.
    pub store: Uuid,
    /// How many changes there have been.
    pub changes: u64,
    /// How many of them the file beside the store knows of; `None` where there is no such file.
    pub acknowledged: Look<Option<u64>>,
    /// The file that the store was opened from is still where a start would look for it.
    pub in_place: Look<bool>,
    /// Why a page cannot be read, if there is one. What is said of records is then only of those before it.
    pub unreadable_page: Option<String>,
    /// All records add up to what the store says about itself.
    pub adds_up: bool,
    /// Users; also those whose hash cannot be read count as unreadable.
    pub users: Records,
    /// Names of users.
    pub names: Records,
    /// Names that deleted users had.
    pub kept_names: u64,
    /// Names that could pass for others.
    pub odd_names: OddNames,
    /// Every name belongs to the user of that name, and every user to their name.
    pub names_fit: bool,
    /// Ended sessions.
    pub ended: Records,
    /// Sessions whose tokens rotate.
    pub rotations: Records,
    /// How many of these two have been over for so long that they should have been forgotten.
    pub overdue: u64,
    /// Keys that are remembered.
    pub keys: Records,
    /// Free bytes on the disk.
    pub free: Look<u64>,
    /// Bytes below which nothing is written.
    pub min_free: u64,
    /// The data directory, where others than its owner may write to it.
    pub exposed: Option<PathBuf>,
    /// What holds hashes or keys and is open to more than its owner.
    pub readable: Look<Vec<Exposed>>,
}

/// How long an inspection of the store in `dir` may take before something must be wrong.
pub fn time_to_inspect(dir: &Path) -> Duration {
    (DEADLINE + time_to_read(&dir.join("store"))) * IN_USE
}

impl Store {
    /// Begins an inspection: what lies beside the store is looked at now, the records when it is finished.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn inspect(&self) -> Result<Inspection, StoreError> {
        // Before the snapshot: it may grow meanwhile.
        let commits = self.dir.join("commits");
        let acknowledged = Acknowledged::read(&commits).map_err(|error| unseen(&commits, &error));
        let snapshot = self.snapshot().await?;
        let (dir, min_free, log) = (self.dir.clone(), self.min_free, self.log);
        Ok(Inspection { dir, min_free, log, acknowledged, snapshot })
    }
}

/// An inspection that has begun.
pub struct Inspection {
    dir: PathBuf,
    min_free: u64,
    log: FileId,
    acknowledged: Look<Option<u64>>,
    snapshot: Snapshot,
}

impl Inspection {
    /// Reads everything. Stops early where `gone` says that nobody waits for it any more. Blocks.
    ///
    /// # Errors
    /// [`SnapshotError`]: there is no saying how the store is.
    pub fn finish(
        mut self,
        now: Timestamp,
        is_readable: impl Fn(&PasswordHash) -> bool,
        gone: impl Fn() -> bool,
    ) -> Result<Findings, SnapshotError> {
        let dir = self.dir.as_path();
        let space = Space::new(dir, self.min_free);
        let mode = fs::metadata(dir).map_or(0, |dir| dir.permissions().mode());
        let mut found = Findings {
            marker: read_marker(dir).map_err(|error| error.to_string()),
            store: self.snapshot.store_id(),
            changes: self.snapshot.changes(),
            acknowledged: self.acknowledged,
            in_place: is_at(self.log, &dir.join("store/db")),
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
            free: space.free().map_err(|error| unseen(dir, &error)),
            min_free: space.least(),
            exposed: (mode & 0o022 != 0).then(|| dir.to_owned()),
            readable: readable(dir),
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
                    In::Users => match user(key, value) {
                        Ok((pair, hash)) => {
                            by_user = by_user.wrapping_add(pair);
                            is_readable(&hash)
                        }
                        Err(_) => false,
                    },
                    In::Usernames => match (Entry::decode(value), names::parts(key)) {
                        (Ok(Entry::User(_)), Some((fold, name))) => {
                            by_name = by_name.wrapping_add(digest(In::Usernames, key, value));
                            found.odd_names.look_at(fold, name);
                            true
                        }
                        (Ok(Entry::Deleted(_)), Some(_)) => {
                            found.kept_names += 1;
                            continue; // nobody's name
                        }
                        _ => false,
                    },
                    In::Revoked | In::Rotations => match session(key) {
                        Some(session) => {
                            found.overdue += u64::from(session.ends_at().after(OVERDUE) < now);
                            if tree == In::Revoked {
                                value.is_empty()
                            } else {
                                record::decode_rotation(value).is_ok()
                            }
                        }
                        None => false,
                    },
                    In::Keys => record::decode_key(key, value).is_ok(),
                };
                let of_kind = match tree {
                    In::Users => &mut found.users,
                    In::Usernames => &mut found.names,
                    In::Revoked => &mut found.ended,
                    In::Rotations => &mut found.rotations,
                    In::Keys => &mut found.keys,
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
fn user(key: &IVec, value: &IVec) -> Result<(u64, PasswordHash), StoreError> {
    let (user, hash) = record::decode_user_with_hash(user_id(key)?, value)?;
    Ok((digest(In::Usernames, &names::key(&user.name), key), hash))
}

fn session(key: &IVec) -> Option<SessionId> {
    (**key).try_into().ok().map(SessionId::from_bytes)
}

/// What holds hashes or keys and is open to others. A key file that everybody may read is found where keys are checked.
fn readable(dir: &Path) -> Look<Vec<Exposed>> {
    let keys = dir.join("keys");
    let mut found = exposure::exposed(dir, &["store", "keys"]).map_err(|error| unseen(dir, &error))?;
    found.retain(|exposed| !exposed.is_for_everybody() || exposed.path.parent() != Some(&*keys));
    Ok(found)
}

/// Whether that file is at `path`.
fn is_at(file: FileId, path: &Path) -> Look<bool> {
    match fs::metadata(path) {
        Ok(there) => Ok(FileId::of(&there) == file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unseen(path, &error)),
    }
}

fn unseen(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be looked at: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Authority, NewUser, StoreOptions};
    use super::*;
    use crate::clock::Clock;
    use crate::session::{Era, Sessions};
    use crate::user::Role;

    const NOON: Timestamp = Timestamp::from_unix_secs(1_764_000_000);

    /// What is wrong in a store of some users and sessions after `plant` has been at its trees.
    #[allow(clippy::disallowed_methods)] // nobody asks for these changes
    fn planted(plant: impl FnOnce(&Store)) -> Findings {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { cache: 1 << 20, min_free: 1, accept_clock: false };
        let store = Store::open(dir.path(), &options, Arc::new(Clock::manual(NOON))).unwrap();
        let found = tokio::runtime::Runtime::new().unwrap().block_on(async {
            for name in ["anna", "bert", "cora"] {
                let hash = PasswordHash::from_stored("good".into());
                let new = NewUser::new(name.parse().unwrap(), Role::User, hash, NOON).unwrap();
                store.create_user(Authority::standing(), new).await.unwrap().unwrap();
            }
            let generation = Sessions::default().generation();
            let session = SessionId::generate(NOON, Era::default(), generation).unwrap();
            store.end_session(Authority::standing(), session).await.unwrap();
            plant(&store);
            store.inspect().await.unwrap()
        });
        let found = found.finish(NOON, |hash| hash.as_str() == "good", || false).unwrap();
        store.close().unwrap();
        found
    }

    fn first(tree: &sled::Tree) -> (IVec, IVec) {
        tree.first().unwrap().unwrap()
    }

    #[test]
    fn a_good_store_is_found_good() {
        let found = planted(|_| {});
        assert!(found.adds_up && found.names_fit);
        assert_eq!((found.changes, found.acknowledged), (4, Ok(Some(4))));
        let counts = [found.users, found.names, found.ended, found.rotations, found.keys];
        assert_eq!(counts.map(|records| records.count), [3, 3, 1, 0, 0]);
        assert!(counts.iter().all(|records| records.unreadable == 0));
        assert_eq!((found.marker, found.overdue, found.exposed), (Ok(Some(found.store)), 0, None));
    }

    #[test]
    fn a_name_that_leads_elsewhere_or_nowhere_is_found() {
        let swapped = planted(|store| {
            let ((a, x), (b, y)) =
                (first(&store.trees.usernames), store.trees.usernames.last().unwrap().unwrap());
            store.trees.usernames.insert(a, y).unwrap();
            store.trees.usernames.insert(b, x).unwrap();
        });
        assert!(!swapped.names_fit && !swapped.adds_up);
        assert_eq!((swapped.users.count, swapped.names.count), (3, 3));
        let lonely = planted(|store| drop(store.trees.users.remove(first(&store.trees.users).0).unwrap()));
        assert!(!lonely.names_fit && !lonely.adds_up);
        let nameless = planted(|store| {
            drop(store.trees.usernames.remove(names::key(&"bert".parse().unwrap())).unwrap())
        });
        assert!(!nameless.names_fit && !nameless.adds_up);
    }

    #[test]
    fn records_that_cannot_be_read_are_counted() {
        let newer = planted(|store| {
            let (key, value) = first(&store.trees.users);
            store.trees.users.insert(key, [&[9], &value[1..]].concat()).unwrap();
        });
        assert_eq!((newer.users.unreadable, newer.names.unreadable), (1, 0));
        let found = planted(|store| {
            store.trees.revoked.insert("short", "").unwrap();
            store.trees.rotations.insert([9; SessionId::LENGTH], "x").unwrap();
            store.trees.keys.insert("k4.pid.x", "").unwrap();
            store.trees.usernames.insert("dora", "no id").unwrap();
        });
        let unreadable = [found.names, found.ended, found.rotations, found.keys];
        assert_eq!(unreadable.map(|records| records.unreadable), [1; 4]);
        assert!(!found.adds_up && found.users.unreadable == 0);
        let hash = planted(|store| {
            let (key, value) = first(&store.trees.users);
            let (user, _) = record::decode_user_with_hash(user_id(&key).unwrap(), &value).unwrap();
            let bad = record::encode_user(&user, &PasswordHash::from_stored("bad".into())).unwrap();
            store.trees.users.insert(key, bad).unwrap();
        });
        assert_eq!(hash.users, Records { count: 3, unreadable: 1 });
        assert!(hash.names_fit);
    }

    #[test]
    fn what_should_have_been_forgotten_and_what_is_lost_or_open_is_found() {
        let overdue = planted(|store| {
            let long_over = SessionId::first_ending_at(NOON.before(2 * OVERDUE));
            store.trees.revoked.insert(long_over.as_bytes(), "").unwrap();
        });
        assert_eq!((overdue.overdue, overdue.ended.unreadable), (1, 0));
        let lost = planted(|store| {
            Acknowledged::open(&store.dir.join("commits")).unwrap().advance(99).unwrap();
        });
        assert_eq!((lost.changes, lost.acknowledged), (4, Ok(Some(99))));
        let foreign =
            planted(|store| fs::write(store.dir.join("store-id"), Uuid::nil().to_string()).unwrap());
        assert_eq!(foreign.marker, Ok(Some(Uuid::nil())));
        assert_eq!(lost.in_place, Ok(true));
        let moved = planted(|store| fs::rename(store.dir.join("store"), store.dir.join("gone")).unwrap());
        assert_eq!(moved.in_place, Ok(false));
        let replaced = planted(|store| {
            let log = store.dir.join("store/db");
            fs::copy(&log, log.with_extension("copy")).unwrap();
            fs::rename(log.with_extension("copy"), log).unwrap();
        });
        assert!(replaced.in_place == Ok(false) && replaced.adds_up);
        let gone = planted(|store| {
            fs::remove_file(store.dir.join("store-id")).unwrap();
            fs::remove_file(store.dir.join("commits")).unwrap();
        });
        assert_eq!((gone.marker, gone.acknowledged), (Ok(None), Ok(None)));
        let unseen = planted(|store| {
            for name in ["store-id", "commits"] {
                let path = store.dir.join(name);
                fs::remove_file(&path).unwrap();
                std::os::unix::fs::symlink(&path, &path).unwrap();
            }
        });
        assert!(unseen.marker.is_err() && unseen.acknowledged.is_err());
        let exposed = planted(|store| {
            fs::set_permissions(&store.dir, fs::Permissions::from_mode(0o770)).unwrap();
        });
        assert!(exposed.exposed.is_some());
    }
}
