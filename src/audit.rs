//! The audit log: one line per account event, on target `gatelet::audit`; and how many there have been of each.
//!
//! All lines are written here. They hold ids, names of existing users, and reasons. They never hold a password, token or
//! hash, nor an unknown name: people type passwords into the name's field. Names are quoted and escaped, so that none can
//! forge a line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

use log::kv::Value;

use crate::domain::key::KeyId;
use crate::domain::network::Network;
use crate::domain::session::SessionId;
use crate::domain::user::{User, UserId, Username};
use crate::logging::{self, Field, Kind, chosen};
use crate::metrics::Events;
use crate::throttle;
use crate::token::TokenRefusal;
use crate::visible::quoted;

/// The log target.
pub const TARGET: &str = "gatelet::audit";

/// The origin of a request: the client, and the user as soon as they are known.
#[derive(Debug)]
pub struct Origin {
    /// The client's address, as trusted proxies tell it; `None` for local work.
    client: Option<IpAddr>,
    /// The id in `X-Request-Id`: `A-Za-z0-9._-` only.
    pub request_id: String,
    user: OnceLock<UserId>,
}

impl Origin {
    /// A request from `client`, of a user not known yet.
    pub fn new(client: IpAddr, request_id: String) -> Self {
        Self { client: Some(client), request_id, user: OnceLock::new() }
    }

    /// Local work, which has no client.
    pub fn local(what: &str) -> Self {
        Self { client: None, request_id: what.to_owned(), user: OnceLock::new() }
    }

    /// The client's address; loopback for local work.
    pub fn address(&self) -> IpAddr {
        self.client.unwrap_or(Ipv4Addr::LOCALHOST.into())
    }

    /// The client's network, if there is a client.
    pub fn network(&self) -> Option<Network> {
        self.client.map(Network::from)
    }

    /// Sets the request's user: the token's, or the account that logs in or was created.
    pub(crate) fn set_user(&self, user: UserId) {
        let _ = self.user.set(user);
    }

    /// The request's user, if known.
    pub fn user(&self) -> Option<UserId> {
        self.user.get().copied()
    }
}

/// The author of a change.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// The user concerned, without a session.
    Themselves,
    /// A user with a token.
    User(UserId),
    /// The owner of the data directory.
    Operator,
    /// The settings.
    Settings,
    /// Anyone, under `--dev`.
    Anyone,
    /// The periodic work.
    Housekeeping,
}

impl By {
    /// The user who did it, if one with a token did.
    pub fn user(self) -> Option<UserId> {
        match self {
            Self::User(id) => Some(id),
            Self::Themselves | Self::Operator | Self::Settings | Self::Anyone | Self::Housekeeping => None,
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Themselves => f.write_str("themselves"),
            Self::User(id) => id.fmt(f),
            Self::Operator => f.write_str("console"),
            Self::Settings => f.write_str("settings"),
            Self::Anyone => f.write_str("anyone (--dev)"),
            Self::Housekeeping => f.write_str("housekeeping"),
        }
    }
}

