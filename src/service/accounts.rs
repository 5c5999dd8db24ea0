//! Accounts: made, shown, listed, changed and deleted.

use std::sync::Arc;

use crate::audit::{By, Event, Origin};
use crate::password::{Checked, Password, PasswordHash};
use crate::session::{SessionId, Sessions};
use crate::store::{NewUser, Outcome, Replaced, UserChange};
use crate::token::TokenRefusal;
use crate::user::{Role, User, UserId, Username};

use super::{Actor, Caller, FreshAdmin, Refusal, Service, requester, see_through};

impl Service {
    /// Refuses if only administrators create users.
    ///
    /// # Errors
    /// [`Refusal::RegistrationClosed`].
    pub fn demand_open_registration(&self) -> Result<(), Refusal> {
        if self.rules.open_registration { Ok(()) } else { Err(Refusal::RegistrationClosed) }
    }

    /// Registers a user. The account survives a power cut once this returns.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn register(
        &self,
        origin: &Arc<Origin>,
        name: Username,
        password: Password,
    ) -> Result<UserId, Refusal> {
        self.demand_open_registration()?;
        let now = self.clock.now()?;
        let place = self.throttle.registration(origin.address(), now).map_err(|throttled| {
            self.audit.record(origin, Event::RegistrationThrottled);
            Refusal::Throttled(throttled)
        })?;
        let made = self.make_user(origin, By::Themselves, name.clone(), password, Role::User).await;
        match &made {
            Ok(_) => {}
            // That somebody has the name has been learnt: without a limit all names could be tried.
            Err(Refusal::NameTaken) => {
                let holder = self.store.user_named(&name).await?.map(|(user, _)| user);
                self.audit.record(origin, Event::NameTaken(holder.as_ref()));
            }
            Err(_) => place.withdrawn(),
        }
        let id = made?.id;
        origin.is_from(id);
        Ok(id)
    }

    /// Creates a user on behalf of an administrator.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn create_user(
        &self,
        origin: &Arc<Origin>,
        admin: FreshAdmin<'_>,
        name: Username,
        password: Password,
        role: Role,
    ) -> Result<UserId, Refusal> {
        Ok(self.make_user(origin, admin.by(), name, password, role).await?.id)
    }

    /// Whether anybody is an administrator.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn has_admin(&self) -> Result<bool, Refusal> {
        Ok(self.store.has_admin().await?)
    }

    /// Creates an administrator on the word of the settings.
    ///
    /// # Errors
    /// [`Refusal`]; above all [`Refusal::NameTaken`].
    pub async fn create_first_admin(&self, name: Username, password: Password) -> Result<(), Refusal> {
        let origin = Arc::new(Origin::local("start"));
        self.make_user(&origin, By::Settings, name, password, Role::Admin).await.map(drop)
    }

    async fn make_user(
        &self,
        origin: &Arc<Origin>,
        by: By,
        name: Username,
        password: Password,
        role: Role,
    ) -> Result<User, Refusal> {
        // Asked first to spare a hash; decided by the store.
        if self.store.user_named(&name).await?.is_some() {
            return Err(Refusal::NameTaken);
        }
        let actor = by.user();
        let hash = self.hashes.hash(requester(origin, actor, actor.is_some()), password).await?;
        let new = NewUser::new(name, role, hash, self.clock.now()?)?;
        let (store, audit, origin) = (Arc::clone(&self.store), self.audit.clone(), Arc::clone(origin));
        see_through(async move {
            let user = store.create_user(new).await?.ok_or(Refusal::NameTaken)?;
            audit.record(&origin, Event::Registered(by, &user));
            Ok(user)
        })
        .await
    }

    /// The user `id`, or the caller's own where it is `None`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn show_user(&self, actor: &Actor, id: Option<UserId>) -> Result<User, Refusal> {
        let id = actor.target(id)?;
        actor.own_or_admin(id)?;
        match actor.user() {
            Some(user) if user.id == id => Ok(user.clone()),
            _ => self.store.user(id).await?.ok_or(Refusal::NotFound),
        }
    }

    /// The user of this name.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn find_user(&self, actor: &Actor, name: &Username) -> Result<Option<User>, Refusal> {
        actor.admin()?;
        Ok(self.store.user_named(name).await?.map(|(user, _)| user))
    }

    /// How the password of `user` is hashed, without salt and hash.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn password_scheme(&self, actor: &Actor, user: &User) -> Result<String, Refusal> {
        actor.admin()?;
        Ok(self.hash_of(user).await?.ok_or(Refusal::NotFound)?.scheme())
    }

    /// The hash of the password of `user`, if they are still there.
    async fn hash_of(&self, user: &User) -> Result<Option<PasswordHash>, Refusal> {
        let found = self.store.user_named(&user.name).await?.filter(|(found, _)| found.id == user.id);
        Ok(found.map(|(_, hash)| hash))
    }

    /// Up to `limit` users in order of creation, from the one created next after `after`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn list_users(
        &self,
        actor: &Actor,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<User>, Refusal> {
        actor.admin()?;
        Ok(self.store.users_after(after, limit).await?)
    }

    /// Whether the actor may change others: administrators with a fresh token may.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn fresh_admin<'a>(&self, origin: &Origin, actor: &'a Actor) -> Result<FreshAdmin<'a>, Refusal> {
        if let Actor::Anyone = actor {
            return self.accepted(origin, Err(TokenRefusal::Missing)); // --dev does not go so far
        }
        actor.admin()?;
        self.accepted(origin, actor.fresh())?;
        Ok(FreshAdmin(actor))
    }

    /// Changes a user's role, or whether they may log in. Disabling ends all their sessions; enabling forgives their failed
    /// logins.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn update_user(
        &self,
        origin: &Arc<Origin>,
        admin: FreshAdmin<'_>,
        id: Option<UserId>,
        change: UserChange,
    ) -> Result<User, Refusal> {
        let FreshAdmin(actor) = admin;
        let id = actor.target(id)?;
        let (store, audit) = (Arc::clone(&self.store), self.audit.clone());
        let (by, event_origin) = (admin.by(), Arc::clone(origin));
        let updated = see_through(async move {
            let updated = store.update_user(id, change).await?;
            if let Outcome::Done(user) = &updated {
                audit.record(&event_origin, Event::Updated(by, user));
            }
            Ok(updated)
        });
        let updated = updated.await?;
        if let (Outcome::Done(user) | Outcome::Unchanged(user), Some(false)) = (&updated, change.disabled) {
            let is_eased = self.throttle.forgive(user.name.as_str(), self.clock.now_or_mark());
            if is_eased && matches!(updated, Outcome::Unchanged(_)) {
                self.audit.record(origin, Event::Updated(by, user)); // no other line tells of it
            }
        }
        match updated {
            Outcome::Done(user) | Outcome::Unchanged(user) => Ok(user),
            Outcome::LastAdmin => Err(Refusal::LastAdmin),
            Outcome::Missing => self.missing(origin, actor, id),
        }
    }

    /// The user to whom something is to be destroyed, if the actor may: their own, or as an administrator anybody's, with a
    /// fresh token.
    pub(super) fn fresh_target(
        &self,
        origin: &Origin,
        actor: &Actor,
        id: Option<UserId>,
    ) -> Result<UserId, Refusal> {
        let id = actor.target(id)?;
        actor.own_or_admin(id)?;
        self.accepted(origin, actor.fresh())?;
        Ok(id)
    }

    /// Deletes the user `id`, or the caller where it is `None`. That ends all their sessions.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn delete_user(
        &self,
        origin: &Arc<Origin>,
        actor: &Actor,
        id: Option<UserId>,
    ) -> Result<(), Refusal> {
        let id = self.fresh_target(origin, actor, id)?;
        let (store, audit) = (Arc::clone(&self.store), self.audit.clone());
        let (by, event_origin) = (actor.by(), Arc::clone(origin));
        let deleted = see_through(async move {
            let deleted = store.delete_user(id).await?;
            if deleted == Outcome::Done(()) {
                audit.record(&event_origin, Event::Deleted(by, id));
            }
            Ok(deleted)
        });
        match deleted.await? {
            Outcome::Done(()) | Outcome::Unchanged(()) => Ok(()),
            Outcome::LastAdmin => Err(Refusal::LastAdmin),
            Outcome::Missing => self.missing(origin, actor, id),
        }
    }

    /// Changes the password of the caller, which ends all their other sessions.
    ///
    /// # Errors
    /// [`Refusal`]; a wrong current password is refused, and counted, as at login.
    pub async fn change_password(
        &self,
        origin: &Arc<Origin>,
        caller: &Caller,
        current: Password,
        new: Password,
    ) -> Result<(), Refusal> {
        let user = &caller.user;
        let Some(hash) = self.hash_of(user).await? else {
            return self.accepted(origin, Err(TokenRefusal::Revoked));
        };
        let session = Some(caller.access.session);
        let checked =
            self.guess(origin, user.name.as_str(), Some(user.id), session, current, Some(hash)).await?;
        if let Checked::Wrong = checked {
            self.audit.record(origin, Event::WrongPassword(user));
            return Err(Refusal::InvalidCredentials);
        }
        let hash = self.hashes.hash(requester(origin, Some(user.id), true), new).await?;
        // Should the password have been changed since the caller was let in, what was checked is the old one.
        let kept = Kept { since: Some(user.sessions), session: Some(caller.access.session) };
        match self.set_password(origin, By::User(user.id), user.id, hash, kept).await? {
            Replaced::Done => Ok(()),
            Replaced::Missing => self.accepted(origin, Err(TokenRefusal::Revoked)),
            Replaced::Outdated => Err(Refusal::InvalidCredentials),
        }
    }

    /// Gives somebody else another password, which ends all their sessions and forgives their failed logins.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn reset_password(
        &self,
        origin: &Arc<Origin>,
        admin: FreshAdmin<'_>,
        id: UserId,
        new: Password,
    ) -> Result<(), Refusal> {
        let user = self.store.user(id).await?.ok_or(Refusal::NotFound)?;
        let hash = self.hashes.hash(requester(origin, admin.by().user(), true), new).await?;
        match self.set_password(origin, admin.by(), id, hash, Kept::default()).await? {
            Replaced::Done => {
                self.throttle.forgive(user.name.as_str(), self.clock.now_or_mark());
                Ok(())
            }
            Replaced::Missing | Replaced::Outdated => Err(Refusal::NotFound),
        }
    }

    async fn set_password(
        &self,
        origin: &Arc<Origin>,
        by: By,
        id: UserId,
        hash: PasswordHash,
        kept: Kept,
    ) -> Result<Replaced, Refusal> {
        let (store, audit, origin) = (Arc::clone(&self.store), self.audit.clone(), Arc::clone(origin));
        see_through(async move {
            let replaced = store.set_password(id, hash, kept.since, kept.session).await?;
            if replaced == Replaced::Done {
                audit.record(&origin, Event::PasswordChanged(by, id));
            }
            Ok(replaced)
        })
        .await
    }
}

/// What a change of password leaves as it is.
#[derive(Clone, Copy, Default)]
struct Kept {
    /// The change is made only if the user's sessions are still these.
    since: Option<Sessions>,
    /// The session that goes on.
    session: Option<SessionId>,
}
