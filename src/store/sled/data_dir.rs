//! The data directory: its owner, its lock, its marker.
//!
//! Its content:
//!
//! ```text
//! lock       locked by the process that uses the directory; holds its process id
//! store-id   the marker: the id of the store that belongs here
//! restoring  present while a backup is being restored
//! commits    the number of changes known to be durable
//! store/     sled's files; store.new/ while it is being made
//! keys/      the keys of tokens
//! ballast    space to release when the disk is full
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use uuid::Uuid;

use crate::durable_file;
use crate::store::open_error::OpenError;

/// The mark of a restore in progress.
pub(super) const RESTORING: &str = "restoring";

pub(super) fn create_data_dir(dir: &Path) -> Result<(), OpenError> {
    let mut missing = Vec::new();
    for level in dir.ancestors().filter(|level| !level.as_os_str().is_empty()) {
        if exists(level)? {
            break;
        }
        missing.push(level);
    }
    for level in missing.into_iter().rev() {
        durable_file::create_dir(level).map_err(OpenError::at(level))?;
    }
    demand_dir(dir)
}

pub(super) fn demand_dir(dir: &Path) -> Result<(), OpenError> {
    let there = fs::metadata(dir).map_err(OpenError::at(dir))?;
    if there.is_dir() { Ok(()) } else { Err(OpenError::Io(dir.into(), io::ErrorKind::NotADirectory.into())) }
}

/// Whether something is at `path`. An error is not taken for "no": the caller would overwrite what is there.
pub(super) fn exists(path: &Path) -> Result<bool, OpenError> {
    path.try_exists().map_err(OpenError::at(path))
}

/// Refuses a data directory owned by another user: its owner could plant symlinks, which is worst if we are
/// root, and could not read the files we create.
pub(crate) fn demand_ours(dir: &Path) -> Result<(), OpenError> {
    let us = rustix::process::geteuid();
    let owner = |path: &Path, looked: io::Result<fs::Metadata>| match looked {
        Ok(there) => Ok(Some(there.uid())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OpenError::Io(path.into(), error)),
    };
    // A volume may belong to root and be writable for us by group; the lock file in it shows the owner then.
    let directory = owner(dir, fs::metadata(dir))?.filter(|&owner| owner != 0 || us.is_root());
    let lock = dir.join("lock");
    let lock = owner(&lock, fs::symlink_metadata(&lock))?;
    match directory.into_iter().chain(lock).find(|&owner| owner != us.as_raw()) {
        Some(owner) => Err(OpenError::NotOurs(dir.into(), owner)),
        None => Ok(()),
    }
}

/// A user who can write to the directory can replace our files.
pub(super) fn warn_if_others_can_write(dir: &Path) {
    if fs::metadata(dir).is_ok_and(|dir| dir.permissions().mode() & 0o022 != 0) {
        log::warn!("others can write to {dir}: run `chmod 700 {dir}`", dir = dir.display());
    }
}

/// Locks the directory for as long as the file is open.
pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let io = OpenError::at(&path);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed()) // never writes through a planted link
        .open(&path)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.take(32).read_to_string(&mut holder);
            return Err(OpenError::InUse(dir.into(), holder.trim().to_owned()));
        }
        Err(TryLockError::Error(error)) => return Err(io(error)),
    }
    // Informational only, so a full disk must not stop the start here.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

pub(super) fn read_marker(dir: &Path) -> Result<Option<Uuid>, OpenError> {
    let path = dir.join("store-id");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::Io(path, error)),
    };
    match text.trim().parse() {
        Ok(id) => Ok(Some(id)),
        Err(_) => Err(OpenError::Damaged(path, "the marker holds no id".into())),
    }
}

pub(super) fn write_marker(dir: &Path, id: Uuid) -> Result<(), OpenError> {
    let path = dir.join("store-id");
    durable_file::write(&path, format!("{id}\n").as_bytes()).map_err(OpenError::at(&path))
}
