//! Copies of the files that sled may overwrite while it opens, kept until the store is known to be whole.
//!
//! sled repairs first: it overwrites what it takes for a torn write, and only afterwards does the seal show
//! that records are missing. So the files are copied into `store/aside` first, and `list`, written last,
//! marks the copy as complete. If the store is refused, the copy is put back. If a start is interrupted in
//! between, the next one finds the list and puts the copy back before anything else. Once the store is found
//! whole, the list is durably removed before the first change, so that no older state ever returns.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{self, LOG, SEGMENT, Segment, Sum, Survey};
use super::space::BALLAST;
use crate::durable_file;

const FOLDER: &str = "aside";

/// The list of copies.
#[derive(Serialize, Deserialize)]
struct List {
    /// The number of changes known to be durable.
    changes: u64,
    files: BTreeMap<String, Sum>,
    log_length: u64,
    segments: Vec<Segment>,
}

/// How much is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Every byte, synced: the store's state is unknown.
    All,
    /// The segments that sled replays, synced, for lack of room. Other segments that sled overwrites are free
    /// in every reading of the log.
    Replayed,
    /// The same segments, unsynced: the store is known to be whole, and only an I/O error inside sled could
    /// damage it.
    ReplayedUnsynced,
    /// Nothing.
    None,
}

impl Scope {
    /// The scope for this many free bytes. sled needs some room to open as well.
    pub(super) fn of(survey: &Survey, is_as_closed: bool, free: u64) -> Self {
        let fits = |scope: Self| free >= scope.bytes(survey).saturating_add(BALLAST);
        let wanted: &[Self] =
            if is_as_closed { &[Self::ReplayedUnsynced] } else { &[Self::All, Self::Replayed] };
        wanted.iter().copied().find(|scope| fits(*scope)).unwrap_or(Self::None)
    }

    fn includes(self, segment: &Segment) -> bool {
        match self {
            Self::All => true,
            Self::Replayed | Self::ReplayedUnsynced => segment.is_replayed,
            Self::None => false,
        }
    }

    pub(super) fn bytes(self, survey: &Survey) -> u64 {
        let files = survey.files.values().map(|sum| sum.length);
        let segments = survey.segments.iter().filter(|segment| self.includes(segment));
        files.chain(segments.map(|segment| segment.sum.length)).sum()
    }
}

/// Copies the files in `scope` of the store at `store`, which has this many `changes`.
pub(super) fn set_aside(store: &Path, survey: &Survey, scope: Scope, changes: u64) -> io::Result<()> {
    clear(store)?;
    let aside = store.join(FOLDER);
    let mut make = fs::DirBuilder::new();
    make.mode(0o700).create(&aside)?;
    if survey.files.keys().any(|name| name.contains('/')) {
        make.create(aside.join("blobs"))?;
    }
    let is_synced = scope != Scope::ReplayedUnsynced;
    let finish = |file: &File| if is_synced { file.sync_all() } else { Ok(()) };
    for name in survey.files.keys() {
        let file = create(&aside.join(name))?;
        let mut from = files::open(&store.join(name))?;
        io::copy(&mut from, &mut &file)?;
        finish(&file)?;
    }
    let (from, to) = (files::open(&store.join(LOG))?, create(&aside.join(LOG))?);
    let mut bytes = vec![0; SEGMENT];
    let segments: Vec<_> =
        survey.segments.iter().copied().filter(|segment| scope.includes(segment)).collect();
    for segment in &segments {
        to.write_all_at(segment.read(&from, &mut bytes)?, segment.at)?;
    }
    finish(&to)?;
    let list = List { changes, files: survey.files.clone(), log_length: survey.log_length, segments };
    let line = files::to_line(&list)?;
    let path = aside.join("list");
    if is_synced {
        if aside.join("blobs").try_exists()? {
            durable_file::sync_dir(&aside.join("blobs"))?;
        }
        durable_file::sync_dir(store)?;
        durable_file::write(&path, &line)
    } else {
        fs::write(&path, line)
    }
}

