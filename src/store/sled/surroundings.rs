//! Facts beside sled's records: the marker, the number of changes, the disk, permissions.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::acknowledged::Acknowledged;
use super::data_dir::read_marker;
use super::database::{DEADLINE, time_to_read};
use super::space::Space;
use crate::store::exposure::{self, Exposed};
use crate::store::inspect::{Beside, Look};

/// An inspection may take this many times as long as opening, because it shares the store with other work.
const IN_USE: u32 = 8;

/// How long an inspection of the store in `dir` may take before it counts as hanging.
pub fn time_to_inspect(dir: &Path) -> Duration {
    (DEADLINE + time_to_read(&dir.join("store"))) * IN_USE
}

/// Identifies a file across renames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino() }
    }
}

/// Facts beside the records, collected in two steps.
pub(super) struct OnDisk {
    dir: PathBuf,
    min_free: u64,
    log: FileId,
    acknowledged: Look<Option<u64>>,
}

impl OnDisk {
    /// Reads what must be read before the snapshot: the number of changes may grow meanwhile.
    pub(super) fn begin(dir: &Path, min_free: u64, log: FileId) -> Self {
        let commits = dir.join("commits");
        let acknowledged = Acknowledged::read(&commits).map_err(|error| unseen(&commits, &error));
        Self { dir: dir.to_owned(), min_free, log, acknowledged }
    }

    /// Collects the rest. Blocks.
    pub(super) fn finish(self) -> Beside {
        let dir = self.dir.as_path();
        let space = Space::new(dir, self.min_free);
        let mode = fs::metadata(dir).map_or(0, |dir| dir.permissions().mode());
        Beside {
            marker: read_marker(dir).map_err(|error| error.to_string()),
            acknowledged: self.acknowledged,
            in_place: is_at(self.log, &dir.join("store/db")),
            free: space.free().map_err(|error| unseen(dir, &error)),
            min_free: space.least(),
            exposed: (mode & 0o022 != 0).then(|| dir.to_owned()),
            readable: readable(dir),
        }
    }
}
/// Exposed files with hashes or keys. Key files that everyone may read are reported where keys are checked.
fn readable(dir: &Path) -> Look<Vec<Exposed>> {
    let keys = dir.join("keys");
    let mut found = exposure::exposed(dir, &["store", "keys"]).map_err(|error| unseen(dir, &error))?;
    found.retain(|exposed| !exposed.is_for_everybody() || exposed.path.parent() != Some(&*keys));
    Ok(found)
}

/// Whether the file is at `path`.
fn is_at(file: FileId, path: &Path) -> Look<bool> {
    match fs::metadata(path) {
        Ok(there) => Ok(FileId::of(&there) == file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unseen(path, &error)),
    }
}

fn unseen(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sled::IVec;
    use uuid::Uuid;

    use super::*;
    use crate::domain::clock::Clock;
    use crate::domain::clock::Timestamp;
    use crate::domain::session::SessionId;
    use crate::domain::session::{Era, Sessions};
    use crate::domain::user::Role;
    use crate::password::PasswordHash;
    use crate::store::Sled;
    use crate::store::changes::user_id;
    use crate::store::engine::Engine;
    use crate::store::inspect::{Findings, Records};
    use crate::store::{Authority, NewUser, Store, StoreOptions, names, record};

    const NOON: Timestamp = Timestamp::from_unix_secs(1_764_000_000);

    /// The findings for a store with users and sessions after `plant` has modified its trees.
    #[allow(clippy::disallowed_methods)] // the changes bypass authority
    fn planted(plant: impl FnOnce(&Sled)) -> Findings {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { cache: 1 << 20, min_free: 1, accept_clock: None };
        let store = Store::open(dir.path(), &options, Arc::new(Clock::manual(NOON))).unwrap();
        let found = tokio::runtime::Runtime::new().unwrap().block_on(async {
            for name in ["anna", "bert", "cora"] {
                let hash = PasswordHash::from_stored("good".into());
                let new = NewUser::new(name.parse().unwrap(), Role::User, hash, NOON).unwrap();
                store.create_user(Authority::standing(), new).await.unwrap().unwrap();
            }
            let generation = Sessions::default().generation();
            let session = SessionId::generate(NOON, Era::default(), generation).unwrap();
            store.revoke_session(Authority::standing(), session).await.unwrap();
            let Engine::Sled(sled) = &store.engine else { panic!() };
            plant(sled);
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
        assert_eq!((found.changes, found.beside.acknowledged), (4, Ok(Some(4))));
        let counts = [found.users, found.names, found.revoked, found.rotations, found.keys];
        assert_eq!(counts.map(|records| records.count), [3, 3, 1, 0, 0]);
        assert!(counts.iter().all(|records| records.unreadable == 0));
        assert_eq!(
            (found.beside.marker, found.overdue, found.beside.exposed),
            (Ok(Some(found.store)), 0, None)
        );
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
        let unreadable = [found.names, found.revoked, found.rotations, found.keys];
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
    fn overdue_records_lost_changes_and_exposed_files_are_found() {
        let overdue = planted(|store| {
            let long_over = SessionId::first_ending_at(NOON.before(Duration::from_secs(7200)));
            store.trees.revoked.insert(long_over.as_bytes(), "").unwrap();
        });
        assert_eq!((overdue.overdue, overdue.revoked.unreadable), (1, 0));
        let lost = planted(|store| {
            Acknowledged::open(&store.dir.join("commits")).unwrap().advance(99).unwrap();
        });
        assert_eq!((lost.changes, lost.beside.acknowledged), (4, Ok(Some(99))));
        let foreign =
            planted(|store| fs::write(store.dir.join("store-id"), Uuid::nil().to_string()).unwrap());
        assert_eq!(foreign.beside.marker, Ok(Some(Uuid::nil())));
        assert_eq!(lost.beside.in_place, Ok(true));
        let moved = planted(|store| fs::rename(store.dir.join("store"), store.dir.join("gone")).unwrap());
        assert_eq!(moved.beside.in_place, Ok(false));
        let replaced = planted(|store| {
            let log = store.dir.join("store/db");
            fs::copy(&log, log.with_extension("copy")).unwrap();
            fs::rename(log.with_extension("copy"), log).unwrap();
        });
        assert!(replaced.beside.in_place == Ok(false) && replaced.adds_up);
        let gone = planted(|store| {
            fs::remove_file(store.dir.join("store-id")).unwrap();
            fs::remove_file(store.dir.join("commits")).unwrap();
        });
        assert_eq!((gone.beside.marker, gone.beside.acknowledged), (Ok(None), Ok(None)));
        let unseen = planted(|store| {
            for name in ["store-id", "commits"] {
                let path = store.dir.join(name);
                fs::remove_file(&path).unwrap();
                std::os::unix::fs::symlink(&path, &path).unwrap();
            }
        });
        assert!(unseen.beside.marker.is_err() && unseen.beside.acknowledged.is_err());
        let exposed = planted(|store| {
            fs::set_permissions(&store.dir, fs::Permissions::from_mode(0o770)).unwrap();
        });
        assert!(exposed.beside.exposed.is_some());
    }
}
