//! Passwords changed by their users, and reset by administrators.

use std::sync::Arc;

use crate::audit::{Event, Origin};
use crate::domain::session::{SessionId, Sessions};
use crate::domain::user::{User, UserId, Usernames};
use crate::password::{Checked, Password, PasswordHash};
use crate::store::Replaced;
use crate::token::TokenRefusal;

use super::super::{Caller, FreshAdmin, Operator, Refusal};
use super::{Accounts, Warrant, run};

/// What a change of password leaves as it is.
#[derive(Clone, Copy, Default)]
struct Kept {
    /// The change is made only if the user's sessions are still these.
    since: Option<Sessions>,
    /// The session that goes on.
    session: Option<SessionId>,
}

impl Accounts {
    /// How the password of `user` is hashed, without salt and hash.
    pub async fn password_scheme(&self, _: Operator, user: &User) -> Result<String, Refusal> {
        Ok(self.hash_of(user).await?.ok_or(Refusal::NotFound)?.scheme())
    }

    /// Changes the password of the caller, which revokes all their other sessions.
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
            return self.changes.noted(origin, Err(TokenRefusal::Revoked));
        };
        let session = Some(caller.access.session);
        let name = self.rules.usernames.guessed_name(&user.name);
        let checked =
            self.passwords.check(origin, &name, Some(user.id), session, current, Some(hash)).await?;
        if let Checked::Wrong = checked {
            self.changes.record(origin, Event::WrongPassword(user));
            return Err(Refusal::InvalidCredentials);
        }
        let hash = self.passwords.hash(origin, Some(user.id), new).await?;
        // If the password was changed since the caller authenticated, the old one was checked.
        let kept = Kept { since: Some(user.sessions), session };
        let (id, warrant) = (user.id, caller.warrant());
        run(&self.changes, self, origin, async move |accounts, origin| {
            accounts.set_password(&origin, warrant, id, hash, kept).await
        })
        .await
    }

    /// Sets another user's password, which revokes all their sessions and forgives their failed logins.
    pub async fn reset_password(
        &self,
        origin: &Arc<Origin>,
        admin: FreshAdmin,
        id: UserId,
        new: Password,
    ) -> Result<(), Refusal> {
        let user = self.store.user(id).await?.ok_or(Refusal::NotFound)?;
        let hash = self.passwords.hash(origin, admin.warrant().by.user(), new).await?;
        run(&self.changes, self, origin, async move |accounts, origin| {
            accounts.set_password(&origin, admin.warrant(), id, hash, Kept::default()).await?;
            accounts.passwords.forgive(&user);
            Ok(())
        })
        .await
    }

    /// The hash of the user's password, if the user still exists.
    async fn hash_of(&self, user: &User) -> Result<Option<PasswordHash>, Refusal> {
        let found = self.store.user_named(&user.name, Usernames::Exact).await?;
        Ok(found.filter(|(found, _)| found.id == user.id).map(|(_, hash)| hash))
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
            Replaced::Done => self.changes.record(origin, Event::PasswordChanged(by, id)),
            Replaced::Missing => return Err(Refusal::NotFound),
            Replaced::Outdated => return Err(Refusal::InvalidCredentials),
        }
        Ok(())
    }
}
