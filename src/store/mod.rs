//! The store: users, the index of their names, revoked sessions, rotating refresh tokens, key records, and
//! facts about the store itself.
//!
//! Its interface is asynchronous, in domain terms; no other folder knows the engine. Two promises hold for
//! every call. A change reported as done is durable. Values reported by a read are durable too, so that a
//! power cut cannot undo what an answer rests on; only values that lead to a refusal (a revoked session, a
//! deleted user) are reported as soon as they are visible.
//!
//! Reads run on the calling task: a point read takes microseconds. Writes go to the committer's thread.

mod authority;
mod change;
mod changes;
mod checksum;
mod counts;
mod engine;
mod error;
mod exposure;
mod inspect;
mod memory;
mod names;
mod odd_names;
mod open_error;
mod pruned_early;
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
use authority::{Authorised, Need};
pub use authority::{Authority, ChangeError, Denied};
use change::{Change, Range};
use changes::{
    CreateUser, DeleteUser, FreeNames, HasAdmin, KeepKeys, Prune, PruneNames, RenewHash, RevokeAllSessions,
    RevokeSession, Rotate, SetPassword, UpdateUser,
};
use engine::Engine;
pub use error::StoreError;
pub use exposure::Exposed;
pub use inspect::{Beside, Findings, Inspection, Look, Records};
use memory::Memory;
pub use odd_names::{Listed, OddNames};
pub use open_error::OpenError;
use pruned_early::PrunedEarly;
pub use snapshot::{Abandon, Shown, Snapshot, SnapshotError};
use table::Table;
pub use terms::{Extent, NewUser, Outcome, Replaced, Rotation, StoreOptions, Successor, UserChange};

/// An open store.
pub struct Store {
    engine: Engine,
    pruned_early: PrunedEarly,
    /// The key after which to continue pruning names.
    names_seen: Mutex<Option<Vec<u8>>>,
    /// A valid record of no user.
    nobody: Vec<u8>,
}

impl Store {
    /// Whether `dir` holds a store, has held one, or is being made one. If that cannot be determined, the
    /// answer is yes.
    pub fn is_in(dir: &Path) -> bool {
        ["store", "store-id", "restoring"].iter().any(|name| dir.join(name).try_exists().unwrap_or(true))
    }

    /// Opens the store in `dir`, or creates one if there has never been any. Repairs what is safe to repair,
    /// and logs it. Resumes `clock` with the stored mark.
    ///
    /// Blocks: for a few milliseconds if all is well, and never beyond a deadline.
    ///
    /// # Errors
    /// [`OpenError`], whose text tells the operator what to do.
    pub fn open(dir: &Path, options: &StoreOptions, clock: Arc<dyn Mark>) -> Result<Self, OpenError> {
        let sled::Resumed { sled, pruned_early } = Sled::open(dir, options, clock)?;
        Self::on(Engine::Sled(Box::new(sled)), pruned_early, dir)
    }

    /// Opens a copy of the store in `dir`, which stays unchanged. Changes of the copy are lost when the
    /// process ends.
    ///
    /// # Errors
    /// [`OpenError`].
    /// [`OpenError`].
    pub fn look(dir: &Path, options: &StoreOptions, clock: Arc<dyn Mark>) -> Result<Self, OpenError> {
        let sled::Resumed { sled, pruned_early } = Sled::look(dir, options, clock)?;
        Self::on(Engine::Sled(Box::new(sled)), pruned_early, dir)
    }

    /// A new store in memory, for tests. Nothing survives the process.
    ///
    /// # Errors
    /// [`OpenError`]: the system gave no random bytes.
    pub fn in_memory() -> Result<Self, OpenError> {
        let dir = Path::new("memory");
        let id = random::bytes()
            .map_err(|error| OpenError::Io(dir.into(), std::io::Error::other(error.to_string())))?;
        Self::on(Engine::Memory(Memory::new(Uuid::from_bytes(id))), PrunedEarly::default(), dir)
    }

    fn on(engine: Engine, pruned_early: PrunedEarly, dir: &Path) -> Result<Self, OpenError> {
        Ok(Self { engine, pruned_early, names_seen: Mutex::default(), nobody: nobody(dir)? })
    }

    /// Creates a user. `None` if the name is taken by the rule that it carries.
    ///
    /// # Errors
    /// [`ChangeError`]; then nothing was changed, or at least nothing that was reported.
    pub async fn create_user(&self, authority: Authority, new: NewUser) -> Result<Option<User>, ChangeError> {
        self.run_by(authority, Need::Admin, CreateUser(new)).await
    }

    /// Changes a user's role, or disables or enables them.
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

    /// Deletes a user. The name stays taken for a while, because applications may still know it.
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

    /// Replaces the hash `old` by `new`, a hash of the same password. `false` if the user is deleted or has
    /// another hash by now. Needs no authority: it changes no rights, and a caller with the hash has just
    /// verified the password.
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

    /// Sets a user's password and revokes all sessions but `spared`; if `since` is given, only if the user's
    /// sessions still equal it.
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

