//! Tokens: issuing and verifying.
//!
//! PASETO version 4. Access tokens are `v4.public` (Ed25519): any service with the public key can check them
//! offline. Refresh tokens are `v4.local`: only this service can read them. The footer names the key by its
//! PASERK id. This is the only folder that names `pasetors`.
//!
//! Verification here covers a token's own content: signature, kind, issuer, times. Whether its session is
//! live and its user exists is up to the store, which is asked every time.

mod claims;
mod in_use;
pub mod key_files;
mod key_ring;
mod keys;
pub mod offline;
mod paseto;
pub mod statement;
mod verified;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use crate::domain::clock::Timestamp;
use crate::domain::session::{Era, SessionId, TokenId};
use crate::domain::user::{Role, User};
use crate::random::NoRandomness;

use claims::{AccessPayload, RefreshPayload};
pub use in_use::VerifiedRefresh;
use in_use::{InUse, TokenCache};
pub use key_files::KeyError;
pub use key_ring::{KeyRing, LostKeys, PublishedKey};
pub use verified::{Access, AnyToken, LEEWAY, Refresh, TokenRefusal};
use verified::{Age, age};

/// An issued token. Cannot be printed, only serialised.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A new session and its first tokens.
#[derive(Debug)]
pub struct NewSession {
    /// The session's id.
    pub id: SessionId,
    /// A fresh access token.
    pub access: Token,
    /// The refresh token.
    pub refresh: Token,
}

/// The lifetimes of tokens, as configured.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Of an access token, from issue; cut short by the end of its session.
    pub access: Duration,
    /// Of a refresh token, from login.
    pub refresh: Duration,
}

impl Lifetimes {
    /// When the last token of a session begun at `login` can have expired.
    fn session_end(self, login: Timestamp) -> Timestamp {
        login.after(self.access.max(self.refresh))
    }
}

/// Why a token could not be issued.
#[derive(Debug, Error)]
pub enum IssueError {
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The claims could not be encoded or signed.
    #[error("a token could not be made: {0}")]
    Encode(&'static str),
}

/// Issues and verifies tokens of one issuer.
pub struct Tokens {
    in_use: RwLock<Arc<InUse>>,
    issuer: String,
    lifetimes: Lifetimes,
}

impl Tokens {
    /// Tokens of `issuer`, made and checked with `keys`.
    pub fn new(keys: KeyRing, issuer: String, lifetimes: Lifetimes) -> Self {
        let in_use = RwLock::new(Arc::new(InUse { ring: Arc::new(keys), cache: TokenCache::new() }));
        Self { in_use, issuer, lifetimes }
    }

