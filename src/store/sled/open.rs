//! Opening the store: heal what is safe to heal, refuse what is not.
//!
//! What lies in the data directory:
//!
//! ```text
//! lock       locked by the process that uses the directory, holds its process id
//! store-id   the marker: the id of the store that belongs here
//! restoring  while a backup is being restored, until all of it is there
//! commits    how many changes are known to be on stable storage
//! store/     sled's files; store.new/ while it is being made
//! keys/      the keys of tokens
//! ballast    space to give back when the disk is full
//! ```
//!
//! A first start makes `store.new`, renames it and writes the marker last, each step durable before the next:
//! a store without a marker is therefore a first start that was cut short and holds nobody's account, or
//! somebody else's store; a marker without a store is a store that has vanished.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use uuid::Uuid;

use super::super::StoreOptions;
use super::super::changes::user_id;
use super::super::engine::Counts;
use super::super::open_error::{OpenError, is_full};
use super::super::record;
use super::super::table::Table;
use super::aside::Scope;
use super::closed::Closed;
use super::error::{from_panic, from_sled};
use super::files::{Extent, LOG, Survey};
use super::restore::RESTORING;
use super::seal::{Acknowledged, Seal};
use super::space::Space;
use super::upgrade::{self, FORMAT};
use super::writer::{Found, Trees};
use super::{LOOK_FOR_ERRORS, aside, exposure, look, meta};
use crate::domain::clock::cpu_time;
use crate::durable_file;
use crate::random;

/// How long opening a small store may take: a damaged log can make a scan spin for ever, and the operator should
/// hear of it within five seconds.
pub(super) const DEADLINE: Duration = Duration::from_secs(4);

/// Bytes of log that are worth a second more: all of it is read, and an SD card is slow.
const BYTES_PER_SECOND: u64 = 16 << 20;

/// How much longer than reading a store copying it may take.
const COPYING: u32 = 8;

/// sled, open and whole.
pub(super) struct Parts {
    /// Tells of errors that sled had on threads of its own.
    pub(super) config: sled::Config,
    pub(super) db: sled::Db,
    pub(super) trees: Trees,
    pub(super) id: Uuid,
    pub(super) seal: Seal,
    pub(super) found: Found,
    /// The layout's number, as it was found.
    pub(super) layout: sled::IVec,
}

/// An open store, before anything runs on it.
pub(super) struct Opened {
    pub(super) parts: Parts,
    pub(super) acknowledged: Acknowledged,
    /// sled's log file, a second time: to be synced.
    pub(super) log: File,
    pub(super) lock: File,
    pub(super) dir: PathBuf,
    /// Where a start looks for sled's log.
    pub(super) log_path: PathBuf,
}

pub(super) fn open(dir: &Path, options: &StoreOptions, space: &Space) -> Result<Opened, OpenError> {
    create_data_dir(dir)?;
    demand_ours(dir)?;
    let store = dir.join("store");
    let used_before = exists(&dir.join("lock"))? || exists(&dir.join("store-id"))?;
    if exists(&store)? && !used_before {
        // Whatever that is, it is not ours to open or to remove. Nothing may be left behind here that would make
        // the next start think otherwise.
        return Err(OpenError::Unmarked(store, None));
    }
    let lock = lock(dir)?;
    if exists(&dir.join(RESTORING))? {
        return Err(OpenError::HalfRestored(dir.into()));
    }
    warn_if_others_can_write(dir);
    exposure::warn(dir);
    space.make_room().map_err(|error| OpenError::Io(dir.into(), error))?;

    let marker = read_marker(dir)?;
    let log_path = store.join(LOG);
    let complete = exists(&log_path)?;
    match (&marker, complete) {
        (Some(_), false) => return Err(OpenError::Vanished(store)),
        // A first start gives the name only to a store that has its log.
        (None, false) if exists(&store)? => return Err(OpenError::Vanished(store)),
        (None, false) => {
            let (dir, options) = (dir.to_owned(), options.clone());
            let made = move || make(&dir, &options, |_| Ok(Seal::default())).map(drop);
            within_deadline(&store, DEADLINE, made)?;
        }
        (_, true) => {}
    }
    wait_until_released(&log_path, DEADLINE).map_err(|error| OpenError::Io(log_path.clone(), error))?;

    // Everything is read before anything is written: the witness beside the store, and all that sled is going to read.
    let commits = dir.join("commits");
    let noted = Acknowledged::read(&commits).map_err(|error| OpenError::Io(commits.clone(), error))?;
    if marker.is_some() && noted.is_none() {
        log::warn!(
            "{} is gone or holds no number: whether the store's last changes are there cannot be told",
            commits.display()
        );
    }
    if let Err(error) = look::clear(dir) {
        log::warn!("the copy of a command that was killed cannot be removed from {}: {error}", dir.display());
    }
    let changes = noted.unwrap_or(0);
    let broken = |error| OpenError::Io(store.clone(), error);
    if aside::put_back(&store, changes).map_err(broken)? {
        log::warn!("put back the files of {}: the start before this one was cut short", store.display());
    }
    let expected = Expected { marker, changes };
    let mut parts = match open_undoably(&store, options, space, expected, !complete) {
        // An error inside sled that has passed looks like damage. What is damaged is refused again.
        Err((error, true)) if error.is_damage() => {
            log::warn!("{} did not open as it should: it is opened once more", store.display());
            open_undoably(&store, options, space, expected, !complete).map_err(|(error, _)| error)?
        }
        opened => opened.map_err(|(error, _)| error)?,
    };
    let taken_over = take_over(dir, &store, &parts).and_then(|(acknowledged, log)| {
        if upgrade::bring_up(&store, &mut parts, &log, space)? {
            log::info!("the store in {} was brought to the layout of this version", store.display());
        }
        Ok((acknowledged, log))
    });
    match taken_over {
        Ok((acknowledged, log)) => Ok(Opened { parts, acknowledged, log, lock, dir: dir.into(), log_path }),
        Err(error) => {
            std::mem::forget(parts); // its destructors would write again, and panic where the disk does not let them
            Err(error)
        }
    }
}

