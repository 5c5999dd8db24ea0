//! The number of changes known to be durable, in a file beside the store.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// The file `commits`.
///
/// Two slots, each a number with its complement. A write goes to the slot without the highest number, so that
/// a torn write leaves that one. The file is never synced: after a power cut it may be behind, which only
/// weakens the check, but never ahead. The number never decreases, because it reveals missing changes.
pub(super) struct Acknowledged {
    file: File,
    held: Highest,
}

/// The highest number, and its slot.
#[derive(Clone, Copy, Default)]
struct Highest {
    changes: u64,
    slot: u64,
}

impl Acknowledged {
    const SLOT: usize = 16;

    /// Opens or creates the file for updates.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let held = Self::held(&file)?.unwrap_or_default();
        Ok(Self { file, held })
    }

    /// Reads the number in the file at `path`; `None` if there is no file or no valid number. Changes
    /// nothing.
    pub(super) fn read(path: &Path) -> io::Result<Option<u64>> {
        match File::open(path) {
            Ok(file) => Ok(Self::held(&file)?.map(|held| held.changes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads both slots. Only the end of the file means that a slot is missing: after any other error the
    /// higher number may be unread.
    fn held(file: &File) -> io::Result<Option<Highest>> {
        let mut held: Option<Highest> = None;
        for slot in 0..2 {
            let highest = held.map_or(0, |held| held.changes);
            if let Some(changes) = Self::slot(file, slot)?.filter(|changes| *changes >= highest) {
                held = Some(Highest { changes, slot });
            }
        }
        Ok(held)
    }

    fn slot(file: &File, slot: u64) -> io::Result<Option<u64>> {
        let mut bytes = [0; Self::SLOT];
        match file.read_exact_at(&mut bytes, slot * Self::SLOT as u64) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let [changes, complement] =
            [0, 8].map(|from| u64::from_be_bytes(std::array::from_fn(|byte| bytes[from + byte])));
        Ok((changes == !complement).then_some(changes))
    }

    /// Records that this many changes are durable. Lower numbers are ignored.
    pub(super) fn advance(&mut self, changes: u64) -> io::Result<()> {
        if changes <= self.held.changes {
            return Ok(());
        }
        let mut bytes = [0; Self::SLOT];
        bytes[..8].copy_from_slice(&changes.to_be_bytes());
        bytes[8..].copy_from_slice(&(!changes).to_be_bytes());
        let slot = 1 - self.held.slot;
        self.file.write_all_at(&bytes, slot * Self::SLOT as u64)?;
        self.held = Highest { changes, slot };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_torn_write_leaves_the_number_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("commits");
        let number = || Acknowledged::read(&path).unwrap();
        assert_eq!(number(), None);
        let mut file = Acknowledged::open(&path).unwrap();
        assert_eq!(number(), None);
        let mut before = None;
        for changes in [1, 2, 7, 9, 12, 14, 15] {
            file.advance(changes).unwrap();
            assert_eq!(number(), Some(changes));
            // Half overwritten by the next number.
            let whole = fs::read(&path).unwrap();
            file.file.write_all_at(&99_u64.to_be_bytes(), file.held.slot * 16).unwrap();
            assert_eq!(number(), before);
            fs::write(&path, whole).unwrap();
            before = Some(changes);
        }
    }

    #[test]
    fn the_number_never_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("commits");
        Acknowledged::open(&path).unwrap().advance(7).unwrap();
        for lower in [0, 3, 6, 7] {
            let mut file = Acknowledged::open(&path).unwrap();
            file.advance(lower).unwrap();
            assert_eq!(Acknowledged::read(&path).unwrap(), Some(7), "{lower}");
        }
    }

    #[test]
    fn a_read_error_is_not_taken_for_absence() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Acknowledged::read(dir.path()).is_err()); // a folder opens, but cannot be read
        let path = dir.path().join("commits");
        std::os::unix::fs::symlink(&path, &path).unwrap();
        assert!(Acknowledged::read(&path).is_err());
        assert!(Acknowledged::open(&path).is_err());
        fs::remove_file(&path).unwrap();
        Acknowledged::open(&path).unwrap().advance(7).unwrap();
        for length in [31, 16, 15, 0] {
            OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
            assert_eq!(Acknowledged::read(&path).unwrap(), None, "{length}");
        }
        for bytes in [&[0; 32][..], &[b'X'; 32], b"a text", &[0xa5; 100]] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(Acknowledged::read(&path).unwrap(), None, "what is no number is no witness");
        }
    }
}
