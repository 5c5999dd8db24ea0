//! By what right a change is made: decided in the step that writes it.
//!
//! A request takes time: its body arrives, passwords are hashed, other changes come first. What its user may do can be taken
//! away meanwhile, and the answer to that says that it is gone. So each change carries the right by which it is made, and
//! the committer looks at it once more, in the step that writes: what was taken away before a change is decided keeps that
//! change from being made.
//!
//! The decision is a function of what it has seen, and of nothing else.

use super::change::{Change, Decision, ReadSet, Seen as Read};
use super::changes::pruned_until;
use super::error::StoreError;
use super::record;
use super::table::{Table, facts};
use crate::domain::clock::Timestamp;
use crate::domain::session::SessionId;
use crate::domain::user::{Role, User, UserId};

/// By what right a change is made. Each change demands one; there is no default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority(Right);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// Rests on how the process was started and on nothing in the store: nobody can take it away while the process runs.
    Standing,
    /// A session's, as long as it goes on.
    Session { user: UserId, session: SessionId },
}

impl Authority {
    /// The right of the data directory's owner, and what the settings open to everybody: registration, and what `--dev`
    /// opens. Never looked at again. Inside this crate, `service::actor` alone may say that somebody has it.
    pub const fn standing() -> Self {
        Self(Right::Standing)
    }

    /// What `user` may do by `session`, for as long as the session goes on and their role allows it.
    pub const fn of_session(user: UserId, session: SessionId) -> Self {
        Self(Right::Session { user, session })
    }
}

/// Why a change was not made: its right was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The session has ended, by itself or with all others, or its user is disabled or gone.
    SessionOver,
    /// The session goes on, and its user may not do this, or not any more.
    NotAllowed,
}

/// Why a change that somebody asked for was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// Nothing has been changed.
    Denied(Denied),
    /// As with every other call.
    Store(StoreError),
}

impl From<StoreError> for ChangeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Whom a change is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Anyone whose session goes on: it is about that session.
    Session,
    /// This user and administrators.
    Over(UserId),
    /// Administrators.
    Admin,
}

/// What a decision rests on, read in the step that writes.
struct Seen {
    /// The user whose session it is.
    user: Option<User>,
    /// Whether the session has been ended by itself.
    is_revoked: bool,
    /// The end of sessions before this moment may have been forgotten.
    pruned_until: Timestamp,
}

/// Whether the session allows what is needed.
fn decide(session: &SessionId, need: Need, seen: &Seen) -> Result<(), Denied> {
    let is_forgotten = session.ends_at() < seen.pruned_until; // and over by the clock as well
    let live = seen.user.as_ref().filter(|user| !user.disabled && user.sessions.include(session));
    let Some(user) = live.filter(|_| !seen.is_revoked && !is_forgotten) else {
        return Err(Denied::SessionOver);
    };
    let is_allowed = match need {
        Need::Session => true,
        Need::Over(id) => user.id == id || user.role == Role::Admin,
        Need::Admin => user.role == Role::Admin,
    };
    if is_allowed { Ok(()) } else { Err(Denied::NotAllowed) }
}

/// A change made for someone: decided only if their right holds in the very step that writes.
pub(super) struct By<C> {
    pub(super) authority: Authority,
    pub(super) need: Need,
    pub(super) change: C,
}

impl<C: Change> Change for By<C> {
    type Outcome = Result<C::Outcome, Denied>;

    fn reads(&self) -> ReadSet {
        let reads = self.change.reads();
        let Right::Session { user, session } = self.authority.0 else {
            return reads;
        };
        reads
            .key(Table::Users, user.as_bytes())
            .key(Table::Revoked, session.as_bytes())
            .key(Table::Facts, facts::PRUNED_UNTIL)
    }

    fn decide(&self, read: &Read) -> Result<Decision<Self::Outcome>, StoreError> {
        if let Right::Session { user, session } = self.authority.0 {
            let record = read.get(Table::Users, user.as_bytes());
            let seen = Seen {
                user: record.map(|bytes| record::decode_user(user, bytes)).transpose()?,
                is_revoked: read.get(Table::Revoked, session.as_bytes()).is_some(),
                pruned_until: pruned_until(read)?,
            };
            if let Err(denied) = decide(&session, self.need, &seen) {
                return Ok(Decision::unchanged(Err(denied)));
            }
        }
        Ok(self.change.decide(read)?.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::session::{Era, Sessions};

    const END: Timestamp = Timestamp::from_unix_secs(1_764_000_000);

    fn user(role: Role, disabled: bool, sessions: Sessions) -> User {
        let id = UserId::next(None, END, [7; 8]);
        User { id, name: "anna".parse().unwrap(), role, disabled, created_at: END, sessions }
    }

    #[test]
    fn a_session_allows_what_its_user_may_do_as_long_as_both_go_on() {
        let before = Sessions::default();
        let session = SessionId::generate(END, Era::default(), before.generation()).unwrap();
        let other = UserId::next(None, END, [8; 8]);
        let (mut allowed, mut decided) = (0, 0);
        for role in [Role::User, Role::Admin] {
            for disabled in [false, true] {
                for sessions in [before, before.ended(None), before.ended(Some(session))] {
                    for (is_revoked, is_pruned) in [(false, false), (true, false), (false, true)] {
                        let anna = user(role, disabled, sessions);
                        let pruned_until =
                            if is_pruned { END.after(std::time::Duration::from_secs(1)) } else { END };
                        let lives = !disabled && sessions != before.ended(None) && !is_revoked && !is_pruned;
                        let is_admin = role == Role::Admin;
                        for (need, may) in [
                            (Need::Session, true),
                            (Need::Over(anna.id), true),
                            (Need::Over(other), is_admin),
                            (Need::Admin, is_admin),
                        ] {
                            let expected = match (lives, may) {
                                (true, true) => Ok(()),
                                (true, false) => Err(Denied::NotAllowed),
                                (false, _) => Err(Denied::SessionOver),
                            };
                            let seen = Seen { user: Some(anna.clone()), is_revoked, pruned_until };
                            let found = decide(&session, need, &seen);
                            assert_eq!(found, expected, "{need:?} of {seen_user:?}", seen_user = seen.user);
                            allowed += usize::from(found.is_ok());
                            decided += 1;
                        }
                    }
                }
            }
        }
        // Two roles, enabled, two states of sessions that include it, neither ended nor forgotten.
        assert_eq!((decided, allowed), (144, 2 * (2 + 4)));
    }

    #[test]
    fn of_a_user_who_is_gone_no_session_allows_anything() {
        let session = SessionId::generate(END, Era::default(), Sessions::default().generation()).unwrap();
        let id = UserId::next(None, END, [7; 8]);
        for need in [Need::Session, Need::Over(id), Need::Admin] {
            let seen = Seen { user: None, is_revoked: false, pruned_until: END };
            assert_eq!(decide(&session, need, &seen), Err(Denied::SessionOver));
        }
    }
}