/// What has to be done beside a store that is whole before its first change. Answers the file of the number of changes,
/// and sled's log a second time.
fn take_over(dir: &Path, store: &Path, parts: &Parts) -> Result<(Acknowledged, File), OpenError> {
    // What is older than the first change must never come back.
    let forgotten = aside::forget(store).and_then(|()| Closed::remove(store));
    forgotten.map_err(|error| OpenError::Io(store.into(), error))?;
    let (commits, log) = (dir.join("commits"), store.join(LOG));
    let acknowledged = Acknowledged::open(&commits).map_err(|error| OpenError::Io(commits, error))?;
    if read_marker(dir)?.is_none() {
        complete_first_start(dir, store, parts)?;
    }
    let log = OpenOptions::new().write(true).open(&log).map_err(|error| OpenError::Io(log, error))?;
    Ok((acknowledged, log))
}

/// Opens a store of which the files are looked at before, and put back if it is refused: also one that has `just_been_made`,
/// of which an error inside sled would leave nothing that ever opens. The error says whether that was done.
fn open_undoably(
    store: &Path,
    options: &StoreOptions,
    space: &Space,
    expected: Expected,
    just_been_made: bool,
) -> Result<Parts, (OpenError, bool)> {
    let changes = expected.changes;
    let before = look_before(store, space, changes, just_been_made);
    let closed = before.and_then(|closed| heal(store).map(|()| closed)).map_err(|error| (error, false))?;
    let (path, options) = (store.to_owned(), options.clone());
    let opened = within_deadline(store, DEADLINE + time_to_read(store), move || {
        open_whole(&path, &path, &options, expected, closed)
    });
    opened.map_err(|error| match undo(store, changes) {
        Ok(is_undone) => (error, is_undone),
        // The disk fails now, and what looked like damage may have been the same.
        Err(failed) if error.is_damage() => (OpenError::Io(store.into(), failed), false),
        Err(_) => (error, false),
    })
}

/// Reads all of the store's files, and sets aside what sled may overwrite. Answers the mark of a clean stop and what was
/// read, where they fit each other.
fn look_before(
    store: &Path,
    space: &Space,
    changes: u64,
    just_been_made: bool,
) -> Result<Option<(Closed, Survey)>, OpenError> {
    let io = |error| OpenError::Io(store.into(), error);
    let path = store.to_owned();
    let read = time_to_read(store);
    let survey = within_deadline(store, DEADLINE + read, move || Survey::take(&path, Extent::All))?;
    let closed = Closed::read(store).map_err(io)?.filter(|closed| closed.fits(&survey));
    let scope = Scope::of(&survey, closed.is_some(), space.free().map_err(io)?);
    if scope == Scope::None {
        if closed.is_none() {
            say_no_room(store, &survey);
        }
        return Ok(closed.map(|closed| (closed, survey)));
    }
    if closed.is_none() && !just_been_made {
        let mib = scope.bytes(&survey).div_ceil(1 << 20);
        log::info!("the store was not closed properly: {mib} MiB of it are copied before it is opened");
    }
    let path = store.to_owned();
    within_deadline(store, DEADLINE + read * COPYING, move || {
        match aside::set_aside(&path, &survey, scope, changes) {
            Err(error) if is_full(&error) => say_no_room(&path, &survey),
            made => made.map_err(|error| OpenError::Io(path, error))?,
        }
        Ok(closed.map(|closed| (closed, survey)))
    })
}

