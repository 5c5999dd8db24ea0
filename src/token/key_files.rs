//! The folder of keys: one file a key, named by the key's PASERK id, holding its PASERK.
//!
//! The name is a hash of the key, which exposes a damaged file.
//!
//! A key is added and removed in two steps, because the store has to record it in between: its file is named
//! `<id>.new` until the store records the key, and again just before the store deletes the record. [`settle`]
//! then renames or removes the file, at once or at the next start. So a crash at any moment leaves no unused
//! private key, and files that a person put there under other names stay.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use super::keys::Key;
use crate::domain::key::{KeyId, KeyRecord};
use crate::durable_file::{self, Draft};

/// Larger than any PASERK by far.
const KEY_FILE_MAX: u64 = 1024;

const RESTORE: &str = "copy the data directory first; then put the file back from an older copy; if it is lost \
                       for good, start once with `gatelet serve --replace-keys`, which makes a new key: tokens \
                       made with the old one are refused, and everybody logs in again";
const MOUNT: &str =
    "mount it with umask=077 (vfat, exFAT, NTFS), or with file_mode=0600,dir_mode=0700 (CIFS)";

/// Why the keys cannot be used. The text tells the operator how to fix it.
#[derive(Debug, Error)]
pub enum KeyError {
    /// A required key file is missing.
    #[error("the key file {} is missing: {RESTORE}", .0.display(), RESTORE = RESTORE)]
    Missing(PathBuf),
    /// The file does not hold the key of its name.
    #[error("the key file {} is damaged: {RESTORE}", .0.display(), RESTORE = RESTORE)]
    Damaged(PathBuf),
    /// Any user of the machine can read it.
    #[error(
        "the key file {path} can be read by every user of this machine: run `chmod 600 {path}`, and if \
         another user may have read it, make new keys with `gatelet key rotate --revoke`: everybody logs in again; \
         if the file system knows no modes, {MOUNT}",
        path = .0.display(),
        MOUNT = MOUNT
    )]
    Exposed(PathBuf),
    /// The file system gives every user of the machine access to new files.
    #[error(
        "the file system of {} gives every user of this machine access to new files, and keys must be readable \
         by their owner alone: put --data-dir on a file system with Unix modes, or {MOUNT}",
        .0.display(),
        MOUNT = MOUNT
    )]
    NotPrivate(PathBuf),
    /// The file or folder cannot be read or written.
    #[error("{}", io_text(.0, .1))]
    Io(PathBuf, #[source] io::Error),
    /// No key could be generated.
    #[error("no key could be made: the operating system gave no random bytes")]
    NotGenerated,
}

fn io_text(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::StorageFull => {
            format!("the key file {path} cannot be written: the disk is full: free some space")
        }
        io::ErrorKind::PermissionDenied => format!(
            "the key file or folder {path} cannot be used: {error}: give it to the user that runs this"
        ),
        _ => format!(
            "the key file or folder {path} cannot be used: {error}: if the disk is failing, copy the data directory to \
             another disk before anything else; look for the cause in the system's log (`dmesg`), then try again"
        ),
    }
}

/// The names of all entries of the folder, sorted.
pub(super) fn names(dir: &Path) -> Result<Vec<OsString>, KeyError> {
    let io = |error| KeyError::Io(dir.into(), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        names.push(entry.map_err(io)?.file_name());
    }
    names.sort();
    Ok(names)
}

/// Extension of the file of a key that the store has not recorded yet, or is about to delete.
const UNSETTLED: &str = "new";

/// The path of a recorded key's file.
fn settled(dir: &Path, id: &KeyId) -> PathBuf {
    dir.join(id.as_str())
}

fn unsettled(dir: &Path, id: &KeyId) -> PathBuf {
    settled(dir, id).with_added_extension(UNSETTLED)
}

/// The key of an unsettled file by its name, and whether the file is complete.
fn key_of_unsettled(name: &OsStr) -> Option<(KeyId, bool)> {
    let name = name.to_str()?;
    let unfinished = durable_file::left_behind(name);
    let id = unfinished.unwrap_or(name).strip_suffix(UNSETTLED)?.strip_suffix('.')?;
    Some((id.parse().ok()?, unfinished.is_none()))
}

/// The names of files that belong to none of these keys.
pub(super) fn strange<'a>(
    names: &'a [OsString],
    known: &'a [KeyRecord],
) -> impl Iterator<Item = &'a OsString> {
    names.iter().filter(|&name| {
        let unsettled = key_of_unsettled(name);
        let id = unsettled.as_ref().map_or(name.as_os_str(), |(id, _)| OsStr::new(id.as_str()));
        known.iter().all(|record| OsStr::new(record.id.as_str()) != id)
    })
}