    /// Revokes all sessions of a user. `false` if there is no such user.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn revoke_sessions(&self, authority: Authority, id: UserId) -> Result<bool, ChangeError> {
        self.run_by(authority, Need::Over(id), RevokeAllSessions(id)).await
    }

    /// Revokes a session. `false` if it was revoked already.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn revoke_session(
        &self,
        authority: Authority,
        session: SessionId,
    ) -> Result<bool, ChangeError> {
        self.run_by(authority, Need::Session, RevokeSession(session)).await
    }

    /// Replaces the refresh token `presented` by `next`, if it is the session's current one; see
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

    /// Whether the session's refresh token was ever replaced.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_rotated(&self, session: &SessionId) -> Result<bool, StoreError> {
        self.engine.has(Table::Rotations, session.as_bytes())
    }

    /// Prunes sessions that ended before `moment`, in small batches between which other changes run.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prune_sessions(&self, moment: Timestamp) -> Result<(), StoreError> {
        while self.engine.run(Prune(moment)).await? {}
        Ok(())
    }

    /// Writes the clock mark: keeps it current without other writes, and shows whether writing works.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_time(&self) -> Result<(), StoreError> {
        self.engine.keep_time().await
    }

    /// The key records: these keys are required. Empty before the first start is complete.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let all =
            Range { table: Table::Keys, from: Bound::Unbounded, to: Bound::Unbounded, limit: usize::MAX };
        self.engine.scan(&all)?.iter().map(|(id, bytes)| record::decode_key(id, bytes)).collect()
    }

    /// Replaces all key records with these.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_keys(&self, keys: Vec<KeyRecord>) -> Result<(), StoreError> {
        self.engine.run(KeepKeys(keys)).await
    }

    /// A snapshot of all records, to be read while changes go on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.engine.snapshot().await
    }

    /// Begins an inspection of the current records.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn inspect(&self) -> Result<Inspection, StoreError> {
        let beside = self.engine.beside(); // before the snapshot
        Ok(Inspection::new(beside, self.snapshot().await?))
    }

    /// Whether there is an enabled administrator.
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

    /// The user whom `name` means by `rule`, with their hash. For an unknown name it reads and decodes as
    /// much, so that the duration does not reveal which users exist.
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
        // The user may be deleted between the two reads, and then does not exist.
        let record = self.engine.get(Table::Users, id.as_bytes())?;
        self.engine.durable(id).await?;
        let user = record::decode_user_with_hash(id, record.as_deref().unwrap_or(&self.nobody))?;
        Ok(record.map(|_| user))
    }

    /// Whether the name is taken at `now`: a user has it, or had it not long ago.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_taken(&self, name: &NewName, now: Timestamp) -> Result<bool, StoreError> {
        let entries = self.engine.scan(&names::range(name, name.rule()))?;
        names::is_taken(entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice())), now)
    }

    /// Frees names of deleted users that equal `name` by `rule`. Returns those names.
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

    /// Removes some names of deleted users that have been free since `moment`. Call it periodically: each
    /// call continues where the last one stopped.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prune_names(&self, moment: Timestamp) -> Result<(), StoreError> {
        let after = self.names_seen().take();
        let next = self.engine.run(PruneNames { after, moment }).await?;
        *self.names_seen() = next;
        Ok(())
    }

    /// Up to `limit` users in order of creation, after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn users_after(&self, after: Option<UserId>, limit: usize) -> Result<Vec<User>, StoreError> {
        self.page(after, limit, record::decode_user).await
    }

    /// Like [`Store::users_after`], with their hashes.
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
        // A user's absence from the list is an answer too.
        self.engine.all_durable().await?;
        Ok(users)
    }

    /// The current era, in which sessions begin.
    pub fn era(&self) -> Era {
        self.pruned_early.begun_before
    }

    /// Whether the session was revoked.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_revoked(&self, session: &SessionId) -> Result<bool, StoreError> {
        if self.pruned_early.includes(session) {
            return Ok(true);
        }
        self.engine.has(Table::Revoked, session.as_bytes())
    }

    /// The number of users.
    pub fn user_count(&self) -> u64 {
        self.engine.counts().users()
    }

    /// The store's size, visible changes included. Asks the file system: blocks.
    pub fn extent(&self) -> Extent {
        self.engine.extent()
    }

    /// The store's id.
    pub fn id(&self) -> Uuid {
        self.engine.id()
    }

    /// Counts failed reads of pages.
    pub fn unread(&self) -> Counter {
        self.engine.unread()
    }

    /// Measurements of commits.
    pub fn commits(&self) -> Commits {
        self.engine.commits()
    }

    /// Returns once the store has failed, when the process should end.
    pub async fn failure(&self) {
        self.engine.failure().await;
    }

    /// Commits queued changes and refuses later ones. Blocks, for some seconds at most.
    ///
    /// # Errors
    /// [`StoreError::Failed`]: the store failed earlier or fails now. Acknowledged changes are safe.
    pub fn close(&self) -> Result<(), StoreError> {
        self.engine.close()
    }

    /// Runs a change if its authority holds in the step that writes.
    async fn run_by<C: Change>(
        &self,
        authority: Authority,
        need: Need,
        change: C,
    ) -> Result<C::Outcome, ChangeError> {
        self.engine.run(Authorised { authority, need, change }).await?.map_err(ChangeError::Denied)
    }

    fn names_seen(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.names_seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Up to `limit` users in order of creation, after `after`.
fn users_after(after: Option<UserId>, limit: usize) -> Range {
    let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_bytes().to_vec()));
    Range { table: Table::Users, from, to: Bound::Unbounded, limit }
}

/// The id of no user: no UUIDv7 is all zeros.
const NOBODY: UserId = UserId::from_bytes([0; 16]);

/// The record that is decoded for unknown names, of the usual size.
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
