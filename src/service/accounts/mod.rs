//! Accounts: created, shown, listed, changed and deleted.

mod passwords;
mod transfer;

use std::sync::Arc;

use crate::audit::{Event, Origin};
use crate::domain::clock::Clock;
use crate::domain::user::{NewName, Role, User, UserId, Username, Usernames};
use crate::password::Password;
use crate::store::{NewUser, Outcome, Store, UserChange};
use crate::throttle::Registration;

use super::actor::{FreshTarget, Warrant};
use super::changes::{Changes, run};
use super::passwords::Passwords;
use super::{Actor, FreshAdmin, Operator, Overview, Refusal, Rules, Visitor};

pub use transfer::{Arrival, Newcomer};

/// Users and their passwords.
#[derive(Clone)]
pub struct Accounts {
    pub(super) store: Arc<Store>,
    pub(super) passwords: Passwords,
    pub(super) rules: Rules,
    pub(super) changes: Changes,
    pub(super) clock: Arc<Clock>,
}

impl Accounts {
    /// When two names count as the same, and what a new one may be.
    pub fn usernames(&self) -> Usernames {
        self.rules.usernames
    }

    /// How many users there are.
    pub fn count(&self) -> u64 {
        self.store.user_count()
    }

    /// Refuses if only administrators create users.
    ///
    /// # Errors
    /// [`Refusal::RegistrationClosed`].
    pub fn demand_open_registration(&self) -> Result<(), Refusal> {
        if self.rules.open_registration { Ok(()) } else { Err(Refusal::RegistrationClosed) }
    }

    /// Registers a user. The account survives a power cut once this returns.
    pub async fn register(
        &self,
        origin: &Arc<Origin>,
        name: NewName,
        password: Password,
    ) -> Result<UserId, Refusal> {
        self.demand_open_registration()?;
        let now = self.clock.now()?;
        let place = self.passwords.throttle.registration(origin.address(), now).map_err(|throttled| {
            self.changes.record(origin, Event::RegistrationThrottled);
            Refusal::Throttled(throttled)
        })?;
        let made = self.make(origin, Warrant::registration(), name, password, Role::User, Some(place)).await;
        let id = made?.id;
        origin.set_user(id);
        Ok(id)
    }

    /// Creates a user on behalf of an administrator.
    pub async fn create(
        &self,
        origin: &Arc<Origin>,
        admin: FreshAdmin,
        name: NewName,
        password: Password,
        role: Role,
    ) -> Result<UserId, Refusal> {
        Ok(self.make(origin, admin.warrant(), name, password, role, None).await?.id)
    }

