//! The changes: what each decides, in one atomic step, and which records it writes.

use std::ops::Bound;
use std::time::Duration;

use sled::IVec;

use super::ledger::{Edits, In, Ledger, Stop};
use super::names::{self, Entry};
use super::record::{self, RotationRecord};
use super::{NewUser, Outcome, Replaced, Rotation, StoreError, Successor, UserChange, meta};
use crate::clock::Timestamp;
use crate::key::KeyRecord;
use crate::password::PasswordHash;
use crate::session::{SessionId, Sessions, TokenId};
use crate::user::{User, UserId, Username, Usernames};

/// The most records forgotten at once: reads wait while sled's transaction runs, some 10 µs a key.
const PRUNE_BATCH: usize = 64;

/// The most names freed at once. By the default rule there is one.
const FREED_MAX: usize = 64;

/// Names that are looked at in one go, in about a millisecond, for those of users who were deleted long ago. Of a
/// million names each comes within nine hours, once a minute.
const NAMES_LOOKED_AT: usize = 2048;

/// How long a refresh token that has been replaced still answers its successor: an answer may be lost, and two
/// tabs may race. A thief who comes later is noticed.
const ROTATION_GRACE: Duration = Duration::from_secs(30);

/// The most replaced tokens remembered for that time. Rotating more often than this within it is no client's
/// habit; the record stays below 300 bytes.
pub(super) const RETIRED_MAX: usize = 8;

/// A user's record, as it is and as it reads.
struct StoredUser {
    before: IVec,
    user: User,
    hash: PasswordHash,
}

impl Ledger {
    /// `None`: the name is taken.
    pub(super) fn create_user(&mut self, new: NewUser) -> Result<Option<User>, Stop> {
        if names::is_taken(&self.trees.usernames, &new.name, new.created_at)? {
            return Ok(None);
        }
        let name = names::key(&new.name);
        let was_deleted = self.trees.usernames.get(&name)?; // long ago
        let user = User {
            id: UserId::next(self.last_id, new.created_at, new.random),
            name: new.name.into_name(),
            role: new.role,
            disabled: new.disabled,
            created_at: new.created_at,
            sessions: Sessions::default(),
        };
        let id = user.id.as_bytes();
        let mut edits = Edits::default();
        edits.put(In::Users, id, None, record::encode_user(&user, &new.hash)?);
        edits.put(In::Usernames, &name, was_deleted, Entry::User(user.id).encode());
        self.write(&edits)?;
        self.last_id = Some(user.id);
        self.note_admin(&user);
        Ok(Some(user))
    }

    pub(super) fn update_user(&mut self, id: UserId, change: UserChange) -> Result<Outcome<User>, Stop> {
        let Some(stored) = self.stored_user(id)? else {
            return Ok(Outcome::Missing);
        };
        let old = &stored.user;
        let mut new = old.clone();
        new.role = change.role.unwrap_or(old.role);
        new.disabled = change.disabled.unwrap_or(old.disabled);
        if new == *old {
            return Ok(Outcome::Unchanged(new));
        }
        if self.is_last_admin(id) && !new.is_enabled_admin() {
            return Ok(Outcome::LastAdmin);
        }
        if new.disabled && !old.disabled {
            new.sessions = old.sessions.ended(None); // enabling brings none of them back
        }
        self.rewrite_user(stored.before, &new, &stored.hash)?;
        self.note_admin(&new);
        Ok(Outcome::Done(new))
    }

    pub(super) fn delete_user(&mut self, id: UserId) -> Result<Outcome<()>, Stop> {
        let Some(StoredUser { before, user, .. }) = self.stored_user(id)? else {
            return Ok(Outcome::Missing);
        };
        if self.is_last_admin(id) {
            return Ok(Outcome::LastAdmin);
        }
        let mut edits = Edits::default();
        edits.remove(In::Users, id.as_bytes(), before);
        let kept = Entry::deleted_at(self.now_or_mark());
        edits.put(In::Usernames, &names::key(&user.name), Some(id.as_bytes().into()), kept.encode());
        self.write(&edits)?;
        self.admins.remove(&id);
        Ok(Outcome::Done(()))
    }

