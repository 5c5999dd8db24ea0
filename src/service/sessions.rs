//! Sessions: log in, refresh, log out, and the check of a token.

use std::sync::Arc;

use crate::audit::{Event, Origin};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::session::{SessionId, TokenId};
use crate::domain::user::{User, UserId, Username};
use crate::password::{Checked, Password};
use crate::store::{Authority, Rotation, Store, StoreError};
use crate::token::{AnyToken, NewSession, Token, TokenRefusal, Tokens, VerifiedRefresh};

use super::actor::{FreshTarget, Warrant};
use super::changes::{Changes, run};
use super::passwords::Passwords;
use super::{Actor, Caller, Refusal, Rules, Visitor};

/// The answer to a refresh.
#[derive(Debug)]
pub struct Renewed {
    /// An access token, not fresh.
    pub access: Token,
    /// The next refresh token, if they rotate.
    pub refresh: Option<Token>,
}

/// What a proxy may demand besides a valid access token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// The token was made straight after a password check.
    pub fresh: bool,
    /// The user is an administrator.
    pub admin: bool,
}

/// Logins and their tokens.
#[derive(Clone)]
pub struct Sessions {
    pub(super) store: Arc<Store>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) passwords: Passwords,
    pub(super) rules: Rules,
    pub(super) changes: Changes,
    pub(super) clock: Arc<Clock>,
}

impl Sessions {
    /// Begins a session.
    ///
    /// # Errors
    /// [`Refusal`]; an unknown name, a wrong password and a disabled user answer the same, after the same work. (Not
    /// quite the same work while a user's hash has another cost than today's, until their next login.)
    pub async fn log_in(
        &self,
        origin: &Origin,
        name: &str,
        password: Password,
    ) -> Result<NewSession, Refusal> {
        let session = self.begin_session(origin, name, password).await;
        if let Err(Refusal::Unavailable(reason)) = &session {
            self.changes.record(origin, Event::LoginUnavailable(reason.code()));
        }
        session
    }

