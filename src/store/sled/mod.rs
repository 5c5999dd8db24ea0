//! The embedded engine: sled, with what sled does not do itself. Everything that names sled is in this folder.
//!
//! sled's flush is undone by a power cut, sled repairs a damaged log in silence, and its destructors write again: see
//! [`commit`], [`aside`] and [`seal`].

mod aside;
mod clock_mark;
mod closed;
mod commit;
mod error;
mod exposure;
mod files;
mod look;
mod open;
mod overlay;
mod restore;
mod seal;
mod space;
mod surroundings;
mod upgrade;
mod writer;

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::change::{Change, Range};
use super::engine::Counts;
use super::open_error::OpenError;
use super::snapshot::Snapshot;
use super::table::{Entry, Table};
use super::{Extent, StoreError, StoreOptions};
use crate::domain::clock::Mark;
use crate::domain::user::UserId;
use crate::metrics::{Commits, Counter};

pub(super) use clock_mark::Forgotten;
use commit::{Committer, Order, Progress};
pub use exposure::Exposed;
pub(crate) use open::demand_ours;
use open::{Opened, Parts};
pub(super) use overlay::SledSnapshot;
pub use restore::{Filling, Restoration};
pub(super) use seal::digest;
pub(crate) use space::BALLAST;
use space::Space;
pub(super) use surroundings::OnDisk;
pub use surroundings::time_to_inspect;
use writer::{Stop, Trees, Writer};

/// How often to look whether sled has had an error on a thread of its own.
const LOOK_FOR_ERRORS: Duration = Duration::from_millis(250);

/// How long closing may take; what was acknowledged is on stable storage in any case. With the eight seconds that requests
/// get, a stop stays within the ten that supervisors allow.
const CLOSING: Duration = Duration::from_millis(1500);

/// The keys of the tree `meta` that are sled's own; others are [`super::table::facts`].
mod meta {
    /// The version of the whole layout.
    pub(super) const FORMAT: &[u8] = b"format";
    /// The id that the marker file repeats.
    pub(super) const STORE_ID: &[u8] = b"store_id";
    /// The highest time seen, in milliseconds.
    pub(super) const CLOCK_MARK: &[u8] = b"clock_mark";
    /// See [`super::clock_mark::Forgotten`]: a moment in milliseconds, an era.
    pub(super) const FORGOTTEN: &[u8] = b"forgotten";
    /// See [`super::seal`].
    pub(super) const SEAL: &[u8] = b"seal";
    /// The ids of the keys that must be there, in layout 1; ignored since.
    pub(super) const KEY_IDS_V1: &[u8] = b"key_ids";
}

/// A store on this machine's disk.
pub(super) struct Sled {
    trees: Trees,
    progress: Arc<Progress>,
    queue: Sender<Order>,
    db: sled::Db,
    /// Disconnected once the committer has ended.
    committer: Mutex<Receiver<()>>,
    commits: Commits,
    dir: PathBuf,
    id: Uuid,
    /// sled's log, as it was opened.
    log: FileId,
    min_free: u64,
    /// Held for as long as the store is open.
    _lock: fs::File,
}

/// A store that has been opened, and what it brings from earlier runs.
pub(super) struct Resumed {
    pub(super) sled: Sled,
    pub(super) forgotten: Forgotten,
}

impl Sled {
    /// Opens the store in `dir`, or makes one if there has never been any. Repairs what is safe to repair and says so in the
    /// log. Hands the mark of time that it kept to `clock`.
    ///
    /// Blocks, for a few milliseconds if all is well and never for longer than a deadline.
    pub(super) fn open(
        dir: &Path,
        options: &StoreOptions,
        clock: Arc<dyn Mark>,
    ) -> Result<Resumed, OpenError> {
        let space = Space::new(dir, options.min_free);
        let opened = open::open(dir, options, &space)?;
        Self::begin(opened, space, Some(dir.join("store")), options, clock)
    }

    /// Opens a copy of the store in `dir`, of which nothing is changed. Changes of the copy are gone when the process ends.
    pub(super) fn look(
        dir: &Path,
        options: &StoreOptions,
        clock: Arc<dyn Mark>,
    ) -> Result<Resumed, OpenError> {
        let (opened, space) = look::look(dir, options)?;
        Self::begin(opened, space, None, options, clock)
    }

    /// `marked`: where the mark of a clean stop is left.
    fn begin(
        opened: Opened,
        mut space: Space,
        marked: Option<PathBuf>,
        options: &StoreOptions,
        clock: Arc<dyn Mark>,
    ) -> Result<Resumed, OpenError> {
        let dir = opened.dir.as_path();
        let kept = opened.resume_clock(&*clock, options.accept_clock)?;
        // Said at the start rather than at the first write.
        let _ = space.check();

        let log =
            fs::metadata(&opened.log_path).map_err(|error| OpenError::Io(opened.log_path.clone(), error))?;
        let (queue, orders) = mpsc::channel();
        let Parts { config, db, trees, id, seal, found, layout: _ } = opened.parts;
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
        let committer = spawn(committer, orders).map_err(|error| OpenError::Io(dir.to_owned(), error))?;
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
            _lock: opened.lock,
        };
        Ok(Resumed { sled, forgotten: kept.forgotten })
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

    /// Returns once what was read of a user would survive a power cut.
    pub(super) async fn durable(&self, id: UserId) -> Result<(), StoreError> {
        self.progress.settled(id).await
    }

    pub(super) async fn all_durable(&self) -> Result<(), StoreError> {
        self.progress.all_settled().await
    }

    /// Has the committer make a change, and answers once it is on stable storage.
    pub(super) async fn run<C: Change>(&self, change: C) -> Result<C::Outcome, StoreError> {
        self.commit(move |writer| writer.run(&change)).await
    }

    /// Writes the mark of time: after a long time without other writes, and to see whether writing works.
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

    pub(super) fn surroundings(&self) -> OnDisk {
        OnDisk::begin(&self.dir, self.min_free, self.log)
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

    /// Returns once the store has failed.
    pub(super) async fn failure(&self) {
        self.progress.failure().await;
    }

    /// Writes what is queued and syncs; refuses every later change. Blocks, for some seconds at the most.
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
        let work = move |writer: &mut Writer| -> Result<commit::Answer, sled::Error> {
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

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino() }
    }
}

/// Runs the committer on a thread of its own. The receiver is disconnected when it has ended. A second thread looks for errors
/// that sled had on threads of its own: a flush that waits for such a thread may have missed the news, and would wait for
/// ever.
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
                let _ = db.flush(); // wakes the committer if it waits; it fails by itself then
                return;
            }
        }
    })?;
    Ok(ended)
}