    /// Frees what deleted users were called that is `name` by `rule`.
    pub(super) fn free_name(&mut self, name: &Username, rule: Usernames) -> Result<Vec<Username>, Stop> {
        let (mut edits, mut freed) = (Edits::default(), Vec::new());
        for entry in names::same(&self.trees.usernames, name, rule) {
            let (key, entry) = entry?;
            if let (Entry::Deleted(_), Some((_, name))) = (entry, names::parts(&key)) {
                freed.push(Username::from_stored(name));
                edits.remove(In::Usernames, &key, entry.encode().into());
            }
            if freed.len() == FREED_MAX {
                break;
            }
        }
        if !edits.is_empty() {
            self.write(&edits)?;
        }
        Ok(freed)
    }

    /// Forgets names of deleted users that have been free since `moment` or before, among those that come next.
    pub(super) fn forget_names(&mut self, moment: Timestamp) -> Result<(), Stop> {
        let begin = self.names_seen.take().map_or(Bound::Unbounded, Bound::Excluded);
        let range = (begin, Bound::Unbounded);
        let mut edits = Edits::default();
        for entry in self.trees.usernames.range::<IVec, _>(range).take(NAMES_LOOKED_AT) {
            let (key, value) = entry?;
            if let Entry::Deleted(until) = Entry::decode(&value)?
                && until <= moment
            {
                edits.remove(In::Usernames, &key, value);
            }
            self.names_seen = Some(key);
            if edits.len() == PRUNE_BATCH {
                break;
            }
        }
        if !edits.is_empty() {
            self.write(&edits)?;
        }
        Ok(())
    }

