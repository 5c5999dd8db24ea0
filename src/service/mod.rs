//! What can be done with accounts, without a word about HTTP.

mod refusal;

use std::sync::Arc;

use crate::audit::{self, Event, Origin};
use crate::clock::Clock;
use crate::password::{Checked, HashPool, Password};
use crate::session::SessionId;
use crate::store::{Store, StoreError};
use crate::token::{Access, LEEWAY, NewSession, Token, TokenRefusal, Tokens};
use crate::user::{Role, User, UserId, Username};

pub use refusal::{Fault, Refusal, Unavailable};

/// The most users that one listing holds; only `--dev` and administrators list.
const LISTED: usize = 1000;

/// Accounts, logins and tokens.
pub struct Service {
    store: Arc<Store>,
    tokens: Tokens,
    hashes: HashPool,
    clock: Arc<Clock>,
    /// `--dev`: reading, listing and deleting users needs no token.
    open_doors: bool,
}

impl Service {
    /// Puts the parts together.
    pub fn new(store: Store, tokens: Tokens, hashes: HashPool, clock: Arc<Clock>, open_doors: bool) -> Self {
        Self { store: Arc::new(store), tokens, hashes, clock, open_doors }
    }

    /// Creates a user. The account survives a power cut once this returns.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn register(
        &self,
        origin: &Arc<Origin>,
        name: Username,
        password: Password,
    ) -> Result<UserId, Refusal> {
        let now = self.clock.now()?;
        // Asked first to spare a hash; decided by the store.
        if self.store.user_named(&name).await?.is_some() {
            return Err(Refusal::NameTaken);
        }
        let hash = self.hashes.hash(password).await?;
        let user = User { id: UserId::generate(now)?, name, role: Role::User, created_at: now };
        let id = user.id;
        let (store, origin) = (Arc::clone(&self.store), Arc::clone(origin));
        see_through(async move {
            if !store.create_user(user.clone(), hash).await? {
                return Err(Refusal::NameTaken);
            }
            origin.is_from(id);
            audit::record(&origin, Event::Registered(&user));
            Ok(id)
        })
        .await
    }

    /// Begins a session.
    ///
    /// # Errors
    /// [`Refusal`]; an unknown name and a wrong password cost the same time and answer the same.
    pub async fn log_in(
        &self,
        origin: &Origin,
        name: &str,
        password: Password,
    ) -> Result<NewSession, Refusal> {
        let session = self.begin_session(origin, name, password).await;
        if let Err(Refusal::Unavailable(reason)) = &session {
            audit::record(origin, Event::LoginUnavailable(reason.code()));
        }
        session
    }

    async fn begin_session(
        &self,
        origin: &Origin,
        name: &str,
        password: Password,
    ) -> Result<NewSession, Refusal> {
        self.clock.now()?;
        // A text that can be no name belongs to nobody, like any other unknown name.
        let found = match name.parse() {
            Ok(name) => self.store.user_named(&name).await?,
            Err(_) => None,
        };
        let Some((user, hash)) = found else {
            self.hashes.check(password, None).await?;
            audit::record(origin, Event::UnknownUser);
            return Err(Refusal::InvalidCredentials);
        };
        origin.is_from(user.id);
        match self.hashes.check(password, Some(hash.clone())).await? {
            Checked::Wrong => {
                audit::record(origin, Event::WrongPassword(&user));
                return Err(Refusal::InvalidCredentials);
            }
            Checked::Right => {}
            Checked::RightRenewed(new) => match self.store.replace_hash(user.id, hash, new).await {
                Ok(_) => {}
                // The old hash does as well; the next login renews it.
                Err(StoreError::DiskFull) => log::debug!("no room to renew a hash"),
                Err(error) => return Err(error.into()),
            },
        }
        // Hashing took a while.
        let now = self.clock.now()?;
        let session = self.tokens.begin_session(user.id, user.role, now, self.store.era())?;
        audit::record(origin, Event::LoggedIn(&user, session.id));
        Ok(session)
    }

    /// A new access token for the session, not fresh.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn refresh(&self, origin: &Origin, token: Option<&str>) -> Result<Token, Refusal> {
        let now = self.clock.now()?;
        let verified = read(token, |text| self.tokens.verify_refresh(text, now));
        let refresh = self.accepted(origin, verified)?;
        let live = self.live(origin, refresh.user, &refresh.session).await?;
        let user = self.accepted(origin, live)?;
        let access = self.tokens.continue_session(&refresh, user.role, now)?;
        audit::record(origin, Event::Refreshed(user.id, refresh.session));
        Ok(access)
    }

    /// Ends the session of this token, of either kind. Once this returns, every token of it is refused for
    /// good.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn log_out(&self, origin: &Arc<Origin>, token: Option<&str>) -> Result<(), Refusal> {
        let now = self.clock.now()?;
        let verified = read(token, |text| self.tokens.verify_any(text, now));
        let token = self.accepted(origin, verified)?;
        let live = self.live(origin, token.user, &token.session).await?;
        let user = self.accepted(origin, live)?;
        let (store, origin) = (Arc::clone(&self.store), Arc::clone(origin));
        see_through(async move {
            store.end_session(token.session).await?;
            audit::record(&origin, Event::LoggedOut(user.id, token.session));
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
        let access = self.accepted(origin, verified)?;
        let live = self.live(origin, access.user, &access.session).await?;
        let user = self.accepted(origin, live)?;
        Ok(Caller { user, access })
    }

    /// The user `id`, or the caller's own where it is `None`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn show_user(
        &self,
        origin: &Origin,
        token: Option<&str>,
        id: Option<UserId>,
    ) -> Result<User, Refusal> {
        if self.open_doors
            && let Some(id) = id
        {
            return self.store.user(id).await?.ok_or(Refusal::NotFound);
        }
        let Caller { user, .. } = self.authenticate(origin, token).await?;
        match id {
            Some(id) if id != user.id => {
                allow_admin(&user)?;
                self.store.user(id).await?.ok_or(Refusal::NotFound)
            }
            _ => Ok(user),
        }
    }

    /// The first users in order of creation, a thousand at the most.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn list_users(&self, origin: &Origin, token: Option<&str>) -> Result<Vec<User>, Refusal> {
        if !self.open_doors {
            allow_admin(&self.authenticate(origin, token).await?.user)?;
        }
        Ok(self.store.first_users(LISTED).await?)
    }

    /// Deletes the user `id`, or the caller where it is `None`. That ends all their sessions.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn delete_user(
        &self,
        origin: &Arc<Origin>,
        token: Option<&str>,
        id: Option<UserId>,
    ) -> Result<(), Refusal> {
        let (by, id) = match id {
            Some(id) if self.open_doors => (None, id),
            _ => {
                let Caller { user, access } = self.authenticate(origin, token).await?;
                let id = id.unwrap_or(user.id);
                if id != user.id {
                    allow_admin(&user)?;
                }
                if !access.fresh {
                    return self.accepted(origin, Err(TokenRefusal::NotFresh));
                }
                (Some(user.id), id)
            }
        };
        let (store, event_origin) = (Arc::clone(&self.store), Arc::clone(origin));
        let deleted = see_through(async move {
            let deleted = store.delete_user(id).await?;
            if deleted {
                audit::record(&event_origin, Event::Deleted(by, id));
            }
            Ok(deleted)
        });
        match deleted.await? {
            true => Ok(()),
            // Whoever deletes themselves twice at once holds a revoked token the second time.
            false if by == Some(id) => self.accepted(origin, Err(TokenRefusal::Revoked)),
            false => Err(Refusal::NotFound),
        }
    }

    /// Whether reads and durable writes work now. Writes.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] with the reason.
    pub async fn ready(&self) -> Result<(), Refusal> {
        self.clock.now()?;
        self.store.has_users().await?;
        Ok(self.store.keep_time().await?)
    }

    /// What has to be done now and then: keeps the clock's mark, forgets sessions that are over.
    pub async fn keep_house(&self) {
        let Ok(now) = self.clock.now() else {
            return; // the clock has said why
        };
        let over = now.before(LEEWAY);
        let kept = async {
            self.store.keep_time().await?;
            self.store.prune_sessions(over).await
        };
        match kept.await {
            Ok(()) | Err(StoreError::DiskFull | StoreError::Failed) => {} // said where it was noticed
            Err(error @ StoreError::Unreadable) => log::error!("housekeeping: {error}"),
        }
    }

    /// Returns once the store has failed.
    pub async fn store_failure(&self) {
        self.store.failure().await;
    }

    /// Writes what is pending and closes the store. Blocks.
    ///
    /// # Errors
    /// The store has failed, now or earlier.
    pub fn close(&self) -> Result<(), StoreError> {
        self.store.close()
    }

    /// The user, if the session goes on.
    async fn live(
        &self,
        origin: &Origin,
        user: UserId,
        session: &SessionId,
    ) -> Result<Result<User, TokenRefusal>, Refusal> {
        origin.is_from(user);
        if self.store.session_ended(session).await? {
            return Ok(Err(TokenRefusal::Revoked));
        }
        Ok(self.store.user(user).await?.ok_or(TokenRefusal::Revoked))
    }

    /// Records a token that was not accepted.
    fn accepted<T>(&self, origin: &Origin, token: Result<T, TokenRefusal>) -> Result<T, Refusal> {
        token.map_err(|reason| {
            audit::record(origin, Event::TokenRefused(reason, origin.user()));
            Refusal::Token(reason)
        })
    }
}

/// Somebody with a good access token.
pub struct Caller {
    /// As the store knows them now.
    pub user: User,
    /// What the token says.
    pub access: Access,
}

/// Runs a change to its end even if whoever asked hangs up meanwhile: what has been changed has its line in the
/// audit log.
async fn see_through<T: Send + 'static>(
    change: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::spawn(change)
        .await
        .unwrap_or_else(|error| Err(Refusal::Internal(Fault::new(format!("a change did not end: {error}")))))
}

fn read<T>(
    token: Option<&str>,
    verify: impl FnOnce(&str) -> Result<T, TokenRefusal>,
) -> Result<T, TokenRefusal> {
    token.ok_or(TokenRefusal::Missing).and_then(verify)
}

fn allow_admin(user: &User) -> Result<(), Refusal> {
    match user.role {
        Role::Admin => Ok(()),
        Role::User => Err(Refusal::Forbidden),
    }
}