/// Puts back the copies of a start that neither found the store whole nor put them back itself, this one
/// included. Returns whether there were any. `changes` is the number known to be durable.
pub(super) fn put_back(store: &Path, changes: u64) -> io::Result<bool> {
    let aside = store.join(FOLDER);
    let Some(list) = files::from_line::<List>(&aside.join("list"))? else {
        // The copy is incomplete, so sled had not been opened.
        clear(store)?;
        return Ok(false);
    };
    if list.changes < changes {
        log::warn!(
            "{} is older than the store, which has gone on since: it is not put back",
            aside.display()
        );
        clear(store)?;
        return Ok(false);
    }
    if !list.is_whole(&aside)? {
        // Left by a power cut after an unsynced copy, which is made only of a store known to be whole.
        log::warn!("{} is not whole: it is not put back", aside.display());
        clear(store)?;
        return Ok(false);
    }
    list.put_back(&aside, store)?;
    discard(store)?;
    Ok(true)
}

/// Discards the copies: the store is whole and keeps sled's repairs. Durable on return.
pub(super) fn discard(store: &Path) -> io::Result<()> {
    let aside = store.join(FOLDER);
    match fs::remove_file(aside.join("list")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => {
            removed?;
            durable_file::sync_dir(&aside)?;
        }
    }
    if let Err(error) = clear(store) {
        log::warn!("{} cannot be removed: {error}", aside.display()); // harmless without its list
    }
    Ok(())
}

