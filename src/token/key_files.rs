//! The folder of keys: one file a key, named by the key's PASERK id, holding its PASERK.
//!
//! The name is a hash of the key, so a damaged file gives itself away.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::keys::Key;
use crate::durable_file;
use crate::key::KeyId;

/// Key files are larger than any PASERK by far when they exceed this.
const KEY_FILE_MAX: u64 = 1024;

/// Why the keys cannot be used. The text tells the operator what to do.
#[derive(Debug)]
pub enum KeyError {
    /// A key that must be there is not.
    Missing(PathBuf),
    /// The file is there but does not hold the key of its name.
    Damaged(PathBuf),
    /// Everybody on the machine can read it.
    Exposed(PathBuf),
    /// The file or folder cannot be read or written.
    Io(PathBuf, io::Error),
    /// No new key could be made.
    NotGenerated,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const RESTORE: &str = "put it back from a copy; if it is lost for good, start once with \
                               `gatelet serve --replace-keys`, which makes a new key; tokens made with the old one are refused";
        match self {
            Self::Missing(path) => write!(f, "the key file {} is missing: {RESTORE}", path.display()),
            Self::Damaged(path) => write!(f, "the key file {} is damaged: {RESTORE}", path.display()),
            Self::Exposed(path) => write!(
                f,
                "the key file {path} can be read by every user of this machine: run `chmod 600 {path}`, and if \
                 somebody may have read it, make new keys with `gatelet key rotate --revoke`: everybody logs in again",
                path = path.display()
            ),
            Self::Io(path, error) => write!(f, "the keys at {} cannot be used: {error}", path.display()),
            Self::NotGenerated => {
                f.write_str("no key could be made: the operating system gave no random bytes")
            }
        }
    }
}

impl std::error::Error for KeyError {}

/// The names of all that lies in the folder, in order.
pub(super) fn names(dir: &Path) -> Result<Vec<OsString>, KeyError> {
    let io = |error| KeyError::Io(dir.into(), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        names.push(entry.map_err(io)?.file_name());
    }
    names.sort();
    Ok(names)
}

/// The key `id`.
pub(super) fn read<K: Key>(dir: &Path, id: &KeyId) -> Result<K, KeyError> {
    let path = dir.join(id.as_str());
    let text = read_text(&path)?;
    match K::from_paserk(text.trim_end()) {
        Ok(key) if key.id() == id => Ok(key),
        _ => Err(KeyError::Damaged(path)),
    }
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => KeyError::Missing(path.into()),
        io::ErrorKind::InvalidData => KeyError::Damaged(path.into()), // not UTF-8
        _ => KeyError::Io(path.into(), error),
    };
    let file = fs::File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(KeyError::Exposed(path.into()));
    }
    if mode & 0o070 != 0 {
        log::warn!("the key file {} can be read by its group", path.display());
    }
    let mut text = Zeroizing::new(String::with_capacity(256));
    file.take(KEY_FILE_MAX).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

/// Makes a key whose file survives a power cut.
pub(super) fn generate<K: Key>(dir: &Path) -> Result<K, KeyError> {
    let key = K::generate().map_err(|_| KeyError::NotGenerated)?;
    let path = dir.join(key.id().as_str());
    let text = key.to_paserk().map_err(|_| KeyError::NotGenerated)?;
    durable_file::write(&path, text.as_bytes()).map_err(|error| KeyError::Io(path, error))?;
    log::info!("made the key {}", key.id());
    Ok(key)
}

/// Removes the files of these keys for good; those that have gone already are no error. Only for keys that are
/// no longer remembered. Blocks on the disk.
///
/// # Errors
/// [`KeyError::Io`]; some of them may still be there.
pub fn remove(dir: &Path, ids: &[KeyId]) -> Result<(), KeyError> {
    if ids.is_empty() {
        return Ok(());
    }
    for id in ids {
        let path = dir.join(id.as_str());
        match fs::remove_file(&path) {
            Ok(()) => log::info!("removed the key {id}"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(KeyError::Io(path, error)),
        }
    }
    durable_file::sync_dir(dir).map_err(|error| KeyError::Io(dir.into(), error))
}
