//! The embedded engine: sled, and the guarantees that sled lacks. This is the only folder that names sled.
//!
//! sled's flush does not survive a power cut, sled repairs a damaged log without a report, and its
//! destructors write: see [`commit`], [`aside`] and [`seal`].

mod acknowledged;
mod aside;
mod clock_mark;
mod closed;
mod commit;
mod data_dir;
mod database;
mod error;
mod files;
mod layout;
mod look;
mod make;
mod open;
mod overlay;
mod progress;
mod restore;
mod seal;
mod space;
mod surroundings;
mod trees;
mod upgrade;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::domain::clock::Mark;
use crate::domain::user::UserId;
use crate::metrics::{Commits, Counter};
use crate::store::change::{Change, Range};
use crate::store::counts::Counts;
use crate::store::error::StoreError;
use crate::store::inspect::LookBeside;
use crate::store::open_error::OpenError;
use crate::store::pruned_early::PrunedEarly;
use crate::store::snapshot::Snapshot;
use crate::store::table::{Entry, Table};
use crate::store::terms::{Extent, StoreOptions};

use commit::{Committer, Order};
pub(crate) use data_dir::demand_ours;
use database::{Database, LOOK_FOR_ERRORS, Opened};
use progress::Progress;
pub use restore::{Filling, Restoration};
pub(crate) use space::BALLAST;
use space::Space;
pub use surroundings::time_to_inspect;
use surroundings::{FileId, OnDisk};
use trees::Trees;
use writer::{Stop, Writer};

/// Time limit for closing; acknowledged changes are durable in any case. With the eight seconds for requests,
/// a stop stays within the ten that supervisors allow.
const CLOSING: Duration = Duration::from_millis(1500);

/// A store on this machine's disk.
pub(super) struct Sled {
    trees: Trees,
    progress: Arc<Progress>,
    queue: Sender<Order>,
    db: sled::Db,
    /// Disconnected when the committer has ended.
    committer: Mutex<Receiver<()>>,
    commits: Commits,
    dir: PathBuf,
    id: Uuid,
    /// sled's log file at opening.
    log: FileId,
    min_free: u64,
    /// Held while the store is open.
    lock: Option<fs::File>,
}

/// Whether this process opens stores again, as tests do.
static REOPENS: AtomicBool = AtomicBool::new(cfg!(test));

/// sled's destructors write again, and panic where the disk does not let them. So one handle of each is leaked; the
/// end of the process frees the memory, and the lock last.
impl Drop for Sled {
    fn drop(&mut self) {
        if !REOPENS.load(Ordering::Relaxed) || self.progress.has_failed() {
            std::mem::forget((self.db.clone(), self.trees.clone(), self.lock.take()));
        }
    }
}

/// An open store, and its state from earlier runs.
pub(super) struct Resumed {
    pub(super) sled: Sled,
    pub(super) pruned_early: PrunedEarly,
}

impl Sled {
    /// See [`crate::store::Store::free_when_dropped`].
    pub(super) fn free_when_dropped() {
        REOPENS.store(true, Ordering::Relaxed);
    }

    /// See [`crate::store::Store::open`].
    pub(super) fn open(
        dir: &Path,
        options: &StoreOptions,
        clock: Arc<dyn Mark>,
    ) -> Result<Resumed, OpenError> {
        let space = Space::new(dir, options.min_free);
        let opened = open::open(dir, options, &space)?;
        Self::begin(opened, space, Some(dir.join("store")), options, clock)
    }

    /// See [`crate::store::Store::look`].
    pub(super) fn look(
        dir: &Path,
        options: &StoreOptions,
        clock: Arc<dyn Mark>,
    ) -> Result<Resumed, OpenError> {
        let (opened, space) = look::look(dir, options)?;
        Self::begin(opened, space, None, options, clock)
    }

