//! The store: users, the index of their names, ended sessions, and what the store knows about itself.
//!
//! It speaks in domain terms and asynchronously; that it is sled inside is nobody's business outside this
//! folder. Two promises hold for every call. A change that is reported as done is on stable storage. What a
//! read reports is on stable storage too, so that no answer rests on what a power cut could still undo; only
//! what leads to a refusal (an ended session, a missing user) is reported as soon as it is visible.
//!
//! Reads run on the calling task: a point read takes microseconds. Writes go to the committer's thread.

mod clock_mark;
mod commit;
mod open;
mod open_error;
mod record;
mod seal;
mod space;

use std::fmt;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::{Clock, Timestamp};
use crate::password::PasswordHash;
use crate::session::{Era, SessionId};
use crate::user::{User, UserId, Username};

use clock_mark::Forgotten;
use commit::{Change, Committer, Order, Progress, Ticket, Trees};
use open::Engine;
pub use open_error::OpenError;
use space::Space;

/// How often to look whether sled has had an error on a thread of its own.
const LOOK_FOR_ERRORS: Duration = Duration::from_millis(250);

/// How long closing may take; what was acknowledged is on stable storage in any case.
/// With the eight seconds that requests get, a stop stays within the ten that supervisors allow.
const CLOSING: Duration = Duration::from_millis(1500);

/// The keys of the tree `meta`.
mod meta {
    /// The version of the whole layout.
    pub(super) const FORMAT: &[u8] = b"format";
    /// The id that the marker file repeats.
    pub(super) const STORE_ID: &[u8] = b"store_id";
    /// The highest time seen, in milliseconds.
    pub(super) const CLOCK_MARK: &[u8] = b"clock_mark";
    /// Sessions that ended before this moment (milliseconds) may have been forgotten.
    pub(super) const PRUNED_UNTIL: &[u8] = b"pruned_until";
    /// See [`super::clock_mark::Forgotten`]: a moment in milliseconds, an era.
    pub(super) const FORGOTTEN: &[u8] = b"forgotten";
    /// See [`super::seal`].
    pub(super) const SEAL: &[u8] = b"seal";
    /// The ids of the keys that must be there.
    pub(super) const KEY_IDS: &[u8] = b"key_ids";
}

/// What the store needs to know to open.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Bytes of sled's page cache.
    pub cache: u64,
    /// Bytes of free space below which nothing is written.
    pub min_free: u64,
    /// Believe the system's clock even if the store has seen a later time.
    pub accept_clock: bool,
}

/// Why a call was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Too little space is free; reads go on, and so do writes when there is room again.
    DiskFull,
    /// The store has failed and the process is about to end.
    Failed,
    /// One record cannot be read, or would be too large to be written.
    Unreadable,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiskFull => "the disk is nearly full",
            Self::Failed => "the store has failed",
            Self::Unreadable => "a record cannot be read or written",
        })
    }
}

impl std::error::Error for StoreError {}

/// The open store.
pub struct Store {
    trees: Trees,
    progress: Arc<Progress>,
    forgotten: Forgotten,
    queue: Sender<Order>,
    engine: sled::Config,
    db: sled::Db,
    /// Disconnected once the committer has ended.
    committer: Mutex<Receiver<()>>,
    /// Held for as long as the store is open.
    _lock: std::fs::File,
}

impl Store {
    /// Opens the store in `dir`, or makes one if there has never been any. Heals what is safe to heal and says
    /// so in the log. Hands the clock's mark to `clock`.
    ///
    /// Blocks, for a few milliseconds if all is well and never for longer than a deadline.
    ///
    /// # Errors
    /// [`OpenError`], whose text tells the operator what to do.
    pub fn open(dir: &Path, options: &StoreOptions, clock: Arc<Clock>) -> Result<Self, OpenError> {
        let mut space = Space::new(dir, options.min_free);
        let opened = open::open(dir, options, &space)?;
        let progress = Arc::new(Progress::new());
        let resumed = opened.resume_clock(&clock, options.accept_clock)?;
        // Said at the start rather than at the first write.
        let _ = space.check();

        let (queue, orders) = mpsc::channel();
        let Engine { config, db, trees, seal } = opened.engine;
        let committer = Committer {
            db: db.clone(),
            trees: trees.clone(),
            log: opened.log,
            space,
            seal,
            acknowledged: opened.acknowledged,
            kept_mark: resumed.kept_mark,
            clock,
            progress: Arc::clone(&progress),
        };
        let committer = spawn(committer, orders).map_err(|error| OpenError::Io(dir.to_owned(), error))?;
        Ok(Self {
            trees,
            progress,
            forgotten: resumed.forgotten,
            queue,
            engine: config,
            db,
            committer: Mutex::new(committer),
            _lock: opened.lock,
        })
    }

    /// Adds a user. `false`: the name is taken.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has been changed then, or at least nothing that anybody was told of.
    pub async fn create_user(&self, user: User, hash: PasswordHash) -> Result<bool, StoreError> {
        self.commit(Change::CreateUser { user, hash }).await
    }

