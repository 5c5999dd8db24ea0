//! Opening sled's files: within a deadline, and verified to be whole. Also wrappers for calls of sled that
//! may hang.

use std::fs::{self, File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::acknowledged::Acknowledged;
use super::closed::Closed;
use super::error::{from_panic, from_sled};
use super::files::{LOG, Survey};
use super::layout::{self, VERSION};
use super::seal::Seal;
use super::trees::{Totals, Trees};
use crate::domain::clock::cpu_time;
use crate::durable_file;
use crate::store::changes::user_id;
use crate::store::open_error::OpenError;
use crate::store::record;
use crate::store::table::Table;
use crate::store::terms::StoreOptions;

/// How often to check whether a background thread of sled has failed.
pub(super) const LOOK_FOR_ERRORS: Duration = Duration::from_millis(250);

/// Deadline for opening a small store: a damaged log can make a scan loop forever, and the operator should
/// hear of it within five seconds.
pub(super) const DEADLINE: Duration = Duration::from_secs(4);

/// Bytes of log that extend the deadline by a second: all of it is read, and SD cards are slow.
const BYTES_PER_SECOND: u64 = 16 << 20;

/// Copying a store may take this many times as long as reading it.
pub(super) const COPYING: u32 = 8;

/// How many deadlines of wall time a start may take that uses less CPU time than one: other programs may be
/// busy, or the disk slow.
const PATIENCE: u32 = 15;

/// A verified sled database.
pub(super) struct Database {
    /// Reports errors of sled's background threads.
    pub(super) config: sled::Config,
    pub(super) db: sled::Db,
    pub(super) trees: Trees,
    pub(super) id: Uuid,
    pub(super) seal: Seal,
    pub(super) found: Totals,
    /// The layout's number at opening.
    pub(super) layout: sled::IVec,
}

/// An open store, before any thread runs on it.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) acknowledged: Acknowledged,
    /// A second handle to sled's log file, to sync it.
    pub(super) log: File,
    pub(super) lock: File,
    pub(super) dir: PathBuf,
    /// The path of sled's log in the data directory.
    pub(super) log_path: PathBuf,
}

/// Facts from the files beside the store, to check it against.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    pub(super) marker: Option<Uuid>,
    pub(super) changes: u64,
}

pub(super) fn open_sled(
    path: &Path,
    options: &StoreOptions,
) -> Result<(sled::Config, sled::Db, Trees), sled::Error> {
    let config = sled::Config::new()
        .path(path)
        .mode(sled::Mode::HighThroughput)
        // sled counts the size of pages on disk; in memory they take about twice that.
        .cache_capacity(options.cache / 2)
        .flush_every_ms(None); // the committer flushes
    let db = config.open()?;
    // sled has renamed a snapshot, and has cleared segments that only the previous snapshot needs. The rename
    // must be durable before anything syncs the log: a power cut that undid only the rename left a store that
    // did not open (9 of 720 cuts; none of 460 with this line).
    durable_file::sync_dir(path)?;
    let meta = db.open_tree("meta")?;
    let format = meta.get(layout::FORMAT)?;
    let trees = Trees {
        users: db.open_tree("users")?,
        usernames: db.open_tree(layout::names_tree(format.as_deref()))?,
        revoked: db.open_tree("revoked")?,
        rotations: db.open_tree("rotations")?,
        keys: db.open_tree("keys")?,
        meta,
    };
    Ok((config, db, trees))
}

