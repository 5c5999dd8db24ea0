//! Backups: for whoever asks, and automatic copies in a folder.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::audit::{By, Event, Origin};
use crate::backup::{Backup, BackupFile, CopyName, NewFile, ReadError, WriteError};
use crate::domain::clock::Timestamp;
use crate::durable_file;
use crate::metrics::Backups;
use crate::store::StoreError;

use super::{Console, Refusal, Service};

/// How often to look whether a copy is due: often enough for any interval, and for a clock that was set.
const LOOK: Duration = Duration::from_secs(1);

/// How long after a copy has failed the next is tried; twice as long each time, up to the usual interval.
const RETRY: Duration = Duration::from_secs(60);

/// How long a copy may take before its disk is said to hang. A million users take some ten seconds.
const HANGS: Duration = Duration::from_secs(3600);

/// Where automatic copies go.
#[derive(Clone, Debug)]
pub struct CopyPlan {
    /// A directory of their own. Other stores may have theirs there too, which stay.
    pub dir: PathBuf,
    /// Of which store they are.
    pub store: Uuid,
    /// How often one is made.
    pub every: Duration,
    /// How many are kept.
    pub keep: usize,
    /// Bytes that are left on its disk.
    pub min_free: u64,
}

/// Automatic copies.
pub struct Copies {
    plan: CopyPlan,
    state: Mutex<State>,
    metrics: Backups,
}

#[derive(Default)]
struct State {
    /// When the last good one was begun.
    last: Option<Timestamp>,
    failed: Option<Failed>,
}

/// What is the matter since the last good copy.
struct Failed {
    error: String,
    wait: Duration,
    next: Timestamp,
}

/// How automatic copies are doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiesState {
    /// When the newest one was begun.
    pub last: Option<Timestamp>,
    /// Why there is none that is newer; names no files.
    pub error: Option<String>,
}

/// Why a copy was not made.
#[derive(Debug)]
enum CopyError {
    Store(StoreError),
    Write(WriteError),
    /// Written, and not to be restored.
    Read(ReadError),
    Folder(io::Error),
    /// Nothing has become of it in an hour.
    Hangs,
    /// The thread that was to make it is gone.
    Gone,
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Write(error) => error.fmt(f),
            Self::Read(error) => error.fmt(f),
            Self::Folder(error) => error.fmt(f),
            Self::Hangs => f.write_str("the disk does not answer"),
            Self::Gone => f.write_str("the thread that writes it is gone"),
        }
    }
}

impl Copies {
    /// Copies that go on from those that are there.
    ///
    /// # Errors
    /// When the directory cannot be made or written to.
    pub fn open(plan: CopyPlan, now: Timestamp) -> io::Result<Self> {
        durable_file::create_dir(&plan.dir)?;
        drop(NewFile::create(&plan.dir.join("gatelet-writes-here"), 0)?);
        let copies = plan.copies(now)?;
        if let Some((name, _)) = copies.last().filter(|(name, _)| !name.is_of(plan.store)) {
            log::warn!(
                "the newest backup in {}, {name}, is another store's: this one makes its own and removes no others; \
                 was that meant, or is another disk to be mounted at --data-dir?",
                plan.dir.display()
            );
        }
        let last = copies.iter().rfind(|(name, _)| name.is_of(plan.store)).map(|(name, _)| name.moment);
        let metrics = Backups::default();
        if let Some(last) = last {
            metrics.done(last);
        }
        Ok(Self { plan, metrics, state: Mutex::new(State { last, failed: None }) })
    }

    /// Copies into a directory that does not answer now. They are tried as those are that have failed.
    pub fn failed(plan: CopyPlan, error: io::Error, now: Timestamp) -> Self {
        let copies = Self { plan, metrics: Backups::default(), state: Mutex::default() };
        copies.settle(now, now, Err(CopyError::Folder(error)));
        copies
    }

    /// How they are doing, counted.
    pub(super) fn metrics(&self) -> Backups {
        self.metrics.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let state = self.state();
        match &state.failed {
            Some(failed) => now >= failed.next,
            None => state.last.is_none_or(|last| now >= last.after(self.plan.every)),
        }
    }

    /// The one place where it is known what has become of a copy that was begun at one moment and given up at another.
    fn settle(&self, begun: Timestamp, ended: Timestamp, outcome: Result<u64, CopyError>) {
        let dir = self.plan.dir.display();
        let mut state = self.state();
        match outcome {
            Ok(users) => {
                log::info!("{users} users were backed up to {dir}/{}", CopyName::new(self.plan.store, begun));
                self.metrics.done(begun);
                *state = State { last: Some(begun), failed: None };
            }
            Err(error) => {
                let before = state.failed.as_ref().map(|failed| failed.wait);
                let wait = before.map_or(RETRY, |wait| wait.saturating_mul(2)).min(self.plan.every);
                log::error!(
                    "no backup could be written to {dir}: {error}: the next is tried in {}",
                    humantime::format_duration(wait)
                );
                self.metrics.failed();
                state.failed = Some(Failed { error: error.to_string(), wait, next: ended.after(wait) });
            }
        }
    }
}

