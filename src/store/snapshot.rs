//! All records as they were at one moment, read while changes go on.
//!
//! sled 0.34 has no snapshots. But there is one writer, and each of its edits carries the value that it replaces. A
//! snapshot begins on the committer's thread, between two changes, and shares an *overlay* with it. From then on the
//! ledger leaves there the value before each edit, and whoever reads takes that instead of what stands in the store by
//! then. Nobody waits: the reader holds the overlay's lock while it merges one chunk, the committer for a few keys.
//!
//! Why no change can slip in between. For each key, the committer *leaves* its first value before anything can see
//! another, and the reader looks into the overlay after it has *read* the key, in the same critical section in which it
//! declares the key as passed:
//!
//! * Left before the reader passes the key: what was left wins, whatever has been read.
//! * Not left until then: no edit was visible when the key was read, so what was read is what stood there. Later
//!   edits find the key passed and leave nothing.
//!
//! That nothing is missing is not only argued for: the sum over all that was read must be the one that the seal gave at
//! the beginning (see [`super::seal`]).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use sled::IVec;
use uuid::Uuid;

use super::changes::user_id;
use super::ledger::{Edit, In, Trees};
use super::names::{self, Entry};
use super::open_error::reason;
use super::seal::Seal;
use super::{StoreError, record};
use crate::clock::Timestamp;
use crate::password::PasswordHash;
use crate::user::{User, Username};

/// Records read at once: some hundred kilobytes, which take about a millisecond.
const CHUNK: usize = 512;

/// The most bytes of earlier values that are kept for one reader: some 200,000 changes ahead of it. A reader so slow
/// is given up rather than fed with memory.
const OVERLAY_MAX: usize = 64 << 20;

/// What an entry of the overlay takes besides key and value.
const ENTRY: usize = 96;

/// Key and value, as they lie in the store.
pub(super) type Record = (IVec, IVec);

/// Why a snapshot cannot be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// A record cannot be read.
    Store(StoreError),
    /// A page cannot be read; why. What else is in the store goes on to be served.
    Page(String),
    /// More has been changed meanwhile than is kept for a slow reader.
    TooSlow,
    /// The records do not add up to what the store says about itself.
    Damaged,
    /// Nobody waits for it any more.
    Abandoned,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Page(why) => write!(f, "a page of the store cannot be read: {why}: run `gatelet verify`"),
            Self::TooSlow => {
                f.write_str("more was changed meanwhile than fits into memory: reading was too slow")
            }
            Self::Abandoned => f.write_str("nobody waits for it any more"),
            Self::Damaged => f.write_str("the store's records do not add up: run `gatelet verify`"),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl From<StoreError> for SnapshotError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What has been changed since a snapshot began, as it was before.
pub(super) struct Overlay(Mutex<State>);

struct State {
    /// The tree that is being read; those before it have been.
    tree: In,
    /// The last key of it that has been read.
    after: Option<IVec>,
    before: BTreeMap<(In, IVec), Option<IVec>>,
    /// What `before` takes.
    bytes: usize,
    /// Why the reader is given up, if it is: nothing is left for it any more.
    given_up: Option<SnapshotError>,
}

impl State {
    fn has_passed(&self, tree: In, key: &[u8]) -> bool {
        tree < self.tree || (tree == self.tree && self.after.as_deref().is_some_and(|after| key <= after))
    }

    fn give_up(&mut self, why: SnapshotError) {
        self.before.clear();
        self.given_up = Some(why);
    }
}

