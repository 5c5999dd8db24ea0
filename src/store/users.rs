//! The store's calls for users and their names.

use std::ops::Bound;
use std::sync::{MutexGuard, PoisonError};

use super::authority::{Authority, ChangeError, Need};
use super::change::Range;
use super::changes::{
    self, CreateUser, DeleteUser, FreeNames, HasAdmin, PruneNames, RenewHash, SetPassword, UpdateUser,
};
use super::error::StoreError;
use super::table::Table;
use super::terms::{NewUser, Outcome, Replaced, UserChange};
use super::{NOBODY, Store, names, record};
use crate::domain::clock::Timestamp;
use crate::domain::session::{SessionId, Sessions};
use crate::domain::user::{NewName, User, UserId, Username, Usernames};
use crate::password::PasswordHash;

impl Store {
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

    /// The number of users.
    pub fn user_count(&self) -> u64 {
        self.engine.counts().users()
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
