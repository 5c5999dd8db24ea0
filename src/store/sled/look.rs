//! Reading a stopped store: sled opens a copy, and the store stays unchanged to the byte.
//!
//! Opening writes, and on a failing disk or a damaged log it destroys. A command that only reads must not do
//! that, and on a read-only disk it could not.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::acknowledged::Acknowledged;
use super::data_dir::{RESTORING, demand_dir, demand_ours, exists, lock, read_marker};
use super::database::{
    COPYING, DEADLINE, Expected, Opened, open_whole, time_to_read, wait_until_released, within_deadline,
};
use super::files::{self, LOG, ReadScope, Survey};
use super::space::{self, Space};
use super::{aside, upgrade};
use crate::random;
use crate::store::open_error::OpenError;
use crate::store::terms::StoreOptions;

/// Prefix of the copies' names in a data directory.
const LOOK: &str = "look.";

/// A copy's folder, removed on drop; sled needs it only while it opens.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Opens a copy of the store in `dir`. Writes to it are lost when the process ends.
pub(super) fn look(dir: &Path, options: &StoreOptions) -> Result<(Opened, Space), OpenError> {
    match look_once(dir, options) {
        // A transient error inside sled looks like damage.
        Err(error) if error.is_damage() => look_once(dir, options),
        looked => looked,
    }
}

fn look_once(dir: &Path, options: &StoreOptions) -> Result<(Opened, Space), OpenError> {
    demand_dir(dir)?;
    demand_ours(dir)?;
    let lock = lock_to_look(dir)?;
    if exists(&dir.join(RESTORING))? {
        return Err(OpenError::HalfRestored(dir.into()));
    }
    let (store, marker) = (dir.join("store"), read_marker(dir)?);
    let log_path = store.join(LOG);
    if !exists(&log_path)? {
        return Err(OpenError::Vanished(store));
    }
    let released = wait_until_released(&log_path, DEADLINE);
    released.map_err(OpenError::at(&log_path))?;
    let commits = dir.join("commits");
    let changes = Acknowledged::read(&commits).map_err(OpenError::at(&commits))?.unwrap_or(0);

    let (path, read) = (store.clone(), time_to_read(&store));
    let survey = within_deadline(&store, DEADLINE + read, move || Survey::take(&path, ReadScope::All))?;
    let bytes = survey.log_length + survey.files.values().map(|sum| sum.length).sum::<u64>();
    let scratch = scratch(dir, bytes.saturating_mul(2), options.min_free)?;
    let copy = scratch.0.join("store");
    let (from, to) = (store.clone(), copy.clone());
    within_deadline(&store, DEADLINE + read * COPYING, move || {
        files::copy(&from, &to)?;
        // Copies of an interrupted start.
        aside::put_back(&to, changes).map_err(OpenError::at(&to))?;
        Ok(())
    })?;
    let (path, of, options) = (copy.clone(), store.clone(), options.clone());
    let expected = Expected { marker, changes };
    let opened =
        within_deadline(&store, DEADLINE + read, move || open_whole(&path, &of, &options, expected, None));
    let mut database = opened?;
    if marker.is_none() && database.found.users > 0 {
        return Err(OpenError::Unmarked(store, Some(database.id)));
    }
    let io = OpenError::at(&scratch.0);
    let acknowledged = Acknowledged::open(&scratch.0.join("commits")).map_err(io)?;
    let log = File::options().write(true).open(copy.join(LOG)).map_err(io)?;
    let space = Space::without_ballast(scratch.0.parent().unwrap_or(dir));
    upgrade::bring_up(&store, &mut database, &log, &space)?;
    Ok((Opened { database, acknowledged, log, lock, dir: dir.into(), log_path }, space))
}

/// Locks the directory. Where it is read-only, no server can run on it, and a lock on the directory itself
/// has to do.
fn lock_to_look(dir: &Path) -> Result<File, OpenError> {
    match lock(dir) {
        Err(OpenError::Io(path, error))
            if matches!(
                error.kind(),
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
            ) =>
        {
            File::open(dir).map_err(|_| OpenError::Io(path, error))
        }
        locked => locked,
    }
}

/// A folder with this much room: in the data directory if the server does not need the space, or else where
/// temporary files go.
fn scratch(dir: &Path, bytes: u64, min_free: u64) -> Result<Scratch, OpenError> {
    let least = bytes.saturating_add(min_free).saturating_add(space::BALLAST);
    if space::free(dir).is_ok_and(|free| free >= least)
        && let Ok(scratch) = make(dir)
    {
        return Ok(scratch);
    }
    let folder = env::temp_dir();
    let io = |error| OpenError::NoScratch(folder.clone(), bytes, error);
    if space::free(&folder).map_err(io)? < bytes {
        return Err(io(io::ErrorKind::StorageFull.into()));
    }
    make(&folder).map_err(io)
}

fn make(folder: &Path) -> io::Result<Scratch> {
    let number = u64::from_be_bytes(random::bytes().map_err(io::Error::other)?);
    let path = folder.join(format!("{LOOK}{number:016x}"));
    DirBuilder::new().mode(0o700).create(&path)?;
    Ok(Scratch(path))
}

/// Removes the copies of killed commands. The caller must hold the lock.
pub(super) fn clear(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(LOOK) && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
