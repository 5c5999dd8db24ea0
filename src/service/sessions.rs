//! Sessions: log in, refresh, log out, and whose token something is.

use std::sync::Arc;

use crate::audit::{Event, Origin};
use crate::domain::clock::Timestamp;
use crate::domain::session::{SessionId, TokenId};
use crate::domain::user::{User, UserId, Username};
use crate::password::{Checked, Password, PasswordHash};
use crate::store::{Authority, Rotation, StoreError};
use crate::token::{AnyToken, NewSession, Token, TokenRefusal, VerifiedRefresh};

use super::actor::{FreshTarget, Warrant};
use super::{Actor, Caller, Refusal, Service, Visitor, requester};

/// What a refresh answers.
#[derive(Debug)]
pub struct Renewed {
    /// An access token, not fresh.
    pub access: Token,
    /// The refresh token that takes the place of the one that was sent, where they rotate.
    pub refresh: Option<Token>,
}

/// What a proxy may demand besides a good access token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// The token was made straight after a password check.
    pub fresh: bool,
    /// The user is an administrator.
    pub admin: bool,
}

impl Service {
    /// Begins a session.
    ///
    /// # Errors
    /// [`Refusal`]; an unknown name, a wrong password and a disabled user answer the same, after the same work. (Not
    /// quite the same for those whose hash is of another cost than today's, until their next login.)
    pub async fn log_in(
        &self,
        origin: &Origin,
        name: &str,
        password: Password,
    ) -> Result<NewSession, Refusal> {
        let session = self.begin_session(origin, name, password).await;
        if let Err(Refusal::Unavailable(reason)) = &session {
            self.audit.record(origin, Event::LoginUnavailable(reason.code()));
        }
        session
    }

    async fn begin_session(
        &self,
        origin: &Origin,
        name: &str,
        password: Password,
    ) -> Result<NewSession, Refusal> {
        // A text that can be no name belongs to nobody, like any other unknown name.
        let parsed: Option<Username> = name.parse().ok();
        let found = match &parsed {
            Some(name) => self.store.user_named(name, self.rules.usernames).await?,
            None => None,
        };
        // A disabled user's hash is not looked at: to be told from nobody, it would have to be renewed as well.
        let hash = found.as_ref().filter(|(user, _)| !user.disabled).map(|(_, hash)| hash.clone());
        if let Some((user, _)) = &found {
            origin.is_from(user.id);
        }
        let name = parsed.map_or(name.to_owned(), |name| self.rules.usernames.guessed_name(&name));
        let account = found.as_ref().map(|(user, _)| user.id);
        let checked = self.guess(origin, &name, account, None, password, hash).await?;
        let (user, hash) = match (found, checked) {
            (None, _) => return Err(self.refuse_login(origin, Event::UnknownUser)),
            (Some((user, _)), _) if user.disabled => {
                return Err(self.refuse_login(origin, Event::DisabledUser(&user)));
            }
            (Some((user, _)), Checked::Wrong) => {
                return Err(self.refuse_login(origin, Event::WrongPassword(&user)));
            }
            (Some((user, _)), Checked::Right) => (user, None),
            (Some((user, old)), Checked::RightRenewed(new)) => (user, Some((old, new))),
        };
        if let Some((old, new)) = hash {
            match self.store.renew_hash(user.id, old, new).await {
                Ok(_) => {}
                // The old hash does as well; the next login renews it.
                Err(StoreError::DiskFull) => log::debug!("no room to renew a hash"),
                Err(error) => return Err(error.into()),
            }
        }
        // Hashing takes time, and others check access tokens without asking: whoever has been disabled, deleted or given
        // another password meanwhile gets none. Should that happen from here on, the user as read here makes a session
        // that has ended already.
        let now = self.store.user(user.id).await?;
        let Some(user) = now.filter(|now| !now.disabled && now.sessions == user.sessions) else {
            return Err(self.refuse_login(origin, Event::OvertakenLogin(&user)));
        };
        let session = self.tokens.begin_session(&user, self.clock.now()?, self.store.era())?;
        self.audit.record(origin, Event::LoggedIn(&user, session.id));
        Ok(session)
    }

