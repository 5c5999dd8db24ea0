//! What the clients were told, to be held against what the server knows after it was cut off.

/// Somebody who was registered, or may have been.
pub struct Account {
    pub name: String,
    pub password: String,
    /// As the server said; unknown while the registration has no answer.
    pub id: Option<String>,
    pub standing: Standing,
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

/// All that stems from one login.
pub struct Session {
    /// The first one is fresh.
    pub access: Vec<String>,
    pub refresh: String,
    pub end: End,
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
    pub fn end_sessions(&mut self) {
        for session in &mut self.sessions {
            session.end = End::Final;
        }
    }

    /// The place of some session that is known to go on.
    pub fn open_session(&self) -> Option<usize> {
        self.sessions.iter().rposition(|session| session.end == End::Open)
    }
}

/// How much was promised and how much of it was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub rounds: usize,
    pub registered: usize,
    pub logged_out: usize,
    pub deleted: usize,
    /// Requests that changed something, perhaps, and got no answer.
    pub in_doubt: usize,
    /// Answers of 503 while the store was failing.
    pub unavailable: usize,
    /// Accounts and sessions held against the ledger.
    pub checked: usize,
    pub lost: usize,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.registered += other.registered;
        self.logged_out += other.logged_out;
        self.deleted += other.deleted;
        self.in_doubt += other.in_doubt;
        self.unavailable += other.unavailable;
        self.checked += other.checked;
        self.lost += other.lost;
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rounds, registered, logged_out, deleted, in_doubt, unavailable, checked, lost } = self;
        write!(
            f,
            "{rounds} rounds; acknowledged: {registered} registrations, {logged_out} logouts, {deleted} \
             deletions; {in_doubt} changes without an answer; {unavailable} answers of 503; {checked} accounts \
             and sessions checked, {lost} lost"
        )
    }
}
