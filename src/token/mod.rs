//! Tokens: what they say, how they are made, and when they are believed.
//!
//! PASETO version 4. Access tokens are `v4.public` (Ed25519): any service with the public key can check one
//! offline. Refresh tokens are `v4.local`: readable by this service alone. The footer names the key by its
//! PASERK id. This is the only folder that names `pasetors`.
//!
//! What is verified here is all that a token can say by itself: signature, kind, issuer, times. Whether its
//! session has ended or its user is gone is the store's to say, and is asked every time.

mod claims;
mod key_ring;
mod paseto;

use std::fmt;
use std::time::Duration;

use quick_cache::sync::Cache;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::random::{self, NoRandomness};
use crate::session::{Era, SessionId};
use crate::user::{Role, UserId};

use claims::{AccessPayload, RefreshPayload};
pub use key_ring::{KeyError, KeyRing, LostKeys};

/// How far a token's times may lie off our clock: services that check offline run clocks of their own.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// How many verified access tokens are remembered, about half a kilobyte each. Enough for thousands of users
/// who are active within one token's life; what falls out costs one signature check more.
const REMEMBERED: usize = 4096;

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// There is none.
    Missing,
    /// Unreadable, forged, by an unknown key or issuer, or of a kind that does not fit here.
    Invalid,
    /// Its time is over.
    Expired,
    /// Its session has ended or its user is gone.
    Revoked,
    /// A fresh one is needed.
    NotFresh,
}

/// What the audit log says of it.
impl fmt::Display for TokenRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::NotFresh => "not_fresh",
        })
    }
}

/// What a verified access token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whose it is.
    pub user: UserId,
    /// The login it stems from.
    pub session: SessionId,
    /// Made straight after a password check.
    pub fresh: bool,
    not_before: Timestamp,
    expires_at: Timestamp,
}

/// What a verified refresh token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// Whose it is.
    pub user: UserId,
    /// The login it stems from.
    pub session: SessionId,
    /// When the password was last checked.
    pub auth_time: Timestamp,
}

/// A token of either kind, reduced to what both say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnyToken {
    /// Whose it is.
    pub user: UserId,
    /// The login it stems from.
    pub session: SessionId,
}

/// A token that was made. Cannot be printed, only sent.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A session that has just begun, and its first tokens.
#[derive(Debug)]
pub struct NewSession {
    /// Which session it is.
    pub id: SessionId,
    /// A fresh access token.
    pub access: Token,
    /// The refresh token.
    pub refresh: Token,
}

/// How long tokens live.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// An access token, from its making; cut short where its session ends earlier.
    pub access: Duration,
    /// A refresh token, from login.
    pub refresh: Duration,
}

impl Lifetimes {
    /// When the last token of a session begun at `login` can have expired.
    fn session_end(self, login: Timestamp) -> Timestamp {
        login.after(self.access.max(self.refresh))
    }
}

/// A token that could not be made.
#[derive(Debug)]
pub enum IssueError {
    /// No random bytes.
    Random(NoRandomness),
    /// The claims could not be written or signed.
    Encode(&'static str),
}

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(cause) => cause.fmt(f),
            Self::Encode(what) => write!(f, "a token could not be made: {what}"),
        }
    }
}

impl From<NoRandomness> for IssueError {
    fn from(cause: NoRandomness) -> Self {
        Self::Random(cause)
    }
}

/// Makes and checks tokens for one issuer.
pub struct Tokens {
    keys: KeyRing,
    issuer: String,
    lifetimes: Lifetimes,
    /// Verified access tokens by their exact text. Holds only what can never change about a token, and is not
    /// believed beyond a token's expiry; entries that nobody asks for go when room is needed.
    remembered: Cache<Box<str>, Access>,
}

impl Tokens {
    /// Tokens of `issuer`, made and checked with `keys`.
    pub fn new(keys: KeyRing, issuer: String, lifetimes: Lifetimes) -> Self {
        Self { keys, issuer, lifetimes, remembered: Cache::new(REMEMBERED) }
    }

    /// A session begun at `now`, in `era`, and its first pair of tokens: a fresh access token, and a refresh token.
    ///
    /// # Errors
    /// [`IssueError`], which no healthy system ever returns.
    pub fn begin_session(
        &self,
        user: UserId,
        role: Role,
        now: Timestamp,
        era: Era,
    ) -> Result<NewSession, IssueError> {
        let now = now.whole_seconds();
        let session = SessionId::generate(self.lifetimes.session_end(now), era)?;
        let access = self.access(user, session, role, true, now, now)?;
        let payload = RefreshPayload {
            iss: (&*self.issuer).into(),
            sub: user,
            sid: session,
            jti: token_id()?.into(),
            typ: claims::Refresh,
            iat: now,
            nbf: now,
            exp: now.after(self.lifetimes.refresh),
            auth_time: now,
        };
        let refresh = paseto::encrypt(self.keys.encrypting(), &claims::to_json(&payload)?)?;
        Ok(NewSession { id: session, access, refresh })
    }

