//! sled's files as files: read through before sled opens them.
//!
//! While sled opens, it takes any error of reading its log for the torn end that a crash leaves, and overwrites the
//! segment: one error that the next try would not have met destroys the store. So all of its files are read here first,
//! with every error told. That also warms the cache from which sled reads.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::open_error::OpenError;

/// Bytes of a segment of sled's log: what it allocates, frees and overwrites.
pub(super) const SEGMENT: usize = 512 << 10;

/// Reads every file of the store at `store` to its end.
pub(super) fn read_through(store: &Path) -> Result<(), OpenError> {
    for path in list(store)? {
        read_pieces(&path, |_, _| Ok(())).map_err(|error| OpenError::Io(path, error))?;
    }
    Ok(())
}

/// All files of the store, except for beginnings of snapshots: those are removed unread.
fn list(store: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut files = Vec::new();
    let mut folders = vec![store.to_owned()];
    while let Some(folder) = folders.pop() {
        let io = |error| OpenError::Io(folder.clone(), error);
        for entry in fs::read_dir(&folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let there = fs::metadata(&path).map_err(|error| OpenError::Io(path.clone(), error))?;
            if there.is_dir() {
                folders.push(path);
            } else if path.extension().is_none_or(|extension| extension != "generating") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// Shows `take` all of a file in pieces of at most a segment, each with its place.
pub(super) fn read_pieces(
    path: &Path,
    mut take: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let no_wait = OFlags::NONBLOCK.bits().cast_signed(); // for a pipe in the place of a file
    let file = OpenOptions::new().read(true).custom_flags(no_wait).open(path)?;
    let there = file.metadata()?;
    if !there.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut piece = vec![0; SEGMENT];
    let mut at = 0;
    loop {
        let filled = fill(&file, &mut piece, at)?;
        if filled == 0 {
            break;
        }
        take(at, &piece[..filled])?;
        at += filled as u64;
    }
    if at < there.len() {
        let text = format!("only {at} of its {} bytes can be read", there.len());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
    }
    Ok(at)
}

/// Reads until `piece` is full or the file ends.
fn fill(file: &fs::File, piece: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match file.read_at(&mut piece[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
