//! Why the store cannot be opened, in words for the operator.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use uuid::Uuid;

const NEXT: &str = "copy the data directory to another disk before anything else; then restore the data directory \
                    from a backup (`gatelet restore`, into an empty directory), or give --data-dir an empty \
                    directory to begin anew";

/// Why the store cannot be opened. The text tells the operator what happened and what to do.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process, with this id, uses the directory.
    #[error(
        "the data directory {path} is in use by another gatelet (process {1}): stop that one first, or \
         give this one a --data-dir of its own",
        path = .0.display()
    )]
    InUse(PathBuf, String),
    /// The directory belongs to another user, with this id.
    #[error("{}", not_ours_text(.0, .1))]
    NotOurs(PathBuf, u32),
    /// A file system error in the directory.
    #[error("{}", io_text(.0, .1))]
    Io(PathBuf, #[source] io::Error),
    /// The store's files are inconsistent.
    #[error("the store in {path} is damaged ({1}): {NEXT}", path = .0.display(), NEXT = NEXT)]
    Damaged(PathBuf, String),
    /// This number of acknowledged changes is missing at the end of the store.
    #[error(
        "the store in {path} is damaged (its last {1} changes are missing): {NEXT}. Only where an older copy was \
         put there on purpose: without the file commits it starts, and these changes are given up for good",
        path = .0.display(),
        NEXT = NEXT
    )]
    Behind(PathBuf, u64),
    /// Opening did not finish in time.
    #[error(
        "the store in {path} did not open in time: the disk is slow or does not answer, or the store is damaged: look \
         for the cause in the system's log (`dmesg`) and start again; if it stays so, {NEXT}",
        path = .0.display(),
        NEXT = NEXT
    )]
    TimedOut(PathBuf),
    /// There was a store here, but its files are gone.
    #[error(
        "the store {path} is gone, though this directory has had one: is the right disk mounted? If it is, {NEXT}",
        path = .0.display(),
        NEXT = NEXT
    )]
    Vanished(PathBuf),
    /// The store is not the one that the marker names.
    #[error(
        "the store in {path} is not the one that the file store-id beside it names: it has been mixed with \
         another: {NEXT}",
        path = .0.display(),
        NEXT = NEXT
    )]
    Foreign(PathBuf),
    /// The store has no marker.
    #[error("{}", unmarked_text(.0, .1.as_ref()))]
    Unmarked(PathBuf, Option<Uuid>),
    /// A newer version has written the store.
    #[error("the store in {path} was written by a newer version of gatelet: start that version", path = .0.display())]
    Newer(PathBuf),
    /// The directory for a restore is not empty; the name of an entry.
    #[error(
        "{path} is not empty ({1} is there): a backup is restored into a directory of its own; give another \
         --data-dir, or move away what is there",
        path = .0.display()
    )]
    NotEmpty(PathBuf, String),
    /// A restore into the directory was interrupted.
    #[error(
        "a backup was being restored into {path} and that was cut short: run `gatelet restore` again",
        path = .0.display()
    )]
    HalfRestored(PathBuf),
    /// The backup is restored, but the disk did not confirm the last step.
    #[error(
        "the backup is restored to {path} and all of it is there, but the disk did not confirm the last step \
         ({1}): look for the cause in the system's log (`dmesg`), run `gatelet verify`, and start the server; \
         if that asks for another `gatelet restore`, run it",
        path = .0.display()
    )]
    Unconfirmed(PathBuf, #[source] io::Error),
    /// There is no room for a copy of this many bytes.
    #[error(
        "a stopped store is looked at in a copy, and there is no room for one in the data directory nor in {path} \
         ({2}): set TMPDIR to a directory of this user's with {mib} MiB to spare",
        path = .0.display(),
        mib = .1.div_ceil(1 << 20)
    )]
    NoScratch(PathBuf, u64, #[source] io::Error),
}

fn not_ours_text(dir: &Path, owner: &u32) -> String {
    let (owner, become_them) = match user_name(*owner) {
        Some(name) => (name.clone(), ["runuser -u ", name.as_str(), " --"].concat()),
        None => (owner.to_string(), ["setpriv --reuid=", &owner.to_string(), " --clear-groups"].concat()),
    };
    format!(
        "{} belongs to another user ({owner}): run this as that user, from root with `{become_them} \
         gatelet …`; while the server runs, root's commands reach it",
        dir.display()
    )
}

fn io_text(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    if is_full(error) {
        return format!("{path}: the disk is full: free some space and start again");
    }
    if is_about_access(error.kind()) {
        return format!(
            "{path} cannot be used: {error}: check that it exists and that this user may write there"
        );
    }
    format!(
        "{path} cannot be used: {error}: if the disk is failing, copy the data directory to another disk before \
         anything else; look for the cause in the system's log (`dmesg`), then start again"
    )
}

fn unmarked_text(path: &Path, id: Option<&Uuid>) -> String {
    let path = path.display();
    match id {
        Some(id) => format!(
            "there is no file store-id beside the store {path}, so it may have come from elsewhere: restore that \
             file; only if you know that this is the right store, make it with the one line {id}"
        ),
        None => format!(
            "{path} is there already, but this directory has never been used by gatelet: give --data-dir a \
             directory of its own"
        ),
    }
}

impl OpenError {
    /// Makes errors of the file system at `path`.
    pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |error| Self::Io(path.into(), error)
    }

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
