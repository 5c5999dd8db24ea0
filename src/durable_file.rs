//! Files that survive a power cut: written, synced, given their name, and the folder synced.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags, RenameFlags, linkat, renameat_with};
use rustix::io::Errno;

use crate::random;

/// Creates `path` for its owner alone (0700), if it is not there. Its parent must be.
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

/// Replaces `path` as a whole, readable by its owner alone (0600): after a crash there is the old file or
/// the new one, never a part. For small files in folders of our own, where what a crash leaves has one known name.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_added_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {} // what a crash has left
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

/// A file in whatever folder the operator names, for its owner alone (0600). It gets its name when it is whole: until
/// then it has none, and is gone when we are. Where the file system knows no such files, it has a hidden one.
pub(crate) struct Draft {
    pub(crate) file: File,
    path: PathBuf,
    /// Its name until then, if it has one.
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
        fs::symlink_metadata(handle(&file))?; // without /proc it could not be given a name
        Ok(Self { file, path: path.to_owned(), beside: None })
    }

    fn hidden(path: &Path) -> io::Result<Self> {
        let beside = hidden_name(path)?;
        Ok(Self { file: make(&beside)?, path: path.to_owned(), beside: Some(beside) })
    }

    /// Makes it durable under its name. What has got that name meanwhile stays, and is an error.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        match &self.beside {
            None => link(&self.file, &self.path)?,
            Some(beside) => match renameat_with(CWD, beside, CWD, &self.path, RenameFlags::NOREPLACE) {
                // Some file systems, NFS for example, can only say so of a link.
                Err(Errno::INVAL | Errno::NOSYS) => match fs::hard_link(beside, &self.path) {
                    Ok(()) => fs::remove_file(beside)?,
                    // Some know no links either: nothing but a look is left.
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

    /// Makes it durable under its name, in the place of what has that.
    pub(crate) fn replace(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let beside = match self.beside.take() {
            Some(beside) => beside,
            None => {
                let beside = hidden_name(&self.path)?; // nothing is linked over something else
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

/// Makes a file, so that it is nobody else's, nor a link to elsewhere.
fn make(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Gives a name to a file that has none. What has that name is left alone.
fn link(file: &File, path: &Path) -> io::Result<()> {
    Ok(linkat(CWD, handle(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

fn is_free(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Where an open file is found without a name.
fn handle(file: &File) -> PathBuf {
    Path::new("/proc/self/fd").join(file.as_raw_fd().to_string())
}

/// A name beside `path` that nobody else uses.
fn hidden_name(path: &Path) -> io::Result<PathBuf> {
    let random = random::bytes().map_err(|error| io::Error::other(error.to_string()))?;
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{:016x}.new", u64::from_be_bytes(random)));
    Ok(path.with_file_name(name))
}

/// What a file was to be called that has the hidden name `name`, and was left behind.
pub(crate) fn left_behind(name: &str) -> Option<&str> {
    let (name, _) = name.strip_prefix('.')?.strip_suffix(".new")?.rsplit_once('.')?;
    Some(name)
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
