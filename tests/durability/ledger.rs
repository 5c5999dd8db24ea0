//! The answers to the clients, to be compared with the server's state after it was cut off.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use gatelet::domain::user::Role;

/// How long a replaced refresh token is still answered with its successor.
pub const GRACE: Duration = Duration::from_secs(30);

/// A user who was registered, or may have been.
pub struct Account {
    pub name: String,
    pub password: String,
    /// Earlier passwords, all of which must be refused.
    pub former: Vec<String>,
    /// As the server reported it; unknown while the registration has no answer.
    pub id: Option<String>,
    pub role: Role,
    pub disabled: bool,
    pub standing: Standing,
    /// A change without an answer. No other change is made until its outcome is known.
    pub doubt: Option<Change>,
    /// Sessions, including those of deleted users of the same name, whose tokens must stay refused.
    pub sessions: Vec<Session>,
}

/// The state of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The registration was acknowledged, or another client logged in as this user.
    Exists,
    /// The registration has no answer.
    PerhapsCreated,
    /// The deletion has no answer.
    PerhapsDeleted,
    /// The deletion was acknowledged.
    Gone,
}

/// A change of a user who stays.
#[derive(Clone, Debug)]
pub enum Change {
    /// Revokes all sessions but the one with this index.
    Password {
        new: String,
        spared: Option<usize>,
    },
    AllSessionsEnded,
    Role(Role),
    /// Disabling revokes all sessions; enabling restores none.
    Disabled(bool),
}

/// A login and everything that follows from it.
pub struct Session {
    /// Access tokens, of which the first is fresh.
    pub access: Vec<String>,
    /// The newest acknowledged refresh token.
    pub refresh: String,
    /// The previous one, if they rotate.
    pub replaced: Option<Replaced>,
    /// The time of a refresh without an answer: the newest token may have been replaced since.
    pub unanswered: Option<Instant>,
    pub end: End,
}

/// A refresh token whose replacement was acknowledged.
pub struct Replaced {
    pub token: String,
    /// When the replacement was requested, so no later than it was made.
    pub asked: Instant,
}

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Open,
    /// The logout has no answer.
    InDoubt,
    /// The logout was acknowledged, or the user was deleted.
    Final,
}

impl Account {
    /// A user being registered. The sessions are those of earlier users of the name.
    pub fn new(name: String, password: String, former: Vec<String>, sessions: Vec<Session>) -> Self {
        Self {
            name,
            password,
            former,
            id: None,
            role: Role::User,
            disabled: false,
            standing: Standing::PerhapsCreated,
            doubt: None,
            sessions,
        }
    }

    /// Whether everything is known that acting as this user takes.
    pub fn is_able(&self) -> bool {
        self.is_known() && !self.disabled
    }

    /// Whether everything is known that an administrator can change.
    pub fn is_known(&self) -> bool {
        self.standing == Standing::Exists && self.doubt.is_none()
    }

    /// Records an acknowledged change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Password { new, spared } => {
                self.former.push(std::mem::replace(&mut self.password, new));
                self.end_sessions_but(spared);
            }
            Change::AllSessionsEnded => self.end_sessions(),
            Change::Role(role) => self.role = role,
            Change::Disabled(disabled) => {
                self.disabled = disabled;
                self.end_sessions(); // when it was enabled, all had been revoked already
            }
        }
    }

    pub fn end_sessions(&mut self) {
        self.end_sessions_but(None);
    }

    fn end_sessions_but(&mut self, spared: Option<usize>) {
        for (place, session) in self.sessions.iter_mut().enumerate() {
            if Some(place) != spared {
                session.end = End::Final;
            }
        }
    }

    /// The index of a session known to be live.
    pub fn open_session(&self) -> Option<usize> {
        self.sessions.iter().rposition(|session| session.end == End::Open)
    }
}

impl Session {
    /// Records that the newest refresh token was answered with `successor`.
    pub fn advance(&mut self, successor: &str, asked: Instant) {
        let token = std::mem::replace(&mut self.refresh, successor.to_owned());
        self.replaced = Some(Replaced { token, asked });
        self.unanswered = None;
    }
}

/// The keys of tokens that the admin socket has told of.
#[derive(Default)]
pub struct Keys {
    /// None of them may be pruned: their tokens live longer than any test.
    pub ids: HashSet<String>,
    /// The signing key; unknown while a rotation has no answer.
    pub active: Option<String>,
}

/// The numbers of acknowledged changes and of checks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub rounds: usize,
    pub registered: usize,
    pub logged_out: usize,
    pub deleted: usize,
    /// New passwords, by the owner or an administrator.
    pub passwords: usize,
    /// Revocations of all sessions of a user.
    pub all_ended: usize,
    /// Users disabled or enabled.
    pub disabled: usize,
    pub roles: usize,
    /// Refresh tokens replaced.
    pub refreshed: usize,
    /// Keys replaced.
    pub keys: usize,
    /// Requests without an answer that may have changed something.
    pub in_doubt: usize,
    /// 503 answers while the store was failing.
    pub unavailable: usize,
    /// Accounts and sessions compared with the ledger.
    pub checked: usize,
    pub lost: usize,
}

impl Figures {
    /// Counts an acknowledged change.
    pub fn count(&mut self, change: &Change) {
        *match change {
            Change::Password { .. } => &mut self.passwords,
            Change::AllSessionsEnded => &mut self.all_ended,
            Change::Role(_) => &mut self.roles,
            Change::Disabled(_) => &mut self.disabled,
        } += 1;
    }
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.registered += other.registered;
        self.logged_out += other.logged_out;
        self.deleted += other.deleted;
        self.passwords += other.passwords;
        self.all_ended += other.all_ended;
        self.disabled += other.disabled;
        self.roles += other.roles;
        self.refreshed += other.refreshed;
        self.keys += other.keys;
        self.in_doubt += other.in_doubt;
        self.unavailable += other.unavailable;
        self.checked += other.checked;
        self.lost += other.lost;
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rounds, registered, logged_out, deleted, passwords, all_ended, disabled, roles, .. } =
            self;
        let Self { refreshed, keys, in_doubt, unavailable, checked, lost, .. } = self;
        write!(
            f,
            "{rounds} rounds; acknowledged: {registered} registrations, {logged_out} logouts, {deleted} \
             deletions, {passwords} new passwords, {all_ended} ends of all sessions, {disabled} users disabled \
             or enabled, {roles} new roles, {refreshed} refresh tokens and {keys} times the keys replaced; \
             {in_doubt} changes without an answer; {unavailable} answers of 503; {checked} accounts and \
             sessions checked, {lost} lost"
        )
    }
}
