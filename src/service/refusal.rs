//! Why a request was not granted, without a word about HTTP.

use std::fmt;

use crate::domain::clock::ClockBehind;
use crate::password::PoolError;
use crate::random::NoRandomness;
use crate::store::{ChangeError, Denied, StoreError};
use crate::throttle::Throttled;
use crate::token::{IssueError, TokenRefusal};

/// A request that was understood and not granted. Every cause has one meaning here; what it looks like to a
/// client is decided at the edge.
#[derive(Debug)]
pub enum Refusal {
    /// The name belongs to somebody.
    NameTaken,
    /// Unknown name or wrong password: which, nobody learns.
    InvalidCredentials,
    /// The token does not do.
    Token(TokenRefusal),
    /// The token is good, but not for this.
    Forbidden,
    /// There is no such user.
    NotFound,
    /// Only administrators create users.
    RegistrationClosed,
    /// Nobody would be left who is an administrator and enabled.
    LastAdmin,
    /// Too many failed logins, or too many registrations.
    Throttled(Throttled),
    /// Not now; worth trying again.
    Unavailable(Unavailable),
    /// Our fault.
    Internal(Fault),
}

/// Why something cannot be served now.
#[derive(Clone, Copy, Debug)]
pub enum Unavailable {
    /// Too many logins at once.
    Busy,
    /// Too little disk space to write.
    DiskFull,
    /// The clock cannot be believed.
    Clock(ClockBehind),
    /// The store has failed; the process is about to end.
    StoreFailed,
    /// A page of the store cannot be read; the log says why.
    Page,
    /// A key's file cannot be read or written; the log says which. Nothing has been changed.
    KeyFiles,
    /// The server is stopping.
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

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "Too many logins at once.",
            Self::DiskFull => "The disk is nearly full.",
            Self::Clock(_) => "The system clock is behind.",
            Self::StoreFailed => "The store has failed.",
            Self::Page => "The disk cannot be read.",
            Self::KeyFiles => {
                "A key file cannot be read or written, and nothing was changed; the log says why."
            }
            Self::Stopping => "The server is stopping.",
        })
    }
}

/// What went wrong inside, for the log.
#[derive(Debug)]
pub struct Fault(String);

impl Fault {
    pub(crate) fn new(what: String) -> Self {
        Self(what)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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

/// What the actor would be told now, had they asked later.
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