    /// Whether there is an administrator.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn has_admin(&self) -> Result<bool, Refusal> {
        Ok(self.store.has_admin().await?)
    }

    /// Creates the administrator that the settings name.
    ///
    /// # Errors
    /// [`Refusal`]; above all [`Refusal::NameTaken`].
    pub async fn create_first_admin(&self, name: NewName, password: Password) -> Result<(), Refusal> {
        let origin = Arc::new(Origin::local("start"));
        self.make(&origin, Warrant::settings(), name, password, Role::Admin, None).await.map(drop)
    }

    /// Creates a user. A registration comes with its `place` in the throttle.
    async fn make(
        &self,
        origin: &Arc<Origin>,
        Warrant { by, authority }: Warrant,
        name: NewName,
        password: Password,
        role: Role,
        place: Option<Registration>,
    ) -> Result<User, Refusal> {
        let taken = name.clone();
        let new = async {
            // Asked first to spare a hash; the store decides.
            if self.store.is_taken(&name, self.clock.now()?).await? {
                return Err(Refusal::NameTaken);
            }
            let hash = self.passwords.hash(origin, by.user(), password).await?;
            Ok(NewUser::new(name, role, hash, self.clock.now()?)?)
        };
        let new = match new.await {
            Ok(new) => new,
            Err(refusal) => return Err(self.not_made(origin, place, &taken, refusal).await),
        };
        run(&self.changes, self, origin, async move |accounts, origin| {
            let refusal = match accounts.store.create_user(authority, new).await {
                Ok(Some(user)) => {
                    accounts.changes.record(&origin, Event::Registered(by, &user));
                    return Ok(user);
                }
                Ok(None) => Refusal::NameTaken,
                Err(error) => error.into(),
            };
            Err(accounts.not_made(&origin, place, &taken, refusal).await)
        })
        .await
    }

    /// Gives the place of a refused registration back, unless the refusal tells that the name is taken: without a limit,
    /// a client could try all names.
    async fn not_made(
        &self,
        origin: &Origin,
        place: Option<Registration>,
        name: &Username,
        refusal: Refusal,
    ) -> Refusal {
        match (place, &refusal) {
            (None, _) => {}
            (Some(_), Refusal::NameTaken) => match self.store.user_named(name, self.rules.usernames).await {
                Ok(holder) => {
                    let holder = holder.map(|(user, _)| user);
                    self.changes.record(origin, Event::NameTaken(holder.as_ref()));
                }
                Err(error) => return error.into(),
            },
            (Some(place), _) => place.withdrawn(),
        }
        refusal
    }

    /// The user `id`; the caller if it is `None`.
    pub async fn show(&self, visitor: &Visitor, id: Option<UserId>) -> Result<User, Refusal> {
        let id = visitor.sees(id)?;
        match visitor.user() {
            Some(user) if user.id == id => Ok(user.clone()),
            _ => self.store.user(id).await?.ok_or(Refusal::NotFound),
        }
    }

    /// The user of this name.
    pub async fn find(&self, _: Operator, name: &Username) -> Result<Option<User>, Refusal> {
        Ok(self.store.user_named(name, self.rules.usernames).await?.map(|(user, _)| user))
    }

    /// Up to `limit` users in order of creation, after the user `after`.
    pub async fn list(&self, _: Overview, after: Option<UserId>, limit: usize) -> Result<Vec<User>, Refusal> {
        Ok(self.store.users_after(after, limit).await?)
    }

    /// Frees the names of deleted users that count as `name` for new users, and answers them.
    pub async fn free_name(
        &self,
        origin: &Arc<Origin>,
        operator: Operator,
        name: Username,
    ) -> Result<Vec<Username>, Refusal> {
        run(&self.changes, self, origin, async move |accounts, origin| {
            let Warrant { by, authority } = operator.warrant();
            let freed = accounts.store.free_name(authority, name, accounts.rules.usernames).await?;
            for name in &freed {
                accounts.changes.record(&origin, Event::NameFreed(by, name));
            }
            Ok(freed)
        })
        .await
    }

    /// Proof that the actor may change others: an administrator with a fresh token, or the operator.
    pub fn fresh_admin(&self, origin: &Origin, actor: &Actor) -> Result<FreshAdmin, Refusal> {
        self.changes.noted(origin, actor.fresh_admin())
    }

    /// Changes a user's role, or whether they may log in. Disabling revokes all their sessions; enabling forgives their
    /// failed logins.
    pub async fn update(
        &self,
        origin: &Arc<Origin>,
        admin: FreshAdmin,
        id: Option<UserId>,
        change: UserChange,
    ) -> Result<User, Refusal> {
        let id = admin.target(id)?;
        let Warrant { by, authority } = admin.warrant();
        run(&self.changes, self, origin, async move |accounts, origin| {
            let (user, is_changed) = match accounts.store.update_user(authority, id, change).await? {
                Outcome::Done(user) => (user, true),
                Outcome::Unchanged(user) => (user, false),
                Outcome::LastAdmin => return Err(Refusal::LastAdmin),
                Outcome::Missing => return Err(Refusal::NotFound),
            };
            let is_forgiven = change.disabled == Some(false) && accounts.passwords.forgive(&user);
            if is_changed || is_forgiven {
                accounts.changes.record(&origin, Event::Updated(by, &user));
            }
            Ok(user)
        })
        .await
    }

    /// Deletes the user `id`, or the caller if it is `None`, and revokes all their sessions.
    pub async fn delete(
        &self,
        origin: &Arc<Origin>,
        visitor: &Visitor,
        id: Option<UserId>,
    ) -> Result<(), Refusal> {
        let FreshTarget { id, warrant: Warrant { by, authority } } =
            self.changes.noted(origin, visitor.fresh_target(id))?;
        run(&self.changes, self, origin, async move |accounts, origin| {
            match accounts.store.delete_user(authority, id, accounts.clock.now_or_mark()).await? {
                Outcome::Done(()) => accounts.changes.record(&origin, Event::Deleted(by, id)),
                Outcome::Unchanged(()) => {}
                Outcome::LastAdmin => return Err(Refusal::LastAdmin),
                Outcome::Missing => return Err(Refusal::NotFound),
            }
            Ok(())
        })
        .await
    }
}
