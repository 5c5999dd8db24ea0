//! Verified tokens, and why others are refused.

use std::fmt;
use std::time::Duration;

use crate::domain::clock::Timestamp;
use crate::domain::session::{SessionId, TokenId};
use crate::domain::user::UserId;

/// Tolerated clock skew: services that check offline have clocks of their own.
pub const LEEWAY: Duration = Duration::from_secs(5);

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
    pub(super) not_before: Timestamp,
    pub(super) expires_at: Timestamp,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Current,
    Expired,
}

pub(super) fn age(not_before: Timestamp, expires_at: Timestamp, now: Timestamp) -> Result<Age, TokenRefusal> {
    match check_times(not_before, expires_at, now) {
        Ok(()) => Ok(Age::Current),
        Err(TokenRefusal::Expired) => Ok(Age::Expired),
        Err(refusal) => Err(refusal),
    }
}

pub(super) fn check_times(
    not_before: Timestamp,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), TokenRefusal> {
    if now >= expires_at.after(LEEWAY) {
        return Err(TokenRefusal::Expired);
    }
    if now.after(LEEWAY) < not_before {
        return Err(TokenRefusal::Invalid);
    }
    Ok(())
}
