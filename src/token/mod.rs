//! Tokens: what they say, how they are made, and when they are believed.
//!
//! PASETO version 4. Access tokens are `v4.public` (Ed25519): any service with the public key can check one
//! offline. Refresh tokens are `v4.local`: readable by this service alone. The footer names the key by its
//! PASERK id. This is the only folder that names `pasetors`.
//!
//! What is verified here is all that a token can say by itself: signature, kind, issuer, times. Whether its
//! session has ended or its user is gone is the store's to say, and is asked every time.

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

use crate::domain::clock::Timestamp;
use crate::domain::session::{Era, SessionId, TokenId};
use crate::domain::user::{Role, User, UserId};
use crate::random::NoRandomness;

use claims::{AccessPayload, RefreshPayload};
pub use key_files::KeyError;
pub use key_ring::{KeyRing, LostKeys, PublishedKey};

/// How far a token's times may lie off our clock: services that check offline run clocks of their own.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// How many verified access tokens are remembered, about half a kilobyte each. Enough for thousands of users
/// who are active within one token's life; what falls out costs one signature check more.
const REMEMBERED: usize = 4096;

/// How many refresh tokens of [`Tokens::next_refresh`] are remembered, about half a kilobyte each: they are asked
/// for again within seconds if at all, and each stands for a write, of which there are fewer in that time.
const SUCCESSORS: usize = 1024;

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
impl TokenRefusal {
    /// One word for the log.
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

/// What a verified access token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whose it is.
    pub user: UserId,
    /// The login it stems from.
    pub session: SessionId,
    /// Made straight after a password check.
    pub fresh: bool,
    /// When the password was last checked.
    pub auth_time: Timestamp,
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
    /// The token itself.
    pub id: TokenId,
    /// When it was made.
    pub issued_at: Timestamp,
    /// When its time is over.
    pub expires_at: Timestamp,
}

/// A refresh token that was verified. What follows from it is made with the keys that verified it: should they be
/// revoked meanwhile, it is worth as little as they are.
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

/// A token of either kind, reduced to what both say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnyToken {
    /// Whose it is.
    pub user: UserId,
    /// The login it stems from.
    pub session: SessionId,
    /// Its time is over. It opens nothing any more.
    pub is_expired: bool,
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
    in_use: RwLock<Arc<InUse>>,
    issuer: String,
    lifetimes: Lifetimes,
}

/// The keys, and what was made and verified with them. Whoever has begun with one ring ends with it, and what is
/// then remembered goes where it belongs: nothing verified with a key that is gone gets into later memory.
struct InUse {
    ring: Arc<KeyRing>,
    memory: Arc<Memory>,
}

struct Memory {
    /// Verified access tokens by their exact text. Holds only what can never change about a token, and is not
    /// believed beyond a token's expiry; entries that nobody asks for go when room is needed.
    verified: Cache<Box<str>, Access>,
    /// Refresh tokens by their id, so that whoever asks twice for the same gets the same.
    successors: Cache<TokenId, String>,
}

impl Memory {
    fn new() -> Arc<Self> {
        Arc::new(Self { verified: Cache::new(REMEMBERED), successors: Cache::new(SUCCESSORS) })
    }
}

impl Tokens {
    /// Tokens of `issuer`, made and checked with `keys`.
    pub fn new(keys: KeyRing, issuer: String, lifetimes: Lifetimes) -> Self {
        let in_use = RwLock::new(Arc::new(InUse { ring: Arc::new(keys), memory: Memory::new() }));
        Self { in_use, issuer, lifetimes }
    }

    /// Who issues them.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The keys that tokens are made and checked with at present.
    pub fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.in_use().ring)
    }

    /// Makes and checks tokens with `ring` from now on; its records must have been remembered. What was verified
    /// with a key that is gone is not believed any more.
    pub fn use_ring(&self, ring: KeyRing) {
        let mut in_use = self.in_use.write().unwrap_or_else(PoisonError::into_inner);
        let memory = if ring.lacks_any_of(&in_use.ring) { Memory::new() } else { Arc::clone(&in_use.memory) };
        *in_use = Arc::new(InUse { ring: Arc::new(ring), memory });
    }

    fn in_use(&self) -> Arc<InUse> {
        Arc::clone(&self.in_use.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A session begun at `now`, in `era`, and its first pair of tokens: a fresh access token, and a refresh token.
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

    /// A further access token of the session that `refresh` stands for: not fresh, and never longer-lived
    /// than the session.
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

    /// The refresh token `id` that follows `from` in the same session, made at `issued_at`; it never lives longer
    /// than `from`. Asked again for the same id it answers the very same text, as long as that is remembered:
    /// in this process, among the last thousand, while no key is dropped.
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
        let InUse { ring, memory } = &*from.in_use;
        memory.successors.get_or_insert_with(&id, || self.refresh(ring, &next)).map(Token)
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

    /// Checks an access token by all that it says itself.
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
        let verified = &in_use.memory.verified;
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

    /// Checks a refresh token by all that it says itself.
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

    /// Checks a token of either kind by all that it says itself; it may have expired.
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

/// A token's time.
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
        // Nor does what follows from it later, though it was verified in time.
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
