//! Making a store from a backup: all of it, or nothing that a start would take for a store.
//!
//! The mark `restoring` is the first thing to be made durable in the directory and the last to be removed. While it is
//! there, no start opens the directory, and another restoration may clear away what this one has made.

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
use super::trees::{Found, Trees};
use crate::domain::clock::Timestamp;
use crate::domain::key::KeyRecord;
use crate::domain::user::{User, Username};
use crate::durable_file;
use crate::password::PasswordHash;
use crate::store::error::StoreError;
use crate::store::names::{self, Entry};
use crate::store::open_error::OpenError;
use crate::store::record;
use crate::store::table::Table;
use crate::store::terms::StoreOptions;

/// What may lie in a directory that counts as empty: the lock of a start that was refused, the beginning of a mark, and
/// what file systems put at their root.
const NOTHING: [&str; 3] = ["lock", "restoring.new", "lost+found"];

/// What a restoration makes.
const PIECES: [&str; 7] =
    ["store.new", "store", "keys", "known-networks", "commits", "store-id.new", "store-id"];

/// After so many users it is looked again whether there is room for more, which take some kilobytes each at most.
const LOOK_FOR_ROOM: u64 = 1000;

/// A directory into which a backup is being restored. Dropped before that is complete, it is empty again.
pub struct Restoration {
    dir: PathBuf,
    options: StoreOptions,
    complete: bool,
    _lock: fs::File,
}

impl Restoration {
    /// Makes `dir` if it is missing, and refuses one in which anything is or that is somebody else's.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn demand_empty(dir: &Path) -> Result<(), OpenError> {
        create_data_dir(dir)?;
        demand_ours(dir)?;
        demand_empty(dir)
    }

    /// Takes possession of `dir`, which must be empty or missing.
    ///
    /// # Errors
    /// [`OpenError`]; nothing has been changed then.
    pub fn begin(dir: &Path, options: &StoreOptions) -> Result<Self, OpenError> {
        Self::demand_empty(dir)?; // before anything is made in it
        let lock = lock(dir)?;
        demand_empty(dir)?; // as it is now that nobody else changes it
        warn_if_others_can_write(dir);
        let io = |error| OpenError::Io(dir.into(), error);
        let mark = dir.join(RESTORING);
        let half_restored = exists(&mark)?;
        durable_file::write(&mark, b"").map_err(|error| {
            if !half_restored {
                let _ = fs::remove_file(&mark); // so that a start finds the directory as it was
            }
            io(error)
        })?;
        let restoration = Self { dir: dir.into(), options: options.clone(), complete: false, _lock: lock };
        restoration.clear().map_err(io)?;
        Ok(restoration)
    }

    /// Makes the store, in which these keys and no others are good, and which holds what `fill` adds. It is on stable
    /// storage when this returns.
    ///
    /// # Errors
    /// Those of `fill`, or [`OpenError`].
    pub fn complete<E: From<OpenError>>(
        mut self,
        keys: &[KeyRecord],
        fill: impl FnOnce(&mut Filling<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let dir = &self.dir;
        let io = |error| OpenError::Io(dir.clone(), error);
        let filled = |trees: &Trees| -> Result<Seal, E> {
            let space = Space::new(dir, self.options.min_free);
            let mut filling = Filling { trees, seal: Seal::default(), found: Found::default(), dir, space };
            filling.remember(keys)?;
            fill(&mut filling)?;
            filling.state_facts()?;
            Ok(filling.seal.next())
        };
        // sled panics where the disk does not let it write.
        let made = catch_unwind(AssertUnwindSafe(|| make(dir, &self.options, filled)));
        let (id, seal) =
            made.unwrap_or_else(|_| Err(io(io::Error::other("the new store could not be written")).into()))?;
        let commits = dir.join("commits");
        let noted = Acknowledged::open(&commits).and_then(|mut file| file.advance(seal.changes));
        noted.map_err(|error| OpenError::Io(commits, error))?;
        write_marker(dir, id)?;
        fs::remove_file(dir.join(RESTORING)).map_err(io)?;
        self.complete = true; // without its mark it is a store like any other, and stays
        durable_file::sync_dir(dir).map_err(|error| OpenError::Unconfirmed(dir.clone(), error))?;
        Ok(())
    }

    /// Where the keys of tokens have to be.
    pub fn key_dir(&self) -> PathBuf {
        self.dir.join("keys")
    }

    /// Removes what this or an earlier restoration has made.
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
        // Nothing is cleared but under the mark, which goes last. If it stays, the next restoration clears up.
        if !self.complete && matches!(exists(&self.dir.join(RESTORING)), Ok(true)) {
            let _ = self.clear().and_then(|()| fs::remove_file(self.dir.join(RESTORING)));
        }
    }
}

fn demand_empty(dir: &Path) -> Result<(), OpenError> {
    let io = |error| OpenError::Io(dir.into(), error);
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

/// A store that is being filled. Nobody reads it yet, so that nothing has to be done in transactions.
pub struct Filling<'a> {
    trees: &'a Trees,
    seal: Seal,
    found: Found,
    dir: &'a Path,
    space: Space,
}

impl Filling<'_> {
    /// Adds a user, whose id and name nobody else may have.
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

    /// Adds a name that a deleted user had, and that nobody may have until then.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn keep_name(&mut self, name: &Username, until: Timestamp) -> Result<(), OpenError> {
        self.put(Table::Usernames, &names::key(name), &Entry::Deleted(until).encode())
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
        OpenError::Io(self.dir.into(), io::Error::other(error.to_string()))
    }
}