impl Overlay {
    /// For a reader that begins with the tree `first`.
    fn new(first: In) -> Self {
        let before = BTreeMap::new();
        Self(Mutex::new(State { tree: first, after: None, before, bytes: 0, given_up: None }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the values before these edits. Call it before anybody can see them.
    pub(super) fn leave(&self, edits: &[Edit]) {
        let mut state = self.lock();
        for Edit { tree, key, before, .. } in edits {
            if state.given_up.is_some() || state.has_passed(*tree, key) {
                continue;
            }
            let place = (*tree, key.clone());
            if state.before.contains_key(&place) {
                continue;
            }
            // Copied: what sled hands out may keep a whole page alive.
            let before = before.as_ref().map(|value| IVec::from(&**value));
            state.bytes += entry_size(key, before.as_ref());
            state.before.insert(place, before);
            if state.bytes > OVERLAY_MAX {
                state.give_up(SnapshotError::TooSlow);
            }
        }
    }

    /// Puts what was left into `read`, the records of `tree` up to `end`, or all the rest of them, and declares
    /// those as passed.
    fn pass(&self, tree: In, end: Option<&IVec>, read: Vec<Record>) -> Result<Vec<Record>, SnapshotError> {
        let mut state = self.lock();
        if let Some(why) = &state.given_up {
            return Err(why.clone());
        }
        match (end, tree.next()) {
            (Some(end), _) => state.after = Some(end.clone()),
            (None, Some(next)) => (state.tree, state.after) = (next, None),
            (None, None) => {} // nobody reads on
        }
        let mut left = Vec::new();
        while let Some(first) = state.before.first_entry() {
            let (of, key) = first.key();
            if *of != tree || end.is_some_and(|end| key > end) {
                break;
            }
            let ((_, key), before) = first.remove_entry();
            state.bytes -= entry_size(&key, before.as_ref());
            left.push((key, before));
        }
        drop(state);
        if left.is_empty() {
            return Ok(read);
        }
        let mut merged: BTreeMap<_, _> = read.into_iter().map(|(key, value)| (key, Some(value))).collect();
        merged.extend(left);
        Ok(merged.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }
}

fn entry_size(key: &IVec, before: Option<&IVec>) -> usize {
    key.len() + before.map_or(0, |value| value.len()) + ENTRY
}

/// Gives a snapshot up that somebody else is reading, and may never come back from.
pub struct Abandon(Weak<Overlay>);

impl Abandon {
    /// Frees what is kept for the snapshot. Its next read, if there is one, is its last.
    pub fn abandon(&self) {
        if let Some(overlay) = self.0.upgrade() {
            overlay.lock().give_up(SnapshotError::Abandoned);
        }
    }
}

/// What a snapshot shows.
#[derive(Clone, Copy, Debug)]
pub enum Shown<'a> {
    /// A user, and the hash of their password.
    User(&'a User, &'a PasswordHash),
    /// A name that a deleted user had, and until when nobody else may have it.
    KeptName(&'a Username, Timestamp),
}

/// All records as they were when this began. Dropping it frees what is kept for it.
pub struct Snapshot {
    trees: Trees,
    overlay: Arc<Overlay>,
    store_id: Uuid,
    /// At the beginning.
    seal: Seal,
    users: u64,
    /// The tree to be read next, and the key in it after which to go on.
    next: Option<In>,
    after: Option<IVec>,
    /// Of all that has been read.
    sum: Seal,
}

impl Snapshot {
    /// A snapshot that begins now, on the committer's thread, and what is to be told of every edit from now on.
    pub(super) fn begin(trees: Trees, store_id: Uuid, seal: Seal, users: u64) -> Self {
        let [first, ..] = In::ALL;
        Self {
            trees,
            overlay: Arc::new(Overlay::new(first)),
            store_id,
            seal,
            users,
            next: Some(first),
            after: None,
            sum: seal.empty(),
        }
    }

    pub(super) fn overlay(&self) -> &Arc<Overlay> {
        &self.overlay
    }

    /// What gives this up from elsewhere.
    pub fn abandoner(&self) -> Abandon {
        Abandon(Arc::downgrade(&self.overlay))
    }

    /// Which store this is.
    pub fn store_id(&self) -> Uuid {
        self.store_id
    }

    /// How many changes there had been in the store's life.
    pub fn changes(&self) -> u64 {
        self.seal.changes
    }

    /// How many users there were.
    pub fn users(&self) -> u64 {
        self.users
    }

    /// Shows all users to `visit`, in order of creation, and then the names that deleted users had. Blocks.
    ///
    /// # Errors
    /// Those of `visit`, or [`SnapshotError`]; what was shown is then not all.
    pub fn read<E: From<SnapshotError>>(
        mut self,
        mut visit: impl FnMut(Shown<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some((tree, records)) = self.next()? {
            for (key, value) in &records {
                match tree {
                    In::Users => {
                        let read = user_id(key).and_then(|id| record::decode_user_with_hash(id, value));
                        let (user, hash) = read.map_err(SnapshotError::Store)?;
                        visit(Shown::User(&user, &hash))?;
                    }
                    In::Usernames => {
                        let entry = Entry::decode(value).map_err(SnapshotError::Store)?;
                        let (_, name) =
                            names::parts(key).ok_or(SnapshotError::Store(StoreError::Unreadable))?;
                        if let Entry::Deleted(until) = entry {
                            visit(Shown::KeptName(&Username::from_stored(name), until))?;
                        }
                    }
                    // Read for their sum alone: whether the store is whole shows in all of them.
                    In::Revoked | In::Rotations | In::Keys => {}
                }
            }
        }
        Ok(())
    }

    /// The next records, in order of trees and keys. After the last it answers whether all add up.
    pub(super) fn next(&mut self) -> Result<Option<(In, Vec<Record>)>, SnapshotError> {
        let Some(tree) = self.next else {
            return if self.sum == self.seal { Ok(None) } else { Err(SnapshotError::Damaged) };
        };
        let begin = self.after.take().map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.trees.tree(tree).range::<IVec, _>((begin, Bound::Unbounded)).take(CHUNK);
        // sled does not fail by what it cannot read, and neither does the store: nobody else may ever need that page.
        let read: Vec<_> =
            range.collect::<Result<_, _>>().map_err(|error| SnapshotError::Page(reason(&error)))?;
        let end = read.last().filter(|_| read.len() == CHUNK).map(|(key, _)| key.clone());
        let records = self.overlay.pass(tree, end.as_ref(), read)?;
        self.next = if end.is_some() { Some(tree) } else { tree.next() };
        self.after = end;
        self.sum = records.iter().fold(self.sum, |sum, (key, value)| sum.with(tree, key, value));
        Ok(Some((tree, records)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half the most that a record may have.
    const VALUE: usize = 2048;

    fn edit(key: usize) -> Edit {
        let key = IVec::from(&key.to_be_bytes());
        Edit { tree: In::Users, key, before: Some(vec![0; VALUE].into()), after: None }
    }

    #[test]
    fn a_reader_that_falls_far_behind_is_given_up_and_takes_no_more_memory() {
        let overlay = Overlay::new(In::Users);
        let enough = OVERLAY_MAX / (VALUE + ENTRY + size_of::<usize>());
        overlay.leave(&[edit(1), edit(2)]);
        for key in 3..=enough {
            overlay.leave(&[edit(key), edit(key)]);
            overlay.leave(&[edit(key)]);
        }
        // As long as it reads it makes room.
        let passed = overlay.pass(In::Users, Some(&edit(2).key), Vec::new()).unwrap();
        assert_eq!(passed.len(), 2);
        overlay.leave(&[edit(1), edit(2), edit(enough + 1), edit(enough + 2)]);
        assert_eq!(overlay.lock().before.len(), enough);
        overlay.leave(&[edit(enough + 3)]);
        assert_eq!(overlay.lock().before.len(), 0);
        overlay.leave(&[edit(enough + 4)]);
        assert_eq!(overlay.lock().before.len(), 0);
        assert_eq!(overlay.pass(In::Users, None, Vec::new()), Err(SnapshotError::TooSlow));
    }

    #[test]
    fn a_reader_that_is_abandoned_takes_no_more_memory_and_reads_no_further() {
        let overlay = Arc::new(Overlay::new(In::Users));
        overlay.leave(&[edit(1), edit(2)]);
        Abandon(Arc::downgrade(&overlay)).abandon();
        overlay.leave(&[edit(3)]);
        assert_eq!(overlay.lock().before.len(), 0);
        assert_eq!(overlay.pass(In::Users, None, Vec::new()), Err(SnapshotError::Abandoned));
    }
}