    /// `marked` is the folder for the mark of a clean stop.
    fn begin(
        opened: Opened,
        mut space: Space,
        marked: Option<PathBuf>,
        options: &StoreOptions,
        clock: Arc<dyn Mark>,
    ) -> Result<Resumed, OpenError> {
        let dir = opened.dir.as_path();
        let kept = opened.resume_clock(&*clock, options.accept_clock)?;
        // Reports low space at the start rather than at the first write.
        let _ = space.check();

        let log = fs::metadata(&opened.log_path).map_err(OpenError::at(&opened.log_path))?;
        let (queue, orders) = mpsc::channel();
        let Database { config, db, trees, id, seal, found, layout: _ } = opened.database;
        let counts = Counts::new(found.users, found.revoked);
        let progress = Arc::new(Progress::new(config.clone(), counts));
        let writer = Writer::new(trees.clone(), id, seal, kept.mark, clock, Arc::clone(&progress));
        let commits = Commits::default();
        let committer = Committer {
            db: db.clone(),
            log: opened.log,
            space,
            progress: Arc::clone(&progress),
            writer,
            acknowledged: opened.acknowledged,
            measured: commits.clone(),
            marked,
        };
        let committer = spawn(committer, orders).map_err(OpenError::at(dir))?;
        let sled = Self {
            trees,
            progress,
            queue,
            db,
            committer: Mutex::new(committer),
            commits,
            dir: dir.to_owned(),
            id,
            log: FileId::of(&log),
            min_free: options.min_free,
            lock: Some(opened.lock),
        };
        Ok(Resumed { sled, pruned_early: kept.pruned_early })
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.trees.tree(table).get(key).map_err(|error| self.progress.unread(&error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    pub(super) fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        self.trees.tree(table).contains_key(key).map_err(|error| self.progress.unread(&error))
    }

    pub(super) fn scan(&self, range: &Range) -> Result<Vec<Entry>, StoreError> {
        self.trees.scan(range).map_err(|error| self.progress.unread(&error))
    }

    /// See [`Progress::settled`].
    pub(super) async fn durable(&self, id: UserId) -> Result<(), StoreError> {
        self.progress.settled(id).await
    }

    pub(super) async fn all_durable(&self) -> Result<(), StoreError> {
        self.progress.all_settled().await
    }

    /// Has the committer run a change. Returns once it is durable.
    pub(super) async fn run<C: Change>(&self, change: C) -> Result<C::Outcome, StoreError> {
        self.commit(move |writer| writer.run(&change)).await
    }

    /// Writes the clock mark: keeps it current without other writes, and shows whether writing works.
    pub(super) async fn keep_time(&self) -> Result<(), StoreError> {
        self.commit(Writer::sync_once_a_second).await
    }

    pub(super) async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.commit(|writer| Ok(writer.snapshot())).await
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.progress.counts
    }

    pub(super) fn extent(&self, counted: Extent) -> Extent {
        Extent {
            bytes: self.db.size_on_disk().ok(),
            free_bytes: space::free(&self.dir).ok(),
            min_free_bytes: self.min_free,
            ..counted
        }
    }

    pub(super) fn beside(&self) -> LookBeside {
        let disk = OnDisk::begin(&self.dir, self.min_free, self.log);
        Box::new(|_| disk.finish())
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    pub(super) fn unread(&self) -> Counter {
        self.progress.unread.clone()
    }

    pub(super) fn commits(&self) -> Commits {
        self.commits.clone()
    }

    pub(super) async fn failure(&self) {
        self.progress.failure().await;
    }

    /// Commits queued changes and refuses later ones. Blocks, for some seconds at most.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        let _ = self.queue.send(Order::Close);
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner);
        if committer.recv_timeout(CLOSING) == Err(RecvTimeoutError::Timeout) {
            log::error!("the store did not close in time");
            return Err(StoreError::Failed);
        }
        if self.progress.has_failed() { Err(StoreError::Failed) } else { Ok(()) }
    }

    async fn commit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.progress.has_failed() {
            return Err(StoreError::Failed);
        }
        let (answer, wait) = oneshot::channel();
        let work = move |writer: &mut Writer| -> Result<commit::Reply, sled::Error> {
            let outcome = match work(writer) {
                Ok(outcome) => Ok(outcome),
                Err(Stop::Record(error)) => Err(error),
                Err(Stop::Page(error)) => Err(writer.unread(&error)),
                Err(Stop::Storage(error)) => return Err(error),
            };
            Ok(Box::new(move || drop(answer.send(outcome))))
        };
        self.queue.send(Order::Commit(Box::new(work))).map_err(|_| StoreError::Failed)?;
        wait.await.map_err(|_| StoreError::Failed)?
    }
}

/// Runs the committer on its own thread; the receiver is disconnected when it has ended. A second thread
/// polls for errors of sled's background threads: a flush that waits for such a thread may miss its failure
/// and hang.
fn spawn(committer: Committer, orders: Receiver<Order>) -> std::io::Result<Receiver<()>> {
    let (running, ended) = mpsc::channel();
    let (watched, over) = mpsc::channel::<()>();
    let (db, progress) = (committer.db.clone(), Arc::clone(&committer.progress));
    thread::Builder::new().name("commit".into()).spawn(move || {
        committer.run(&orders);
        drop((running, watched));
    })?;
    thread::Builder::new().name("watch".into()).spawn(move || {
        while over.recv_timeout(LOOK_FOR_ERRORS) == Err(RecvTimeoutError::Timeout) {
            if progress.fail_by_engine() {
                let _ = db.flush(); // wakes a hanging committer, which then fails
                return;
            }
        }
    })?;
    Ok(ended)
}
