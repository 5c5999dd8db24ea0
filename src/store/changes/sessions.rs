//! Changes of sessions: revocation, rotation of refresh tokens, and pruning by time.

use std::ops::Bound;
use std::time::Duration;

use super::number;
use super::users::{rewritten, stored_user};
use crate::domain::clock::Timestamp;
use crate::domain::session::{SessionId, TokenId};
use crate::domain::user::UserId;
use crate::store::change::{Change, Decision, Edits, Range, ReadSet, Seen};
use crate::store::error::StoreError;
use crate::store::record::{self, RotationRecord};
use crate::store::table::{Table, facts};
use crate::store::terms::{Rotation, Successor};

/// The most records of a table pruned in one change: sled's transaction blocks reads for some 10 µs a key.
pub(super) const PRUNE_BATCH: usize = 64;

/// How long a replaced refresh token is still answered with its successor: an answer may be lost, and two
/// tabs may race. Later use means that the token was stolen.
const ROTATION_GRACE: Duration = Duration::from_secs(30);

/// The most replaced tokens recorded for that time. No client rotates more often than this; the record stays
/// below 300 bytes.
pub(in crate::store) const RETIRED_MAX: usize = 8;

/// Revokes all sessions of a user. Returns `false` for an unknown user.
pub(in crate::store) struct RevokeAllSessions(pub(in crate::store) UserId);

impl Change for RevokeAllSessions {
    type Outcome = bool;

    fn reads(&self) -> ReadSet {
        ReadSet::default().key(Table::Users, self.0.as_bytes())
    }

    fn decide(&self, seen: &Seen) -> Result<Decision<bool>, StoreError> {
        let Some((mut user, hash)) = stored_user(seen, self.0)? else {
            return Ok(Decision::unchanged(false));
        };
        user.sessions = user.sessions.revoked_except(None);
        Ok(Decision::of(true, rewritten(&user, &hash)?))
    }
}

/// Revokes a session. Returns `false` if it was revoked already.
pub(in crate::store) struct RevokeSession(pub(in crate::store) SessionId);

impl Change for RevokeSession {
    type Outcome = bool;

    fn reads(&self) -> ReadSet {
        of_session(&self.0)
    }

    fn decide(&self, seen: &Seen) -> Result<Decision<bool>, StoreError> {
        if is_revoked(seen, &self.0) {
            return Ok(Decision::unchanged(false));
        }
        Ok(Decision::of(true, revoked(seen, &self.0)))
    }
}

/// Replaces a session's refresh token, if the presented one is current.
pub(in crate::store) struct Rotate {
    pub(in crate::store) session: SessionId,
    pub(in crate::store) presented: TokenId,
    pub(in crate::store) next: TokenId,
    pub(in crate::store) now: Timestamp,
}

impl Change for Rotate {
    type Outcome = Rotation;

    fn reads(&self) -> ReadSet {
        of_session(&self.session)
    }

    fn decide(&self, seen: &Seen) -> Result<Decision<Rotation>, StoreError> {
        let Self { session, next, now, .. } = self;
        if is_revoked(seen, session) {
            return Ok(Decision::unchanged(Rotation::Revoked));
        }
        let presented = *self.presented.as_bytes();
        let in_grace = |since: u64| *now <= Timestamp::from_unix_millis(since).after(ROTATION_GRACE);
        let mut retired = match seen.get(Table::Rotations, session.as_bytes()) {
            None => Vec::new(), // first refresh: only the login's token exists
            Some(before) => {
                let record = record::decode_rotation(before)?;
                if record.current != presented {
                    let known = record.retired.iter().find(|(token, _)| *token == presented);
                    if known.is_some_and(|(_, since)| in_grace(*since)) {
                        let id = TokenId::from_bytes(record.current);
                        let issued_at = Timestamp::from_unix_millis(record.issued_at_millis);
                        return Ok(Decision::unchanged(Rotation::Again(Successor { id, issued_at })));
                    }
                    return Ok(Decision::of(Rotation::Reused, revoked(seen, session)));
                }
                record.retired
            }
        };
        retired.retain(|(_, since)| in_grace(*since));
        if retired.len() == RETIRED_MAX {
            retired.remove(0);
        }
        retired.push((presented, now.unix_millis()));
        let after =
            RotationRecord { current: *next.as_bytes(), issued_at_millis: now.unix_millis(), retired };
        let mut edits = Edits::default();
        edits.put(Table::Rotations, session.as_bytes(), record::encode_rotation(&after)?);
        Ok(Decision::of(Rotation::Advanced(Successor { id: *next, issued_at: *now }), edits))
    }
}

/// Prunes some sessions that ended before `moment`. Returns whether it pruned any.
pub(in crate::store) struct Prune(pub(in crate::store) Timestamp);

impl Change for Prune {
    type Outcome = bool;

    fn reads(&self) -> ReadSet {
        let bound = SessionId::first_ending_at(self.0);
        let over = |table| Range {
            table,
            from: Bound::Unbounded,
            to: Bound::Excluded(bound.as_bytes().to_vec()),
            limit: PRUNE_BATCH,
        };
        let facts = ReadSet::default().key(Table::Facts, facts::PRUNED_UNTIL);
        facts.range(over(Table::Revoked)).range(over(Table::Rotations))
    }

    fn decide(&self, seen: &Seen) -> Result<Decision<bool>, StoreError> {
        let mut edits = Edits::default();
        for table in [Table::Revoked, Table::Rotations] {
            for (key, _) in seen.entries(table) {
                edits.remove(table, key);
            }
        }
        if edits.is_empty() {
            return Ok(Decision::unchanged(false));
        }
        let until = pruned_until(seen)?.max(self.0);
        edits.put(Table::Facts, facts::PRUNED_UNTIL, until.unix_millis().to_be_bytes().to_vec());
        Ok(Decision::of(true, edits))
    }
}

/// Revocations of sessions that ended before this moment may be pruned.
pub(in crate::store) fn pruned_until(seen: &Seen) -> Result<Timestamp, StoreError> {
    number(seen.get(Table::Facts, facts::PRUNED_UNTIL)).map(Timestamp::from_unix_millis)
}

/// The records of a session.
fn of_session(session: &SessionId) -> ReadSet {
    let key = session.as_bytes();
    ReadSet::default().key(Table::Revoked, key).key(Table::Rotations, key)
}

fn is_revoked(seen: &Seen, session: &SessionId) -> bool {
    seen.get(Table::Revoked, session.as_bytes()).is_some()
}

fn revoked(seen: &Seen, session: &SessionId) -> Edits {
    let key = session.as_bytes();
    let mut edits = Edits::default();
    edits.put(Table::Revoked, key, Vec::new());
    if seen.get(Table::Rotations, key).is_some() {
        edits.remove(Table::Rotations, key);
    }
    edits
}
