//! The committer's shared state: what is not durable yet, failure, and pages that cannot be read.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::error::reason;
use crate::domain::user::UserId;
use crate::metrics::Counter;
use crate::store::counts::Counts;
use crate::store::error::StoreError;

/// Minimum interval between log lines about unreadable pages: clients may ask for them all the time.
const QUIET: Duration = Duration::from_secs(10);

/// State that the committer shares with readers.
pub(super) struct Progress {
    /// Users whose records are visible but not yet durable.
    unsettled: Mutex<HashSet<UserId>>,
    unsettled_count: AtomicUsize,
    /// Counts batches: odd while one is under way.
    batches: watch::Sender<u64>,
    failed: AtomicBool,
    pub(super) counts: Counts,
    /// Counts failed reads of pages.
    pub(super) unread: Counter,
    unread_said: Mutex<Option<Instant>>,
    /// Reports errors of sled's background threads.
    engine: sled::Config,
}

impl Progress {
    pub(super) fn new(engine: sled::Config, counts: Counts) -> Self {
        Self {
            engine,
            unsettled: Mutex::new(HashSet::new()),
            unsettled_count: AtomicUsize::new(0),
            batches: watch::Sender::new(0),
            failed: AtomicBool::new(false),
            counts,
            unread: Counter::default(),
            unread_said: Mutex::default(),
        }
    }

    /// Waits until a user's record as read is durable. Call it between the read and an answer that rests on
    /// it.
    pub(super) async fn settled(&self, id: UserId) -> Result<(), StoreError> {
        while self.unsettled_count.load(Ordering::Acquire) > 0 {
            let mut batches = self.batches.subscribe();
            if self.has_failed() {
                return Err(StoreError::Failed);
            }
            if !self.unsettled().contains(&id) {
                break;
            }
            batches.changed().await.map_err(|_| StoreError::Failed)?;
        }
        Ok(())
    }

    /// Waits for the current batch, if any: everything read before is durable then.
    pub(super) async fn all_settled(&self) -> Result<(), StoreError> {
        let mut batches = self.batches.subscribe();
        let now = *batches.borrow_and_update();
        if now % 2 == 1 {
            batches.changed().await.map_err(|_| StoreError::Failed)?;
        }
        if self.has_failed() { Err(StoreError::Failed) } else { Ok(()) }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.batches.send_modify(|batches| *batches += 1);
    }

    /// Fails the store with `error`, and logs the first one.
    pub(super) fn fail_by(&self, error: &sled::Error) -> StoreError {
        if !self.has_failed() {
            log::error!("the store failed: {}", reason(error));
        }
        self.fail();
        StoreError::Failed
    }

    /// Fails the store if a background thread of sled has failed. Returns whether one has.
    pub(super) fn fail_by_engine(&self) -> bool {
        self.engine.global_error().map_err(|error| self.fail_by(&error)).is_err()
    }

    /// Records that a page cannot be read. The store has not failed: a retry may succeed, and records on
    /// other pages can be read. Counts the error, and logs it at intervals.
    pub(super) fn unread(&self, error: &sled::Error) -> StoreError {
        if let Err(error) = self.engine.global_error() {
            return self.fail_by(&error); // a failed write, which sled reports to reads as well
        }
        self.unread.count();
        let mut said = self.unread_said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|moment| moment.elapsed() > QUIET) {
            *said = Some(Instant::now());
            log::error!(
                "a page of the store cannot be read: {}: what lies on it answers 503; run `gatelet verify`, and look for \
                 errors of the disk in the system's log",
                reason(error)
            );
        }
        StoreError::Page
    }

    /// Returns once the store has failed.
    pub(super) async fn failure(&self) {
        let mut batches = self.batches.subscribe();
        while !self.has_failed() {
            if batches.changed().await.is_err() {
                return;
            }
        }
    }

    /// Marks a user's record as about to change. Call it before the change is visible.
    pub(super) fn unsettle(&self, id: UserId) {
        let mut unsettled = self.unsettled();
        unsettled.insert(id);
        self.unsettled_count.store(unsettled.len(), Ordering::Release);
    }

    fn unsettled(&self) -> MutexGuard<'_, HashSet<UserId>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self) {
        self.batches.send_modify(|batches| *batches += 1);
    }

    pub(super) fn end(&self) {
        self.unsettled().clear();
        self.unsettled_count.store(0, Ordering::Release);
        self.batches.send_modify(|batches| *batches += 1);
    }
}
