//! Durable commit: one thread writes, flushes, syncs, and only then answers.
//!
//! On Linux sled's `flush` ends in `sync_file_range`, which a power cut undoes: what is acknowledged on it alone
//! can be lost. So the committer holds a handle of its own to sled's log file and calls `sync_data` on it after
//! each flush. One sync takes about a millisecond; all changes that came in meanwhile share the next one
//! (group commit). Being the only writer, it decides what is unique or used once without a race.

use std::collections::HashSet;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::super::StoreError;
use super::super::engine::Counts;
use super::super::open_error::OpenError;
use super::error::{from_sled, reason};
use super::files::{Extent, Survey};
use super::seal::Acknowledged;
use super::space::Space;
use super::writer::Writer;
use crate::domain::user::UserId;
use crate::metrics::{Commits, Counter};

/// The most changes that share one sync: at 4 KiB each far below the space that is kept free.
const BATCH: usize = 512;

/// How long it is quiet about pages that cannot be read once it has said so: clients may ask for them all the time.
const QUIET: Duration = Duration::from_secs(10);

/// How long it may take to read what the mark of a clean stop is made of: a supervisor waits.
const MARKING: Duration = Duration::from_millis(400);

/// A change: decides and writes, and leaves behind what tells its requester once that is on stable storage.
/// The error is that of the whole store.
pub(super) type Work = Box<dyn FnOnce(&mut Writer) -> Result<Answer, sled::Error> + Send>;

pub(super) type Answer = Box<dyn FnOnce() + Send>;

/// What the committer is told.
pub(super) enum Order {
    Commit(Work),
    /// Nothing comes after this.
    Close,
}

/// What the committer lets others see.
pub(super) struct Progress {
    /// Users whose records are visible but not yet on stable storage.
    unsettled: Mutex<HashSet<UserId>>,
    unsettled_count: AtomicUsize,
    /// Counts batches: odd while one is under way.
    batches: watch::Sender<u64>,
    failed: AtomicBool,
    pub(super) counts: Counts,
    /// How often a page could not be read, and when that was last said.
    pub(super) unread: Counter,
    unread_said: Mutex<Option<Instant>>,
    /// Tells of errors that sled had on threads of its own.
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

    /// Waits until what was read about a user would survive a power cut. Call it after reading, before an
    /// answer that rests on it.
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

    /// Waits for the batch that is under way, if there is one: what was read before is on stable storage then.
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

    /// The store has failed with `error`. Says so, once.
    pub(super) fn fail_by(&self, error: &sled::Error) -> StoreError {
        if !self.has_failed() {
            log::error!("the store failed: {}", reason(error));
        }
        self.fail();
        StoreError::Failed
    }

    /// Fails the store if sled has had an error on a thread of its own. Answers whether it has.
    pub(super) fn fail_by_engine(&self) -> bool {
        self.engine.global_error().map_err(|error| self.fail_by(&error)).is_err()
    }

    /// A page of the store cannot be read. That is no failure of the store: sled is as good as before, the next try may
    /// succeed, and all that lies on other pages is served. Counts it, and says so now and then.
    pub(super) fn unread(&self, error: &sled::Error) -> StoreError {
        if let Err(error) = self.engine.global_error() {
            return self.fail_by(&error); // that of a write, which reads are told as well
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

    /// The user's record is about to change. Call it before the change can be seen.
    pub(super) fn unsettle(&self, id: UserId) {
        let mut unsettled = self.unsettled();
        unsettled.insert(id);
        self.unsettled_count.store(unsettled.len(), Ordering::Release);
    }

    fn unsettled(&self) -> MutexGuard<'_, HashSet<UserId>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        self.batches.send_modify(|batches| *batches += 1);
    }

    fn end(&self) {
        self.unsettled().clear();
        self.unsettled_count.store(0, Ordering::Release);
        self.batches.send_modify(|batches| *batches += 1);
    }
}

pub(super) struct Committer {
    pub(super) db: sled::Db,
    /// sled's log file, opened a second time to be synced.
    pub(super) log: File,
    pub(super) space: Space,
    pub(super) progress: Arc<Progress>,
    pub(super) writer: Writer,
    pub(super) acknowledged: Acknowledged,
    pub(super) measured: Commits,
    /// Where the mark of a clean stop is left.
    pub(super) marked: Option<PathBuf>,
}

impl Committer {
    /// Commits until told to close or the store has failed.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        let progress = Arc::clone(&self.progress);
        let ended = catch_unwind(AssertUnwindSafe(|| self.serve(orders)));
        match ended {
            Ok(Ok(())) => {
                self.leave_mark();
                return;
            }
            Ok(Err(error)) => log::error!("the store failed: {}", reason(&error)),
            Err(_) => log::error!("the store failed: a write panicked"),
        }
        progress.fail();
        // Whoever was still queued is told by the drop of their change, as are all who come later.
    }

    fn serve(&mut self, orders: &Receiver<Order>) -> Result<(), sled::Error> {
        let mut open = true;
        while open && let Ok(first) = orders.recv() {
            let mut batch = Vec::with_capacity(16);
            for order in std::iter::once(first).chain(orders.try_iter()).take(BATCH) {
                match order {
                    Order::Commit(change) => batch.push(change),
                    Order::Close => open = false,
                }
            }
            self.commit(batch)?;
        }
        if self.space.check().is_ok() {
            self.writer.keep_time()?;
        }
        self.sync()
    }

    /// Leaves the mark of a clean stop, if that does not take long. Without it the next start makes sure by itself.
    fn leave_mark(&self) {
        let Some(store) = &self.marked else {
            return;
        };
        let until = Instant::now() + MARKING;
        let marked = Survey::take(store, Extent::Replayed(until)).and_then(|survey| {
            let closed = self.writer.closed(&survey).map_err(|error| from_sled(store, error))?;
            closed.write(store).map_err(|error| OpenError::Io(store.clone(), error))
        });
        if let Err(error) = marked {
            log::info!(
                "the store was closed without a mark, and the next start takes a little longer: {error}"
            );
        }
    }

    fn commit(&mut self, batch: Vec<Work>) -> Result<(), sled::Error> {
        self.writer.begin(self.space.check().is_ok());
        self.progress.begin();
        let changes = batch.len();
        let mut answers = Vec::with_capacity(batch.len());
        for change in batch {
            answers.push(change(&mut self.writer)?);
        }
        if self.writer.has_changed() {
            self.writer.keep_time()?;
            let began = Instant::now();
            self.sync()?;
            self.measured.sync.took(began.elapsed());
            self.measured.batch.held(changes);
        }
        self.progress.end();
        for answer in answers {
            answer();
        }
        Ok(())
    }

    /// From here on what was written survives a power cut.
    fn sync(&mut self) -> Result<(), sled::Error> {
        self.db.flush()?;
        self.log.sync_data()?;
        Ok(self.acknowledged.advance(self.writer.changes())?)
    }
}
