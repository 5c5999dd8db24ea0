//! Files that survive a power cut: written, synced, named, and the directory synced.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags, RenameFlags, linkat, renameat_with};
use rustix::io::Errno;

use crate::random;

/// Creates the directory `path` for its owner alone (0700), if it is missing. Its parent must exist.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_dir(parent(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::metadata(path)?.is_dir() {
                Ok(())
            } else {
                Err(error)
            }
        }
        Err(error) => Err(error),
    }
}

/// Replaces the file `path`, readable by its owner alone (0600). A crash leaves the old file or the new one, never a part.
/// For small files in the data directory: what a crash leaves beside them has one known name.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_added_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {} // left by a crash
    }
    let written = make(&beside).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    sync_dir(parent(path))
}

/// A new file in a directory of the operator's, for its owner alone (0600). It gets its name when it is complete. Until
/// then it is unnamed and goes with the process; on file systems without unnamed files it has a hidden name.
pub(crate) struct Draft {
    pub(crate) file: File,
    path: PathBuf,
    /// Its hidden name, if it has one.
    beside: Option<PathBuf>,
}

impl Draft {
    /// A file that will be `path`.
    pub(crate) fn begin(path: &Path) -> io::Result<Self> {
        Self::unnamed(path).or_else(|_| Self::hidden(path))
    }

    fn unnamed(path: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE.bits().cast_signed();
        let file = OpenOptions::new().write(true).mode(0o600).custom_flags(flags).open(parent(path))?;
        fs::symlink_metadata(handle(&file))?; // needed to name it
        Ok(Self { file, path: path.to_owned(), beside: None })
    }

    fn hidden(path: &Path) -> io::Result<Self> {
        let beside = hidden_name(path)?;
        Ok(Self { file: make(&beside)?, path: path.to_owned(), beside: Some(beside) })
    }

    /// Makes it durable under its name. Fails if a file of that name exists by now, which stays.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        match &self.beside {
            None => link(&self.file, &self.path)?,
            Some(beside) => match renameat_with(CWD, beside, CWD, &self.path, RenameFlags::NOREPLACE) {
                // Some file systems, such as NFS, cannot rename so, but link.
                Err(Errno::INVAL | Errno::NOSYS) => match fs::hard_link(beside, &self.path) {
                    Ok(()) => fs::remove_file(beside)?,
                    // Some cannot link either: only a check remains.
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists && is_free(&self.path) => {
                        fs::rename(beside, &self.path)?;
                    }
                    Err(error) => return Err(error),
                },
                renamed => renamed?,
            },
        }
        self.named()
    }

    /// Makes it durable under its name, in place of an existing file.
    pub(crate) fn replace(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let beside = match self.beside.take() {
            Some(beside) => beside,
            None => {
                let beside = hidden_name(&self.path)?; // a link does not replace
                link(&self.file, &beside)?;
                beside
            }
        };
        fs::rename(self.beside.insert(beside), &self.path)?;
        self.named()
    }

    fn named(mut self) -> io::Result<()> {
        self.beside = None;
        sync_dir(parent(&self.path))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            let _ = fs::remove_file(beside);
        }
    }
}

/// Creates a file; fails if `path` exists, even as a link.
fn make(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Names an unnamed file. Does not replace an existing file.
fn link(file: &File, path: &Path) -> io::Result<()> {
    Ok(linkat(CWD, handle(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

fn is_free(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// The path of an open file, named or not.
fn handle(file: &File) -> PathBuf {
    Path::new("/proc/self/fd").join(file.as_raw_fd().to_string())
}

/// A unique hidden name beside `path`.
fn hidden_name(path: &Path) -> io::Result<PathBuf> {
    let random = random::bytes().map_err(|error| io::Error::other(error.to_string()))?;
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{:016x}.new", u64::from_be_bytes(random)));
    Ok(path.with_file_name(name))
}

/// The final name of a file that was left behind under the hidden name `name`.
pub(crate) fn left_behind(name: &str) -> Option<&str> {
    let (name, _) = name.strip_prefix('.')?.strip_suffix(".new")?.rsplit_once('.')?;
    Some(name)
}

/// Makes the entries of a directory durable: files created, renamed or removed in it.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The directory of `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    const KINDS: [fn(&Path) -> io::Result<Draft>; 2] = [Draft::begin, Draft::hidden];

    #[test]
    fn a_draft_has_its_name_when_it_is_whole_and_leaves_nothing_else() {
        for begin in KINDS {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            let mut draft = begin(&path).unwrap();
            draft.file.write_all(b"whole").unwrap();
            assert!(!path.try_exists().unwrap());
            draft.finish().unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"whole");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            begin(&path).unwrap().replace().unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"");
            drop(begin(&path).unwrap());
            assert_eq!(names(dir.path()), ["file"]);
        }
    }

    #[test]
    fn what_has_got_the_name_meanwhile_stays_unless_it_is_to_be_replaced() {
        for begin in KINDS {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            let (first, second, third) =
                (begin(&path).unwrap(), begin(&path).unwrap(), begin(&path).unwrap());
            fs::write(&path, "precious").unwrap();
            assert_eq!(first.finish().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&path).unwrap(), b"precious");
            second.replace().unwrap();
            third.replace().unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"");
            assert_eq!(names(dir.path()), ["file"]);
        }
    }

    #[test]
    fn a_draft_without_a_name_is_seen_by_nobody_and_one_with_a_hidden_name_can_be_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("back.up");
        if let Ok(_unnamed) = Draft::unnamed(&path) {
            assert!(names(dir.path()).is_empty());
        }
        let _hidden = Draft::hidden(&path).unwrap();
        let [hidden] = &names(dir.path())[..] else { panic!("{:?}", names(dir.path())) };
        assert_eq!(left_behind(hidden), Some("back.up"));
        for other in ["back.up.new", ".back.up", "back.up.0123456789abcdef.new", ".new"] {
            assert_eq!(left_behind(other), None, "{other}");
        }
    }
}
