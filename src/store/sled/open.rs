//! Opening the store: repairs what is safe to repair, refuses the rest, and undoes the changes of a refused
//! start.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use super::acknowledged::Acknowledged;
use super::aside::{self, Scope};
use super::closed::Closed;
use super::data_dir::{
    RESTORING, create_data_dir, demand_ours, exists, lock, read_marker, warn_if_others_can_write,
    write_marker,
};
use super::database::{
    COPYING, DEADLINE, Database, Expected, Opened, open_whole, time_to_read, wait_until_released,
    within_deadline,
};
use super::files::{LOG, ReadScope, Survey};
use super::look;
use super::make::make;
use super::seal::Seal;
use super::space::Space;
use super::upgrade;
use crate::store::exposure;
use crate::store::open_error::{OpenError, is_full};
use crate::store::terms::StoreOptions;

pub(super) fn open(dir: &Path, options: &StoreOptions, space: &Space) -> Result<Opened, OpenError> {
    create_data_dir(dir)?;
    demand_ours(dir)?;
    let store = dir.join("store");
    let used_before = exists(&dir.join("lock"))? || exists(&dir.join("store-id"))?;
    if exists(&store)? && !used_before {
        // An unknown store, neither to be opened nor removed. The lock file must not be created either: the
        // next start would take the store for ours.
        return Err(OpenError::Unmarked(store, None));
    }
    let lock = lock(dir)?;
    if exists(&dir.join(RESTORING))? {
        return Err(OpenError::HalfRestored(dir.into()));
    }
    warn_if_others_can_write(dir);
    exposure::warn(dir);
    space.make_room().map_err(OpenError::at(dir))?;

    let marker = read_marker(dir)?;
    let log_path = store.join(LOG);
    let complete = exists(&log_path)?;
    match (&marker, complete) {
        (Some(_), false) => return Err(OpenError::Vanished(store)),
        // A first start renames only a store that has its log.
        (None, false) if exists(&store)? => return Err(OpenError::Vanished(store)),
        (None, false) => {
            let (dir, options) = (dir.to_owned(), options.clone());
            let made = move || make(&dir, &options, |_| Ok(Seal::default())).map(drop);
            within_deadline(&store, DEADLINE, made)?;
        }
        (_, true) => {}
    }
    wait_until_released(&log_path, DEADLINE).map_err(OpenError::at(&log_path))?;

    // Everything is read before anything is written: the number of changes beside the store, and all files of
    // sled.
    let commits = dir.join("commits");
    let noted = Acknowledged::read(&commits).map_err(OpenError::at(&commits))?;
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
    let broken = OpenError::at(&store);
    if aside::put_back(&store, changes).map_err(broken)? {
        log::warn!("put back the files of {}: the start before this one was cut short", store.display());
    }
    let expected = Expected { marker, changes };
    let mut database = match open_undoably(&store, options, space, expected, !complete) {
        // A transient error inside sled looks like damage. Real damage is refused again.
        Err((error, true)) if error.is_damage() => {
            log::warn!("{} did not open as it should: it is opened once more", store.display());
            open_undoably(&store, options, space, expected, !complete).map_err(|(error, _)| error)?
        }
        opened => opened.map_err(|(error, _)| error)?,
    };
    let taken_over = take_over(dir, &store, &database).and_then(|(acknowledged, log)| {
        if upgrade::bring_up(&store, &mut database, &log, space)? {
            log::info!("the store in {} was brought to the layout of this version", store.display());
        }
        Ok((acknowledged, log))
    });
    match taken_over {
        Ok((acknowledged, log)) => {
            Ok(Opened { database, acknowledged, log, lock, dir: dir.into(), log_path })
        }
        Err(error) => {
            std::mem::forget(database); // its destructors would write, and panic if the disk fails
            Err(error)
        }
    }
}

/// The steps beside a whole store before its first change. Returns the file of the number of changes, and a
/// second handle to sled's log.
fn take_over(dir: &Path, store: &Path, database: &Database) -> Result<(Acknowledged, File), OpenError> {
    // State older than the first change must never return.
    let discarded = aside::discard(store).and_then(|()| Closed::remove(store));
    discarded.map_err(OpenError::at(store))?;
    let (commits, log) = (dir.join("commits"), store.join(LOG));
    let acknowledged = Acknowledged::open(&commits).map_err(OpenError::at(&commits))?;
    if read_marker(dir)?.is_none() {
        complete_first_start(dir, store, database)?;
    }
    let log = OpenOptions::new().write(true).open(&log).map_err(OpenError::at(&log))?;
    Ok((acknowledged, log))
}

/// Opens a store whose files are surveyed before, and put back if it is refused. That includes a new store:
/// an I/O error inside sled could otherwise leave one that never opens. The error says whether the files were
/// put back.
fn open_undoably(
    store: &Path,
    options: &StoreOptions,
    space: &Space,
    expected: Expected,
    just_been_made: bool,
) -> Result<Database, (OpenError, bool)> {
    let changes = expected.changes;
    let before = look_before(store, space, changes, just_been_made);
    let closed = before.and_then(|closed| heal(store).map(|()| closed)).map_err(|error| (error, false))?;
    let (path, options) = (store.to_owned(), options.clone());
    let opened = within_deadline(store, DEADLINE + time_to_read(store), move || {
        open_whole(&path, &path, &options, expected, closed)
    });
    opened.map_err(|error| match undo(store, changes) {
        Ok(is_undone) => (error, is_undone),
        // The disk fails at present, which may also explain the apparent damage.
        Err(failed) if error.is_damage() => (OpenError::Io(store.into(), failed), false),
        Err(_) => (error, false),
    })
}

/// Surveys the store's files and sets aside what sled may overwrite. Returns the mark of a clean stop with
/// the survey, if they match.
fn look_before(
    store: &Path,
    space: &Space,
    changes: u64,
    just_been_made: bool,
) -> Result<Option<(Closed, Survey)>, OpenError> {
    let io = OpenError::at(store);
    let path = store.to_owned();
    let read = time_to_read(store);
    let survey = within_deadline(store, DEADLINE + read, move || Survey::take(&path, ReadScope::All))?;
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
            made => made.map_err(OpenError::at(&path))?,
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

/// Puts back the files of a refused store. Returns whether there were any.
fn undo(store: &Path, changes: u64) -> io::Result<bool> {
    // An open that hangs or panicked may hold the log forever.
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

/// Removes leftovers of an interrupted start that would make sled refuse to open. Snapshots with content
/// stay: without its snapshot, a damaged log would be read as a shorter one.
fn heal(store: &Path) -> Result<(), OpenError> {
    let io = OpenError::at(store);
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

/// Writes the marker of an interrupted first start. Such a store has no users; if there are some, the marker
/// was removed or the store comes from elsewhere.
fn complete_first_start(dir: &Path, store: &Path, database: &Database) -> Result<(), OpenError> {
    if database.found.users == 0 {
        write_marker(dir, database.id)
    } else {
        Err(OpenError::Unmarked(store.into(), Some(database.id)))
    }
}
