//! Sessions whose revocations were pruned by a clock that ran ahead.

use crate::domain::clock::Timestamp;
use crate::domain::session::{Era, SessionId};

/// While the clock ran ahead, some revocations were pruned too early. Sessions in that window count as revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PrunedEarly {
    /// Revocations of sessions that ended before this moment were pruned.
    pub(super) ended_before: Timestamp,
    /// Sessions begun in this era or later are not affected.
    pub(super) begun_before: Era,
}

impl PrunedEarly {
    pub(super) fn includes(self, session: &SessionId) -> bool {
        session.era() < self.begun_before && session.ends_at() < self.ended_before
    }
}