fn say_no_room(store: &Path, survey: &Survey) {
    log::warn!(
        "there is no room for a copy of {} ({} MiB), which was not closed properly: it is opened without, and if it \
         turns out to be damaged, that cannot be undone",
        store.display(),
        Scope::Replayed.bytes(survey).div_ceil(1 << 20)
    );
}

/// Puts back what was set aside before a store was opened that is refused.
/// Says whether there was anything.
fn undo(store: &Path, changes: u64) -> io::Result<bool> {
    // Where opening hangs or has panicked, it may be held for ever.
    let _ = wait_until_released(&store.join(LOG), DEADLINE / 8);
    match aside::put_back(store, changes) {
        Ok(true) => log::warn!("the files in {} are as they were before they were opened", store.display()),
        Ok(false) => return Ok(false),
        Err(error) => {
            log::error!(
                "the files in {} could not be put back: {error}; they are in its folder aside, and the next start tries \
                 again",
                store.display()
            );
            return Err(error);
        }
    }
    Ok(true)
}

/// What the files beside the store say about it.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    pub(super) marker: Option<Uuid>,
    pub(super) changes: u64,
}

pub(super) fn create_data_dir(dir: &Path) -> Result<(), OpenError> {
    let mut missing = Vec::new();
    for level in dir.ancestors().filter(|level| !level.as_os_str().is_empty()) {
        if exists(level)? {
            break;
        }
        missing.push(level);
    }
    for level in missing.into_iter().rev() {
        durable_file::create_dir(level).map_err(|error| OpenError::Io(level.into(), error))?;
    }
    demand_dir(dir)
}

pub(super) fn demand_dir(dir: &Path) -> Result<(), OpenError> {
    let there = fs::metadata(dir).map_err(|error| OpenError::Io(dir.into(), error))?;
    if there.is_dir() { Ok(()) } else { Err(OpenError::Io(dir.into(), io::ErrorKind::NotADirectory.into())) }
}

/// Whether something is at `path`. An error of the look is no answer: what follows would overwrite what is there.
pub(super) fn exists(path: &Path) -> Result<bool, OpenError> {
    path.try_exists().map_err(|error| OpenError::Io(path.into(), error))
}

/// Refuses a directory that is somebody else's. Whoever owns it could lead us elsewhere, which matters most where we are
/// root, and what we make in it they could not read.
pub(crate) fn demand_ours(dir: &Path) -> Result<(), OpenError> {
    let us = rustix::process::geteuid();
    let owner = |path: &Path, looked: io::Result<fs::Metadata>| match looked {
        Ok(there) => Ok(Some(there.uid())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OpenError::Io(path.into(), error)),
    };
    // A volume may be root's and lent to its user by group; what has been made in it tells whose it is.
    let directory = owner(dir, fs::metadata(dir))?.filter(|&owner| owner != 0 || us.is_root());
    let lock = dir.join("lock");
    let lock = owner(&lock, fs::symlink_metadata(&lock))?;
    match directory.into_iter().chain(lock).find(|&owner| owner != us.as_raw()) {
        Some(owner) => Err(OpenError::NotOurs(dir.into(), owner)),
        None => Ok(()),
    }
}

/// Whoever can write to the directory can put files of their own in the place of ours.
pub(super) fn warn_if_others_can_write(dir: &Path) {
    if fs::metadata(dir).is_ok_and(|dir| dir.permissions().mode() & 0o022 != 0) {
        log::warn!("others can write to {dir}: run `chmod 700 {dir}`", dir = dir.display());
    }
}

/// Keeps others out for as long as the file is held.
pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let io = |error| OpenError::Io(path.clone(), error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed()) // what a link leads to is not ours to write into
        .open(&path)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.take(32).read_to_string(&mut holder);
            return Err(OpenError::InUse(dir.into(), holder.trim().to_owned()));
        }
        Err(TryLockError::Error(error)) => return Err(io(error)),
    }
    // For people only; nothing depends on it, and a full disk must not stop the start here.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

