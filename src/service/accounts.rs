//! Accounts: made, shown, listed, changed and deleted.

use std::sync::Arc;

use crate::audit::{Event, Origin};
use crate::domain::session::{SessionId, Sessions};
use crate::domain::user::{NewName, Role, User, UserId, Username, Usernames};
use crate::password::{Checked, Password, PasswordHash};
use crate::store::{NewUser, Outcome, Replaced, UserChange};
use crate::throttle::Registration;
use crate::token::TokenRefusal;

use super::actor::{FreshTarget, Warrant};
use super::{Actor, Caller, Console, FreshAdmin, Overview, Refusal, Service, Visitor, requester};

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
        name: NewName,
        password: Password,
    ) -> Result<UserId, Refusal> {
        self.demand_open_registration()?;
        let now = self.clock.now()?;
        let place = self.throttle.registration(origin.address(), now).map_err(|throttled| {
            self.audit.record(origin, Event::RegistrationThrottled);
            Refusal::Throttled(throttled)
        })?;
        let made =
            self.make_user(origin, Warrant::registration(), name, password, Role::User, Some(place)).await;
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
        admin: FreshAdmin,
        name: NewName,
        password: Password,
        role: Role,
    ) -> Result<UserId, Refusal> {
        Ok(self.make_user(origin, admin.warrant(), name, password, role, None).await?.id)
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
    pub async fn create_first_admin(&self, name: NewName, password: Password) -> Result<(), Refusal> {
        let origin = Arc::new(Origin::local("start"));
        self.make_user(&origin, Warrant::settings(), name, password, Role::Admin, None).await.map(drop)
    }

    /// Makes a user; with a `place` among the registrations where they make themselves.
    async fn make_user(
        &self,
        origin: &Arc<Origin>,
        Warrant { by, authority }: Warrant,
        name: NewName,
        password: Password,
        role: Role,
        place: Option<Registration>,
    ) -> Result<User, Refusal> {
        // Asked first to spare a hash; decided by the store.
        let taken = name.clone();
        let actor = by.user();
        let new = async {
            if self.store.is_taken(&name, self.clock.now()?).await? {
                return Err(Refusal::NameTaken);
            }
            let hash = self.hashes.hash(requester(origin, actor, actor.is_some()), password).await?;
            Ok(NewUser::new(name, role, hash, self.clock.now()?)?)
        };
        let new = match new.await {
            Ok(new) => new,
            Err(refusal) => return Err(self.not_made(origin, place, &taken, refusal).await),
        };
        self.see_through(origin, async move |service, origin| {
            let refusal = match service.store.create_user(authority, new).await {
                Ok(Some(user)) => {
                    service.audit.record(&origin, Event::Registered(by, &user));
                    return Ok(user);
                }
                Ok(None) => Refusal::NameTaken,
                Err(error) => error.into(),
            };
            Err(service.not_made(&origin, place, &taken, refusal).await)
        })
        .await
    }

    /// A user was not made. Gives their place among the registrations back, if they registered and have learnt nothing.
    async fn not_made(
        &self,
        origin: &Origin,
        place: Option<Registration>,
        name: &Username,
        refusal: Refusal,
    ) -> Refusal {
        match (place, &refusal) {
            (None, _) => {}
            // That somebody has the name has been learnt: without a limit all names could be tried.
            (Some(_), Refusal::NameTaken) => match self.store.user_named(name, self.rules.usernames).await {
                Ok(holder) => {
                    let holder = holder.map(|(user, _)| user);
                    self.audit.record(origin, Event::NameTaken(holder.as_ref()));
                }
                Err(error) => return error.into(),
            },
            (Some(place), _) => place.withdrawn(),
        }
        refusal
    }

    /// The user `id`, or the caller's own where it is `None`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn show_user(&self, visitor: &Visitor, id: Option<UserId>) -> Result<User, Refusal> {
        let id = visitor.sees(id)?;
        match visitor.user() {
            Some(user) if user.id == id => Ok(user.clone()),
            _ => self.store.user(id).await?.ok_or(Refusal::NotFound),
        }
    }

    /// The user of this name.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn find_user(&self, _: Console, name: &Username) -> Result<Option<User>, Refusal> {
        Ok(self.store.user_named(name, self.rules.usernames).await?.map(|(user, _)| user))
    }

    /// Frees what deleted users were called that counts as `name`: new users may have it from now on. Answers those names.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn free_name(
        &self,
        origin: &Arc<Origin>,
        console: Console,
        name: Username,
    ) -> Result<Vec<Username>, Refusal> {
        self.see_through(origin, async move |service, origin| {
            let Warrant { by, authority } = console.warrant();
            let freed = service.store.free_name(authority, name, service.rules.usernames).await?;
            for name in &freed {
                service.audit.record(&origin, Event::NameFreed(by, name));
            }
            Ok(freed)
        })
        .await
    }

    /// How the password of `user` is hashed, without salt and hash.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn password_scheme(&self, _: Console, user: &User) -> Result<String, Refusal> {
        Ok(self.hash_of(user).await?.ok_or(Refusal::NotFound)?.scheme())
    }

    /// The hash of the password of `user`, if they are still there.
    async fn hash_of(&self, user: &User) -> Result<Option<PasswordHash>, Refusal> {
        let found = self
            .store
            .user_named(&user.name, Usernames::Exact)
            .await?
            .filter(|(found, _)| found.id == user.id);
        Ok(found.map(|(_, hash)| hash))
    }

    /// Up to `limit` users in order of creation, from the one created next after `after`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn list_users(
        &self,
        _: Overview,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<User>, Refusal> {
        Ok(self.store.users_after(after, limit).await?)
    }

    /// Whether the actor may change others: administrators with a fresh token may.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn fresh_admin(&self, origin: &Origin, actor: &Actor) -> Result<FreshAdmin, Refusal> {
        self.noted(origin, actor.fresh_admin())
    }

    /// Changes a user's role, or whether they may log in. Disabling ends all their sessions; enabling forgives their failed
    /// logins.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn update_user(
        &self,
        origin: &Arc<Origin>,
        admin: FreshAdmin,
        id: Option<UserId>,
        change: UserChange,
    ) -> Result<User, Refusal> {
        let id = admin.target(id)?;
        let Warrant { by, authority } = admin.warrant();
        self.see_through(origin, async move |service, origin| {
            let (user, is_changed) = match service.store.update_user(authority, id, change).await? {
                Outcome::Done(user) => (user, true),
                Outcome::Unchanged(user) => (user, false),
                Outcome::LastAdmin => return Err(Refusal::LastAdmin),
                Outcome::Missing => return Err(Refusal::NotFound),
            };
            let is_eased = change.disabled == Some(false) && service.forgive(&user);
            if is_changed || is_eased {
                service.audit.record(&origin, Event::Updated(by, &user));
            }
            Ok(user)
        })
        .await
    }

    /// Lets a user try again who has failed too often. Answers whether they had failed at all.
    fn forgive(&self, user: &User) -> bool {
        self.throttle.forgive(&self.rules.usernames.guessed_name(&user.name), self.clock.now_or_mark())
    }

    /// Deletes the user `id`, or the caller where it is `None`. That ends all their sessions.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn delete_user(
        &self,
        origin: &Arc<Origin>,
        visitor: &Visitor,
        id: Option<UserId>,
    ) -> Result<(), Refusal> {
        let FreshTarget { id, warrant: Warrant { by, authority } } =
            self.noted(origin, visitor.fresh_target(id))?;
        self.see_through(origin, async move |service, origin| {
            match service.store.delete_user(authority, id, service.clock.now_or_mark()).await? {
                Outcome::Done(()) => service.audit.record(&origin, Event::Deleted(by, id)),
                Outcome::Unchanged(()) => {}
                Outcome::LastAdmin => return Err(Refusal::LastAdmin),
                Outcome::Missing => return Err(Refusal::NotFound),
            }
            Ok(())
        })
        .await
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
            return self.noted(origin, Err(TokenRefusal::Revoked));
        };
        let session = Some(caller.access.session);
        let name = self.rules.usernames.guessed_name(&user.name);
        let checked = self.guess(origin, &name, Some(user.id), session, current, Some(hash)).await?;
        if let Checked::Wrong = checked {
            self.audit.record(origin, Event::WrongPassword(user));
            return Err(Refusal::InvalidCredentials);
        }
        let hash = self.hashes.hash(requester(origin, Some(user.id), true), new).await?;
        // Should the password have been changed since the caller was let in, what was checked is the old one.
        let kept = Kept { since: Some(user.sessions), session: Some(caller.access.session) };
        let (id, warrant) = (user.id, caller.warrant());
        self.see_through(origin, async move |service, origin| {
            service.set_password(&origin, warrant, id, hash, kept).await
        })
        .await
    }

    /// Gives somebody else another password, which ends all their sessions and forgives their failed logins.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn reset_password(
        &self,
        origin: &Arc<Origin>,
        admin: FreshAdmin,
        id: UserId,
        new: Password,
    ) -> Result<(), Refusal> {
        let user = self.store.user(id).await?.ok_or(Refusal::NotFound)?;
        let hash = self.hashes.hash(requester(origin, admin.warrant().by.user(), true), new).await?;
        self.see_through(origin, async move |service, origin| {
            service.set_password(&origin, admin.warrant(), id, hash, Kept::default()).await?;
            service.forgive(&user);
            Ok(())
        })
        .await
    }

    async fn set_password(
        &self,
        origin: &Origin,
        Warrant { by, authority }: Warrant,
        id: UserId,
        hash: PasswordHash,
        kept: Kept,
    ) -> Result<(), Refusal> {
        match self.store.set_password(authority, id, hash, kept.since, kept.session).await? {
            Replaced::Done => self.audit.record(origin, Event::PasswordChanged(by, id)),
            Replaced::Missing => return Err(Refusal::NotFound),
            Replaced::Outdated => return Err(Refusal::InvalidCredentials),
        }
        Ok(())
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
