//! Changes of users: the user's record and their entry in the index of names.

use super::{admins, user_id};
use crate::domain::clock::Timestamp;
use crate::domain::session::{SessionId, Sessions};
use crate::domain::user::{User, UserId, Username};
use crate::password::PasswordHash;
use crate::store::change::{Change, Decision, Edits, ReadSet, Seen};
use crate::store::error::StoreError;
use crate::store::names::{self, NameEntry};
use crate::store::record;
use crate::store::table::{Table, facts};
use crate::store::terms::{NewUser, Outcome, Replaced, UserChange};

/// Creates a user. Returns `None` if the name is taken.
pub(in crate::store) struct CreateUser(pub(in crate::store) NewUser);

impl Change for CreateUser {
    type Outcome = Option<User>;

    fn reads(&self) -> ReadSet {
        let name = &self.0.name;
        ReadSet::default()
            .range(names::range(name, name.rule()))
            .key(Table::Usernames, &names::key(name))
            .key(Table::Facts, facts::LAST_ID)
            .key(Table::Facts, facts::ADMINS)
    }

    fn decide(&self, seen: &Seen) -> Result<Decision<Option<User>>, StoreError> {
        let new = &self.0;
        if names::is_taken(seen.entries(Table::Usernames), new.created_at)? {
            return Ok(Decision::unchanged(None));
        }
        let last_id = seen.get(Table::Facts, facts::LAST_ID).map(user_id).transpose()?;
        let user = User {
            id: UserId::next(last_id, new.created_at, new.random),
            name: new.name.clone().into_name(),
            role: new.role,
            disabled: new.disabled,
            created_at: new.created_at,
            sessions: Sessions::default(),
        };
        let mut edits = Edits::default();
        edits.create(Table::Users, user.id.as_bytes(), record::encode_user(&user, &new.hash)?);
        edits.put(Table::Usernames, &names::key(&user.name), NameEntry::User(user.id).encode());
        edits.put(Table::Facts, facts::LAST_ID, user.id.as_bytes().to_vec());
        count_admins(&mut edits, seen, false, user.is_enabled_admin())?;
        Ok(Decision::of(Some(user), edits))
    }
}

/// Changes a user's role, or disables or enables them.
pub(in crate::store) struct UpdateUser {
    pub(in crate::store) id: UserId,
    pub(in crate::store) change: UserChange,
}

impl Change for UpdateUser {
    type Outcome = Outcome<User>;

    fn reads(&self) -> ReadSet {
        ReadSet::default().key(Table::Users, self.id.as_bytes()).key(Table::Facts, facts::ADMINS)
    }

    fn decide(&self, seen: &Seen) -> Result<Decision<Outcome<User>>, StoreError> {
        let Some((old, hash)) = stored_user(seen, self.id)? else {
            return Ok(Decision::unchanged(Outcome::Missing));
        };
        let mut new = old.clone();
        new.role = self.change.role.unwrap_or(old.role);
        new.disabled = self.change.disabled.unwrap_or(old.disabled);
        if new == old {
            return Ok(Decision::unchanged(Outcome::Unchanged(new)));
        }
        if is_last_admin(seen, &old)? && !new.is_enabled_admin() {
            return Ok(Decision::unchanged(Outcome::LastAdmin));
        }
        if new.disabled && !old.disabled {
            new.sessions = old.sessions.revoked_except(None); // enabling restores none of them
        }
        let mut edits = rewritten(&new, &hash)?;
        count_admins(&mut edits, seen, old.is_enabled_admin(), new.is_enabled_admin())?;
        Ok(Decision::of(Outcome::Done(new), edits))
    }
}

/// Deletes a user; the name stays taken for a while. Names never change, so the caller reads it beforehand.
pub(in crate::store) struct DeleteUser {
    pub(in crate::store) id: UserId,
    /// `None` if the user did not exist; ids are never reused.
    pub(in crate::store) name: Option<Username>,
    pub(in crate::store) now: Timestamp,
}

impl Change for DeleteUser {
    type Outcome = Outcome<()>;

