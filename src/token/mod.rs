//! Tokens: issuing and verifying.
//!
//! PASETO version 4. Access tokens are `v4.public` (Ed25519): any service with the public key can check them
//! offline. Refresh tokens are `v4.local`: only this service can read them. The footer names the key by its
//! PASERK id. This is the only folder that names `pasetors`.
//!
//! Verification here covers a token's own content: signature, kind, issuer, times. Whether its session is
//! live and its user exists is up to the store, which is asked every time.

mod claims;
pub mod key_files;
mod key_ring;
mod keys;
pub mod offline;
mod paseto;
pub mod statement;

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quick_cache::sync::Cache;
use serde::Serialize;
use thiserror::Error;

use crate::domain::clock::Timestamp;
use crate::domain::session::{Era, SessionId, TokenId};
use crate::domain::user::{Role, User, UserId};
use crate::random::NoRandomness;

use claims::{AccessPayload, RefreshPayload};
pub use key_files::KeyError;
pub use key_ring::{KeyRing, LostKeys, PublishedKey};

/// Tolerated clock skew: services that check offline have clocks of their own.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// Size of the cache of verified access tokens, about half a kilobyte each. Enough for thousands of users
/// active within one token lifetime; a miss costs one signature check.
const REMEMBERED: usize = 4096;

/// Size of the cache of [`Tokens::next_refresh`], about half a kilobyte each. A token is asked for again
/// within seconds if at all, and each costs a write, which limits how many there can be in that time.
const SUCCESSORS: usize = 1024;

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// No token was given.
    Missing,
    /// Malformed, forged, by an unknown key or issuer, or of the wrong kind.
    Invalid,
    /// It has expired.
    Expired,
    /// The session is revoked or the user is deleted.
    Revoked,
    /// A fresh token is required.
    NotFresh,
}

impl TokenRefusal {
    /// The reason as one word, for the audit log.
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::NotFresh => "not_fresh",
        }
    }
}

impl fmt::Display for TokenRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A verified access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The token's user.
    pub user: UserId,
    /// The token's session.
    pub session: SessionId,
    /// Whether the session began with this token, by a password check.
    pub fresh: bool,
    /// When the password was checked.
    pub auth_time: Timestamp,
    not_before: Timestamp,
    expires_at: Timestamp,
}

/// A verified refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// The token's user.
    pub user: UserId,
    /// The token's session.
    pub session: SessionId,
    /// When the password was checked.
    pub auth_time: Timestamp,
    /// The token's own id.
    pub id: TokenId,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// A verified refresh token. Its successors are made with the ring that verified it: if the keys are revoked
/// meanwhile, the successors are refused too.
pub struct VerifiedRefresh {
    token: Refresh,
    in_use: Arc<InUse>,
}

impl Deref for VerifiedRefresh {
    type Target = Refresh;

    fn deref(&self) -> &Refresh {
        &self.token
    }
}

/// A verified token of either kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnyToken {
    /// The token's user.
    pub user: UserId,
    /// The token's session.
    pub session: SessionId,
    /// An expired token grants nothing.
    pub is_expired: bool,
}

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

/// A ring with its caches. A request keeps the pair it began with: nothing verified with a dropped key
/// reaches a later cache.
struct InUse {
    ring: Arc<KeyRing>,
    cache: Arc<TokenCache>,
}

struct TokenCache {
    /// Verified access tokens by their exact text. Holds only immutable facts; an entry is not used beyond
    /// the token's expiry, and unused ones are evicted.
    verified: Cache<Box<str>, Access>,
    /// Refresh tokens by id, so that repeated requests get the same text.
    successors: Cache<TokenId, String>,
}

impl TokenCache {
    fn new() -> Arc<Self> {
        Arc::new(Self { verified: Cache::new(REMEMBERED), successors: Cache::new(SUCCESSORS) })
    }
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Current,
    Expired,
}

