//! The clock mark across restarts, and the revocations lost when an operator sets it back.

use crate::domain::clock::{Mark, Timestamp};
use crate::domain::session::Era;

use super::database::{Opened, flush};
use super::error::from_sled;
use super::layout;
use crate::store::open_error::OpenError;
use crate::store::pruned_early::PrunedEarly;
use crate::store::table::facts;

/// State taken over from the last run.
pub(super) struct ResumedClock {
    pub(super) pruned_early: PrunedEarly,
    /// The stored clock mark.
    pub(super) mark: Timestamp,
}

impl Opened {
    /// Resumes the clock with the stored mark, or with the reading that the operator accepts, if that is
    /// earlier.
    pub(super) fn resume_clock(
        &self,
        clock: &dyn Mark,
        accept: Option<Timestamp>,
    ) -> Result<ResumedClock, OpenError> {
        let mut kept_mark = self.moment(layout::CLOCK_MARK)?.unwrap_or_default();
        let pruned = self.moment(facts::PRUNED_UNTIL)?.unwrap_or_default();
        let mut pruned_early = self.pruned_early()?;
        let accepted = accept.filter(|reading| kept_mark > *reading);
        if let Some(reading) = accepted {
            log::warn!("the clock's mark {kept_mark} is taken back to {reading}, as --accept-clock says");
            if pruned > reading {
                pruned_early = PrunedEarly {
                    ended_before: pruned_early.ended_before.max(pruned),
                    begun_before: pruned_early.begun_before.next(),
                };
            }
            kept_mark = reading;
        }
        // No revocation of a session that begins from now on has been pruned, even if an earlier version set
        // the mark back.
        let is_ahead = pruned.unix_secs() > kept_mark.unix_secs();
        if accepted.is_some() || is_ahead {
            self.set_back(pruned_early, kept_mark, pruned.min(kept_mark))?;
        }
        clock.resume(kept_mark);
        Ok(ResumedClock { pruned_early, mark: kept_mark })
    }

    fn moment(&self, key: &[u8]) -> Result<Option<Timestamp>, OpenError> {
        match self.database.trees.meta.get(key).map_err(|error| from_sled(&self.dir, error))? {
            None => Ok(None),
            Some(bytes) => match moment(&bytes) {
                Some(moment) => Ok(Some(moment)),
                None => Err(OpenError::Damaged(self.dir.clone(), "a stored time is invalid".into())),
            },
        }
    }

    fn pruned_early(&self) -> Result<PrunedEarly, OpenError> {
        let bytes = self
            .database
            .trees
            .meta
            .get(layout::PRUNED_EARLY)
            .map_err(|error| from_sled(&self.dir, error))?;
        let read = |bytes: sled::IVec| {
            let (ended, begun) = bytes.split_at_checked(8)?;
            let begun_before = Era::from_bytes(begun.try_into().ok()?);
            Some(PrunedEarly { ended_before: moment(ended)?, begun_before })
        };
        Ok(bytes.and_then(read).unwrap_or_default())
    }

    fn set_back(
        &self,
        pruned_early: PrunedEarly,
        mark: Timestamp,
        pruned: Timestamp,
    ) -> Result<(), OpenError> {
        let write = || -> Result<(), sled::Error> {
            let ended = pruned_early.ended_before.unix_millis().to_be_bytes();
            let begun = pruned_early.begun_before.to_bytes();
            self.database.trees.meta.insert(layout::PRUNED_EARLY, [&ended[..], &begun].concat())?;
            self.database.trees.meta.insert(layout::CLOCK_MARK, &mark.unix_millis().to_be_bytes())?;
            self.database.trees.meta.insert(facts::PRUNED_UNTIL, &pruned.unix_millis().to_be_bytes())?;
            flush(&self.database.db, &self.database.config)?;
            Ok(self.log.sync_data()?)
        };
        write().map_err(|error| from_sled(&self.dir, error))
    }
}

fn moment(bytes: &[u8]) -> Option<Timestamp> {
    /// 9999-12-31T23:59:59Z: later times are damage.
    const LAST: Timestamp = Timestamp::from_unix_secs(253_402_300_799);
    let moment = Timestamp::from_unix_millis(u64::from_be_bytes(bytes.try_into().ok()?));
    (moment <= LAST).then_some(moment)
}
