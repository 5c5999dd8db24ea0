//! Durable commit: one thread writes, flushes, syncs, and only then answers.
//!
//! On Linux sled's `flush` ends in `sync_file_range`, which a power cut undoes: what is acknowledged on it alone
//! can be lost. So the committer holds a handle of its own to sled's log file and calls `sync_data` on it after
//! each flush. One sync takes about a millisecond; all changes that came in meanwhile share the next one
//! (group commit). Being the only writer, it decides what is unique or used once without a race.

use std::collections::HashSet;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sled::Transactional;
use sled::transaction::TransactionError;
use tokio::sync::{oneshot, watch};

use super::record;
use super::seal::{Acknowledged, In, Seal};
use super::space::Space;
use super::{StoreError, meta};
use crate::clock::{Clock, Timestamp};
use crate::password::PasswordHash;
use crate::session::SessionId;
use crate::user::{User, UserId};

/// The most changes that share one sync: at 4 KiB each far below the space that is kept free.
const BATCH: usize = 512;

/// The most ended sessions forgotten at once: reads wait while sled's transaction runs, some 10 µs a key.
const PRUNE_BATCH: usize = 64;

/// The trees.
#[derive(Clone)]
pub(super) struct Trees {
    /// User id → user record.
    pub(super) users: sled::Tree,
    /// Name → user id.
    pub(super) usernames: sled::Tree,
    /// Session id → nothing. Sorted by the session's end.
    pub(super) revoked: sled::Tree,
    /// What the store knows about itself: see [`meta`].
    pub(super) meta: sled::Tree,
}

/// Something to be written. Each answers whether it took effect.
pub(super) enum Change {
    /// No effect where the name is taken.
    CreateUser { user: User, hash: PasswordHash },
    /// No effect where there is no such user.
    DeleteUser(UserId),
    /// No effect where the user is gone or has another hash by now.
    ReplaceHash { id: UserId, old: PasswordHash, new: PasswordHash },
    /// No effect where it has ended already.
    EndSession(SessionId),
    /// Forgets some of the sessions that were over at this moment; no effect where none is left.
    Prune(Timestamp),
    /// Writes the clock's mark; no effect where it stands there already, to the second.
    KeepTime,
    /// Remembers which keys must be there.
    KeyIds(Vec<String>),
}

/// A change, and who waits for it.
pub(super) struct Ticket {
    pub(super) change: Change,
    pub(super) answer: oneshot::Sender<Result<bool, StoreError>>,
}

/// What the committer is told.
pub(super) enum Order {
    Commit(Ticket),
    /// Nothing comes after this.
    Close,
}

/// What the committer lets others see.
pub(super) struct Progress {
    /// Users that are visible but not yet on stable storage.
    unsettled: Mutex<HashSet<UserId>>,
    unsettled_count: AtomicUsize,
    /// Counts batches: odd while one is under way.
    batches: watch::Sender<u64>,
    failed: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            unsettled: Mutex::new(HashSet::new()),
            unsettled_count: AtomicUsize::new(0),
            batches: watch::Sender::new(0),
            failed: AtomicBool::new(false),
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

    /// Returns once the store has failed.
    pub(super) async fn failure(&self) {
        let mut batches = self.batches.subscribe();
        while !self.has_failed() {
            if batches.changed().await.is_err() {
                return;
            }
        }
    }

    fn unsettled(&self) -> MutexGuard<'_, HashSet<UserId>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, batch: &[Ticket]) {
        self.batches.send_modify(|batches| *batches += 1);
        let mut unsettled = self.unsettled();
        unsettled.extend(batch.iter().filter_map(|ticket| match &ticket.change {
            Change::CreateUser { user, .. } => Some(user.id),
            _ => None,
        }));
        self.unsettled_count.store(unsettled.len(), Ordering::Release);
    }

    fn end(&self) {
        self.unsettled().clear();
        self.unsettled_count.store(0, Ordering::Release);
        self.batches.send_modify(|batches| *batches += 1);
    }
}

