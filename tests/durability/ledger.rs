//! What the clients were told, to be held against what the server knows after it was cut off.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use gatelet::domain::user::Role;

/// How long a refresh token that was replaced still answers its successor.
pub const GRACE: Duration = Duration::from_secs(30);

/// Somebody who was registered, or may have been.
pub struct Account {
    pub name: String,
    pub password: String,
    /// The passwords before: none of them works any more.
    pub former: Vec<String>,
    /// As the server said; unknown while the registration has no answer.
    pub id: Option<String>,
    pub role: Role,
    pub disabled: bool,
    pub standing: Standing,
    /// A change that got no answer. Nothing else is tried until it is known what became of it.
    pub doubt: Option<Change>,
    /// Those of deleted users of the same name included: their tokens must stay refused.
    pub sessions: Vec<Session>,
}

/// What is known about an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The registration was acknowledged, or somebody else was let in as this user.
    Exists,
    /// The registration got no answer.
    PerhapsCreated,
    /// The deletion got no answer.
    PerhapsDeleted,
    /// The deletion was acknowledged.
    Gone,
}

/// What may change about a user who stays.
#[derive(Clone, Debug)]
pub enum Change {
    /// Ends all sessions but one, by its place.
    Password {
        new: String,
        spared: Option<usize>,
    },
    AllSessionsEnded,
    Role(Role),
    /// Disabling ends all sessions; enabling brings none of them back.
    Disabled(bool),
}

/// All that stems from one login.
pub struct Session {
    /// The first one is fresh.
    pub access: Vec<String>,
    /// The newest that was acknowledged.
    pub refresh: String,
    /// The one before, where they rotate.
    pub replaced: Option<Replaced>,
    /// When a refresh was sent that got no answer: the newest may have been replaced since.
    pub unanswered: Option<Instant>,
    pub end: End,
}

/// A refresh token that was acknowledged to have a successor.
pub struct Replaced {
    pub token: String,
    /// When that was asked for, so not after it was done.
    pub asked: Instant,
}

/// What is known about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Open,
    /// The logout got no answer.
    InDoubt,
    /// The logout was acknowledged, or the user is gone.
    Final,
}

impl Account {
    /// Somebody who is registering. The sessions are those of earlier users of the name.
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

    /// Whether all is known that it takes to act as this user.
    pub fn is_able(&self) -> bool {
        self.is_known() && !self.disabled
    }

    /// Whether all is known that an administrator can change.
    pub fn is_known(&self) -> bool {
        self.standing == Standing::Exists && self.doubt.is_none()
    }

    /// Writes down a change that was made.
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
                self.end_sessions(); // where it was enabled, all have ended already
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

    /// The place of some session that is known to go on.
    pub fn open_session(&self) -> Option<usize> {
        self.sessions.iter().rposition(|session| session.end == End::Open)
    }
}

impl Session {
    /// Writes down that the newest refresh token was answered with `successor`.
    pub fn advance(&mut self, successor: &str, asked: Instant) {
        let token = std::mem::replace(&mut self.refresh, successor.to_owned());
        self.replaced = Some(Replaced { token, asked });
        self.unanswered = None;
    }
}

/// The keys of tokens that the console has told of.
#[derive(Default)]
pub struct Keys {
    /// All of them must stay: their tokens live longer than any test.
    pub ids: HashSet<String>,
    /// The one that signs; unknown while a rotation has no answer.
    pub active: Option<String>,
}

/// How much was promised and how much of it was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub rounds: usize,
    pub registered: usize,
    pub logged_out: usize,
    pub deleted: usize,
    /// New passwords, by their owner or an administrator.
    pub passwords: usize,
    /// Ends of all sessions of a user at once.
    pub all_ended: usize,
    /// Users disabled or enabled.
    pub disabled: usize,
    pub roles: usize,
    /// Refresh tokens replaced.
    pub refreshed: usize,
    /// Keys replaced.
    pub keys: usize,
    /// Requests that changed something, perhaps, and got no answer.
    pub in_doubt: usize,
    /// Answers of 503 while the store was failing.
    pub unavailable: usize,
    /// Accounts and sessions held against the ledger.
    pub checked: usize,
    pub lost: usize,
}

impl Figures {
    /// Counts a change that was acknowledged.
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
