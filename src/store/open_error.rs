//! Why the store does not open, in words for the operator.

use std::any::Any;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// Why the store cannot be opened. The text tells the operator what happened and what to do next.
#[derive(Debug)]
pub enum OpenError {
    /// Another process uses the directory.
    InUse(PathBuf, String),
    /// The directory is somebody else's: of the user with this id.
    NotOurs(PathBuf, u32),
    /// The directory or something in it cannot be made or used.
    Io(PathBuf, io::Error),
    /// The store's files do not make sense.
    Damaged(PathBuf, String),
    /// So many changes that were acknowledged are missing at the store's end.
    Behind(PathBuf, u64),
    /// Opening did not end.
    TimedOut(PathBuf),
    /// There has been a store here, but its files are gone.
    Vanished(PathBuf),
    /// The store is not the one that belongs here.
    Foreign(PathBuf),
    /// There is no marker beside the store.
    Unmarked(PathBuf, Option<Uuid>),
    /// A newer version has written the store.
    Newer(PathBuf),
    /// Something is where a backup is to be restored; its name, if it has one to show.
    NotEmpty(PathBuf, String),
    /// A backup was being restored into the directory, and not all of it is there.
    HalfRestored(PathBuf),
    /// A backup has been restored into the directory, and the disk did not confirm the very last step.
    Unconfirmed(PathBuf, io::Error),
    /// There is no place of so many bytes for a copy to look at.
    NoScratch(PathBuf, u64, io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NEXT: &str = "copy the data directory to another disk before anything else; then restore the data directory \
                            from a backup (`gatelet restore`, into an empty directory), or give --data-dir an empty \
                            directory to begin anew";
        match self {
            Self::InUse(dir, pid) => write!(
                f,
                "the data directory {} is in use by another gatelet (process {pid}): stop that one first, or \
                 give this one a --data-dir of its own",
                dir.display()
            ),
            Self::NotOurs(dir, owner) => {
                let (owner, become_them) = match user_name(*owner) {
                    Some(name) => (name.clone(), format!("runuser -u {name} --")),
                    None => (owner.to_string(), format!("setpriv --reuid={owner} --clear-groups")),
                };
                write!(
                    f,
                    "{} belongs to another user ({owner}): run this as that user, from root with `{become_them} \
                     gatelet …`; while the server runs, root's commands reach it",
                    dir.display()
                )
            }
            Self::Io(path, error) if is_full(error) => {
                write!(f, "{}: the disk is full: free some space and start again", path.display())
            }
            Self::Io(path, error) if is_about_access(error.kind()) => write!(
                f,
                "{} cannot be used: {error}: check that it exists and that this user may write there",
                path.display()
            ),
            Self::Io(path, error) => write!(
                f,
                "{} cannot be used: {error}: if the disk is failing, copy the data directory to another disk before \
                 anything else; look for the cause in the system's log (`dmesg`), then start again",
                path.display()
            ),
            Self::Damaged(path, what) => {
                write!(f, "the store in {} is damaged ({what}): {NEXT}", path.display())
            }
            Self::Behind(path, lost) => write!(
                f,
                "the store in {} is damaged (its last {lost} changes are missing): {NEXT}. Only where an older copy was \
                 put there on purpose: without the file commits it starts, and these changes are given up for good",
                path.display()
            ),
            Self::TimedOut(path) => write!(
                f,
                "the store in {} did not open in time: the disk is slow or does not answer, or the store is damaged: look \
                 for the cause in the system's log (`dmesg`) and start again; if it stays so, {NEXT}",
                path.display()
            ),
            Self::Vanished(path) => write!(
                f,
                "the store {} is gone, though this directory has had one: is the right disk mounted? If it is, {NEXT}",
                path.display()
            ),
            Self::Foreign(path) => write!(
                f,
                "the store in {} is not the one that the file store-id beside it names: it has been mixed with \
                 another: {NEXT}",
                path.display()
            ),
            Self::Unmarked(path, Some(id)) => write!(
                f,
                "there is no file store-id beside the store {}, so it may have come from elsewhere: restore that \
                 file; only if you know that this is the right store, make it with the one line {id}",
                path.display()
            ),
            Self::Unmarked(path, None) => write!(
                f,
                "{} is there already, but this directory has never been used by gatelet: give --data-dir a \
                 directory of its own",
                path.display()
            ),
            Self::Newer(path) => write!(
                f,
                "the store in {} was written by a newer version of gatelet: start that version",
                path.display()
            ),
            Self::NotEmpty(path, name) => write!(
                f,
                "{} is not empty ({name} is there): a backup is restored into a directory of its own; give another \
                 --data-dir, or move away what is there",
                path.display()
            ),
            Self::Unconfirmed(path, error) => write!(
                f,
                "the backup is restored to {} and all of it is there, but the disk did not confirm the last step \
                 ({error}): look for the cause in the system's log (`dmesg`), run `gatelet verify`, and start the server; \
                 if that asks for another `gatelet restore`, run it",
                path.display()
            ),
            Self::NoScratch(folder, bytes, error) => write!(
                f,
                "a stopped store is looked at in a copy, and there is no room for one in the data directory nor in {} \
                 ({error}): set TMPDIR to a directory of this user's with {} MiB to spare",
                folder.display(),
                bytes.div_ceil(1 << 20)
            ),
            Self::HalfRestored(path) => write!(
                f,
                "a backup was being restored into {} and that was cut short: run `gatelet restore` again",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {}

impl OpenError {
    /// An error of the system is told as such. sled makes some of its own as well, for what it cannot make sense of.
    pub(super) fn from_sled(store: &Path, error: sled::Error) -> Self {
        let damaged = |what: &str| Self::Damaged(store.into(), what.into());
        if let Some(error) = of_system(&error) {
            return Self::Io(store.into(), error);
        }
        match error {
            sled::Error::Io(error) if is_full(&error) => Self::Io(store.into(), error),
            sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock") => Self::Io(
                store.into(),
                io::Error::new(io::ErrorKind::WouldBlock, "another process holds its log"),
            ),
            sled::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                damaged("its log ends before its time")
            }
            sled::Error::Io(error) => damaged(&error.to_string()),
            sled::Error::Corruption { .. } => {
                damaged("a part of its log or its snapshot has a wrong checksum")
            }
            sled::Error::CollectionNotFound(_) => damaged("a tree is missing"),
            sled::Error::Unsupported(what) | sled::Error::ReportableBug(what) => damaged(&what),
        }
    }

    /// Whether the store does not hold what it must.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(..) | Self::Behind(..))
    }

    /// What made sled panic. It unwraps what the system answers in some places, its destructors among them: the disk
    /// fails then, and what is on it may well be good.
    pub(super) fn from_panic(store: &Path, panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        match printed(text) {
            Some(error) => Self::Io(store.into(), error),
            None => Self::Damaged(store.into(), "its log cannot be read".into()),
        }
    }
}

/// What sled has met, in words: its own are made for programmers.
pub(super) fn reason(error: &sled::Error) -> String {
    match (of_system(error), error) {
        (Some(error), _) => error.to_string(),
        (None, sled::Error::Io(error)) => error.to_string(),
        (None, sled::Error::Corruption { .. }) => "it is not what was written".into(),
        (None, error) => error.to_string(),
    }
}

/// The error that the system gave sled, if one did. sled hands on its first error as a text: what `{:?}` prints of it.
pub(super) fn of_system(error: &sled::Error) -> Option<io::Error> {
    let sled::Error::Io(error) = error else { return None };
    match error.raw_os_error() {
        Some(code) => Some(io::Error::from_raw_os_error(code)),
        None => printed(&error.to_string()),
    }
}

/// The system's error that `{:?}` has printed somewhere in a text.
fn printed(text: &str) -> Option<io::Error> {
    let (_, rest) = text.split_once("Os { code: ")?;
    rest.split(',').next()?.parse().ok().map(io::Error::from_raw_os_error)
}

/// There is no room, on the disk or for this user.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Errors that are about what is there and who may use it, rather than about the disk.
fn is_about_access(error: io::ErrorKind) -> bool {
    use io::ErrorKind::{AlreadyExists, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error, AlreadyExists | NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem)
}

/// The name of a user of this machine, if the machine itself knows it.
fn user_name(id: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    fn of_panic(panics: impl FnOnce() + std::panic::UnwindSafe) -> OpenError {
        OpenError::from_panic(Path::new("store"), &*catch_unwind(panics).unwrap_err())
    }

    #[test]
    fn an_error_of_the_system_that_sled_has_kept_as_a_text_is_one_all_the_same() {
        let kept = sled::Error::Io(io::Error::from_raw_os_error(5)).clone();
        assert_eq!(reason(&kept), io::Error::from_raw_os_error(5).to_string());
        let error = OpenError::from_sled(Path::new("x"), kept);
        assert!(matches!(&error, OpenError::Io(_, error) if error.raw_os_error() == Some(5)), "{error}");
    }

    #[test]
    fn a_disk_that_fails_is_no_damage() {
        for code in [5, 28] {
            let failed = move || Err::<(), _>(io::Error::from_raw_os_error(code));
            for error in [of_panic(move || failed().unwrap()), of_panic(move || failed().expect("synced"))] {
                assert!(
                    matches!(&error, OpenError::Io(_, io) if io.raw_os_error() == Some(code)),
                    "{error:?}"
                );
            }
            let error = OpenError::from_sled(Path::new("store"), failed().unwrap_err().into());
            assert!(matches!(error, OpenError::Io(..)), "{error:?}");
        }
        for error in [of_panic(|| panic!("duplicate segment")), of_panic(|| panic!("expected {}", 1))] {
            assert!(matches!(error, OpenError::Damaged(..)), "{error:?}");
        }
    }

    #[test]
    fn what_sled_finds_wrong_is_told_in_words() {
        let made_up = [
            sled::Error::Corruption { at: None, bt: () },
            sled::Error::Io(io::ErrorKind::UnexpectedEof.into()),
            sled::Error::Io(io::Error::other("encountered torn segment")),
            sled::Error::ReportableBug("something odd".into()),
        ];
        for error in made_up {
            let error = OpenError::from_sled(Path::new("/data/store"), error);
            assert!(matches!(error, OpenError::Damaged(..)), "{error:?}");
            let text = error.to_string();
            assert!(!text.contains("backtrace") && !text.contains('{') && !text.contains("Some("), "{text}");
        }
    }
}