/// Whether [`settle`] removes a file of this name if its key is not recorded.
pub(super) fn is_unsettled(name: &OsStr) -> bool {
    key_of_unsettled(name).is_some()
}

/// Reads the key `id` from its settled or unsettled file.
pub(super) fn read<K: Key>(dir: &Path, id: &KeyId) -> Result<K, KeyError> {
    let path = settled(dir, id);
    let text = match read_text(&path) {
        Err(KeyError::Missing(path)) => match read_text(&unsettled(dir, id)) {
            Err(KeyError::Missing(_)) => return Err(KeyError::Missing(path)),
            other => other?,
        },
        other => other?,
    };
    match K::from_paserk(text.trim_end()) {
        Ok(key) if key.id() == id => Ok(key),
        _ => Err(KeyError::Damaged(path)),
    }
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    use std::io::Read;

    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => KeyError::Missing(path.into()),
        io::ErrorKind::InvalidData => KeyError::Damaged(path.into()), // not UTF-8
        _ => KeyError::Io(path.into(), error),
    };
    let file = fs::File::open(path).map_err(io)?;
    match access(&file).map_err(io)? {
        FileAccess::Everybody => return Err(KeyError::Exposed(path.into())),
        FileAccess::Group => log::warn!("the key file {} can be read by its group", path.display()),
        FileAccess::Owner => {}
    }
    let mut text = Zeroizing::new(String::with_capacity(256));
    file.take(KEY_FILE_MAX).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

/// FileAccess to a key file, by the same test for new and existing files.
enum FileAccess {
    Owner,
    Group,
    Everybody,
}

fn access(file: &File) -> io::Result<FileAccess> {
    let mode = file.metadata()?.permissions().mode();
    Ok(match mode {
        _ if mode & 0o007 != 0 => FileAccess::Everybody,
        _ if mode & 0o070 != 0 => FileAccess::Group,
        _ => FileAccess::Owner,
    })
}

/// Generates a key and syncs its unsettled file. Once the store has recorded the key, [`settle`] renames it.
pub(super) fn generate<K: Key>(dir: &Path) -> Result<K, KeyError> {
    let key = K::generate().map_err(|_| KeyError::NotGenerated)?;
    let path = unsettled(dir, key.id());
    let text = key.to_paserk().map_err(|_| KeyError::NotGenerated)?;
    let io = |error| KeyError::Io(path.clone(), error);
    let mut draft = Draft::begin(&path).map_err(io)?;
    if matches!(access(&draft.file).map_err(io)?, FileAccess::Everybody) {
        return Err(KeyError::NotPrivate(dir.into()));
    }
    draft.file.write_all(text.as_bytes()).map_err(io)?;
    draft.finish().map_err(io)?;
    log::info!("made the key {}", key.id());
    Ok(key)
}

/// Makes these keys' files unsettled before the store deletes their records; [`settle`] then removes them.
/// Missing files are no error. Blocks on the disk.
///
/// # Errors
/// [`KeyError::Io`]: some may be unsettled already, where they are still found.
pub fn set_aside(dir: &Path, ids: &[KeyId]) -> Result<(), KeyError> {
    if ids.is_empty() {
        return Ok(());
    }
    for id in ids {
        let path = settled(dir, id);
        match fs::rename(&path, unsettled(dir, id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(KeyError::Io(path, error)),
            _ => {}
        }
    }
    durable_file::sync_dir(dir).map_err(|error| KeyError::Io(dir.into(), error))
}

/// Brings the folder in line with the store's records: unsettled files of recorded keys get their names, and
/// all other unsettled files are removed. Blocks on the disk.
///
/// # Errors
/// [`KeyError::Io`]: calling again completes the rest.
pub fn settle(dir: &Path, remembered: &[KeyRecord]) -> Result<(), KeyError> {
    let mut changed = false;
    for name in names(dir)? {
        let Some((id, is_whole)) = key_of_unsettled(&name) else {
            continue;
        };
        let path = dir.join(name);
        let done = if is_whole && remembered.iter().any(|record| record.id == id) {
            fs::rename(&path, settled(dir, &id))
        } else {
            fs::remove_file(&path).inspect(|()| log::info!("removed the key {id}"))
        };
        done.map_err(|error| KeyError::Io(path, error))?;
        changed = true;
    }
    if changed {
        durable_file::sync_dir(dir).map_err(|error| KeyError::Io(dir.into(), error))?;
    }
    Ok(())
}
