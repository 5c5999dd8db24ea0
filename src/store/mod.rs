//! The store: users, the index of their names, ended sessions, refresh tokens that rotate, which keys there are, and what
//! the store knows about itself.
//!
//! It speaks in domain terms and asynchronously; that it is sled inside is nobody's business outside this
//! folder. Two promises hold for every call. A change that is reported as done is on stable storage. What a
//! read reports is on stable storage too, so that no answer rests on what a power cut could still undo; only
//! what leads to a refusal (an ended session, a missing user) is reported as soon as it is visible.
//!
//! Reads run on the calling task: a point read takes microseconds. Writes go to the committer's thread.

mod authority;
mod change;
mod changes;
mod counts;
mod digest;
mod engine;
mod error;
mod exposure;
mod forgotten;
mod inspect;
mod memory;
mod names;
mod odd_names;
mod open_error;
mod record;
mod sled;
mod snapshot;
mod table;
mod terms;

use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::domain::clock::{Mark, Timestamp};
use crate::domain::key::KeyRecord;
use crate::domain::session::{Era, SessionId, Sessions, TokenId};
use crate::domain::user::{NewName, Role, User, UserId, Username, Usernames};
use crate::metrics::{Commits, Counter};
use crate::password::PasswordHash;
use crate::random;

use self::sled::Sled;
pub(crate) use self::sled::{BALLAST, demand_ours};
pub use self::sled::{Filling, Restoration, time_to_inspect};
pub use authority::{Authority, ChangeError, Denied};
use authority::{By, Need};
use change::{Change, Range};
use changes::{
    CreateUser, DeleteUser, EndAllSessions, EndSession, ForgetNames, FreeNames, HasAdmin, KeepKeys, Prune,
    RenewHash, Rotate, SetPassword, UpdateUser,
};
use engine::Engine;
pub use error::StoreError;
pub use exposure::Exposed;
use forgotten::Forgotten;
pub use inspect::{Beside, Findings, Inspection, Look, Records};
use memory::Memory;
pub use odd_names::{Listed, OddNames};
pub use open_error::OpenError;
pub use snapshot::{Abandon, Shown, Snapshot, SnapshotError};
use table::Table;
pub use terms::{Extent, NewUser, Outcome, Replaced, Rotation, StoreOptions, Successor, UserChange};

/// The open store.
pub struct Store {
    engine: Engine,
    forgotten: Forgotten,
    /// The name after which to go on looking for names to forget.
    names_seen: Mutex<Option<Vec<u8>>>,
    /// A record like any other, of no user.
    nobody: Vec<u8>,
}

impl Store {
    /// Whether there is a store in `dir`, has been one, or is one about to be. What cannot be looked at may be there.
    pub fn is_in(dir: &Path) -> bool {
        ["store", "store-id", "restoring"].iter().any(|name| dir.join(name).try_exists().unwrap_or(true))
    }

    /// Opens the store in `dir`, or makes one if there has never been any. Repairs what is safe to repair and says so in
    /// the log. Hands the mark of time that it kept to `clock`.
    ///
    /// Blocks, for a few milliseconds if all is well and never for longer than a deadline.
    ///
    /// # Errors
    /// [`OpenError`], whose text tells the operator what to do.
    pub fn open(dir: &Path, options: &StoreOptions, clock: Arc<dyn Mark>) -> Result<Self, OpenError> {
        let sled::Resumed { sled, forgotten } = Sled::open(dir, options, clock)?;
        Self::on(Engine::Sled(Box::new(sled)), forgotten, dir)
    }

