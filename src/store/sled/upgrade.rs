//! Upgrades a store of an earlier layout (see [`layout`]) to the current one.
//!
//! The index of names is built beside the old one, which stays valid meanwhile. One transaction makes the new
//! one valid, together with the format and the seal over all records. An interrupted upgrade starts over;
//! until that transaction, the earlier version can open the store too. Memory and log do not grow with the
//! store: writes are synced after every thousand names.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use super::database::{Database, flush};
use super::error::from_sled;
use super::layout::{self, NAMES, NAMES_UNTIL_2, VERSION, has_old_index, is_outdated};
use super::seal::Seal;
use super::space::Space;
use crate::domain::key::KeyRecord;
use crate::domain::user::Username;
use crate::store::change::Replacement;
use crate::store::open_error::OpenError;
use crate::store::table::Table;
use crate::store::{names, record};

/// Writes are synced, and free space is checked, after this many names.
const BATCH: u64 = 1000;

/// Interval of progress lines in the log.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Upgrades `database`, which was found whole, or finishes an upgrade interrupted after its transaction. `log`
/// is sled's log, to be synced. Returns whether the layout was older. Takes about twenty seconds for a
/// million users.
pub(super) fn bring_up(
    store: &Path,
    database: &mut Database,
    log: &File,
    space: &Space,
) -> Result<bool, OpenError> {
    if !is_outdated(&database.layout) {
        clear_up(&database.db).map_err(|error| from_sled(store, error))?;
        return Ok(false);
    }
    let full = || OpenError::Io(store.into(), io::ErrorKind::StorageFull.into());
    // sled panics if it cannot write.
    let upgraded = catch_unwind(AssertUnwindSafe(|| Upgrade { store, database, log, space }.run()));
    upgraded.unwrap_or_else(|_| Err(full()))?;
    Ok(true)
}

/// Removes the old index that an interrupted upgrade has left.
fn clear_up(db: &sled::Db) -> Result<(), sled::Error> {
    if db.tree_names().iter().any(|name| **name == *NAMES_UNTIL_2.as_bytes()) {
        db.drop_tree(NAMES_UNTIL_2)?;
    }
    Ok(())
}

struct Upgrade<'a> {
    store: &'a Path,
    database: &'a mut Database,
    log: &'a File,
    space: &'a Space,
}

