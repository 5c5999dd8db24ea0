//! Why a request is refused. Knows nothing of HTTP.

use crate::domain::clock::ClockBehind;
use crate::password::PoolError;
use crate::random::NoRandomness;
use crate::store::{ChangeError, Denied, StoreError};
use crate::throttle::Throttled;
use crate::token::{IssueError, TokenRefusal};

/// Why a request that was understood is refused. `http` decides what the client sees.
#[derive(Debug)]
pub enum Refusal {
    /// The name is taken.
    NameTaken,
    /// Unknown name or wrong password; clients cannot tell which.
    InvalidCredentials,
    /// The token is missing, invalid, expired, revoked or not fresh.
    Token(TokenRefusal),
    /// The token is valid, but does not allow this.
    Forbidden,
    /// There is no such user.
    NotFound,
    /// Only administrators create users.
    RegistrationClosed,
    /// No enabled administrator would be left.
    LastAdmin,
    /// Too many failed logins, or too many registrations.
    Throttled(Throttled),
    /// Not now; a retry may succeed.
    Unavailable(Unavailable),
    /// An internal error.
    Internal(Fault),
}

/// Why a request cannot be served now.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum Unavailable {
    /// Too many logins at once.
    #[error("Too many logins at once.")]
    Busy,
    /// Too little disk space to write.
    #[error("The disk is nearly full.")]
    DiskFull,
    /// The system clock is behind the store's.
    #[error("The system clock is behind.")]
    Clock(ClockBehind),
    /// The store has failed; the process is about to end.
    #[error("The store has failed.")]
    StoreFailed,
    /// A page of the store cannot be read; the log says why.
    #[error("The disk cannot be read.")]
    Page,
    /// A key file cannot be read or written; the log says which. Nothing was changed.
    #[error("A key file cannot be read or written, and nothing was changed; the log says why.")]
    KeyFiles,
    /// The server is stopping.
    #[error("The server is stopping.")]
    Stopping,
}

impl Unavailable {
    /// One word for the log.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::DiskFull => "disk_full",
            Self::Clock(_) => "clock",
            Self::StoreFailed => "store_failed",
            Self::Page => "unreadable",
            Self::KeyFiles => "key_files",
            Self::Stopping => "stopping",
        }
    }
}

/// An internal error, for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Fault(String);

impl Fault {
    pub(crate) fn new(what: String) -> Self {
        Self(what)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskFull => Self::Unavailable(Unavailable::DiskFull),
            StoreError::Failed => Self::Unavailable(Unavailable::StoreFailed),
            StoreError::Page => Self::Unavailable(Unavailable::Page),
            StoreError::Unreadable => Self::Internal(Fault(error.to_string())),
        }
    }
}

/// A right that was lost since the request came in is refused as it would be now.
impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Denied(Denied::SessionRevoked) => Self::Token(TokenRefusal::Revoked),
            ChangeError::Denied(Denied::NotAllowed) => Self::Forbidden,
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl From<TokenRefusal> for Refusal {
    fn from(reason: TokenRefusal) -> Self {
        Self::Token(reason)
    }
}

impl From<PoolError> for Refusal {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Busy => Self::Unavailable(Unavailable::Busy),
            PoolError::Gone => Self::Unavailable(Unavailable::Stopping),
            PoolError::Failed(_) | PoolError::TooLarge { .. } => Self::Internal(Fault(error.to_string())),
        }
    }
}

impl From<ClockBehind> for Refusal {
    fn from(behind: ClockBehind) -> Self {
        Self::Unavailable(Unavailable::Clock(behind))
    }
}

impl From<IssueError> for Refusal {
    fn from(error: IssueError) -> Self {
        Self::Internal(Fault(error.to_string()))
    }
}

impl From<NoRandomness> for Refusal {
    fn from(error: NoRandomness) -> Self {
        Self::Internal(Fault(error.to_string()))
    }
}