    /// A further access token of the session that `refresh` stands for: not fresh, and never longer-lived
    /// than the session.
    ///
    /// # Errors
    /// [`IssueError`], which no healthy system ever returns.
    pub fn continue_session(
        &self,
        refresh: &Refresh,
        role: Role,
        now: Timestamp,
    ) -> Result<Token, IssueError> {
        self.access(refresh.user, refresh.session, role, false, refresh.auth_time, now.whole_seconds())
    }

    fn access(
        &self,
        user: UserId,
        session: SessionId,
        role: Role,
        fresh: bool,
        auth_time: Timestamp,
        now: Timestamp,
    ) -> Result<Token, IssueError> {
        let payload = AccessPayload {
            iss: (&*self.issuer).into(),
            sub: user,
            sid: session,
            jti: token_id()?.into(),
            typ: claims::Access,
            fresh,
            role,
            iat: now,
            nbf: now,
            exp: now.after(self.lifetimes.access).min(session.ends_at()),
            auth_time,
        };
        paseto::sign(self.keys.signing(), &claims::to_json(&payload)?)
    }

    /// Checks an access token by all that it says itself.
    ///
    /// # Errors
    /// [`TokenRefusal::Invalid`] or [`TokenRefusal::Expired`].
    pub fn verify_access(&self, text: &str, now: Timestamp) -> Result<Access, TokenRefusal> {
        let access = match self.remembered.get(text) {
            Some(access) => access,
            None => self.read_access(text).ok_or(TokenRefusal::Invalid)?,
        };
        if let Err(refusal) = check_times(access.not_before, access.expires_at, now) {
            self.remembered.remove(text);
            return Err(refusal);
        }
        Ok(access)
    }

    fn read_access(&self, text: &str) -> Option<Access> {
        let payload = paseto::verify(&self.keys, text)?;
        let claims: AccessPayload<'_> = serde_json::from_str(payload.text()).ok()?;
        if claims.iss != self.issuer {
            return None;
        }
        let access = Access {
            user: claims.sub,
            session: claims.sid,
            fresh: claims.fresh,
            not_before: claims.nbf.max(claims.iat),
            expires_at: claims.exp,
        };
        self.remembered.insert(text.into(), access);
        Some(access)
    }

    /// Checks a refresh token by all that it says itself.
    ///
    /// # Errors
    /// [`TokenRefusal::Invalid`] or [`TokenRefusal::Expired`].
    pub fn verify_refresh(&self, text: &str, now: Timestamp) -> Result<Refresh, TokenRefusal> {
        let payload = paseto::decrypt(&self.keys, text).ok_or(TokenRefusal::Invalid)?;
        let claims: RefreshPayload<'_> =
            serde_json::from_str(payload.text()).map_err(|_| TokenRefusal::Invalid)?;
        if claims.iss != self.issuer {
            return Err(TokenRefusal::Invalid);
        }
        check_times(claims.nbf.max(claims.iat), claims.exp, now)?;
        Ok(Refresh { user: claims.sub, session: claims.sid, auth_time: claims.auth_time })
    }

    /// Checks a token of either kind by all that it says itself.
    ///
    /// # Errors
    /// [`TokenRefusal::Invalid`] or [`TokenRefusal::Expired`].
    pub fn verify_any(&self, text: &str, now: Timestamp) -> Result<AnyToken, TokenRefusal> {
        if paseto::is_local(text) {
            let Refresh { user, session, .. } = self.verify_refresh(text, now)?;
            Ok(AnyToken { user, session })
        } else {
            let Access { user, session, .. } = self.verify_access(text, now)?;
            Ok(AnyToken { user, session })
        }
    }
}

fn check_times(not_before: Timestamp, expires_at: Timestamp, now: Timestamp) -> Result<(), TokenRefusal> {
    if now >= expires_at.after(LEEWAY) {
        return Err(TokenRefusal::Expired);
    }
    if now.after(LEEWAY) < not_before {
        return Err(TokenRefusal::Invalid);
    }
    Ok(())
}

/// 128 random bits in hexadecimal.
fn token_id() -> Result<String, IssueError> {
    Ok(format!("{:032x}", u128::from_be_bytes(random::bytes()?)))
}
