//! The store: users, the index of their names, ended sessions, refresh tokens that rotate, which keys there are, and what
//! the store knows about itself.
//!
//! It speaks in domain terms and asynchronously; that it is sled inside is nobody's business outside this
//! folder. Two promises hold for every call. A change that is reported as done is on stable storage. What a
//! read reports is on stable storage too, so that no answer rests on what a power cut could still undo; only
//! what leads to a refusal (an ended session, a missing user) is reported as soon as it is visible.
//!
//! Reads run on the calling task: a point read takes microseconds. Writes go to the committer's thread.

mod aside;
mod authority;
mod changes;
mod clock_mark;
mod closed;
mod commit;
mod exposure;
mod files;
mod inspect;
mod ledger;
mod look;
mod names;
mod odd_names;
mod open;
mod open_error;
mod record;
mod restore;
mod seal;
mod snapshot;
mod space;
mod upgrade;

use std::fmt;
use std::fs::{self, Metadata};
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::clock::{Clock, Timestamp};
use crate::key::KeyRecord;
use crate::metrics::{Commits, Counter};
use crate::password::PasswordHash;
use crate::random;
use crate::session::{Era, SessionId, Sessions, TokenId};
use crate::user::{NewName, Role, User, UserId, Username, Usernames};

use authority::Need;
pub use authority::{Authority, ChangeError, Denied};
use clock_mark::Forgotten;
use commit::{Committer, Order, Progress};
pub use exposure::Exposed;
pub use inspect::{Findings, Inspection, Look, Records, time_to_inspect};
use ledger::{Ledger, Stop, Trees};
pub use odd_names::{Listed, OddNames};
pub(crate) use open::demand_ours;
use open::{Engine, Opened};
pub use open_error::OpenError;
pub use restore::{Filling, Restoration};
pub use snapshot::{Abandon, Shown, Snapshot, SnapshotError};
pub(crate) use space::BALLAST;
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
    /// The ids of the keys that must be there, in layout 1; ignored since.
    pub(super) const KEY_IDS_V1: &[u8] = b"key_ids";
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
    /// A page cannot be read from the disk now; everything that lies on others can.
    Page,
    /// One record cannot be read, or would be too large to be written.
    Unreadable,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiskFull => "the disk is nearly full",
            Self::Failed => "the store has failed",
            Self::Page => "a page of the store cannot be read",
            Self::Unreadable => "a record cannot be read or written",
        })
    }
}

impl std::error::Error for StoreError {}

/// A user to be.
#[derive(Debug)]
pub struct NewUser {
    name: NewName,
    role: Role,
    disabled: bool,
    hash: PasswordHash,
    created_at: Timestamp,
    /// For the id.
    random: [u8; 8],
}

impl NewUser {
    /// A user who registers at `now`.
    ///
    /// # Errors
    /// When the system has no random numbers to give.
    pub fn new(
        name: NewName,
        role: Role,
        hash: PasswordHash,
        now: Timestamp,
    ) -> Result<Self, random::NoRandomness> {
        Ok(Self { name, role, disabled: false, hash, created_at: now, random: random::bytes()? })
    }

    /// The same, and whether they may not log in.
    #[must_use]
    pub fn disabled(self, disabled: bool) -> Self {
        Self { disabled, ..self }
    }
}

/// What is to change about a user; what is not named stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserChange {
    /// The new role.
    pub role: Option<Role>,
    /// Disabling ends all sessions.
    pub disabled: Option<bool>,
}

/// What became of a change to a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It was made.
    Done(T),
    /// Things were so already.
    Unchanged(T),
    /// There is no such user.
    Missing,
    /// Not made: nobody would be left who is an administrator and enabled.
    LastAdmin,
}

/// What became of a new password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It is the user's.
    Done,
    /// There is no such user.
    Missing,
    /// Not set: all sessions have been ended meanwhile, maybe along with the password that was checked.
    Outdated,
}

/// The refresh token that takes the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Successor {
    /// Its id.
    pub id: TokenId,
    /// When it was made.
    pub issued_at: Timestamp,
}

/// What a refresh token that was presented turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The good one; it has been replaced.
    Advanced(Successor),
    /// One that was replaced a moment ago, by whatever is good now.
    Again(Successor),
    /// One that was replaced long ago: somebody has a copy. The session has been ended.
    Reused,
    /// One of a session that has ended.
    Ended,
}

/// How much the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Users there are.
    pub users: u64,
    /// Ended sessions that are remembered.
    pub ended_sessions: u64,
    /// Bytes of its files; nothing where they cannot be looked at.
    pub bytes: Option<u64>,
    /// Bytes that are free beside them, likewise.
    pub free_bytes: Option<u64>,
    /// Bytes of free space below which nothing is written.
    pub min_free_bytes: u64,
}

