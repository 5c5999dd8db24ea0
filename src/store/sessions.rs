//! The store's calls for sessions.

use super::Store;
use super::authority::{Authority, ChangeError, Need};
use super::changes::{Prune, RevokeAllSessions, RevokeSession, Rotate};
use super::error::StoreError;
use super::table::Table;
use super::terms::Rotation;
use crate::domain::clock::Timestamp;
use crate::domain::session::{Era, SessionId, TokenId};
use crate::domain::user::UserId;

impl Store {
    /// Revokes all sessions of a user. `false` if there is no such user.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn revoke_sessions(&self, authority: Authority, id: UserId) -> Result<bool, ChangeError> {
        self.run_by(authority, Need::Over(id), RevokeAllSessions(id)).await
    }

    /// Revokes a session. `false` if it was revoked already.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn revoke_session(
        &self,
        authority: Authority,
        session: SessionId,
    ) -> Result<bool, ChangeError> {
        self.run_by(authority, Need::Session, RevokeSession(session)).await
    }

    /// Replaces the refresh token `presented` by `next`, if it is the session's current one; see
    /// [`Rotation`].
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn rotate(
        &self,
        authority: Authority,
        session: SessionId,
        presented: TokenId,
        next: TokenId,
        now: Timestamp,
    ) -> Result<Rotation, ChangeError> {
        self.run_by(authority, Need::Session, Rotate { session, presented, next, now }).await
    }

    /// Whether the session's refresh token was ever replaced.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_rotated(&self, session: &SessionId) -> Result<bool, StoreError> {
        self.engine.has(Table::Rotations, session.as_bytes())
    }

    /// Prunes sessions that ended before `moment`, in small batches between which other changes run.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prune_sessions(&self, moment: Timestamp) -> Result<(), StoreError> {
        while self.engine.run(Prune(moment)).await? {}
        Ok(())
    }

    /// The current era, in which sessions begin.
    pub fn era(&self) -> Era {
        self.pruned_early.begun_before
    }

    /// Whether the session was revoked.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_revoked(&self, session: &SessionId) -> Result<bool, StoreError> {
        if self.pruned_early.includes(session) {
            return Ok(true);
        }
        self.engine.has(Table::Revoked, session.as_bytes())
    }
}
