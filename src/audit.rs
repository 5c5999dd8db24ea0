//! The audit log: one line per account event, on target `gatelet::audit`.
//!
//! All lines are written here, so that this is the one place to look for what they may hold: ids, names of
//! users that exist, reasons. Never a password, token or hash, and never a name that nobody has: people type
//! passwords into the field above. Names are quoted and escaped; none can forge a line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

use crate::key::KeyId;
use crate::session::SessionId;
use crate::throttle;
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

    /// Something that was not asked for over the network.
    pub fn local(what: &str) -> Self {
        Self::new(Ipv4Addr::LOCALHOST.into(), what.to_owned())
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

/// Who did something.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// The user it happened to, before there was a session.
    Themselves,
    /// A user with a token.
    User(UserId),
    /// Whoever can reach the data directory.
    Console,
    /// Whoever has set the settings.
    Settings,
    /// Whoever knocks under `--dev`.
    Anyone,
    /// Gatelet itself.
    Housekeeping,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Themselves => f.write_str("themselves"),
            Self::User(id) => id.fmt(f),
            Self::Console => f.write_str("console"),
            Self::Settings => f.write_str("settings"),
            Self::Anyone => f.write_str("anyone (--dev)"),
            Self::Housekeeping => f.write_str("housekeeping"),
        }
    }
}

/// Something that happened to an account.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A user was created.
    Registered(By, &'a User),
    /// A session began.
    LoggedIn(&'a User, SessionId),
    /// The name is known, the password is not theirs.
    WrongPassword(&'a User),
    /// The name is known, and may not log in; the password was not looked at.
    DisabledUser(&'a User),
    /// Nobody has that name.
    UnknownUser,
    /// Too many logins have failed.
    LoginThrottled(throttle::By),
    /// Too many users have been registered.
    RegistrationThrottled,
    /// The login could not be served just now, whoever it was.
    LoginUnavailable(&'static str),
    /// An access token was made from a refresh token.
    Refreshed(UserId, SessionId),
    /// A session was ended by its user.
    LoggedOut(UserId, SessionId),
    /// A refresh token was sent that had been replaced long ago: somebody has a copy. The session was ended.
    RefreshReused(UserId, SessionId),
    /// All sessions of a user were ended.
    SessionsEnded(By, UserId),
    /// A user has another password, and no sessions but the one that changed it.
    PasswordChanged(By, UserId),
    /// A user's role, or whether they may log in, was set.
    Updated(By, &'a User),
    /// A user was deleted.
    Deleted(By, UserId),
    /// All users were listed, with the hashes of their passwords.
    Exported(By),
    /// New keys were made for tokens.
    KeysRotated(By),
    /// Keys were removed; tokens made with them are refused.
    KeysRemoved(By, &'a [KeyId]),
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
            Self::Registered(by, user) => {
                write!(f, "registered user={} name={:?}", user.id, user.name.as_str())?;
                write!(f, " role={} by={by}", user.role)
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
            Self::DisabledUser(user) => {
                write!(f, "login_refused reason=disabled user={} name={:?}", user.id, user.name.as_str())
            }
            Self::UnknownUser => f.write_str("login_refused reason=unknown_user"),
            Self::LoginThrottled(by) => write!(f, "login_refused reason=throttled by={by}"),
            Self::RegistrationThrottled => f.write_str("registration_refused reason=throttled"),
            Self::LoginUnavailable(reason) => write!(f, "login_refused reason={reason}"),
            Self::Refreshed(user, session) => write!(f, "refreshed user={user} session={session}"),
            Self::LoggedOut(user, session) => write!(f, "logged_out user={user} session={session}"),
            Self::RefreshReused(user, session) => {
                write!(f, "refresh_token_reused user={user} session={session}: the session was ended")
            }
            Self::SessionsEnded(by, user) => write!(f, "sessions_ended user={user} by={by}"),
            Self::PasswordChanged(by, user) => write!(f, "password_changed user={user} by={by}"),
            Self::Updated(by, user) => {
                write!(f, "updated user={} role={} disabled={} by={by}", user.id, user.role, user.disabled)
            }
            Self::Deleted(by, user) => write!(f, "deleted user={user} by={by}"),
            Self::Exported(by) => write!(f, "users_exported by={by}"),
            Self::KeysRotated(by) => write!(f, "keys_rotated by={by}"),
            Self::KeysRemoved(by, keys) => {
                f.write_str("keys_removed")?;
                keys.iter().try_for_each(|key| write!(f, " key={key}"))?;
                write!(f, " by={by}")
            }
            Self::TokenRefused(reason, Some(user)) => write!(f, "token_refused reason={reason} user={user}"),
            Self::TokenRefused(reason, None) => write!(f, "token_refused reason={reason}"),
        }
    }
}