    /// Checks one guess at the password of `name`, which stands for all its spellings, at a login or within a `session`, if
    /// there may be one: that is decided before anything is hashed.
    ///
    /// # Errors
    /// [`Refusal::Throttled`], and whatever keeps hashes from being computed; that costs no guess.
    pub(super) async fn guess(
        &self,
        origin: &Origin,
        name: &str,
        account: Option<UserId>,
        session: Option<SessionId>,
        password: Password,
        hash: Option<PasswordHash>,
    ) -> Result<Checked, Refusal> {
        let now = self.clock.now()?;
        let attempt = match session {
            None => self.throttle.login(origin.address(), name, now),
            Some(session) => self.throttle.password_change(origin.address(), name, session, now),
        };
        let attempt = attempt.map_err(|throttled| {
            self.audit.record(origin, Event::LoginThrottled(throttled.by));
            Refusal::Throttled(throttled)
        })?;
        let requester = requester(origin, account, attempt.is_by_a_known_client());
        match self.hashes.check(requester, password, hash).await {
            Ok(Checked::Wrong) => {
                attempt.failed();
                Ok(Checked::Wrong)
            }
            Ok(right) => {
                attempt.succeeded(now);
                Ok(right)
            }
            Err(error) => {
                attempt.withdrawn();
                Err(error.into())
            }
        }
    }

    fn refuse_login(&self, origin: &Origin, event: Event<'_>) -> Refusal {
        self.audit.record(origin, event);
        Refusal::InvalidCredentials
    }

