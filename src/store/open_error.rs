//! Why the store cannot be opened, in words for the operator.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

use uuid::Uuid;

/// Why the store cannot be opened. The text tells the operator what happened and what to do.
#[derive(Debug)]
pub enum OpenError {
    /// Another process, with this id, uses the directory.
    InUse(PathBuf, String),
    /// The directory belongs to another user, with this id.
    NotOurs(PathBuf, u32),
    /// A file system error in the directory.
    Io(PathBuf, io::Error),
    /// The store's files are inconsistent.
    Damaged(PathBuf, String),
    /// This number of acknowledged changes is missing at the end of the store.
    Behind(PathBuf, u64),
    /// Opening did not finish in time.
    TimedOut(PathBuf),
    /// There was a store here, but its files are gone.
    Vanished(PathBuf),
    /// The store is not the one that the marker names.
    Foreign(PathBuf),
    /// The store has no marker.
    Unmarked(PathBuf, Option<Uuid>),
    /// A newer version has written the store.
    Newer(PathBuf),
    /// The directory for a restore is not empty; the name of an entry.
    NotEmpty(PathBuf, String),
    /// A restore into the directory was interrupted.
    HalfRestored(PathBuf),
    /// The backup is restored, but the disk did not confirm the last step.
    Unconfirmed(PathBuf, io::Error),
    /// There is no room for a copy of this many bytes.
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
    /// Whether the store's content is damaged.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(..) | Self::Behind(..))
    }
}

/// Whether the disk, or this user's quota, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the error concerns paths and permissions rather than the disk.
fn is_about_access(error: io::ErrorKind) -> bool {
    use io::ErrorKind::{AlreadyExists, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error, AlreadyExists | NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem)
}

/// The name of a local user.
fn user_name(id: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}