    async fn begin_session(
        &self,
        origin: &Origin,
        name: &str,
        password: Password,
    ) -> Result<NewSession, Refusal> {
        // An invalid name is treated as an unknown one.
        let parsed: Option<Username> = name.parse().ok();
        let found = match &parsed {
            Some(name) => self.store.user_named(name, self.rules.usernames).await?,
            None => None,
        };
        // A disabled user's password is not checked: a check would have to renew the hash as well, to look like an
        // unknown user's.
        let hash = found.as_ref().filter(|(user, _)| !user.disabled).map(|(_, hash)| hash.clone());
        if let Some((user, _)) = &found {
            origin.set_user(user.id);
        }
        let name = parsed.map_or(name.to_owned(), |name| self.rules.usernames.guessed_name(&name));
        let account = found.as_ref().map(|(user, _)| user.id);
        let checked = self.passwords.check(origin, &name, account, None, password, hash).await?;
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
                // The old hash still works; the next login renews it.
                Err(StoreError::DiskFull) => log::debug!("no room to renew a hash"),
                Err(error) => return Err(error.into()),
            }
        }
        // Hashing takes time: a user who was disabled, deleted or given another password meanwhile is refused. If that
        // happens after this read, the session is of an earlier generation, and revoked from its beginning.
        let now = self.store.user(user.id).await?;
        let Some(user) = now.filter(|now| !now.disabled && now.sessions == user.sessions) else {
            return Err(self.refuse_login(origin, Event::OvertakenLogin(&user)));
        };
        let session = self.tokens.begin_session(&user, self.clock.now()?, self.store.era())?;
        self.changes.record(origin, Event::LoggedIn(&user, session.id));
        Ok(session)
    }

    fn refuse_login(&self, origin: &Origin, event: Event<'_>) -> Refusal {
        self.changes.record(origin, event);
        Refusal::InvalidCredentials
    }

    /// Makes a new access token for the session, not fresh, and a new refresh token if they rotate.
    pub async fn refresh(&self, origin: &Arc<Origin>, token: Option<&str>) -> Result<Renewed, Refusal> {
        let now = self.clock.now()?;
        let verified = read(token, |text| self.tokens.verify_refresh(text, now));
        let presented = self.changes.noted(origin, verified)?;
        let user = self.live(origin, presented.user, &presented.session).await?;
        // A session that has rotated once keeps rotating, whatever the setting says now.
        let rotates = self.rules.refresh_rotation || self.store.has_rotated(&presented.session).await?;
        if !rotates {
            return self.renew(origin, &presented, &user, now, None);
        }
        let next = TokenId::generate()?;
        run(&self.changes, self, origin, async move |sessions, origin| {
            let (id, session) = (presented.user, presented.session);
            let authority = Authority::of_session(id, session);
            match sessions.store.rotate(authority, session, presented.id, next, now).await? {
                Rotation::Advanced(successor) | Rotation::Again(successor) => {
                    let next = sessions.tokens.next_refresh(&presented, successor.id, successor.issued_at)?;
                    sessions.renew(&origin, &presented, &user, now, Some(next))
                }
                Rotation::Revoked => Err(TokenRefusal::Revoked.into()),
                Rotation::Reused => {
                    sessions.changes.record(&origin, Event::RefreshReused(id, session));
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
        self.passwords.seen(origin, user, now);
        self.changes.record(origin, Event::Refreshed(user.id, presented.session));
        Ok(Renewed { access, refresh })
    }

    /// Revokes the session of this token, of either kind. Once this returns, all its tokens are refused for good. An
    /// expired token is refused, and revokes its session all the same: its refresh token may be valid for weeks.
    pub async fn log_out(&self, origin: &Arc<Origin>, token: Option<&str>) -> Result<(), Refusal> {
        let now = self.clock.now()?;
        let verified = read(token, |text| self.tokens.verify_any(text, now));
        let AnyToken { user, session, is_expired } = self.changes.noted(origin, verified)?;
        origin.set_user(user);
        run(&self.changes, self, origin, async move |sessions, origin| {
            match sessions.end_session(&origin, user, session).await {
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
            self.changes.record(origin, Event::LoggedOut(user, session));
        }
        Ok(())
    }

    /// Revokes all sessions of the user `id`, or of the caller if it is `None`, this one included.
    pub async fn end_all(
        &self,
        origin: &Arc<Origin>,
        actor: &Actor,
        id: Option<UserId>,
    ) -> Result<(), Refusal> {
        let FreshTarget { id, warrant: Warrant { by, authority } } =
            self.changes.noted(origin, actor.fresh_target(id))?;
        run(&self.changes, self, origin, async move |sessions, origin| {
            if !sessions.store.revoke_sessions(authority, id).await? {
                return Err(Refusal::NotFound);
            }
            sessions.changes.record(&origin, Event::SessionsEnded(by, id));
            Ok(())
        })
        .await
    }

    /// The user of this access token.
    pub async fn authenticate(&self, origin: &Origin, token: Option<&str>) -> Result<Caller, Refusal> {
        let now = self.clock.now()?;
        let verified = read(token, |text| self.tokens.verify_access(text, now));
        let access = self.changes.noted(origin, verified)?;
        let user = self.live(origin, access.user, &access.session).await?;
        Ok(Caller { user, access })
    }

    /// The user of this access token, if it meets all demands; also under `--dev`.
    ///
    /// # Errors
    /// [`Refusal`]. The role is checked first: a fresh login would not help.
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
            self.changes.noted(origin, caller.fresh())?;
        }
        Ok(caller.user)
    }

    /// The user of this access token; under `--dev`, anyone without one.
    pub async fn admit(&self, origin: &Origin, token: Option<&str>) -> Result<Visitor, Refusal> {
        if self.rules.open_doors {
            return Ok(Visitor::Anyone);
        }
        self.authenticate(origin, token).await.map(|caller| Visitor::Known(Actor::Caller(caller)))
    }

    /// The user, if the session is live.
    async fn live(&self, origin: &Origin, user: UserId, session: &SessionId) -> Result<User, Refusal> {
        origin.set_user(user);
        let live = self.find_live(user, session).await?;
        self.changes.noted(origin, live.ok_or(TokenRefusal::Revoked))
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