    /// A new access token for the session, not fresh; and a new refresh token where they rotate.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn refresh(&self, origin: &Arc<Origin>, token: Option<&str>) -> Result<Renewed, Refusal> {
        let now = self.clock.now()?;
        let verified = read(token, |text| self.tokens.verify_refresh(text, now));
        let presented = self.noted(origin, verified)?;
        let user = self.live(origin, presented.user, &presented.session).await?;
        // A session whose token has been replaced once goes on so, whatever the setting says now.
        let rotates = self.rules.refresh_rotation || self.store.has_rotated(&presented.session).await?;
        if !rotates {
            return self.renew(origin, &presented, &user, now, None);
        }
        let next = TokenId::generate()?;
        self.see_through(origin, async move |service, origin| {
            let (id, session) = (presented.user, presented.session);
            let authority = Authority::of_session(id, session);
            match service.store.rotate(authority, session, presented.id, next, now).await? {
                Rotation::Advanced(successor) | Rotation::Again(successor) => {
                    let next = service.tokens.next_refresh(&presented, successor.id, successor.issued_at)?;
                    service.renew(&origin, &presented, &user, now, Some(next))
                }
                Rotation::Revoked => Err(TokenRefusal::Revoked.into()),
                Rotation::Reused => {
                    service.audit.record(&origin, Event::RefreshReused(id, session));
                    Err(TokenRefusal::Revoked.into())
                }
            }
        })
        .await
    }

    fn renew(
        &self,
        origin: &Origin,
        presented: &VerifiedRefresh,
        user: &User,
        now: Timestamp,
        refresh: Option<Token>,
    ) -> Result<Renewed, Refusal> {
        let access = self.tokens.continue_session(presented, user.role, now)?;
        self.throttle.seen(origin.address(), &self.rules.usernames.guessed_name(&user.name), now);
        self.audit.record(origin, Event::Refreshed(user.id, presented.session));
        Ok(Renewed { access, refresh })
    }

    /// Ends the session of this token, of either kind. Once this returns, every token of it is refused for
    /// good. An expired token is refused, and ends its session all the same: it was the owner's to end, who believes it
    /// over; its refresh token may be good for weeks.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn log_out(&self, origin: &Arc<Origin>, token: Option<&str>) -> Result<(), Refusal> {
        let now = self.clock.now()?;
        let verified = read(token, |text| self.tokens.verify_any(text, now));
        let AnyToken { user, session, is_expired } = self.noted(origin, verified)?;
        origin.is_from(user);
        self.see_through(origin, async move |service, origin| {
            match service.end_session(&origin, user, session).await {
                Ok(()) | Err(Refusal::Token(_)) if is_expired => Err(TokenRefusal::Expired.into()),
                ended => ended,
            }
        })
        .await
    }

    async fn end_session(&self, origin: &Origin, user: UserId, session: SessionId) -> Result<(), Refusal> {
        if self.find_live(user, &session).await?.is_none() {
            return Err(TokenRefusal::Revoked.into());
        }
        if self.store.revoke_session(Authority::of_session(user, session), session).await? {
            self.audit.record(origin, Event::LoggedOut(user, session));
        }
        Ok(())
    }

    /// Ends all sessions of the user `id`, or of the caller where it is `None`, this one included.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn end_sessions(
        &self,
        origin: &Arc<Origin>,
        actor: &Actor,
        id: Option<UserId>,
    ) -> Result<(), Refusal> {
        let FreshTarget { id, warrant: Warrant { by, authority } } =
            self.noted(origin, actor.fresh_target(id))?;
        self.see_through(origin, async move |service, origin| {
            if !service.store.revoke_sessions(authority, id).await? {
                return Err(Refusal::NotFound);
            }
            service.audit.record(&origin, Event::SessionsEnded(by, id));
            Ok(())
        })
        .await
    }

    /// Whose access token this is.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn authenticate(&self, origin: &Origin, token: Option<&str>) -> Result<Caller, Refusal> {
        let now = self.clock.now()?;
        let verified = read(token, |text| self.tokens.verify_access(text, now));
        let access = self.noted(origin, verified)?;
        let user = self.live(origin, access.user, &access.session).await?;
        Ok(Caller { user, access })
    }

    /// Whose access token this is, if it meets all demands; under `--dev`, too.
    ///
    /// # Errors
    /// [`Refusal`]. Of an administrator's role first, so that nobody is sent to log in again in vain.
    pub async fn let_pass(
        &self,
        origin: &Origin,
        token: Option<&str>,
        demands: Demands,
    ) -> Result<User, Refusal> {
        let caller = self.authenticate(origin, token).await?;
        if demands.admin {
            caller.admin()?;
        }
        if demands.fresh {
            self.noted(origin, caller.fresh())?;
        }
        Ok(caller.user)
    }

    /// Whose access token this is; under `--dev` anyone may do without.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn admit(&self, origin: &Origin, token: Option<&str>) -> Result<Visitor, Refusal> {
        if self.rules.open_doors {
            return Ok(Visitor::Anyone);
        }
        self.authenticate(origin, token).await.map(|caller| Visitor::Known(Actor::Caller(caller)))
    }

    /// The user, if the session goes on.
    async fn live(&self, origin: &Origin, user: UserId, session: &SessionId) -> Result<User, Refusal> {
        origin.is_from(user);
        let live = self.find_live(user, session).await?;
        self.noted(origin, live.ok_or(TokenRefusal::Revoked))
    }

    async fn find_live(&self, user: UserId, session: &SessionId) -> Result<Option<User>, Refusal> {
        if self.store.is_revoked(session).await? {
            return Ok(None);
        }
        let user = self.store.user(user).await?;
        Ok(user.filter(|user| !user.disabled && user.sessions.include(session)))
    }
}

fn read<T>(
    token: Option<&str>,
    verify: impl FnOnce(&str) -> Result<T, TokenRefusal>,
) -> Result<T, TokenRefusal> {
    token.ok_or(TokenRefusal::Missing).and_then(verify)
}
