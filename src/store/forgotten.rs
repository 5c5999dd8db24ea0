//! Sessions whose revocations were pruned by a clock that ran ahead.

use crate::domain::clock::Timestamp;
use crate::domain::session::{Era, SessionId};

/// While the clock ran ahead, some revocations were pruned too early. Sessions in that window count as revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Forgotten {
    /// What ended before this moment was forgotten.
    pub(super) ended_before: Timestamp,
    /// What began from this era on is known.
    pub(super) begun_before: Era,
}

impl Forgotten {
    pub(super) fn holds(self, session: &SessionId) -> bool {
        session.era() < self.begun_before && session.ends_at() < self.ended_before
    }
}