/// Opens sled on the files in `path`. Verifies that it is the store that belongs at `store`, that no record
/// is missing, and that it matches the mark of a clean stop if there is one.
pub(super) fn open_whole(
    path: &Path,
    store: &Path,
    options: &StoreOptions,
    expected: Expected,
    closed: Option<(Closed, Survey)>,
) -> Result<Database, OpenError> {
    let broken = |error| from_sled(store, error);
    let damaged = |what: &str| OpenError::Damaged(store.into(), what.into());
    // A snapshot may rest on writes of a killed process that were never synced.
    File::open(path.join(LOG)).and_then(|log| log.sync_all()).map_err(OpenError::at(store))?;
    let (config, db, trees) = open_sled(path, options).map_err(broken)?;
    let layout = match trees.meta.get(layout::FORMAT).map_err(broken)? {
        Some(format) if *format == *VERSION || layout::is_outdated(&format) => format,
        Some(format) if *format > *VERSION => return Err(OpenError::Newer(store.into())),
        _ => return Err(damaged("its layout number is missing or invalid")),
    };
    let id = store_id(&trees).map_err(broken)?;
    if expected.marker.is_some() && expected.marker != id {
        return Err(OpenError::Foreign(store.into()));
    }
    let id = id.ok_or(OpenError::Unmarked(store.into(), None))?;
    let seal = trees.meta.get(layout::SEAL).map_err(broken)?;
    let seal =
        seal.and_then(|bytes| Seal::from_bytes(&bytes)).ok_or_else(|| damaged("its seal is missing"))?;
    if seal.changes < expected.changes {
        return Err(OpenError::Behind(store.into(), expected.changes - seal.changes));
    }
    let mut found = Totals::default();
    let mut unreadable = 0_u64;
    let visit = |tree, key: &[u8], value: &[u8]| {
        if tree == Table::Revoked {
            found.revoked += 1;
        }
        if tree == Table::Users {
            found.users += 1;
            match user_id(key).and_then(|id| record::decode_user(id, value)) {
                Ok(user) => {
                    found.last_id = Some(user.id); // they come in order
                    if user.is_enabled_admin() {
                        found.admins += 1;
                    }
                }
                Err(_) => unreadable += 1,
            }
        }
    };
    if !trees.add_up_to(seal, visit).map_err(broken)? {
        return Err(damaged("some of its records are missing or outdated"));
    }
    if unreadable > 0 {
        return Err(damaged(&format!("{unreadable} of its users cannot be read")));
    }
    if let Some((closed, survey)) = closed
        && closed != Closed::of(id, seal, found.users, found.revoked, &survey)
    {
        return Err(damaged("its content differs from that of its clean stop"));
    }
    if !layout::is_outdated(&layout) && !found.fit(&trees).map_err(broken)? {
        return Err(damaged("its counts do not match its users"));
    }
    Ok(Database { config, db, trees, id, seal, found, layout })
}

fn store_id(trees: &Trees) -> Result<Option<Uuid>, sled::Error> {
    let bytes = trees.meta.get(layout::STORE_ID)?;
    Ok(bytes.and_then(|bytes| Uuid::from_slice(&bytes).ok()))
}

/// Like `Db::flush`, which may wait forever for a failed background thread.
pub(super) fn flush(db: &sled::Db, config: &sled::Config) -> Result<(), sled::Error> {
    let (done, wait) = mpsc::channel();
    let flushing = db.clone();
    thread::Builder::new().name("flush".into()).spawn(move || drop(done.send(flushing.flush())))?;
    loop {
        match wait.recv_timeout(LOOK_FOR_ERRORS) {
            Ok(flushed) => return flushed.map(drop),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("it could not be written").into());
            }
            Err(RecvTimeoutError::Timeout) => config.global_error()?,
        }
    }
}

/// Waits until sled has released its log: a background thread may hold it for a moment after the last handle
/// is dropped. No other process can, because the directory is locked.
pub(super) fn wait_until_released(log: &Path, patience: Duration) -> io::Result<()> {
    let log = File::open(log)?;
    let begun = Instant::now();
    loop {
        match log.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if begun.elapsed() < patience => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Time limit for reading a whole store from a slow disk.
pub(super) fn time_to_read(store: &Path) -> Duration {
    let log_bytes = fs::metadata(store.join(LOG)).map_or(0, |meta| meta.len());
    Duration::from_secs(log_bytes / BYTES_PER_SECOND)
}

/// Runs `work`, which opens sled, on a thread of its own: a damaged log may panic or loop forever. CPU time
/// distinguishes a loop from a busy machine.
pub(super) fn within_deadline<T: Send + 'static>(
    store: &Path,
    deadline: Duration,
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    let (done, wait) = mpsc::channel();
    let path = store.to_owned();
    let opening = move || {
        let opened = catch_unwind(AssertUnwindSafe(work));
        let _ = done.send(opened.unwrap_or_else(|panic| Err(from_panic(&path, &*panic))));
    };
    thread::Builder::new().name("open".into()).spawn(opening).map_err(OpenError::at(store))?;
    let (begun, computed_before) = (Instant::now(), cpu_time());
    loop {
        match wait.recv_timeout(deadline / 8) {
            Ok(opened) => return opened,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let (passed, computed) = (begun.elapsed(), cpu_time().saturating_sub(computed_before));
        if passed.min(computed) > deadline {
            break;
        }
        if passed > deadline * PATIENCE {
            let hangs = io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer");
            return Err(OpenError::Io(store.into(), hangs));
        }
    }
    Err(OpenError::TimedOut(store.into()))
}