/// The open store.
pub struct Store {
    trees: Trees,
    progress: Arc<Progress>,
    forgotten: Forgotten,
    /// A record like any other that belongs to nobody.
    nobody: Vec<u8>,
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
    _lock: std::fs::File,
}

impl Store {
    /// Whether there is a store in `dir`, has been one, or is one about to be. What cannot be looked at may be there.
    pub fn is_in(dir: &Path) -> bool {
        ["store", "store-id", "restoring"].iter().any(|name| dir.join(name).try_exists().unwrap_or(true))
    }

    /// Opens the store in `dir`, or makes one if there has never been any. Heals what is safe to heal and says
    /// so in the log. Hands the clock's mark to `clock`.
    ///
    /// Blocks, for a few milliseconds if all is well and never for longer than a deadline.
    ///
    /// # Errors
    /// [`OpenError`], whose text tells the operator what to do.
    pub fn open(dir: &Path, options: &StoreOptions, clock: Arc<Clock>) -> Result<Self, OpenError> {
        let space = Space::new(dir, options.min_free);
        let opened = open::open(dir, options, &space)?;
        Self::begin(opened, space, Some(dir.join("store")), options, clock)
    }

    /// Opens a copy of the store in `dir`, of which nothing is changed. Changes of the copy are gone when the process
    /// ends.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn look(dir: &Path, options: &StoreOptions, clock: Arc<Clock>) -> Result<Self, OpenError> {
        let (opened, space) = look::look(dir, options)?;
        Self::begin(opened, space, None, options, clock)
    }

    /// `marked`: where the mark of a clean stop is left.
    fn begin(
        opened: Opened,
        mut space: Space,
        marked: Option<PathBuf>,
        options: &StoreOptions,
        clock: Arc<Clock>,
    ) -> Result<Self, OpenError> {
        let dir = opened.dir.as_path();
        let progress = Arc::new(Progress::new(opened.engine.config.clone()));
        let resumed = opened.resume_clock(&clock, options.accept_clock)?;
        // Said at the start rather than at the first write.
        let _ = space.check();

        let log =
            fs::metadata(&opened.log_path).map_err(|error| OpenError::Io(opened.log_path.clone(), error))?;
        let (queue, orders) = mpsc::channel();
        let Engine { config: _, db, trees, id, seal, found, layout: _ } = opened.engine;
        let ledger =
            Ledger::new(trees.clone(), id, found, seal, resumed.kept_mark, clock, Arc::clone(&progress));
        let commits = Commits::default();
        let committer = Committer {
            db: db.clone(),
            log: opened.log,
            space,
            progress: Arc::clone(&progress),
            ledger,
            acknowledged: opened.acknowledged,
            measured: commits.clone(),
            marked,
        };
        let committer = spawn(committer, orders).map_err(|error| OpenError::Io(dir.to_owned(), error))?;
        Ok(Self {
            trees,
            progress,
            forgotten: resumed.forgotten,
            nobody: nobody(dir)?,
            queue,
            db,
            committer: Mutex::new(committer),
            commits,
            dir: dir.to_owned(),
            id,
            log: FileId::of(&log),
            min_free: options.min_free,
            _lock: opened.lock,
        })
    }

    /// Adds a user. `None`: the name is taken, by the rule that it carries.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has been changed then, or at least nothing that anybody was told of.
    pub async fn create_user(&self, authority: Authority, new: NewUser) -> Result<Option<User>, ChangeError> {
        self.commit_by(authority, Need::Admin, move |ledger| ledger.create_user(new)).await
    }

    /// Changes a user's role, or whether they may log in.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn update_user(
        &self,
        authority: Authority,
        id: UserId,
        change: UserChange,
    ) -> Result<Outcome<User>, ChangeError> {
        self.commit_by(authority, Need::Admin, move |ledger| ledger.update_user(id, change)).await
    }

    /// Removes a user. The name stays taken for a while: applications may still know it.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn delete_user(&self, authority: Authority, id: UserId) -> Result<Outcome<()>, ChangeError> {
        self.commit_by(authority, Need::Over(id), move |ledger| ledger.delete_user(id)).await
    }

    /// Puts `new` in the place of `old`, a hash of the same password. `false`: the user is gone or has another hash
    /// by now. Needs no authority: it changes nothing that anybody may do, and whoever knows a user's hash has just had
    /// their password.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew_hash(
        &self,
        id: UserId,
        old: PasswordHash,
        new: PasswordHash,
    ) -> Result<bool, StoreError> {
        self.commit(move |ledger| ledger.renew_hash(id, &old, &new)).await
    }

    /// Gives a user another password and ends all sessions but `spared`; with `since`, only if the user's sessions
    /// are still these.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn set_password(
        &self,
        authority: Authority,
        id: UserId,
        hash: PasswordHash,
        since: Option<Sessions>,
        spared: Option<SessionId>,
    ) -> Result<Replaced, ChangeError> {
        self.commit_by(authority, Need::Over(id), move |ledger| ledger.set_password(id, &hash, since, spared))
            .await
    }

    /// Ends all sessions of a user for good. `false`: there is no such user.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn end_sessions(&self, authority: Authority, id: UserId) -> Result<bool, ChangeError> {
        self.commit_by(authority, Need::Over(id), move |ledger| ledger.end_sessions(id)).await
    }

    /// Ends a session for good. `false`: it had ended already.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn end_session(&self, authority: Authority, session: SessionId) -> Result<bool, ChangeError> {
        self.commit_by(authority, Need::Session, move |ledger| ledger.end_session(&session)).await
    }

    /// Puts the refresh token `next` in the place of `presented`, if that is the session's good one; see
    /// [`Rotation`].
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn rotate(
        &self,
        authority: Authority,
        session: SessionId,
        presented: TokenId,
        next: TokenId,
        now: Timestamp,
    ) -> Result<Rotation, ChangeError> {
        self.commit_by(authority, Need::Session, move |ledger| ledger.rotate(&session, presented, next, now))
            .await
    }

    /// Whether the session's refresh token has ever been replaced.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_rotated(&self, session: &SessionId) -> Result<bool, StoreError> {
        self.trees.rotations.contains_key(session.as_bytes()).map_err(|error| self.progress.unread(&error))
    }

    /// Forgets the sessions that were over at `moment`, in small batches between which others are served.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prune_sessions(&self, moment: Timestamp) -> Result<(), StoreError> {
        while self.commit(move |ledger| ledger.prune(moment)).await? {}
        Ok(())
    }

    /// Writes the clock's mark: for a long time without other writes, and to see whether writing works.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_time(&self) -> Result<(), StoreError> {
        self.commit(|ledger| ledger.sync_once_a_second()).await
    }

    /// What is remembered about keys: those there are must be there. Nothing before the first start is complete.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let mut keys = Vec::new();
        for entry in &self.trees.keys {
            let (id, bytes) = entry.map_err(|error| self.progress.unread(&error))?;
            keys.push(record::decode_key(&id, &bytes)?);
        }
        Ok(keys)
    }

    /// Remembers these keys and no others.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_keys(&self, keys: Vec<KeyRecord>) -> Result<(), StoreError> {
        self.commit(move |ledger| ledger.keep_keys(&keys)).await
    }

    /// All records as they are now, to be read while changes go on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.commit(|ledger| Ok(ledger.snapshot())).await
    }

    /// Whether anybody is an administrator.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_admin(&self) -> Result<bool, StoreError> {
        self.commit(|ledger| Ok(!ledger.admins.is_empty())).await
    }

    /// Whether there is any user.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_users(&self) -> Result<bool, StoreError> {
        match self.trees.users.iter().next() {
            Some(Ok(_)) => Ok(true),
            Some(Err(error)) => Err(self.progress.unread(&error)),
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

    /// The user whom this name means by `rule`, and the hash of their password. Where there is none it reads and decodes
    /// as much: how long it takes must not tell.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user_named(
        &self,
        name: &Username,
        rule: Usernames,
    ) -> Result<Option<(User, PasswordHash)>, StoreError> {
        let found = names::find(&self.trees.usernames, name, rule);
        let id = found.map_err(|stop| self.stopped(stop))?.unwrap_or(NOBODY);
        // Between the two reads the user may be deleted; then there is no such user.
        let record = self.read(&self.trees.users, id.as_bytes())?;
        self.progress.settled(id).await?;
        let user = record::decode_user_with_hash(id, record.as_deref().unwrap_or(&self.nobody))?;
        Ok(record.map(|_| user))
    }

    /// Whether no new user may have this name at `now`: another has it, or had it not long ago.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_taken(&self, name: &NewName, now: Timestamp) -> Result<bool, StoreError> {
        names::is_taken(&self.trees.usernames, name, now).map_err(|stop| self.stopped(stop))
    }

    /// Frees what deleted users were called that is this name by `rule`. Answers those names.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn free_name(
        &self,
        authority: Authority,
        name: Username,
        rule: Usernames,
    ) -> Result<Vec<Username>, ChangeError> {
        self.commit_by(authority, Need::Admin, move |ledger| ledger.free_name(&name, rule)).await
    }

    /// Forgets some names of deleted users that have been free since `moment` or before. Call it now and then: it goes
    /// on where it has stopped.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_names(&self, moment: Timestamp) -> Result<(), StoreError> {
        self.commit(move |ledger| ledger.forget_names(moment)).await
    }

    /// Up to `limit` users in order of creation, from the one created next after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn users_after(&self, after: Option<UserId>, limit: usize) -> Result<Vec<User>, StoreError> {
        self.page(after, limit, record::decode_user).await
    }

    /// The same, with the hashes of their passwords.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn users_with_hashes_after(
        &self,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<(User, PasswordHash)>, StoreError> {
        self.page(after, limit, record::decode_user_with_hash).await
    }

    async fn page<T>(
        &self,
        after: Option<UserId>,
        limit: usize,
        decode: impl Fn(UserId, &[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let after = after.map(|id| *id.as_bytes());
        let begin = after.as_ref().map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_slice()));
        let mut users = Vec::new();
        for entry in self.trees.users.range::<&[u8], _>((begin, Bound::Unbounded)).take(limit) {
            let (id, bytes) = entry.map_err(|error| self.progress.unread(&error))?;
            users.push(decode(changes::user_id(&id)?, &bytes)?);
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
            Err(error) => Err(self.progress.unread(&error)),
        }
    }

    /// How many users there are.
    pub fn user_count(&self) -> u64 {
        self.progress.users.load(Ordering::Relaxed)
    }

    /// How much there is in the store, visible changes included. Asks the file system: blocks.
    pub fn extent(&self) -> Extent {
        Extent {
            users: self.user_count(),
            ended_sessions: self.progress.ended_sessions.load(Ordering::Relaxed),
            bytes: self.db.size_on_disk().ok(),
            free_bytes: space::free(&self.dir).ok(),
            min_free_bytes: self.min_free,
        }
    }

    /// Which store this is.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// How often a page could not be read.
    pub fn unread(&self) -> Counter {
        self.progress.unread.clone()
    }

    /// What its commits have been measured with.
    pub fn commits(&self) -> Commits {
        self.commits.clone()
    }

    /// Returns once the store has failed: the process should end then.
    pub async fn failure(&self) {
        self.progress.failure().await;
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
        tree.get(key).map_err(|error| self.progress.unread(&error))
    }

    fn stopped(&self, stop: Stop) -> StoreError {
        match stop {
            Stop::Record(error) => error,
            Stop::Page(error) => self.progress.unread(&error),
            Stop::Storage(error) => self.progress.fail_by(&error),
        }
    }

    /// Has the committer make a change for somebody, if their right to it holds when it is made.
    async fn commit_by<T: Send + 'static>(
        &self,
        authority: Authority,
        need: Need,
        change: impl FnOnce(&mut Ledger) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, ChangeError> {
        let decided = self.commit(move |ledger| match ledger.allows(authority, need)? {
            Ok(()) => change(ledger).map(Ok),
            Err(denied) => Ok(Err(denied)),
        });
        decided.await?.map_err(ChangeError::Denied)
    }

    /// Has the committer make a change, and answers once it is on stable storage. What somebody asks for goes through
    /// [`commit_by`](Self::commit_by).
    async fn commit<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Ledger) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.progress.has_failed() {
            return Err(StoreError::Failed);
        }
        let (answer, wait) = oneshot::channel();
        let change = move |ledger: &mut Ledger| -> Result<commit::Answer, sled::Error> {
            let outcome = match change(ledger) {
                Ok(outcome) => Ok(outcome),
                Err(Stop::Record(error)) => Err(error),
                Err(Stop::Page(error)) => Err(ledger.unread(&error)),
                Err(Stop::Storage(error)) => return Err(error),
            };
            Ok(Box::new(move || drop(answer.send(outcome))))
        };
        self.queue.send(Order::Commit(Box::new(change))).map_err(|_| StoreError::Failed)?;
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

/// An id that nobody has: no UUIDv7 is made of zeros.
const NOBODY: UserId = UserId::from_bytes([0; 16]);

/// The record that is decoded for those who do not exist; of usual size.
fn nobody(dir: &Path) -> Result<Vec<u8>, OpenError> {
    let user = User {
        id: NOBODY,
        name: Username::from_stored("somebody"),
        role: Role::User,
        disabled: false,
        created_at: Timestamp::default(),
        sessions: Sessions::default(),
    };
    let hash = PasswordHash::from_stored(format!("$scrypt$ln=15,r=8,p=3${:022}${:043}", 0, 0));
    record::encode_user(&user, &hash).map_err(|error| OpenError::Damaged(dir.into(), error.to_string()))
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