pub(super) fn read_marker(dir: &Path) -> Result<Option<Uuid>, OpenError> {
    let path = dir.join("store-id");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::Io(path, error)),
    };
    match text.trim().parse() {
        Ok(id) => Ok(Some(id)),
        Err(_) => Err(OpenError::Damaged(path, "the marker holds no id".into())),
    }
}

pub(super) fn write_marker(dir: &Path, id: Uuid) -> Result<(), OpenError> {
    let path = dir.join("store-id");
    durable_file::write(&path, format!("{id}\n").as_bytes()).map_err(|error| OpenError::Io(path, error))
}

/// Makes a store with what `fill` puts into it, all of it on stable storage before it gets its name. Answers its id
/// and its seal.
pub(super) fn make<E: From<OpenError>>(
    dir: &Path,
    options: &StoreOptions,
    fill: impl FnOnce(&Trees) -> Result<Seal, E>,
) -> Result<(Uuid, Seal), E> {
    let (store, unfinished) = (dir.join("store"), dir.join("store.new"));
    let io = |error| OpenError::Io(store.clone(), error);
    let broken = |error| from_sled(&store, error);
    match fs::remove_file(dir.join("commits")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error).into()),
        _ => {}
    }
    if exists(&unfinished)? {
        log::warn!("removed {}, left over from a start that was cut short", unfinished.display());
        fs::remove_dir_all(&unfinished).map_err(io)?;
    }
    durable_file::create_dir(&unfinished).map_err(io)?;
    let id = Uuid::from_bytes(
        random::bytes().map_err(|error| OpenError::Io(store.clone(), io::Error::other(error.to_string())))?,
    );
    let seal = {
        let (config, db, trees) = open_sled(&unfinished, options).map_err(broken)?;
        let seal = fill(&trees)?;
        trees.meta.insert(meta::STORE_ID, id.as_bytes()).map_err(broken)?;
        trees.meta.insert(meta::FORMAT, FORMAT).map_err(broken)?;
        trees.meta.insert(meta::SEAL, &seal.to_bytes()).map_err(broken)?;
        flush(&db, &config).map_err(broken)?;
        seal
    };
    wait_until_released(&unfinished.join("db"), DEADLINE).map_err(io)?;
    for entry in fs::read_dir(&unfinished).map_err(io)? {
        // Opening a folder to sync it is the same call.
        durable_file::sync_dir(&entry.map_err(io)?.path()).map_err(io)?;
    }
    durable_file::sync_dir(&unfinished).map_err(io)?;
    fs::rename(&unfinished, &store).map_err(io)?;
    durable_file::sync_dir(dir).map_err(io)?;
    log::info!("made a new store in {}", store.display());
    Ok((id, seal))
}

/// Waits until sled has let go of its log: a thread of its own may hold it for a moment after the last handle is
/// gone. Nobody else can: the directory is locked.
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

/// Removes what a start that was cut short leaves behind and what would make sled refuse to open. A snapshot
/// with content stays: without it a damaged log would be read as a shorter one.
fn heal(store: &Path) -> Result<(), OpenError> {
    let io = |error| OpenError::Io(store.into(), error);
    for entry in fs::read_dir(store).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with("snap.")) else {
            continue;
        };
        let unfinished = name.ends_with(".generating");
        if unfinished || entry.metadata().map_err(io)?.len() == 0 {
            fs::remove_file(entry.path()).map_err(io)?;
            log::warn!(
                "removed the unfinished snapshot {name}; the one before it and the log take its place"
            );
        }
    }
    Ok(())
}

pub(super) fn open_sled(
    path: &Path,
    options: &StoreOptions,
) -> Result<(sled::Config, sled::Db, Trees), sled::Error> {
    let config = sled::Config::new()
        .path(path)
        .mode(sled::Mode::HighThroughput)
        // sled counts what pages take on disk; in memory they take about twice that.
        .cache_capacity(options.cache / 2)
        .flush_every_ms(None); // the committer flushes
    let db = config.open()?;
    // sled has renamed a snapshot, and emptied segments that only the one before it needs. The rename must be on
    // stable storage before anything syncs the log: a power cut that took back the one and kept the other left a
    // store that did not open (9 of 720 cuts; none of 460 with this line).
    durable_file::sync_dir(path)?;
    let meta = db.open_tree("meta")?;
    let format = meta.get(meta::FORMAT)?;
    let trees = Trees {
        users: db.open_tree("users")?,
        usernames: db.open_tree(upgrade::names_tree(format.as_deref()))?,
        revoked: db.open_tree("revoked")?,
        rotations: db.open_tree("rotations")?,
        keys: db.open_tree("keys")?,
        meta,
    };
    Ok((config, db, trees))
}