/// A line of the audit log.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A user was created.
    Registered(By, &'a User),
    /// A session began.
    LoggedIn(&'a User, SessionId),
    /// A login with a wrong password.
    WrongPassword(&'a User),
    /// A login to a disabled account; the password was not checked.
    DisabledUser(&'a User),
    /// A login with the right password; during the check the user was disabled, deleted or given another password, or all
    /// their sessions were revoked.
    OvertakenLogin(&'a User),
    /// A login with an unknown name.
    UnknownUser,
    /// Too many failed logins.
    LoginThrottled(throttle::ThrottledBy),
    /// Too many registrations.
    RegistrationThrottled,
    /// A registration with a taken name: by this user, if they still exist.
    NameTaken(Option<&'a User>),
    /// A login could not be served.
    LoginUnavailable(&'static str),
    /// An access token was made from a refresh token.
    Refreshed(UserId, SessionId),
    /// A user revoked their session.
    LoggedOut(UserId, SessionId),
    /// A refresh token was used again after its replacement: there is a copy of it. The session was revoked.
    RefreshReused(UserId, SessionId),
    /// All sessions of a user were revoked.
    SessionsEnded(By, UserId),
    /// A password was changed, and all sessions but the one that changed it were revoked.
    PasswordChanged(By, UserId),
    /// A user's role, or whether they may log in, was set.
    Updated(By, &'a User),
    /// A user was deleted.
    Deleted(By, UserId),
    /// The name of a deleted user is free from now on.
    NameFreed(By, &'a Username),
    /// All users were exported, with their password hashes.
    Exported(By),
    /// New keys were made for tokens.
    KeysRotated(By),
    /// Keys were removed; tokens made with them are refused.
    KeysRemoved(By, &'a [KeyId]),
    /// A backup was begun, of so many users.
    BackedUp(By, u64),
    /// A token was refused; with its user, if it could be read.
    TokenRefused(TokenRefusal, Option<UserId>),
}

impl<'a> Event<'a> {
    /// The event's word and its fields, in order. Only texts that users have chosen are `str` values.
    fn describe(&'a self) -> (&'static str, Vec<Field<'a>>) {
        let by = |by: &'a By| ("by", Value::from_display(by));
        let reason = |reason: &'a dyn fmt::Display| ("reason", Value::from_dyn_display(reason));
        let user = |id: &'a UserId| ("user", Value::from_display(id));
        let session = |id: &'a SessionId| ("session", Value::from_display(id));
        let name = |user: &'a User| ("name", Value::from(user.name.as_str()));
        let role = |user: &'a User| ("role", Value::from_display(&user.role));
        match self {
            Self::Registered(who, made) => {
                ("registered", vec![user(&made.id), name(made), role(made), by(who)])
            }
            Self::LoggedIn(who, id) => ("login_ok", vec![user(&who.id), name(who), session(id)]),
            Self::WrongPassword(whose) => {
                ("login_refused", vec![reason(&"wrong_password"), user(&whose.id), name(whose)])
            }
            Self::DisabledUser(who) => ("login_refused", vec![reason(&"disabled"), user(&who.id), name(who)]),
            Self::OvertakenLogin(who) => {
                ("login_refused", vec![reason(&"overtaken"), user(&who.id), name(who)])
            }
            Self::UnknownUser => ("login_refused", vec![reason(&"unknown_user")]),
            Self::LoginThrottled(by) => {
                ("login_refused", vec![reason(&"throttled"), ("by", Value::from_display(by))])
            }
            Self::RegistrationThrottled => ("registration_refused", vec![reason(&"throttled")]),
            Self::NameTaken(by) => {
                let by = by.iter().flat_map(|by| [user(&by.id), name(by)]);
                ("registration_refused", [reason(&"name_taken")].into_iter().chain(by).collect())
            }
            Self::LoginUnavailable(why) => ("login_refused", vec![reason(why)]),
            Self::Refreshed(whose, id) => ("refreshed", vec![user(whose), session(id)]),
            Self::LoggedOut(who, id) => ("logged_out", vec![user(who), session(id)]),
            Self::RefreshReused(whose, id) => ("refresh_token_reused", vec![user(whose), session(id)]),
            Self::SessionsEnded(who, whose) => ("sessions_ended", vec![user(whose), by(who)]),
            Self::PasswordChanged(who, whose) => ("password_changed", vec![user(whose), by(who)]),
            Self::Updated(who, now) => {
                ("updated", vec![user(&now.id), role(now), ("disabled", now.disabled.into()), by(who)])
            }
            Self::Deleted(who, whom) => ("deleted", vec![user(whom), by(who)]),
            Self::NameFreed(who, name) => ("name_freed", vec![("name", Value::from(name.as_str())), by(who)]),
            Self::Exported(who) => ("users_exported", vec![by(who)]),
            Self::BackedUp(who, users) => ("backed_up", vec![("users", (*users).into()), by(who)]),
            Self::KeysRotated(who) => ("keys_rotated", vec![by(who)]),
            Self::KeysRemoved(who, keys) => {
                let keys = keys.iter().map(|key| ("key", Value::from_display(key)));
                ("keys_removed", keys.chain([by(who)]).collect())
            }
            Self::TokenRefused(why, whose) => {
                ("token_refused", [reason(why)].into_iter().chain(whose.iter().map(user)).collect())
            }
        }
    }
}

impl Event<'_> {
    /// Which log buffer its line takes: events that clients can cause for free must not displace others.
    fn kind(&self) -> Kind {
        match self {
            Self::TokenRefused(..)
            | Self::LoginThrottled(_)
            | Self::RegistrationThrottled
            | Self::NameTaken(_)
            | Self::LoginUnavailable(_)
            | Self::Refreshed(..) => Kind::Cheap,
            Self::Registered(..)
            | Self::LoggedIn(..)
            | Self::WrongPassword(_)
            | Self::DisabledUser(_)
            | Self::OvertakenLogin(_)
            | Self::UnknownUser
            | Self::LoggedOut(..)
            | Self::RefreshReused(..)
            | Self::SessionsEnded(..)
            | Self::PasswordChanged(..)
            | Self::Updated(..)
            | Self::Deleted(..)
            | Self::NameFreed(..)
            | Self::Exported(_)
            | Self::KeysRotated(_)
            | Self::KeysRemoved(..)
            | Self::BackedUp(..) => Kind::Audit,
        }
    }
}

/// As in the log: `login_refused reason=wrong_password user=… name="…"`.
impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, fields) = self.describe();
        f.write_str(word)?;
        for (name, value) in fields {
            match value.to_borrowed_str() {
                Some(text) => write!(f, " {name}={}", quoted(&chosen(text)))?,
                None => write!(f, " {name}={value}")?,
            }
        }
        if let Self::RefreshReused(..) = self {
            f.write_str(": the session was ended")?;
        }
        Ok(())
    }
}

/// Writes the audit log and counts its events. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// The counters.
    pub events: Events,
}

impl Audit {
    /// Writes the event's line and counts it.
    pub fn record(&self, origin: &Origin, event: Event<'_>) {
        self.count(&event);
        let (word, mut fields) = event.describe();
        let client = origin.client.as_ref();
        fields.push(("client", client.map_or_else(Value::null, Value::from_display)));
        fields.push(("request", Value::from_display(&origin.request_id)));
        let client: &dyn fmt::Display = client.map_or(&"-", |client| client);
        let text = format_args!("{event} client={client} request={}", origin.request_id);
        logging::inform(event.kind(), TARGET, text, &word, &fields);
    }

    fn count(&self, event: &Event<'_>) {
        let Events { logins, refreshes, logouts, registrations, token_refusals, changes } = &self.events;
        match event {
            Event::Registered(..) => registrations.count("ok"),
            Event::RegistrationThrottled => registrations.count("throttled"),
            Event::NameTaken(_) => registrations.count("name_taken"),
            Event::LoggedIn(..) => logins.count("ok"),
            Event::WrongPassword(_) => logins.count("wrong_password"),
            Event::DisabledUser(_) => logins.count("disabled"),
            Event::OvertakenLogin(_) => logins.count("overtaken"),
            Event::UnknownUser => logins.count("unknown_user"),
            Event::LoginThrottled(_) => logins.count("throttled"),
            Event::LoginUnavailable(reason) => logins.count(reason),
            Event::Refreshed(..) => refreshes.count("ok"),
            Event::RefreshReused(..) => refreshes.count("reused"),
            Event::LoggedOut(..) => logouts.count(),
            Event::SessionsEnded(..) => changes.count("sessions_ended"),
            Event::PasswordChanged(..) => changes.count("password_changed"),
            Event::Updated(..) => changes.count("updated"),
            Event::Deleted(..) => changes.count("deleted"),
            Event::NameFreed(..) => changes.count("name_freed"),
            Event::Exported(_) => changes.count("users_exported"),
            Event::BackedUp(..) => changes.count("backed_up"),
            Event::KeysRotated(_) => changes.count("keys_rotated"),
            Event::KeysRemoved(..) => changes.count("keys_removed"),
            Event::TokenRefused(reason, _) => token_refusals.count(reason.code()),
        }
    }
}
