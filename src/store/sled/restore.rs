//! Making a store from a backup: all of it, or nothing that a start would take for a store.
//!
//! The mark `restoring` is made durable first and removed last. While it exists, no start opens the
//! directory, and another restore may remove what this one has made.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::acknowledged::Acknowledged;
use super::data_dir::{
    RESTORING, create_data_dir, demand_ours, exists, lock, warn_if_others_can_write, write_marker,
};
use super::error::from_sled;
use super::make::make;
use super::seal::Seal;
use super::space::Space;
use super::trees::{Totals, Trees};
use crate::domain::clock::Timestamp;
use crate::domain::key::KeyRecord;
use crate::domain::user::{User, Username};
use crate::durable_file;
use crate::password::PasswordHash;
use crate::store::error::StoreError;
use crate::store::names::{self, NameEntry};
use crate::store::open_error::OpenError;
use crate::store::record;
use crate::store::table::Table;
use crate::store::terms::StoreOptions;

/// Entries of a directory that counts as empty: the lock of a refused start, an unfinished mark, and what
/// file systems create at their root.
const NOTHING: [&str; 3] = ["lock", "restoring.new", "lost+found"];

/// The files and folders that a restore makes.
const PIECES: [&str; 7] =
    ["store.new", "store", "keys", "known-networks", "commits", "store-id.new", "store-id"];

/// Free space is checked after this many users, which take some kilobytes each at most.
const LOOK_FOR_ROOM: u64 = 1000;

/// A restore in progress. If it is dropped before it is complete, the directory is emptied.
pub struct Restoration {
    dir: PathBuf,
    options: StoreOptions,
    complete: bool,
    _lock: fs::File,
}

impl Restoration {
    /// Creates `dir` if it is missing. Refuses a directory that is not empty or belongs to another user.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn demand_empty(dir: &Path) -> Result<(), OpenError> {
        create_data_dir(dir)?;
        demand_ours(dir)?;
        demand_empty(dir)
    }

    /// Takes over `dir`, which must be empty or missing.
    ///
    /// # Errors
    /// [`OpenError`], with nothing changed.
    pub fn begin(dir: &Path, options: &StoreOptions) -> Result<Self, OpenError> {
        Self::demand_empty(dir)?; // before anything is made in it
        let lock = lock(dir)?;
        demand_empty(dir)?; // again under the lock
        warn_if_others_can_write(dir);
        let io = OpenError::at(dir);
        let mark = dir.join(RESTORING);
        let half_restored = exists(&mark)?;
        durable_file::write(&mark, b"").map_err(|error| {
            if !half_restored {
                let _ = fs::remove_file(&mark); // a start must find the directory as it was
            }
            io(error)
        })?;
        let restoration = Self { dir: dir.into(), options: options.clone(), complete: false, _lock: lock };
        restoration.clear().map_err(io)?;
        Ok(restoration)
    }

    /// Makes the store with these keys as the only valid ones, and the records that `fill` adds. Durable on
    /// return.
    ///
    /// # Errors
    /// Those of `fill`, or [`OpenError`].
    pub fn complete<E: From<OpenError>>(
        mut self,
        keys: &[KeyRecord],
        fill: impl FnOnce(&mut Filling<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let dir = &self.dir;
        let io = OpenError::at(dir);
        let filled = |trees: &Trees| -> Result<Seal, E> {
            let space = Space::new(dir, self.options.min_free);
            let mut filling = Filling { trees, seal: Seal::default(), found: Totals::default(), dir, space };
            filling.remember(keys)?;
            fill(&mut filling)?;
            filling.state_facts()?;
            Ok(filling.seal.next())
        };
        // sled panics if it cannot write.
        let made = catch_unwind(AssertUnwindSafe(|| make(dir, &self.options, filled)));
        let (id, seal) =
            made.unwrap_or_else(|_| Err(io(io::Error::other("the new store could not be written")).into()))?;
        let commits = dir.join("commits");
        let noted = Acknowledged::open(&commits).and_then(|mut file| file.advance(seal.changes));
        noted.map_err(OpenError::at(&commits))?;
        write_marker(dir, id)?;
        fs::remove_file(dir.join(RESTORING)).map_err(io)?;
        self.complete = true; // without the mark it is a valid store, and stays
        durable_file::sync_dir(dir).map_err(|error| OpenError::Unconfirmed(dir.clone(), error))?;
        Ok(())
    }

    /// The folder for the keys of tokens.
    pub fn key_dir(&self) -> PathBuf {
        self.dir.join("keys")
    }

    /// Removes what this or an earlier restore has made.
    fn clear(&self) -> io::Result<()> {
        for path in PIECES.map(|piece| self.dir.join(piece)) {
            let removed = match fs::symlink_metadata(&path) {
                Ok(there) if there.is_dir() => fs::remove_dir_all(&path),
                Ok(_) => fs::remove_file(&path),
                Err(error) => Err(error),
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        durable_file::sync_dir(&self.dir)
    }
}

impl Drop for Restoration {
    fn drop(&mut self) {
        // Cleared only while the mark exists, and the mark is removed last. If it stays, the next restore
        // clears the directory.
        if !self.complete && matches!(exists(&self.dir.join(RESTORING)), Ok(true)) {
            let _ = self.clear().and_then(|()| fs::remove_file(self.dir.join(RESTORING)));
        }
    }
}

fn demand_empty(dir: &Path) -> Result<(), OpenError> {
    let io = OpenError::at(dir);
    let half_restored = exists(&dir.join(RESTORING))?;
    for entry in fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let name = name.to_string_lossy();
        let is_ours = half_restored && (name == RESTORING || PIECES.contains(&&*name));
        if !is_ours && !NOTHING.contains(&&*name) {
            return Err(OpenError::NotEmpty(dir.into(), name.into_owned()));
        }
    }
    Ok(())
}

/// A store being filled. It has no readers yet, so nothing needs a transaction.
pub struct Filling<'a> {
    trees: &'a Trees,
    seal: Seal,
    found: Totals,
    dir: &'a Path,
    space: Space,
}