/// What reading all of a store may take on a slow disk.
pub(super) fn time_to_read(store: &Path) -> Duration {
    let log_bytes = fs::metadata(store.join(LOG)).map_or(0, |meta| meta.len());
    Duration::from_secs(log_bytes / BYTES_PER_SECOND)
}

/// How many times its deadline a start may take that computes less than that: beside other programs, or on a disk that is
/// slow.
const PATIENCE: u32 = 15;

/// Does `work`, which opens sled, on a thread of its own: a damaged log may panic or never come back. A scan that spins is
/// told from a machine that is busy by the time that this process has computed.
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
    thread::Builder::new()
        .name("open".into())
        .spawn(opening)
        .map_err(|error| OpenError::Io(store.into(), error))?;
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

/// Opens sled on the files in `path` and makes sure that it is the store that belongs at `store`, that nothing is missing
/// from it, and that it holds what it held when it was `closed`, if it was.
pub(super) fn open_whole(
    path: &Path,
    store: &Path,
    options: &StoreOptions,
    expected: Expected,
    closed: Option<(Closed, Survey)>,
) -> Result<Parts, OpenError> {
    let broken = |error| from_sled(store, error);
    let damaged = |what: &str| OpenError::Damaged(store.into(), what.into());
    // A snapshot may be made of what a killed process has written and nobody has synced.
    File::open(path.join(LOG))
        .and_then(|log| log.sync_all())
        .map_err(|error| OpenError::Io(store.into(), error))?;
    let (config, db, trees) = open_sled(path, options).map_err(broken)?;
    let layout = match trees.meta.get(meta::FORMAT).map_err(broken)? {
        Some(format) if *format == *FORMAT || upgrade::is_outdated(&format) => format,
        Some(format) if *format > *FORMAT => return Err(OpenError::Newer(store.into())),
        _ => return Err(damaged("it does not say how it is laid out")),
    };
    let id = store_id(&trees).map_err(broken)?;
    if expected.marker.is_some() && expected.marker != id {
        return Err(OpenError::Foreign(store.into()));
    }
    let id = id.ok_or(OpenError::Unmarked(store.into(), None))?;
    let seal = trees.meta.get(meta::SEAL).map_err(broken)?;
    let seal =
        seal.and_then(|bytes| Seal::from_bytes(&bytes)).ok_or_else(|| damaged("its seal is missing"))?;
    if seal.changes < expected.changes {
        return Err(OpenError::Behind(store.into(), expected.changes - seal.changes));
    }
    let mut found = Found::default();
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
    if !seal.holds(&trees, visit).map_err(broken)? {
        return Err(damaged("some of its records are missing or outdated"));
    }
    if unreadable > 0 {
        return Err(damaged(&format!("{unreadable} of its users cannot be read")));
    }
    if let Some((closed, survey)) = closed {
        let counts = Counts::new(found.users, found.revoked);
        if closed != Closed::of(&trees, id, seal, &counts, &survey).map_err(broken)? {
            return Err(damaged("it does not hold what it held when it was closed"));
        }
    }
    if !upgrade::is_outdated(&layout) && !found.fit(&trees).map_err(broken)? {
        return Err(damaged("its users are not those that it counts"));
    }
    Ok(Parts { config, db, trees, id, seal, found, layout })
}

/// As `Db::flush`, which may wait for ever for a thread of sled's that has failed.
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

fn store_id(trees: &Trees) -> Result<Option<Uuid>, sled::Error> {
    let bytes = trees.meta.get(meta::STORE_ID)?;
    Ok(bytes.and_then(|bytes| Uuid::from_slice(&bytes).ok()))
}

/// Writes the marker of a first start that was cut short just before that. Nobody can have registered yet; where
/// somebody has, the marker has been removed or the store comes from elsewhere.
fn complete_first_start(dir: &Path, store: &Path, parts: &Parts) -> Result<(), OpenError> {
    if parts.found.users == 0 {
        write_marker(dir, parts.id)
    } else {
        Err(OpenError::Unmarked(store.into(), Some(parts.id)))
    }
}
