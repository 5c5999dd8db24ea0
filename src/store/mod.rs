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
#[cfg(fuzzing)]
pub mod fuzzing;
mod inspect;
mod memory;
mod names;
mod odd_names;
mod open_error;
mod pruned_early;
mod record;
mod sessions;
mod sled;
mod snapshot;
mod table;
mod terms;
mod users;

use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex};

use uuid::Uuid;

use crate::domain::clock::{Mark, Timestamp};
use crate::domain::key::KeyRecord;
use crate::domain::session::Sessions;
use crate::domain::user::{Role, User, UserId, Username};
use crate::metrics::{Commits, Counter};
use crate::password::PasswordHash;
use crate::random;

use self::sled::Sled;
pub(crate) use self::sled::{BALLAST, demand_ours};
pub use self::sled::{Filling, Restoration, time_to_inspect};
use authority::{Authorised, Need};
pub use authority::{Authority, ChangeError, Denied};
use change::{Change, Range};
use changes::KeepKeys;
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

    /// Has this process free stores when they are dropped, so that it can open them again, as tests do. A server or a
    /// command leaves that to the end of the process.
    pub fn free_when_dropped() {
        Sled::free_when_dropped();
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
        let id = random::bytes().map_err(|error| OpenError::Io(dir.into(), std::io::Error::other(error)))?;
        Self::on(Engine::Memory(Memory::new(Uuid::from_bytes(id))), PrunedEarly::default(), dir)
    }

    fn on(engine: Engine, pruned_early: PrunedEarly, dir: &Path) -> Result<Self, OpenError> {
        Ok(Self { engine, pruned_early, names_seen: Mutex::default(), nobody: nobody(dir)? })
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