fn clear(store: &Path) -> io::Result<()> {
    match fs::remove_dir_all(store.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

impl Segment {
    /// Reads the segment and compares it with its checksum.
    fn read<'a>(&self, file: &File, bytes: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let bytes = &mut bytes[..usize::try_from(self.sum.length).unwrap_or(SEGMENT).min(SEGMENT)];
        files::read_exact_at(file, bytes, self.at)?;
        if crc32fast::hash(bytes) == self.sum.crc {
            return Ok(bytes);
        }
        Err(io::Error::other("it changed while it was read"))
    }
}

impl List {
    /// Whether the copy matches its checksums.
    fn is_whole(&self, aside: &Path) -> io::Result<bool> {
        let log = files::open(&aside.join(LOG))?;
        let mut bytes = vec![0; SEGMENT];
        for segment in &self.segments {
            if let Err(error) = segment.read(&log, &mut bytes) {
                return if error.raw_os_error().is_some() { Err(error) } else { Ok(false) };
            }
        }
        for (name, sum) in &self.files {
            let bytes = match fs::read(aside.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                bytes => bytes?,
            };
            if bytes.len() as u64 != sum.length || crc32fast::hash(&bytes) != sum.crc {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn put_back(&self, aside: &Path, store: &Path) -> io::Result<()> {
        for name in self.files.keys() {
            let bytes = fs::read(aside.join(name))?;
            let is_there = fs::read(store.join(name)).is_ok_and(|there| there == bytes);
            if !is_there {
                durable_file::write(&store.join(name), &bytes)?;
            }
        }
        for name in snapshots(store)? {
            if !self.files.keys().any(|kept| store.join(kept) == name) {
                fs::remove_file(name)?;
            }
        }
        let from = files::open(&aside.join(LOG))?;
        let log = OpenOptions::new().read(true).write(true).open(store.join(LOG))?;
        log.set_len(self.log_length)?;
        let (mut bytes, mut there) = (vec![0; SEGMENT], vec![0; SEGMENT]);
        for segment in &self.segments {
            let bytes = segment.read(&from, &mut bytes)?;
            let there = &mut there[..bytes.len()];
            if files::read_exact_at(&log, there, segment.at).is_err() || there != bytes {
                log.write_all_at(bytes, segment.at)?;
            }
        }
        log.sync_all()?;
        durable_file::sync_dir(store)
    }
}

fn snapshots(store: &Path) -> io::Result<Vec<PathBuf>> {
    let mut snapshots = Vec::new();
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            snapshots.push(entry.path());
        }
    }
    Ok(snapshots)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::files::ReadScope;
    use super::*;

    /// Files shaped like a store's: a log of three segments and a bit, a snapshot, a blob.
    fn store() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("blobs")).unwrap();
        let log: Vec<u8> =
            (0..SEGMENT * 3 + 77).map(|at| u8::try_from(at / 1000 % 251 + 1).unwrap()).collect();
        for (name, content) in [("conf", &b"conf"[..]), ("blobs/4", b"blob"), ("snap.0", b"old"), (LOG, &log)]
        {
            fs::write(dir.path().join(name), content).unwrap();
        }
        dir
    }

    fn content(store: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut content = BTreeMap::new();
        for folder in [store.to_owned(), store.join("blobs")] {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_file() {
                    content.insert(
                        entry.path().strip_prefix(store).unwrap().to_owned(),
                        fs::read(entry.path()).unwrap(),
                    );
                }
            }
        }
        content
    }

    fn survey(store: &Path) -> Survey {
        Survey::take(store, ReadScope::All).unwrap()
    }

    /// The effect of sled taking everything for torn.
    fn destroy(store: &Path) {
        let log = OpenOptions::new().write(true).open(store.join(LOG)).unwrap();
        log.write_all_at(&vec![0; SEGMENT], 0).unwrap();
        log.set_len(SEGMENT as u64).unwrap();
        fs::rename(store.join("snap.0"), store.join("snap.1")).unwrap();
        fs::write(store.join("snap.1"), "new").unwrap();
        fs::remove_file(store.join("blobs/4")).unwrap();
    }

    #[test]
    fn what_was_set_aside_comes_back_to_the_byte() {
        for scope in [Scope::All, Scope::Replayed, Scope::ReplayedUnsynced] {
            let dir = store();
            let before = content(dir.path());
            set_aside(dir.path(), &survey(dir.path()), scope, 7).unwrap();
            destroy(dir.path());
            assert!(put_back(dir.path(), 7).unwrap());
            assert!(content(dir.path()) == before, "{scope:?}");
            assert!(!dir.path().join(FOLDER).try_exists().unwrap());
            assert!(!put_back(dir.path(), 7).unwrap(), "once");
        }
    }

    #[test]
    fn putting_back_that_is_cut_short_is_done_again() {
        let dir = store();
        let before = content(dir.path());
        set_aside(dir.path(), &survey(dir.path()), Scope::All, 7).unwrap();
        destroy(dir.path());
        let aside = dir.path().join(FOLDER);
        let list: List = files::from_line(&aside.join("list")).unwrap().unwrap();
        list.put_back(&aside, dir.path()).unwrap(); // the list is still there
        destroy(dir.path());
        fs::write(dir.path().join("snap.0.new"), "cut short").unwrap();
        assert!(put_back(dir.path(), 7).unwrap());
        assert!(content(dir.path()) == before);
    }

    #[test]
    fn an_outdated_copy_is_not_put_back() {
        let dir = store();
        set_aside(dir.path(), &survey(dir.path()), Scope::All, 7).unwrap();
        discard(dir.path()).unwrap();
        destroy(dir.path());
        let after = content(dir.path());
        assert!(!put_back(dir.path(), 7).unwrap());
        // Nor if it could not be removed and the store has taken changes since.
        let dir_2 = store();
        set_aside(dir_2.path(), &survey(dir_2.path()), Scope::All, 7).unwrap();
        destroy(dir_2.path());
        assert!(!put_back(dir_2.path(), 8).unwrap());
        assert!(content(dir.path()) == after && content(dir_2.path()) == after);
        assert!(!dir_2.path().join(FOLDER).try_exists().unwrap());
    }

    #[test]
    fn a_copy_that_is_not_complete_is_not_put_back() {
        for missing in ["list", "conf", "db"] {
            let dir = store();
            set_aside(dir.path(), &survey(dir.path()), Scope::All, 7).unwrap();
            let before = content(dir.path());
            let path = dir.path().join(FOLDER).join(missing);
            if missing == "db" {
                OpenOptions::new()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .write_all_at(b"?", SEGMENT as u64)
                    .unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
            assert!(!put_back(dir.path(), 7).unwrap(), "{missing}");
            assert!(content(dir.path()) == before, "{missing}");
        }
    }

    #[test]
    fn less_is_set_aside_where_there_is_less_room() {
        let dir = store();
        let mut survey = survey(dir.path());
        survey.segments[0].is_replayed = false;
        let (all, replayed) = (Scope::All.bytes(&survey), Scope::Replayed.bytes(&survey));
        assert_eq!(all - replayed, SEGMENT as u64);
        let scope = |is_as_closed, free| Scope::of(&survey, is_as_closed, free);
        assert_eq!(scope(false, all + BALLAST), Scope::All);
        assert_eq!(scope(false, all + BALLAST - 1), Scope::Replayed);
        assert_eq!(scope(false, replayed + BALLAST - 1), Scope::None);
        assert_eq!(scope(true, all + BALLAST), Scope::ReplayedUnsynced);
        assert_eq!(scope(true, replayed + BALLAST - 1), Scope::None);
    }
}