fn age(not_before: Timestamp, expires_at: Timestamp, now: Timestamp) -> Result<Age, TokenRefusal> {
    match check_times(not_before, expires_at, now) {
        Ok(()) => Ok(Age::Current),
        Err(TokenRefusal::Expired) => Ok(Age::Expired),
        Err(refusal) => Err(refusal),
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

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::domain::session::Sessions;

    const NOW: Timestamp = Timestamp::from_unix_secs(1_764_000_000);
    const MINUTES: Lifetimes =
        Lifetimes { access: Duration::from_secs(60), refresh: Duration::from_secs(600) };

    pub(super) fn user(created_at: Timestamp) -> User {
        User {
            id: UserId::next(None, created_at, [7; 8]),
            name: "anna".parse().unwrap(),
            role: Role::User,
            disabled: false,
            created_at,
            sessions: Sessions::default(),
        }
    }

    fn tokens() -> (TempDir, Tokens) {
        let dir = tempfile::tempdir().unwrap();
        let ring = KeyRing::open(dir.path(), &[], LostKeys::Replace, MINUTES, NOW).unwrap();
        (dir, Tokens::new(ring, "gatelet".into(), MINUTES))
    }

    fn log_in(tokens: &Tokens, now: Timestamp) -> (String, String) {
        let session = tokens.begin_session(&user(now), now, Era::default()).unwrap();
        (session.access.0, session.refresh.0)
    }

    #[test]
    fn a_retired_key_still_verifies_until_its_last_token_has_expired() {
        let (dir, tokens) = tokens();
        let mut sessions = vec![log_in(&tokens, NOW)];
        for _ in 0..100 {
            let ring = tokens.ring().rotated(dir.path(), NOW).unwrap();
            tokens.use_ring(ring);
            sessions.push(log_in(&tokens, NOW));
        }
        let last = NOW.after(MINUTES.access).after(LEEWAY).before(Duration::from_secs(1));
        tokens.use_ring(tokens.ring().pruned(last).0);
        for (access, refresh) in &sessions {
            assert!(tokens.verify_access(access, last).is_ok());
            assert!(tokens.verify_refresh(refresh, last).is_ok());
        }
        let last = NOW.after(MINUTES.refresh).after(LEEWAY).before(Duration::from_secs(1));
        tokens.use_ring(tokens.ring().pruned(last).0);
        for (_, refresh) in &sessions {
            assert!(tokens.verify_refresh(refresh, last).is_ok());
        }
        let (ring, _) = tokens.ring().pruned(last.after(Duration::from_secs(120)));
        assert_eq!(ring.records().len(), 2);
    }

    #[test]
    fn a_token_under_a_dropped_key_is_refused_even_if_it_was_verified_before() {
        let (dir, tokens) = tokens();
        let (access, refresh) = log_in(&tokens, NOW);
        let from = tokens.verify_refresh(&refresh, NOW).unwrap();
        let id = TokenId::generate().unwrap();
        let old = tokens.next_refresh(&from, id, NOW).unwrap();
        assert!(tokens.verify_access(&access, NOW).is_ok());
        tokens.use_ring(tokens.ring().rotated(dir.path(), NOW).unwrap());
        assert!(tokens.verify_access(&access, NOW).is_ok());
        tokens.use_ring(tokens.ring().only_active().0);
        assert_eq!(tokens.verify_access(&access, NOW), Err(TokenRefusal::Invalid));
        // Its successors made later are refused too, although it was verified in time.
        let late = tokens.next_refresh(&from, TokenId::generate().unwrap(), NOW).unwrap();
        for refresh in [&refresh, &old.0, &late.0] {
            assert_eq!(tokens.verify_refresh(refresh, NOW).err(), Some(TokenRefusal::Invalid));
        }
        let access = tokens.continue_session(&from, Role::Admin, NOW).unwrap();
        assert_eq!(tokens.verify_access(&access.0, NOW), Err(TokenRefusal::Invalid));
    }

    #[test]
    fn the_next_refresh_token_is_the_same_however_often_it_is_asked_for() {
        let (_dir, tokens) = tokens();
        let from = tokens.verify_refresh(&log_in(&tokens, NOW).1, NOW).unwrap();
        assert_eq!((from.issued_at, from.expires_at), (NOW, NOW.after(MINUTES.refresh)));
        let id = TokenId::generate().unwrap();
        let later = NOW.after(Duration::from_millis(60_700));
        let texts: Vec<String> = std::thread::scope(|scope| {
            let ask = || tokens.next_refresh(&from, id, later).unwrap().0;
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(texts.iter().all(|text| *text == texts[0]));
        let next = tokens.verify_refresh(&texts[0], later).unwrap();
        assert_eq!(
            *next,
            Refresh { id, issued_at: later.whole_seconds(), ..*from },
            "it ends with the session"
        );
        let other = tokens.next_refresh(&from, TokenId::generate().unwrap(), later).unwrap();
        assert_ne!(other.0, texts[0]);
    }

    #[test]
    fn a_refresh_token_lives_no_longer_than_todays_lifetime() {
        let (_dir, tokens) = tokens();
        let from = tokens.verify_refresh(&log_in(&tokens, NOW).1, NOW).unwrap();
        let token = Refresh { expires_at: NOW.after(Duration::from_secs(86_400)), ..*from };
        let from = VerifiedRefresh { token, ..from };
        let next = tokens.next_refresh(&from, TokenId::generate().unwrap(), NOW).unwrap();
        assert_eq!(tokens.verify_refresh(&next.0, NOW).unwrap().expires_at, NOW.after(MINUTES.refresh));
    }
}