    /// `false`: the user is gone or has another hash than `old`.
    pub(super) fn renew_hash(
        &mut self,
        id: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<bool, Stop> {
        match self.stored_user(id)? {
            Some(StoredUser { before, user, hash }) if hash == *old => {
                self.rewrite_user(before, &user, new)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    pub(super) fn set_password(
        &mut self,
        id: UserId,
        hash: &PasswordHash,
        since: Option<Sessions>,
        spared: Option<SessionId>,
    ) -> Result<Replaced, Stop> {
        let Some(StoredUser { before, mut user, .. }) = self.stored_user(id)? else {
            return Ok(Replaced::Missing);
        };
        if since.is_some_and(|since| since != user.sessions) {
            return Ok(Replaced::Outdated);
        }
        user.sessions = user.sessions.ended(spared);
        self.rewrite_user(before, &user, hash)?;
        Ok(Replaced::Done)
    }

    /// `false`: there is no such user.
    pub(super) fn end_sessions(&mut self, id: UserId) -> Result<bool, Stop> {
        let Some(StoredUser { before, mut user, hash }) = self.stored_user(id)? else {
            return Ok(false);
        };
        user.sessions = user.sessions.ended(None);
        self.rewrite_user(before, &user, &hash)?;
        Ok(true)
    }

    /// `false`: it had ended already.
    pub(super) fn end_session(&mut self, session: &SessionId) -> Result<bool, Stop> {
        let key = session.as_bytes();
        if self.trees.revoked.contains_key(key)? {
            return Ok(false);
        }
        let mut edits = Edits::default();
        edits.put(In::Revoked, key, None, Vec::new());
        if let Some(rotation) = self.trees.rotations.get(key)? {
            edits.remove(In::Rotations, key, rotation);
        }
        self.write(&edits)?;
        Ok(true)
    }

    pub(super) fn rotate(
        &mut self,
        session: &SessionId,
        presented: TokenId,
        next: TokenId,
        now: Timestamp,
    ) -> Result<Rotation, Stop> {
        let key = session.as_bytes();
        if self.trees.revoked.contains_key(key)? {
            return Ok(Rotation::Ended);
        }
        let before = self.trees.rotations.get(key)?;
        let presented = *presented.as_bytes();
        let in_grace = |since: u64| now <= Timestamp::from_unix_millis(since).after(ROTATION_GRACE);
        let mut retired = match &before {
            None => Vec::new(), // the first refresh: there is but the token from the login
            Some(before) => {
                let record = record::decode_rotation(before)?;
                if record.current != presented {
                    let known = record.retired.iter().find(|(token, _)| *token == presented);
                    if known.is_some_and(|(_, since)| in_grace(*since)) {
                        let id = TokenId::from_bytes(record.current);
                        let issued_at = Timestamp::from_unix_millis(record.issued_at_millis);
                        return Ok(Rotation::Again(Successor { id, issued_at }));
                    }
                    self.end_session(session)?;
                    return Ok(Rotation::Reused);
                }
                record.retired
            }
        };
        retired.retain(|(_, since)| in_grace(*since));
        if retired.len() == RETIRED_MAX {
            retired.remove(0);
        }
        retired.push((presented, now.unix_millis()));
        let after =
            RotationRecord { current: *next.as_bytes(), issued_at_millis: now.unix_millis(), retired };
        let mut edits = Edits::default();
        edits.put(In::Rotations, key, before, record::encode_rotation(&after)?);
        self.write(&edits)?;
        Ok(Rotation::Advanced(Successor { id: next, issued_at: now }))
    }

    /// Forgets some of the sessions that were over at `moment`. `false`: none is left.
    pub(super) fn prune(&mut self, moment: Timestamp) -> Result<bool, Stop> {
        let bound = SessionId::first_ending_at(moment);
        let mut edits = Edits::default();
        for tree in [In::Revoked, In::Rotations] {
            for entry in self.trees.tree(tree).range(..bound.as_bytes().as_slice()).take(PRUNE_BATCH) {
                let (key, value) = entry?;
                edits.remove(tree, &key, value);
            }
        }
        if edits.is_empty() {
            return Ok(false);
        }
        edits.note(meta::PRUNED_UNTIL, moment.unix_millis().to_be_bytes().to_vec());
        self.write(&edits)?;
        self.pruned_until = self.pruned_until.max(moment);
        Ok(true)
    }

    /// Remembers these keys and no others.
    pub(super) fn keep_keys(&mut self, keys: &[KeyRecord]) -> Result<(), Stop> {
        let mut edits = Edits::default();
        for entry in &self.trees.keys {
            let (id, before) = entry?;
            if !keys.iter().any(|key| key.id.as_str().as_bytes() == &*id) {
                edits.remove(In::Keys, &id, before);
            }
        }
        for key in keys {
            let id = key.id.as_str().as_bytes();
            let before = self.trees.keys.get(id)?;
            let after = record::encode_key(key)?;
            if before.as_deref() != Some(&after) {
                edits.put(In::Keys, id, before, after);
            }
        }
        if !edits.is_empty() {
            self.write(&edits)?;
        }
        Ok(())
    }

    fn stored_user(&self, id: UserId) -> Result<Option<StoredUser>, Stop> {
        let Some(before) = self.trees.users.get(id.as_bytes())? else {
            return Ok(None);
        };
        let (user, hash) = record::decode_user_with_hash(id, &before)?;
        Ok(Some(StoredUser { before, user, hash }))
    }

    fn rewrite_user(&mut self, before: IVec, user: &User, hash: &PasswordHash) -> Result<(), Stop> {
        let mut edits = Edits::default();
        edits.put(In::Users, user.id.as_bytes(), Some(before), record::encode_user(user, hash)?);
        self.write(&edits)
    }

    fn is_last_admin(&self, id: UserId) -> bool {
        self.admins.len() == 1 && self.admins.contains(&id)
    }

    fn note_admin(&mut self, user: &User) {
        if user.is_enabled_admin() {
            self.admins.insert(user.id);
        } else {
            self.admins.remove(&user.id);
        }
    }
}

pub(super) fn user_id(key: &[u8]) -> Result<UserId, StoreError> {
    key.try_into().map(UserId::from_bytes).map_err(|_| StoreError::Unreadable)
}