impl Upgrade<'_> {
    fn run(self) -> Result<(), OpenError> {
        let broken = |error| from_sled(self.store, error);
        let damaged = |what: &str| OpenError::Damaged(self.store.into(), what.into());
        let written = |table, key: &[u8], after| Replacement {
            table,
            key: key.to_vec(),
            before: None,
            after: Some(after),
        };
        let db = self.database.db.clone();
        let has_old_index = has_old_index(&self.database.layout);
        let index = if has_old_index { Some(self.rebuild_index()?) } else { None };

        let mut edits = vec![written(Table::Facts, layout::FORMAT, VERSION.to_vec())];
        if let Some(ids) = self.database.trees.meta.get(layout::KEY_IDS_V1).map_err(broken)?
            && self.database.layout == [1]
        {
            let unreadable = || damaged("the list of its keys cannot be read");
            for id in record::decode_key_ids_v1(&ids).map_err(|_| unreadable())? {
                let id = id.parse().map_err(|_| unreadable())?;
                let key = KeyRecord { id, longest: Duration::ZERO, not_after: None };
                let after = record::encode_key(&key).map_err(|_| unreadable())?;
                edits.push(written(Table::Keys, key.id.as_str().as_bytes(), after));
            }
        }
        let facts = self.database.found.facts().into_iter();
        edits.extend(facts.map(|(key, value)| written(Table::Facts, key, value)));
        let mut seal = self.database.seal;
        if let Some((index, with_index)) = index {
            self.database.trees.usernames = index;
            seal = with_index;
        }
        self.database.seal = self.database.trees.apply(&edits, seal).map_err(broken)?;
        self.sync()?;
        if has_old_index {
            db.drop_tree(NAMES_UNTIL_2).map_err(broken)?;
            self.sync()?;
        }
        Ok(())
    }

    /// Builds the new index of names beside the old one. Returns it with the seal over it.
    fn rebuild_index(&self) -> Result<(sled::Tree, Seal), OpenError> {
        let broken = |error| from_sled(self.store, error);
        let damaged = |what: &str| OpenError::Damaged(self.store.into(), what.into());
        let db = &self.database.db;
        db.drop_tree(NAMES).map_err(broken)?; // left by an interrupted upgrade
        let index = db.open_tree(NAMES).map_err(broken)?;
        let mut seal = self.database.seal;
        let (mut done, mut said) = (0, Instant::now());
        for entry in &self.database.trees.usernames {
            let (name, id) = entry.map_err(broken)?;
            let text = std::str::from_utf8(&name).map_err(|_| damaged("one of its names cannot be read"))?;
            let key = names::key(&Username::from_stored(text));
            seal = seal.without(Table::Usernames, &name, &id).with(Table::Usernames, &key, &id);
            index.insert(key, id).map_err(broken)?;
            done += 1;
            if done % BATCH == 0 {
                self.sync()?;
            }
            if said.elapsed() > SAY_EVERY {
                log::info!("bringing the store to the layout of this version: {done} names are done");
                said = Instant::now();
            }
        }
        self.sync()?;
        Ok((index, seal))
    }

    /// Makes everything written so far durable.
    fn sync(&self) -> Result<(), OpenError> {
        let io = OpenError::at(self.store);
        if !self.space.has_room() {
            return Err(io(io::ErrorKind::StorageFull.into()));
        }
        let flushed = flush(&self.database.db, &self.database.config);
        flushed.map_err(|error| from_sled(self.store, error))?;
        self.log.sync_data().map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::database::{open_sled, wait_until_released};
    use super::super::trees::Trees;
    use super::*;
    use crate::domain::clock::{Clock, Timestamp};
    use crate::domain::user::{Role, User, Usernames};
    use crate::password::PasswordHash;
    use crate::store::engine::Engine;
    use crate::store::table::facts;
    use crate::store::{Authority, NewUser, Store, StoreOptions};

    const NOON: Timestamp = Timestamp::from_unix_secs(1_764_000_000);

    /// More than two batches, with names that share a fold.
    const USERS: usize = 2500;

    fn options() -> StoreOptions {
        StoreOptions { cache: 1 << 20, min_free: 1, accept_clock: None }
    }

    fn open(dir: &Path) -> Store {
        Store::open(dir, &options(), Arc::new(Clock::manual(NOON))).unwrap()
    }

    fn copy_files(from: &Path, to: &Path) {
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                std::fs::create_dir(&to).unwrap();
                copy_files(&entry.path(), &to);
            } else {
                std::fs::copy(entry.path(), &to).unwrap();
            }
        }
    }

    fn sled_in(dir: &Path) -> (sled::Config, sled::Db, Trees) {
        wait_until_released(&dir.join("store/db"), Duration::from_secs(10)).unwrap();
        open_sled(&dir.join("store"), &options()).unwrap()
    }

    #[allow(clippy::disallowed_methods)] // the changes bypass authority
    /// A store of layout 2 with many users, modified by `plant` to a state that an upgrade may leave.
    fn of_layout_2(plant: impl FnOnce(&sled::Db)) -> (tempfile::TempDir, Vec<User>) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let names =
            (0..USERS).map(|n| if n % 5 == 0 { format!("user {} ", n + 1) } else { format!("User {n}") });
        let users: Vec<_> = runtime.block_on(futures_util::future::join_all(names.map(async |name| {
            let name = Usernames::Exact.new_name(&name).unwrap();
            let new = NewUser::new(name, Role::User, PasswordHash::from_stored("hash".into()), NOON).unwrap();
            store.create_user(Authority::standing(), new).await.unwrap().unwrap()
        })));
        store.close().unwrap();
        drop(store);

        let (_, db, trees) = sled_in(dir.path());
        let old = db.open_tree(NAMES_UNTIL_2).unwrap();
        let mut seal = Seal::from_bytes(&trees.meta.get(layout::SEAL).unwrap().unwrap()).unwrap();
        for entry in &trees.usernames {
            let (key, id) = entry.unwrap();
            let (_, name) = names::parts(&key).unwrap();
            old.insert(name, &id).unwrap();
            seal = seal.without(Table::Usernames, &key, &id).with(Table::Usernames, name.as_bytes(), &id);
        }
        trees.meta.insert(layout::SEAL, &seal.to_bytes()).unwrap();
        trees.meta.insert(layout::FORMAT, &[2]).unwrap();
        drop(trees);
        db.drop_tree(NAMES).unwrap();
        plant(&db);
        db.flush().unwrap();
        (dir, users)
    }

    /// All users are present under their own names only, and nothing of the old index is left.
    fn assert_whole(dir: &Path, users: &[User]) {
        for _ in 0..2 {
            let store = open(dir);
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                for user in users {
                    let found = store.user_named(&user.name, Usernames::Folded).await.unwrap();
                    assert_eq!(found.map(|(found, _)| found).as_ref(), Some(user));
                }
                let found = store.inspect().await.unwrap().finish(NOON, |_| true, || false).unwrap();
                assert!(found.adds_up && found.names_fit, "{found:?}");
                assert_eq!((found.names.count, found.odd_names.alike.count), (USERS as u64, 1000));
            });
            let Engine::Sled(sled) = &store.engine else { panic!() };
            let names = sled.db.tree_names();
            assert!(names.iter().any(|name| **name == *NAMES.as_bytes()));
            assert!(!names.iter().any(|name| **name == *NAMES_UNTIL_2.as_bytes()));
            assert_eq!(sled.trees.meta.get(layout::FORMAT).unwrap().as_deref(), Some(VERSION));
            store.close().unwrap();
        }
    }

    #[test]
    fn a_store_of_layout_2_keeps_every_user_under_the_very_name() {
        let (dir, users) = of_layout_2(|_| {});
        assert_whole(dir.path(), &users);
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // the change bypasses authority
    fn a_store_of_layout_3_learns_who_is_its_last_administrator_and_its_newest_user() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let create = |store: &Store, name: &str, role| {
            let hash = PasswordHash::from_stored("hash".into());
            let new = NewUser::new(name.parse().unwrap(), role, hash, NOON).unwrap();
            runtime.block_on(store.create_user(Authority::standing(), new)).unwrap().unwrap()
        };
        let store = open(dir.path());
        let root = create(&store, "root", Role::Admin);
        let newest = create(&store, "anna", Role::User);
        store.close().unwrap();
        drop(store);
        let (_, db, trees) = sled_in(dir.path());
        for key in [facts::ADMINS, facts::LAST_ID] {
            trees.meta.remove(key).unwrap().unwrap();
        }
        trees.meta.insert(layout::FORMAT, &[3]).unwrap();
        db.flush().unwrap();
        drop((db, trees));

        let store = open(dir.path());
        assert!(runtime.block_on(store.has_admin()).unwrap());
        let deleted = runtime.block_on(store.delete_user(Authority::standing(), root.id, NOON));
        assert_eq!(deleted, Ok(crate::store::Outcome::LastAdmin));
        assert!(create(&store, "bert", Role::User).id > newest.id);
        store.close().unwrap();
        drop(store);
        // A store whose facts do not match its users is refused.
        let (_, db, trees) = sled_in(dir.path());
        trees.meta.insert(facts::ADMINS, &2_u64.to_be_bytes()).unwrap();
        db.flush().unwrap();
        drop((db, trees));
        let refused = Store::open(dir.path(), &options(), Arc::new(Clock::manual(NOON))).err().unwrap();
        assert!(matches!(&refused, OpenError::Damaged(..)), "{refused}");
    }

    #[test]
    fn an_upgrade_that_was_cut_short_is_begun_anew() {
        let (dir, users) = of_layout_2(|db| {
            let index = db.open_tree(NAMES).unwrap();
            for n in 0..1000_u32 {
                index.insert(names::key(&format!("other {n}").parse().unwrap()), &n.to_be_bytes()).unwrap();
            }
        });
        assert_whole(dir.path(), &users);
    }

    #[test]
    fn an_old_index_that_an_upgrade_could_not_remove_any_more_is_removed() {
        let (dir, users) = of_layout_2(|_| {});
        open(dir.path()).close().unwrap();
        let (_, db, trees) = sled_in(dir.path());
        db.open_tree(NAMES_UNTIL_2).unwrap().insert("left", "over").unwrap();
        db.flush().unwrap();
        drop((db, trees));
        assert_whole(dir.path(), &users);
    }

    #[test]
    fn a_store_that_cannot_be_upgraded_for_want_of_room_stays_as_it_was() {
        let (dir, users) = of_layout_2(|_| {});
        let full = StoreOptions { min_free: u64::MAX / 2, ..options() };
        let refused = Store::open(dir.path(), &full, Arc::new(Clock::manual(NOON))).err().unwrap();
        assert!(matches!(&refused, OpenError::Io(_, error) if error.kind() == io::ErrorKind::StorageFull));
        // A store that fails to open keeps its files open until the process ends.
        let copy = tempfile::tempdir().unwrap();
        copy_files(dir.path(), copy.path());
        assert_whole(copy.path(), &users);
    }
}