impl Filling<'_> {
    /// Adds a user, whose id and name must be unique.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn add(&mut self, user: &User, hash: &PasswordHash) -> Result<(), OpenError> {
        if self.found.users.is_multiple_of(LOOK_FOR_ROOM) && !self.space.has_room() {
            return Err(OpenError::Io(self.dir.into(), io::ErrorKind::StorageFull.into()));
        }
        self.found.users += 1;
        self.found.admins += u64::from(user.is_enabled_admin());
        self.found.last_id = self.found.last_id.max(Some(user.id));
        let id = user.id.as_bytes();
        let record = record::encode_user(user, hash).map_err(|error| self.unwritable(error))?;
        self.put(Table::Users, id, &record)?;
        self.put(Table::Usernames, &names::key(&user.name), id)
    }

    /// Adds the name of a deleted user, which stays taken until `until`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn keep_name(&mut self, name: &Username, until: Timestamp) -> Result<(), OpenError> {
        self.put(Table::Usernames, &names::key(name), &NameEntry::Deleted(until).encode())
    }

    fn remember(&mut self, keys: &[KeyRecord]) -> Result<(), OpenError> {
        for key in keys {
            let record = record::encode_key(key).map_err(|error| self.unwritable(error))?;
            self.put(Table::Keys, key.id.as_str().as_bytes(), &record)?;
        }
        Ok(())
    }

    fn state_facts(&self) -> Result<(), OpenError> {
        for (key, value) in self.found.facts() {
            self.trees.meta.insert(key, value).map_err(|error| from_sled(self.dir, error))?;
        }
        Ok(())
    }

    fn put(&mut self, tree: Table, key: &[u8], value: &[u8]) -> Result<(), OpenError> {
        self.trees.tree(tree).insert(key, value).map_err(|error| from_sled(self.dir, error))?;
        self.seal = self.seal.with(tree, key, value);
        Ok(())
    }

    fn unwritable(&self, error: StoreError) -> OpenError {
        OpenError::Io(self.dir.into(), io::Error::other(error))
    }
}
