//! Automatic backups in a directory: when one is due, how it is written, and which stay.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::backup::{Backup, BackupFile, BackupName, NewFile, ReadError, WriteError};
use crate::domain::clock::Timestamp;
use crate::durable_file;
use crate::metrics::BackupMetrics;
use crate::store::StoreError;

/// How soon a failed backup is tried again; twice as long after each failure, up to the usual interval.
const RETRY: Duration = Duration::from_secs(60);

/// Where automatic backups go, and when.
#[derive(Clone, Debug)]
pub struct BackupPlan {
    /// A directory for backups alone. Several stores may share it.
    pub dir: PathBuf,
    /// The store that is backed up.
    pub store: Uuid,
    /// The interval.
    pub every: Duration,
    /// How many are kept.
    pub keep: usize,
    /// Bytes left free on the disk.
    pub min_free: u64,
}

/// Automatic backups.
pub struct AutomaticBackups {
    plan: BackupPlan,
    progress: Mutex<Progress>,
    metrics: BackupMetrics,
}

#[derive(Default)]
struct Progress {
    /// When the last good backup began.
    last: Option<Timestamp>,
    failed: Option<Failed>,
}

/// The failures since the last good backup.
struct Failed {
    error: String,
    wait: Duration,
    next: Timestamp,
}

/// The state of automatic backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupState {
    /// When the newest good backup began.
    pub last: Option<Timestamp>,
    /// Why the latest attempt failed, if it did; names no files.
    pub error: Option<String>,
}

/// Why an automatic backup was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Written, and unfit to be restored.
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Dir(#[from] io::Error),
    #[error("the disk does not answer")]
    Hangs,
    #[error("the thread that writes it is gone")]
    Gone,
}

impl AutomaticBackups {
    /// Goes on from the backups that are in the directory.
    ///
    /// # Errors
    /// When the directory cannot be made or written to.
    pub fn open(plan: BackupPlan, now: Timestamp) -> io::Result<Self> {
        durable_file::create_dir(&plan.dir)?;
        drop(NewFile::create(&plan.dir.join("gatelet-writes-here"), 0)?);
        let found = plan.found(now)?;
        if let Some((name, _)) = found.last().filter(|(name, _)| !name.is_of(plan.store)) {
            log::warn!(
                "the newest backup in {}, {name}, is another store's: this one makes its own and removes no others; \
                 was that meant, or is another disk to be mounted at --data-dir?",
                plan.dir.display()
            );
        }
        let last = found.iter().rfind(|(name, _)| name.is_of(plan.store)).map(|(name, _)| name.moment);
        let metrics = BackupMetrics::default();
        if let Some(last) = last {
            metrics.done(last);
        }
        Ok(Self { plan, metrics, progress: Mutex::new(Progress { last, failed: None }) })
    }

    /// Starts although the directory does not answer; tries again as after a failed backup.
    pub fn failed(plan: BackupPlan, error: io::Error, now: Timestamp) -> Self {
        let backups = Self { plan, metrics: BackupMetrics::default(), progress: Mutex::default() };
        backups.settle(now, now, Err(error.into()));
        backups
    }

    pub(super) fn plan(&self) -> &BackupPlan {
        &self.plan
    }

    /// What they count with.
    pub(in crate::service) fn metrics(&self) -> BackupMetrics {
        self.metrics.clone()
    }

    pub(super) fn state(&self) -> BackupState {
        let progress = self.progress();
        let error = progress.failed.as_ref().map(|failed| failed.error.clone());
        BackupState { last: progress.last, error }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let progress = self.progress();
        match &progress.failed {
            Some(failed) => now >= failed.next,
            None => progress.last.is_none_or(|last| now >= last.after(self.plan.every)),
        }
    }

    /// Takes the outcome of a backup that began and ended at these times: logs it, counts it, and sets when the next is
    /// due.
    pub(super) fn settle(&self, begun: Timestamp, ended: Timestamp, outcome: Result<u64, BackupError>) {
        let dir = self.plan.dir.display();
        let mut progress = self.progress();
        match outcome {
            Ok(users) => {
                log::info!(
                    "{users} users were backed up to {dir}/{}",
                    BackupName::new(self.plan.store, begun)
                );
                self.metrics.done(begun);
                *progress = Progress { last: Some(begun), failed: None };
            }
            Err(error) => {
                let before = progress.failed.as_ref().map(|failed| failed.wait);
                let wait = before.map_or(RETRY, |wait| wait.saturating_mul(2)).min(self.plan.every);
                log::error!(
                    "no backup could be written to {dir}: {error}: the next is tried in {}",
                    humantime::format_duration(wait)
                );
                self.metrics.failed();
                progress.failed = Some(Failed { error: error.to_string(), wait, next: ended.after(wait) });
            }
        }
    }
}

impl BackupPlan {
    /// The backups in the directory that began until `now`, of all stores, oldest first. Later ones are by a clock that
    /// ran ahead: they count for nothing, and stay.
    fn found(&self, now: Timestamp) -> io::Result<Vec<(BackupName, PathBuf)>> {
        let mut found = self.files(|name| BackupName::read(name).filter(|name| name.moment <= now))?;
        found.sort();
        Ok(found)
    }

    /// Writes a backup, reads it as a restore would, and removes old ones beyond `keep`. Blocks.
    pub(super) fn write(&self, backup: Backup, now: Timestamp) -> Result<(), BackupError> {
        durable_file::create_dir(&self.dir)?;
        self.remove_unfinished()?;
        let path = self.dir.join(BackupName::new(self.store, now).to_string());
        let mut file = NewFile::create(&path, self.min_free)?;
        backup.write(&mut file)?;
        file.finish()?;
        if let Err(error) = BackupFile::open(&path)?.read_back() {
            fs::remove_file(&path)?;
            return Err(error.into());
        }
        let found = self.found(now)?;
        let ours = found.iter().filter(|(name, _)| name.is_of(self.store));
        for (_, path) in ours.rev().skip(self.keep) {
            if let Err(error) = fs::remove_file(path) {
                log::warn!("an old backup stays, {}: {error}", path.display());
            }
        }
        Ok(())
    }

    /// Removes drafts that a killed process of this store has left behind.
    fn remove_unfinished(&self) -> io::Result<()> {
        let drafts = self.files(|name| BackupName::read(durable_file::left_behind(name)?))?;
        let mut ours = drafts.iter().filter(|(name, _)| name.is_of(self.store));
        ours.try_for_each(|(_, path)| fs::remove_file(path))
    }

    /// The files in the directory whose names `read` takes.
    fn files(&self, read: impl Fn(&str) -> Option<BackupName>) -> io::Result<Vec<(BackupName, PathBuf)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if let Some(name) = entry.file_name().to_str().and_then(&read)
                && entry.file_type()?.is_file()
            {
                files.push((name, entry.path()));
            }
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HANGS, LOOK};
    use super::*;

    #[test]
    fn a_backup_that_hung_is_tried_again_a_minute_after_it_was_given_up() {
        let begun = Timestamp::from_unix_secs(1_764_000_000);
        let ended = begun.after(HANGS);
        let every = Duration::from_secs(24 * 3600);
        let plan = BackupPlan { dir: "backups".into(), store: Uuid::nil(), every, keep: 1, min_free: 0 };
        let backups =
            AutomaticBackups { plan, progress: Mutex::default(), metrics: BackupMetrics::default() };
        backups.settle(begun, ended, Err(BackupError::Hangs));
        assert!(!backups.is_due(ended) && !backups.is_due(ended.after(RETRY - LOOK)));
        assert!(backups.is_due(ended.after(RETRY)));
    }
}
