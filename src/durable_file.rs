//! Small files that survive a power cut: written beside, synced, renamed, and the folder synced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Creates `path` for its owner alone (0700), if it is not there. Its parent must be.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_dir(parent(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Replaces `path` as a whole, readable by its owner alone (0600): after a crash there is the old file or
/// the new one, never a part.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, |file| file.write_all(content))
}

/// The same, with whatever `fill` writes. If it fails, the old file stays.
pub(crate) fn replace<T, E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&mut File) -> Result<T, E>,
) -> Result<T, E> {
    let beside = path.with_added_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {} // what a crash has left
    }
    // Made here, so that it is nobody else's, nor a link to elsewhere.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let filled = fill(&mut file).and_then(|filled| {
        file.sync_all()?;
        fs::rename(&beside, path)?;
        Ok(filled)
    });
    if filled.is_err() {
        let _ = fs::remove_file(&beside);
    }
    let filled = filled?;
    sync_dir(parent(path))?;
    Ok(filled)
}

/// Makes the entries of a folder durable: files made, renamed or removed in it.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The folder that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