impl CopyPlan {
    /// Those that were begun until `now`, of all stores, oldest first. A clock that ran ahead may have left others; they
    /// are nobody's measure, and stay.
    fn copies(&self, now: Timestamp) -> io::Result<Vec<(CopyName, PathBuf)>> {
        let mut copies = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if let Some(name) =
                entry.file_name().to_str().and_then(CopyName::read).filter(|name| name.moment <= now)
                && entry.file_type()?.is_file()
            {
                copies.push((name, entry.path()));
            }
        }
        copies.sort();
        Ok(copies)
    }

    /// Makes a copy, reads it as a restore would, and removes those that are too many by then. Blocks.
    fn write(&self, backup: Backup, now: Timestamp) -> Result<(), CopyError> {
        let folder = CopyError::Folder;
        durable_file::create_dir(&self.dir).map_err(folder)?;
        self.remove_unfinished().map_err(folder)?;
        let path = self.dir.join(CopyName::new(self.store, now).to_string());
        let mut file = NewFile::create(&path, self.min_free).map_err(folder)?;
        backup.write(&mut file).map_err(CopyError::Write)?;
        file.finish().map_err(folder)?;
        if let Err(error) = BackupFile::open(&path).map_err(folder)?.read_back() {
            fs::remove_file(&path).map_err(folder)?;
            return Err(CopyError::Read(error));
        }
        let copies = self.copies(now).map_err(folder)?;
        let ours = copies.iter().filter(|(name, _)| name.is_of(self.store));
        for (_, path) in ours.rev().skip(self.keep) {
            if let Err(error) = fs::remove_file(path) {
                log::warn!("an old backup stays, {}: {error}", path.display());
            }
        }
        Ok(())
    }

    /// Removes what a process of this store has left behind that was killed.
    fn remove_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().and_then(|name| CopyName::read(durable_file::left_behind(name)?));
            if name.is_some_and(|name| name.is_of(self.store)) && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl Service {
    /// A backup that can be written now.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn begin_backup(&self, origin: &Origin, _: Console) -> Result<Backup, Refusal> {
        let backup = self.new_backup().await?;
        self.audit.record(origin, Event::BackedUp(By::Console, backup.header().users));
        Ok(backup)
    }

    async fn new_backup(&self) -> Result<Backup, StoreError> {
        let snapshot = self.store.snapshot().await?;
        let now = self.clock.now_or_mark();
        Ok(Backup::new(snapshot, self.tokens.ring(), self.tokens.issuer(), now))
    }

    /// Makes automatic copies whenever one is due, for ever.
    pub async fn keep_copies(&self) {
        let Some(copies) = &self.copies else {
            return;
        };
        loop {
            // While the clock is not believed, nobody can tell what is due; it has said so.
            if let Ok(now) = self.clock.now()
                && copies.is_due(now)
            {
                let outcome = self.copy(&copies.plan, now).await;
                copies.settle(now, self.clock.now().unwrap_or(now), outcome);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn copy(&self, plan: &CopyPlan, now: Timestamp) -> Result<u64, CopyError> {
        let backup = self.new_backup().await.map_err(CopyError::Store)?;
        let users = backup.header().users;
        let plan = plan.clone();
        let abandoner = backup.abandoner();
        let written = spawn_blocking(move || plan.write(backup, now));
        match tokio::time::timeout(HANGS, written).await {
            Ok(written) => written.unwrap_or(Err(CopyError::Gone))?,
            Err(_) => {
                abandoner.abandon(); // the thread may hang for ever
                return Err(CopyError::Hangs);
            }
        }
        Ok(users)
    }

    /// How automatic copies are doing, where there are any.
    pub fn copies(&self) -> Option<CopiesState> {
        let state = self.copies.as_ref()?.state();
        let error = state.failed.as_ref().map(|failed| failed.error.clone());
        Some(CopiesState { last: state.last, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_hung_is_tried_again_a_minute_after_it_was_given_up() {
        let begun = Timestamp::from_unix_secs(1_764_000_000);
        let ended = begun.after(HANGS);
        let every = Duration::from_secs(24 * 3600);
        let plan = CopyPlan { dir: "backups".into(), store: Uuid::nil(), every, keep: 1, min_free: 0 };
        let copies = Copies { plan, state: Mutex::default(), metrics: Backups::default() };
        copies.settle(begun, ended, Err(CopyError::Hangs));
        assert!(!copies.is_due(ended) && !copies.is_due(ended.after(RETRY - LOOK)));
        assert!(copies.is_due(ended.after(RETRY)));
    }
}