    fn reads(&self) -> ReadSet {
        let reads = ReadSet::default().key(Table::Users, self.id.as_bytes()).key(Table::Facts, facts::ADMINS);
        match &self.name {
            Some(name) => reads.key(Table::Usernames, &names::key(name)),
            None => reads,
        }
    }

    fn decide(&self, seen: &Seen) -> Result<Decision<Outcome<()>>, StoreError> {
        let (Some((user, _)), Some(name)) = (stored_user(seen, self.id)?, &self.name) else {
            return Ok(Decision::unchanged(Outcome::Missing));
        };
        if is_last_admin(seen, &user)? {
            return Ok(Decision::unchanged(Outcome::LastAdmin));
        }
        let mut edits = Edits::default();
        edits.remove(Table::Users, user.id.as_bytes());
        edits.put(Table::Usernames, &names::key(name), NameEntry::deleted_at(self.now).encode());
        count_admins(&mut edits, seen, user.is_enabled_admin(), false)?;
        Ok(Decision::of(Outcome::Done(()), edits))
    }
}

/// Replaces a hash by another of the same password. Returns whether the user still had it.
pub(in crate::store) struct RenewHash {
    pub(in crate::store) id: UserId,
    pub(in crate::store) old: PasswordHash,
    pub(in crate::store) new: PasswordHash,
}

impl Change for RenewHash {
    type Outcome = bool;

    fn reads(&self) -> ReadSet {
        ReadSet::default().key(Table::Users, self.id.as_bytes())
    }

    fn decide(&self, seen: &Seen) -> Result<Decision<bool>, StoreError> {
        match stored_user(seen, self.id)? {
            Some((user, hash)) if hash == self.old => Ok(Decision::of(true, rewritten(&user, &self.new)?)),
            _ => Ok(Decision::unchanged(false)),
        }
    }
}

/// Sets a password and revokes all sessions but `spared`; if `since` is given, only if the user's sessions
/// still equal it.
pub(in crate::store) struct SetPassword {
    pub(in crate::store) id: UserId,
    pub(in crate::store) hash: PasswordHash,
    pub(in crate::store) since: Option<Sessions>,
    pub(in crate::store) spared: Option<SessionId>,
}

impl Change for SetPassword {
    type Outcome = Replaced;

    fn reads(&self) -> ReadSet {
        ReadSet::default().key(Table::Users, self.id.as_bytes())
    }

    fn decide(&self, seen: &Seen) -> Result<Decision<Replaced>, StoreError> {
        let Some((mut user, _)) = stored_user(seen, self.id)? else {
            return Ok(Decision::unchanged(Replaced::Missing));
        };
        if self.since.as_ref().is_some_and(|since| *since != user.sessions) {
            return Ok(Decision::unchanged(Replaced::Outdated));
        }
        user.sessions = user.sessions.revoked_except(self.spared);
        Ok(Decision::of(Replaced::Done, rewritten(&user, &self.hash)?))
    }
}

/// The user with a declared id, and their hash.
pub(super) fn stored_user(seen: &Seen, id: UserId) -> Result<Option<(User, PasswordHash)>, StoreError> {
    seen.get(Table::Users, id.as_bytes()).map(|bytes| record::decode_user_with_hash(id, bytes)).transpose()
}

pub(super) fn rewritten(user: &User, hash: &PasswordHash) -> Result<Edits, StoreError> {
    let mut edits = Edits::default();
    edits.put(Table::Users, user.id.as_bytes(), record::encode_user(user, hash)?);
    Ok(edits)
}

fn is_last_admin(seen: &Seen, user: &User) -> Result<bool, StoreError> {
    Ok(user.is_enabled_admin() && admins(seen)? <= 1)
}

/// Updates the count of enabled administrators after a change of one user.
fn count_admins(edits: &mut Edits, seen: &Seen, was: bool, is: bool) -> Result<(), StoreError> {
    let count = admins(seen)?;
    let count = match (was, is) {
        (false, true) => count + 1,
        (true, false) => count.saturating_sub(1),
        (true, true) | (false, false) => return Ok(()),
    };
    edits.put(Table::Facts, facts::ADMINS, count.to_be_bytes().to_vec());
    Ok(())
}
