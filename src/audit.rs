//! The audit log: one line per account event, on target `gatelet::audit`.
//!
//! All lines are written here, so that this is the one place to look for what they may hold: ids, names of
//! users that exist, reasons. Never a password, token or hash, and never a name that nobody has: people type
//! passwords into the field above. Names are quoted and escaped; none can forge a line.

use std::fmt;
use std::net::IpAddr;
use std::sync::OnceLock;

use crate::session::SessionId;
use crate::token::TokenRefusal;
use crate::user::{User, UserId};

/// The log target.
pub const TARGET: &str = "gatelet::audit";

/// Where a request comes from, and from whom as soon as that is known.
#[derive(Debug)]
pub struct Origin {
    /// The client's address.
    pub peer: IpAddr,
    /// The request's id, as answered in `X-Request-Id`: `A-Za-z0-9._-` only.
    pub request_id: String,
    user: OnceLock<UserId>,
}

impl Origin {
    /// A request from `peer`, from nobody known yet.
    pub fn new(peer: IpAddr, request_id: String) -> Self {
        Self { peer, request_id, user: OnceLock::new() }
    }

    /// Says whose request it is: the token's user, the account that is logged in to or was made.
    pub(crate) fn is_from(&self, user: UserId) {
        let _ = self.user.set(user);
    }

    /// Whose request it is, if that is known.
    pub fn user(&self) -> Option<UserId> {
        self.user.get().copied()
    }
}

/// Something that happened to an account.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A user was created.
    Registered(&'a User),
    /// A session began.
    LoggedIn(&'a User, SessionId),
    /// The name is known, the password is not theirs.
    WrongPassword(&'a User),
    /// Nobody has that name.
    UnknownUser,
    /// The login could not be served just now, whoever it was.
    LoginUnavailable(&'static str),
    /// An access token was made from a refresh token.
    Refreshed(UserId, SessionId),
    /// A session was ended by its user.
    LoggedOut(UserId, SessionId),
    /// A user was deleted: by whom (nobody known under `--dev`), and who.
    Deleted(Option<UserId>, UserId),
    /// A token was not accepted; whose it was, if it could be read.
    TokenRefused(TokenRefusal, Option<UserId>),
}

/// Writes the line.
pub fn record(origin: &Origin, event: Event<'_>) {
    log::info!(target: TARGET, "{event} peer={} request={}", origin.peer, origin.request_id);
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered(user) => {
                write!(f, "registered user={} name={:?}", user.id, user.name.as_str())
            }
            Self::LoggedIn(user, session) => {
                write!(f, "login_ok user={} name={:?} session={session}", user.id, user.name.as_str())
            }
            Self::WrongPassword(user) => write!(
                f,
                "login_refused reason=wrong_password user={} name={:?}",
                user.id,
                user.name.as_str()
            ),
            Self::UnknownUser => f.write_str("login_refused reason=unknown_user"),
            Self::LoginUnavailable(reason) => write!(f, "login_refused reason={reason}"),
            Self::Refreshed(user, session) => write!(f, "refreshed user={user} session={session}"),
            Self::LoggedOut(user, session) => write!(f, "logged_out user={user} session={session}"),
            Self::Deleted(Some(by), user) => write!(f, "deleted user={user} by={by}"),
            Self::Deleted(None, user) => write!(f, "deleted user={user} by=anyone (--dev)"),
            Self::TokenRefused(reason, Some(user)) => write!(f, "token_refused reason={reason} user={user}"),
            Self::TokenRefused(reason, None) => write!(f, "token_refused reason={reason}"),
        }
    }
}