    /// The issuer's name, the claim `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The current ring.
    pub fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.in_use().ring)
    }

    /// Switches to `ring`, whose records must have been recorded. Tokens verified with dropped keys are
    /// refused from now on.
    pub fn use_ring(&self, ring: KeyRing) {
        let mut in_use = self.in_use.write().unwrap_or_else(PoisonError::into_inner);
        let cache =
            if ring.lacks_any_of(&in_use.ring) { TokenCache::new() } else { Arc::clone(&in_use.cache) };
        *in_use = Arc::new(InUse { ring: Arc::new(ring), cache });
    }

    fn in_use(&self) -> Arc<InUse> {
        Arc::clone(&self.in_use.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins a session at `now` in `era`, with a fresh access token and a refresh token.
    ///
    /// # Errors
    /// [`IssueError`], which no healthy system ever returns.
    pub fn begin_session(&self, user: &User, now: Timestamp, era: Era) -> Result<NewSession, IssueError> {
        let now = now.whole_seconds();
        let ends_at = self.lifetimes.session_end(now);
        let session = SessionId::generate(ends_at, era, user.sessions.generation())?;
        let ring = self.ring();
        let refresh = Refresh {
            user: user.id,
            session,
            auth_time: now,
            id: TokenId::generate()?,
            issued_at: now,
            expires_at: now.after(self.lifetimes.refresh),
        };
        let access = self.access(&ring, &refresh, user.role, true, now)?;
        let refresh = Token(self.refresh(&ring, &refresh)?);
        Ok(NewSession { id: session, access, refresh })
    }

    /// Another access token for the session of `refresh`: not fresh, and never longer-lived than the session.
    ///
    /// # Errors
    /// [`IssueError`], which no healthy system ever returns.
    pub fn continue_session(
        &self,
        refresh: &VerifiedRefresh,
        role: Role,
        now: Timestamp,
    ) -> Result<Token, IssueError> {
        self.access(&refresh.in_use.ring, refresh, role, false, now.whole_seconds())
    }

    /// The successor `id` of the refresh token `from`, issued at `issued_at`; it never outlives `from`.
    /// Repeated calls return the same text while the cache holds it: in this process, among the last
    /// thousand, until a key is dropped.
    ///
    /// # Errors
    /// [`IssueError`], which no healthy system ever returns.
    pub fn next_refresh(
        &self,
        from: &VerifiedRefresh,
        id: TokenId,
        issued_at: Timestamp,
    ) -> Result<Token, IssueError> {
        let issued_at = issued_at.whole_seconds();
        let expires_at = from.expires_at.min(issued_at.after(self.lifetimes.refresh));
        let next = Refresh { id, issued_at, expires_at, ..from.token };
        let InUse { ring, cache } = &*from.in_use;
        cache.successors.get_or_insert_with(&id, || self.refresh(ring, &next)).map(Token)
    }

    fn access(
        &self,
        ring: &KeyRing,
        refresh: &Refresh,
        role: Role,
        fresh: bool,
        now: Timestamp,
    ) -> Result<Token, IssueError> {
        let payload = AccessPayload {
            iss: (&*self.issuer).into(),
            sub: refresh.user,
            sid: refresh.session,
            jti: TokenId::generate()?,
            typ: claims::Access,
            fresh,
            role,
            iat: now,
            nbf: now,
            exp: now.after(self.lifetimes.access).min(refresh.session.ends_at()),
            auth_time: refresh.auth_time,
        };
        paseto::sign(ring.signing(), &claims::to_json(&payload)?).map(Token)
    }

    fn refresh(&self, ring: &KeyRing, refresh: &Refresh) -> Result<String, IssueError> {
        let payload = RefreshPayload {
            iss: (&*self.issuer).into(),
            sub: refresh.user,
            sid: refresh.session,
            jti: refresh.id,
            typ: claims::Refresh,
            iat: refresh.issued_at,
            nbf: refresh.issued_at,
            exp: refresh.expires_at,
            auth_time: refresh.auth_time,
        };
        paseto::encrypt(ring.encrypting(), &claims::to_json(&payload)?)
    }

    /// Verifies an access token, without asking the store.
    ///
    /// # Errors
    /// [`TokenRefusal::Invalid`] or [`TokenRefusal::Expired`].
    pub fn verify_access(&self, text: &str, now: Timestamp) -> Result<Access, TokenRefusal> {
        match self.access_of_any_age(text, now)? {
            (access, Age::Current) => Ok(access),
            (_, Age::Expired) => Err(TokenRefusal::Expired),
        }
    }

    fn access_of_any_age(&self, text: &str, now: Timestamp) -> Result<(Access, Age), TokenRefusal> {
        let in_use = self.in_use();
        let verified = &in_use.cache.verified;
        let access = match verified.get(text) {
            Some(access) => access,
            None => {
                let access = self.read_access(&in_use.ring, text).ok_or(TokenRefusal::Invalid)?;
                verified.insert(text.into(), access);
                access
            }
        };
        let age = age(access.not_before, access.expires_at, now);
        if age != Ok(Age::Current) {
            verified.remove(text);
        }
        Ok((access, age?))
    }

    fn read_access(&self, ring: &KeyRing, text: &str) -> Option<Access> {
        let payload = paseto::verify(ring, text)?;
        let claims: AccessPayload<'_> = serde_json::from_str(payload.text()).ok()?;
        if claims.iss != self.issuer {
            return None;
        }
        Some(Access {
            user: claims.sub,
            session: claims.sid,
            fresh: claims.fresh,
            auth_time: claims.auth_time,
            not_before: claims.nbf.max(claims.iat),
            expires_at: claims.exp,
        })
    }

    /// Verifies a refresh token, without asking the store.
    ///
    /// # Errors
    /// [`TokenRefusal::Invalid`] or [`TokenRefusal::Expired`].
    pub fn verify_refresh(&self, text: &str, now: Timestamp) -> Result<VerifiedRefresh, TokenRefusal> {
        match self.refresh_of_any_age(text, now)? {
            (refresh, Age::Current) => Ok(refresh),
            (_, Age::Expired) => Err(TokenRefusal::Expired),
        }
    }

    fn refresh_of_any_age(&self, text: &str, now: Timestamp) -> Result<(VerifiedRefresh, Age), TokenRefusal> {
        let in_use = self.in_use();
        let payload = paseto::decrypt(&in_use.ring, text).ok_or(TokenRefusal::Invalid)?;
        let claims: RefreshPayload<'_> =
            serde_json::from_str(payload.text()).map_err(|_| TokenRefusal::Invalid)?;
        if claims.iss != self.issuer {
            return Err(TokenRefusal::Invalid);
        }
        let age = age(claims.nbf.max(claims.iat), claims.exp, now)?;
        let token = Refresh {
            user: claims.sub,
            session: claims.sid,
            auth_time: claims.auth_time,
            id: claims.jti,
            issued_at: claims.iat,
            expires_at: claims.exp,
        };
        Ok((VerifiedRefresh { token, in_use }, age))
    }

    /// Verifies a token of either kind, which may have expired, without asking the store.
    ///
    /// # Errors
    /// [`TokenRefusal::Invalid`].
    pub fn verify_any(&self, text: &str, now: Timestamp) -> Result<AnyToken, TokenRefusal> {
        let (user, session, age) = if paseto::is_local(text) {
            let (refresh, age) = self.refresh_of_any_age(text, now)?;
            (refresh.user, refresh.session, age)
        } else {
            let (access, age) = self.access_of_any_age(text, now)?;
            (access.user, access.session, age)
        };
        Ok(AnyToken { user, session, is_expired: age == Age::Expired })
    }
}

#[cfg(test)]
mod tests;