    /// Removes a user and frees the name. `false`: there is no such user.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_user(&self, id: UserId) -> Result<bool, StoreError> {
        self.commit(Change::DeleteUser(id)).await
    }

    /// Puts `new` in the place of `old`. `false`: the user is gone or has another hash by now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn replace_hash(
        &self,
        id: UserId,
        old: PasswordHash,
        new: PasswordHash,
    ) -> Result<bool, StoreError> {
        self.commit(Change::ReplaceHash { id, old, new }).await
    }

    /// Ends a session for good. `false`: it had ended already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_session(&self, session: SessionId) -> Result<bool, StoreError> {
        self.commit(Change::EndSession(session)).await
    }

    /// Forgets the sessions that were over at `moment`, in small batches between which others are served.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prune_sessions(&self, moment: Timestamp) -> Result<(), StoreError> {
        while self.commit(Change::Prune(moment)).await? {}
        Ok(())
    }

    /// Writes the clock's mark: for a long time without other writes, and to see whether writing works.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_time(&self) -> Result<(), StoreError> {
        self.commit(Change::KeepTime).await.map(drop)
    }

    /// The ids of the keys that must be there; empty before the first start is complete.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn key_ids(&self) -> Result<Vec<String>, StoreError> {
        match self.read(&self.trees.meta, meta::KEY_IDS)? {
            Some(bytes) => record::decode_key_ids(&bytes),
            None => Ok(Vec::new()),
        }
    }

    /// Remembers which keys must be there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_key_ids(&self, ids: Vec<String>) -> Result<(), StoreError> {
        self.commit(Change::KeyIds(ids)).await.map(drop)
    }

    /// Whether there is any user.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_users(&self) -> Result<bool, StoreError> {
        match self.trees.users.iter().next() {
            Some(Ok(_)) => Ok(true),
            Some(Err(error)) => Err(self.failed(&error)),
            None => Ok(false),
        }
    }

    /// The user with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let Some(bytes) = self.read(&self.trees.users, id.as_bytes())? else {
            return Ok(None);
        };
        self.progress.settled(id).await?;
        record::decode_user(id, &bytes).map(Some)
    }

    /// The user with this name, and the hash of their password.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user_named(&self, name: &Username) -> Result<Option<(User, PasswordHash)>, StoreError> {
        let Some(id) = self.read(&self.trees.usernames, name.as_str().as_bytes())? else {
            return Ok(None);
        };
        let id = UserId::from_bytes((*id).try_into().map_err(|_| StoreError::Unreadable)?);
        // Between the two reads the user may be deleted; then there is no such user.
        let Some(bytes) = self.read(&self.trees.users, id.as_bytes())? else {
            return Ok(None);
        };
        self.progress.settled(id).await?;
        record::decode_user_with_hash(id, &bytes).map(Some)
    }

    /// The first `limit` users in order of creation.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn first_users(&self, limit: usize) -> Result<Vec<User>, StoreError> {
        let mut users = Vec::new();
        for entry in self.trees.users.iter().take(limit) {
            let (id, bytes) = entry.map_err(|error| self.failed(&error))?;
            let id = UserId::from_bytes((*id).try_into().map_err(|_| StoreError::Unreadable)?);
            users.push(record::decode_user(id, &bytes)?);
        }
        // Who is missing from the list is an answer too.
        self.progress.all_settled().await?;
        Ok(users)
    }

    /// The era in which sessions begin now.
    pub fn era(&self) -> Era {
        self.forgotten.begun_before
    }

    /// Whether the session has been ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn session_ended(&self, session: &SessionId) -> Result<bool, StoreError> {
        if self.forgotten.holds(session) {
            return Ok(true);
        }
        match self.trees.revoked.contains_key(session.as_bytes()) {
            Ok(ended) => Ok(ended),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Returns once the store has failed: the process should end then.
    ///
    /// Looks for errors that sled had on threads of its own as well: a flush that waits for such a thread may
    /// have missed the news and would wait for ever.
    pub async fn failure(&self) {
        while tokio::time::timeout(LOOK_FOR_ERRORS, self.progress.failure()).await.is_err() {
            if let Err(error) = self.engine.global_error() {
                self.failed(&error);
            }
        }
        // Wakes the committer if it is the one that waits; it fails by itself then.
        let db = self.db.clone();
        tokio::task::spawn_blocking(move || drop(db.flush()));
    }

    /// Writes what is queued and syncs; every change that comes later is refused. Blocks, for some seconds at the
    /// most.
    ///
    /// # Errors
    /// [`StoreError::Failed`]: the store failed at some time, or does so now. What was acknowledged is safe.
    pub fn close(&self) -> Result<(), StoreError> {
        let _ = self.queue.send(Order::Close);
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner);
        if committer.recv_timeout(CLOSING) == Err(RecvTimeoutError::Timeout) {
            log::error!("the store did not close in time");
            return Err(StoreError::Failed);
        }
        if self.progress.has_failed() { Err(StoreError::Failed) } else { Ok(()) }
    }

    fn read(&self, tree: &sled::Tree, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        tree.get(key).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &sled::Error) -> StoreError {
        if !self.progress.has_failed() {
            log::error!("the store failed: {error}");
        }
        self.progress.fail();
        StoreError::Failed
    }

    async fn commit(&self, change: Change) -> Result<bool, StoreError> {
        if self.progress.has_failed() {
            return Err(StoreError::Failed);
        }
        let (answer, wait) = oneshot::channel();
        self.queue.send(Order::Commit(Ticket { change, answer })).map_err(|_| StoreError::Failed)?;
        wait.await.map_err(|_| StoreError::Failed)?
    }
}

/// Runs the committer on a thread of its own. The receiver is disconnected when it has ended.
fn spawn(committer: Committer, orders: Receiver<Order>) -> std::io::Result<Receiver<()>> {
    let (running, ended) = mpsc::channel();
    thread::Builder::new().name("commit".into()).spawn(move || {
        committer.run(&orders);
        drop(running);
    })?;
    Ok(ended)
}
