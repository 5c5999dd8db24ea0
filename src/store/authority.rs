//! Authority for changes, checked in the step that writes.
//!
//! A request takes time: its body arrives, passwords are hashed, other changes come first. Its user's rights
//! can be revoked meanwhile, and the answer to that revocation promises that they are gone. So each change
//! carries its authority, which is checked again in the step that writes.
//!
//! The check is a pure function of what was read.

use super::change::{Change, Decision, ReadSet, Seen};
use super::changes::pruned_until;
use super::error::StoreError;
use super::record;
use super::table::{Table, facts};
use crate::domain::clock::Timestamp;
use crate::domain::session::SessionId;
use crate::domain::user::{Role, User, UserId};

/// The authority for a change. Every change requires one; there is no default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority(Right);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// Rests on how the process was started, not on the store: it cannot be revoked while the process runs.
    Standing,
    /// A session's, while it is live.
    Session { user: UserId, session: SessionId },
}

impl Authority {
    /// The authority of the data directory's owner, and of what the settings allow everyone: registration,
    /// and what `--dev` allows. Never checked again. Inside this crate, only `service::actor` may grant it.
    pub const fn standing() -> Self {
        Self(Right::Standing)
    }

    /// What `user` may do with `session`, while the session is live and the role allows it.
    pub const fn of_session(user: UserId, session: SessionId) -> Self {
        Self(Right::Session { user, session })
    }
}

/// Why authority for a change was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The session is revoked, or its user is disabled or deleted.
    SessionRevoked,
    /// The session is live, but its user may not do this, or no longer.
    NotAllowed,
}

/// Why a requested change was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// Nothing was changed.
    Denied(Denied),
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for ChangeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The authority that a change needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Any live session: the change is about that session.
    Session,
    /// This user and administrators.
    Over(UserId),
    /// Administrators.
    Admin,
}

/// The facts for a check, read in the step that writes.
struct Facts {
    /// The session's user.
    user: Option<User>,
    /// Whether the session itself is revoked.
    is_revoked: bool,
    /// Revocations of sessions that ended before this moment may be pruned.
    pruned_until: Timestamp,
}

/// Whether the session has the needed authority.
fn decide(session: &SessionId, need: Need, seen: &Facts) -> Result<(), Denied> {
    let is_pruned = session.ends_at() < seen.pruned_until; // and has ended
    let live = seen.user.as_ref().filter(|user| !user.disabled && user.sessions.include(session));
    let Some(user) = live.filter(|_| !seen.is_revoked && !is_pruned) else {
        return Err(Denied::SessionRevoked);
    };
    let is_allowed = match need {
        Need::Session => true,
        Need::Over(id) => user.id == id || user.role == Role::Admin,
        Need::Admin => user.role == Role::Admin,
    };
    if is_allowed { Ok(()) } else { Err(Denied::NotAllowed) }
}

/// A change that is decided only if its authority holds in the step that writes.
pub(super) struct Authorised<C> {
    pub(super) authority: Authority,
    pub(super) need: Need,
    pub(super) change: C,
}

impl<C: Change> Change for Authorised<C> {
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

    fn decide(&self, read: &Seen) -> Result<Decision<Self::Outcome>, StoreError> {
        if let Right::Session { user, session } = self.authority.0 {
            let record = read.get(Table::Users, user.as_bytes());
            let seen = Facts {
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
    fn a_live_session_allows_as_much_as_its_users_role() {
        let before = Sessions::default();
        let session = SessionId::generate(END, Era::default(), before.generation()).unwrap();
        let other = UserId::next(None, END, [8; 8]);
        let (mut allowed, mut decided) = (0, 0);
        for role in [Role::User, Role::Admin] {
            for disabled in [false, true] {
                for sessions in [before, before.revoked_except(None), before.revoked_except(Some(session))] {
                    for (is_revoked, is_pruned) in [(false, false), (true, false), (false, true)] {
                        let anna = user(role, disabled, sessions);
                        let pruned_until =
                            if is_pruned { END.after(std::time::Duration::from_secs(1)) } else { END };
                        let lives =
                            !disabled && sessions != before.revoked_except(None) && !is_revoked && !is_pruned;
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
                                (false, _) => Err(Denied::SessionRevoked),
                            };
                            let seen = Facts { user: Some(anna.clone()), is_revoked, pruned_until };
                            let found = decide(&session, need, &seen);
                            assert_eq!(found, expected, "{need:?} of {seen_user:?}", seen_user = seen.user);
                            allowed += usize::from(found.is_ok());
                            decided += 1;
                        }
                    }
                }
            }
        }
        // Two roles, enabled, two generations that include the session, neither revoked nor pruned.
        assert_eq!((decided, allowed), (144, 2 * (2 + 4)));
    }

    #[test]
    fn a_deleted_users_session_allows_nothing() {
        let session = SessionId::generate(END, Era::default(), Sessions::default().generation()).unwrap();
        let id = UserId::next(None, END, [7; 8]);
        for need in [Need::Session, Need::Over(id), Need::Admin] {
            let seen = Facts { user: None, is_revoked: false, pruned_until: END };
            assert_eq!(decide(&session, need, &seen), Err(Denied::SessionRevoked));
        }
    }
}