pub(super) struct Committer {
    pub(super) db: sled::Db,
    pub(super) trees: Trees,
    /// sled's log file, opened a second time to be synced.
    pub(super) log: File,
    pub(super) space: Space,
    pub(super) clock: Arc<Clock>,
    pub(super) progress: Arc<Progress>,
    /// As it stands in the store.
    pub(super) seal: Seal,
    pub(super) acknowledged: Acknowledged,
    pub(super) kept_mark: Timestamp,
}

impl Committer {
    /// Commits until told to close or the store has failed.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        let progress = Arc::clone(&self.progress);
        let ended = catch_unwind(AssertUnwindSafe(|| self.serve(orders)));
        match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => log::error!("the store failed: {error}"),
            Err(_) => log::error!("the store failed: a write panicked"),
        }
        progress.fail();
        // Whoever was still queued is told by the drop of their ticket, as are all who come later.
    }

    fn serve(&mut self, orders: &Receiver<Order>) -> Result<(), sled::Error> {
        let mut open = true;
        while open && let Ok(first) = orders.recv() {
            let mut batch = Vec::with_capacity(16);
            for order in std::iter::once(first).chain(orders.try_iter()).take(BATCH) {
                match order {
                    Order::Commit(ticket) => batch.push(ticket),
                    Order::Close => open = false,
                }
            }
            self.commit(batch)?;
        }
        if self.space.check().is_ok() {
            self.keep_time()?;
        }
        self.sync()
    }

    fn commit(&mut self, batch: Vec<Ticket>) -> Result<(), sled::Error> {
        if self.space.check().is_err() {
            for ticket in batch {
                let _ = ticket.answer.send(Err(StoreError::DiskFull));
            }
            return Ok(());
        }
        self.progress.begin(&batch);
        let mut outcomes = Vec::with_capacity(batch.len());
        for ticket in batch {
            let outcome = match self.apply(ticket.change) {
                Ok(effect) => Ok(effect),
                Err(ApplyError::Record(error)) => Err(error),
                Err(ApplyError::Storage(error)) => return Err(error),
            };
            outcomes.push((ticket.answer, outcome));
        }
        if outcomes.iter().any(|(_, outcome)| matches!(outcome, Ok(true))) {
            self.keep_time()?;
            self.sync()?;
        }
        self.progress.end();
        for (answer, outcome) in outcomes {
            let _ = answer.send(outcome);
        }
        Ok(())
    }

    /// From here on what was applied survives a power cut.
    fn sync(&self) -> Result<(), sled::Error> {
        self.db.flush()?;
        self.log.sync_data()?;
        Ok(self.acknowledged.advance(self.seal.changes)?)
    }

    /// Every batch carries the clock's mark along, once a second at the most.
    fn keep_time(&mut self) -> Result<(), sled::Error> {
        let mark = self.clock.mark();
        if mark.unix_secs() > self.kept_mark.unix_secs() {
            self.trees.meta.insert(meta::CLOCK_MARK, &mark.unix_millis().to_be_bytes())?;
            self.kept_mark = mark;
        }
        Ok(())
    }

    fn apply(&mut self, change: Change) -> Result<bool, ApplyError> {
        match change {
            Change::CreateUser { user, hash } => self.create_user(&user, &hash),
            Change::DeleteUser(id) => self.delete_user(id),
            Change::ReplaceHash { id, old, new } => self.replace_hash(id, &old, &new),
            Change::EndSession(session) => self.end_session(session),
            Change::Prune(moment) => self.prune(moment),
            // Many probes within a second share one write: whoever may ask must not wear out the disk.
            Change::KeepTime => Ok(self.clock.mark().unix_secs() > self.kept_mark.unix_secs()),
            Change::KeyIds(ids) => self.keep_key_ids(&ids),
        }
    }

    fn create_user(&mut self, user: &User, hash: &PasswordHash) -> Result<bool, ApplyError> {
        let (id, name) = (user.id.as_bytes(), user.name.as_str().as_bytes());
        if self.trees.usernames.contains_key(name)? {
            return Ok(false);
        }
        let record = record::encode_user(user, hash)?;
        let seal = self.seal.next().with(In::Users, id, &record).with(In::Usernames, name, id);
        let Trees { users, usernames, meta, .. } = &self.trees;
        (users, usernames, meta).transaction(|(users, usernames, meta)| {
            usernames.insert(name, id)?;
            users.insert(id, record.as_slice())?;
            meta.insert(meta::SEAL, &seal.to_bytes())?;
            Ok(())
        })?;
        self.seal = seal;
        Ok(true)
    }

    fn delete_user(&mut self, id: UserId) -> Result<bool, ApplyError> {
        let id_bytes = id.as_bytes();
        let Some(record) = self.trees.users.get(id_bytes)? else {
            return Ok(false);
        };
        let user = record::decode_user(id, &record)?;
        let name = user.name.as_str().as_bytes();
        let seal =
            self.seal.next().without(In::Users, id_bytes, &record).without(In::Usernames, name, id_bytes);
        let Trees { users, usernames, meta, .. } = &self.trees;
        (users, usernames, meta).transaction(|(users, usernames, meta)| {
            usernames.remove(name)?;
            users.remove(id_bytes)?;
            meta.insert(meta::SEAL, &seal.to_bytes())?;
            Ok(())
        })?;
        self.seal = seal;
        Ok(true)
    }

    fn replace_hash(
        &mut self,
        id: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<bool, ApplyError> {
        let id_bytes = id.as_bytes();
        let Some(before) = self.trees.users.get(id_bytes)? else {
            return Ok(false);
        };
        let (user, hash) = record::decode_user_with_hash(id, &before)?;
        if hash != *old {
            return Ok(false);
        }
        let after = record::encode_user(&user, new)?;
        let seal = self.seal.next().without(In::Users, id_bytes, &before).with(In::Users, id_bytes, &after);
        (&self.trees.users, &self.trees.meta).transaction(|(users, meta)| {
            users.insert(id_bytes, after.as_slice())?;
            meta.insert(meta::SEAL, &seal.to_bytes())?;
            Ok(())
        })?;
        self.seal = seal;
        Ok(true)
    }

    fn end_session(&mut self, session: SessionId) -> Result<bool, ApplyError> {
        let key = session.as_bytes();
        if self.trees.revoked.contains_key(key)? {
            return Ok(false);
        }
        let seal = self.seal.next().with(In::Revoked, key, &[]);
        (&self.trees.revoked, &self.trees.meta).transaction(|(revoked, meta)| {
            revoked.insert(key, &[])?;
            meta.insert(meta::SEAL, &seal.to_bytes())?;
            Ok(())
        })?;
        self.seal = seal;
        Ok(true)
    }

    fn keep_key_ids(&mut self, ids: &[String]) -> Result<bool, ApplyError> {
        let seal = self.seal.next();
        let mut batch = sled::Batch::default();
        batch.insert(meta::KEY_IDS, record::encode_key_ids(ids)?);
        batch.insert(meta::SEAL, &seal.to_bytes());
        self.trees.meta.apply_batch(batch)?;
        self.seal = seal;
        Ok(true)
    }

    fn prune(&mut self, moment: Timestamp) -> Result<bool, ApplyError> {
        let bound = SessionId::first_ending_at(moment);
        let keys = self.trees.revoked.range(..bound.as_bytes().as_slice()).keys().take(PRUNE_BATCH);
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Ok(false);
        }
        let seal = keys.iter().fold(self.seal.next(), |seal, key| seal.without(In::Revoked, key, &[]));
        (&self.trees.revoked, &self.trees.meta).transaction(|(revoked, meta)| {
            for key in &keys {
                revoked.remove(key)?;
            }
            meta.insert(meta::PRUNED_UNTIL, &moment.unix_millis().to_be_bytes())?;
            meta.insert(meta::SEAL, &seal.to_bytes())?;
            Ok(())
        })?;
        self.seal = seal;
        Ok(true)
    }
}

/// Why a change was not applied: the record is at fault, or the whole store.
enum ApplyError {
    Record(StoreError),
    Storage(sled::Error),
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> Self {
        Self::Record(error)
    }
}

impl From<sled::Error> for ApplyError {
    fn from(error: sled::Error) -> Self {
        Self::Storage(error)
    }
}

impl From<TransactionError<std::convert::Infallible>> for ApplyError {
    fn from(error: TransactionError<std::convert::Infallible>) -> Self {
        match error {
            TransactionError::Abort(never) => match never {},
            TransactionError::Storage(error) => Self::Storage(error),
        }
    }
}