    /// Opens a copy of the store in `dir`, of which nothing is changed. Changes of the copy are gone when the process
    /// ends.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn look(dir: &Path, options: &StoreOptions, clock: Arc<dyn Mark>) -> Result<Self, OpenError> {
        let sled::Resumed { sled, forgotten } = Sled::look(dir, options, clock)?;
        Self::on(Engine::Sled(Box::new(sled)), forgotten, dir)
    }

    /// A new store in memory: nothing of it survives the process. For tests.
    ///
    /// # Errors
    /// [`OpenError`]: the system has no random numbers to give.
    pub fn in_memory() -> Result<Self, OpenError> {
        let dir = Path::new("memory");
        let id = random::bytes()
            .map_err(|error| OpenError::Io(dir.into(), std::io::Error::other(error.to_string())))?;
        Self::on(Engine::Memory(Memory::new(Uuid::from_bytes(id))), Forgotten::default(), dir)
    }

    fn on(engine: Engine, forgotten: Forgotten, dir: &Path) -> Result<Self, OpenError> {
        Ok(Self { engine, forgotten, names_seen: Mutex::default(), nobody: nobody(dir)? })
    }

    /// Adds a user. `None`: the name is taken, by the rule that it carries.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has been changed then, or at least nothing that anybody was told of.
    pub async fn create_user(&self, authority: Authority, new: NewUser) -> Result<Option<User>, ChangeError> {
        self.run_by(authority, Need::Admin, CreateUser(new)).await
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
        self.run_by(authority, Need::Admin, UpdateUser { id, change }).await
    }

    /// Removes a user. The name stays taken for a while: applications may still know it.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn delete_user(
        &self,
        authority: Authority,
        id: UserId,
        now: Timestamp,
    ) -> Result<Outcome<()>, ChangeError> {
        let name = self.user(id).await?.map(|user| user.name);
        self.run_by(authority, Need::Over(id), DeleteUser { id, name, now }).await
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
        self.engine.run(RenewHash { id, old, new }).await
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
        self.run_by(authority, Need::Over(id), SetPassword { id, hash, since, spared }).await
    }

    /// Ends all sessions of a user for good. `false`: there is no such user.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn end_sessions(&self, authority: Authority, id: UserId) -> Result<bool, ChangeError> {
        self.run_by(authority, Need::Over(id), EndAllSessions(id)).await
    }

    /// Ends a session for good. `false`: it had ended already.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn end_session(&self, authority: Authority, session: SessionId) -> Result<bool, ChangeError> {
        self.run_by(authority, Need::Session, EndSession(session)).await
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
        self.run_by(authority, Need::Session, Rotate { session, presented, next, now }).await
    }

    /// Whether the session's refresh token has ever been replaced.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_rotated(&self, session: &SessionId) -> Result<bool, StoreError> {
        self.engine.has(Table::Rotations, session.as_bytes())
    }

    /// Forgets the sessions that were over at `moment`, in small batches between which others are served.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prune_sessions(&self, moment: Timestamp) -> Result<(), StoreError> {
        while self.engine.run(Prune(moment)).await? {}
        Ok(())
    }

    /// Writes the clock's mark: for a long time without other writes, and to see whether writing works.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_time(&self) -> Result<(), StoreError> {
        self.engine.keep_time().await
    }

    /// What is remembered about keys: those there are must be there. Nothing before the first start is complete.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let all =
            Range { table: Table::Keys, from: Bound::Unbounded, to: Bound::Unbounded, limit: usize::MAX };
        self.engine.scan(&all)?.iter().map(|(id, bytes)| record::decode_key(id, bytes)).collect()
    }

    /// Remembers these keys and no others.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_keys(&self, keys: Vec<KeyRecord>) -> Result<(), StoreError> {
        self.engine.run(KeepKeys(keys)).await
    }

    /// All records as they are now, to be read while changes go on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.engine.snapshot().await
    }

    /// Begins an inspection of the records as they are now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn inspect(&self) -> Result<Inspection, StoreError> {
        let beside = self.engine.beside(); // before the snapshot
        Ok(Inspection::new(beside, self.snapshot().await?))
    }

    /// Whether anybody is an administrator.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_admin(&self) -> Result<bool, StoreError> {
        self.engine.run(HasAdmin).await
    }

    /// Whether there is any user.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_users(&self) -> Result<bool, StoreError> {
        Ok(!self.engine.scan(&users_after(None, 1))?.is_empty())
    }

    /// The user with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let Some(bytes) = self.engine.get(Table::Users, id.as_bytes())? else {
            return Ok(None);
        };
        self.engine.durable(id).await?;
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
        let own = self.engine.get(Table::Usernames, &names::key(name))?;
        let alike = self.engine.scan(&names::range(name, rule))?;
        let found = names::find(own.as_deref(), alike.iter().map(|(_, value)| value.as_slice()));
        let id = found?.unwrap_or(NOBODY);
        // Between the two reads the user may be deleted; then there is no such user.
        let record = self.engine.get(Table::Users, id.as_bytes())?;
        self.engine.durable(id).await?;
        let user = record::decode_user_with_hash(id, record.as_deref().unwrap_or(&self.nobody))?;
        Ok(record.map(|_| user))
    }

    /// Whether no new user may have this name at `now`: another has it, or had it not long ago.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_taken(&self, name: &NewName, now: Timestamp) -> Result<bool, StoreError> {
        let entries = self.engine.scan(&names::range(name, name.rule()))?;
        names::is_taken(entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice())), now)
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
        self.run_by(authority, Need::Admin, FreeNames { name, rule }).await
    }

    /// Forgets some names of deleted users that have been free since `moment` or before. Call it now and then: it goes
    /// on where it has stopped.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_names(&self, moment: Timestamp) -> Result<(), StoreError> {
        let after = self.names_seen().take();
        let next = self.engine.run(ForgetNames { after, moment }).await?;
        *self.names_seen() = next;
        Ok(())
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
        let entries = self.engine.scan(&users_after(after, limit))?;
        let decoded = entries.iter().map(|(id, bytes)| decode(changes::user_id(id)?, bytes));
        let users = decoded.collect::<Result<_, _>>()?;
        // A user who is missing from the list is an answer too.
        self.engine.all_durable().await?;
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
        self.engine.has(Table::Revoked, session.as_bytes())
    }

    /// How many users there are.
    pub fn user_count(&self) -> u64 {
        self.engine.counts().users()
    }

    /// How much there is in the store, visible changes included. Asks the file system: blocks.
    pub fn extent(&self) -> Extent {
        self.engine.extent()
    }

    /// Which store this is.
    pub fn id(&self) -> Uuid {
        self.engine.id()
    }

    /// How often a page could not be read.
    pub fn unread(&self) -> Counter {
        self.engine.unread()
    }

    /// How its commits were measured.
    pub fn commits(&self) -> Commits {
        self.engine.commits()
    }

    /// Returns once the store has failed: the process should end then.
    pub async fn failure(&self) {
        self.engine.failure().await;
    }

    /// Makes what is queued durable; refuses every later change. Blocks, for some seconds at the most.
    ///
    /// # Errors
    /// [`StoreError::Failed`]: the store failed at some time, or does so now. What was acknowledged is safe.
    pub fn close(&self) -> Result<(), StoreError> {
        self.engine.close()
    }

    /// Makes a change for someone, if their right to it holds when it is made.
    async fn run_by<C: Change>(
        &self,
        authority: Authority,
        need: Need,
        change: C,
    ) -> Result<C::Outcome, ChangeError> {
        self.engine.run(By { authority, need, change }).await?.map_err(ChangeError::Denied)
    }

    fn names_seen(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.names_seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Up to `limit` users in order of creation, from the one created next after `after`.
fn users_after(after: Option<UserId>, limit: usize) -> Range {
    let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_bytes().to_vec()));
    Range { table: Table::Users, from, to: Bound::Unbounded, limit }
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
