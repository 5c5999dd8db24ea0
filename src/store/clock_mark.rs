//! The clock's mark across restarts, and what has to be forgotten when an operator sets it back.

use crate::clock::{Clock, Timestamp};
use crate::session::{Era, SessionId};

use super::meta;
use super::open::{Opened, flush};
use super::open_error::OpenError;

/// Sessions about which nothing is known any more: over by a clock that ran ahead, forgotten, and live again by
/// the clock that is right. They count as ended.
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

/// What a start takes over from the last run.
pub(super) struct Resumed {
    pub(super) forgotten: Forgotten,
    /// The clock's mark as it stands in the store.
    pub(super) kept_mark: Timestamp,
}

impl Opened {
    /// Gives the clock its mark back, or, if the operator says that the clock is right now, sets the mark back
    /// to it.
    pub(super) fn resume_clock(&self, clock: &Clock, accept: bool) -> Result<Resumed, OpenError> {
        let mut kept_mark = self.moment(meta::CLOCK_MARK)?.unwrap_or_default();
        let mut forgotten = self.forgotten()?;
        let reading = clock.reading();
        if accept && kept_mark > reading {
            log::warn!("the clock's mark {kept_mark} is taken back to {reading}, as --accept-clock says");
            let pruned = self.moment(meta::PRUNED_UNTIL)?.unwrap_or_default();
            if pruned > reading {
                forgotten = Forgotten {
                    ended_before: forgotten.ended_before.max(pruned),
                    begun_before: forgotten.begun_before.next(),
                };
            }
            kept_mark = reading;
            self.set_back(forgotten, kept_mark)?;
        }
        clock.resume(kept_mark);
        // Says in the log what is the matter, if something is.
        let _ = clock.now();
        Ok(Resumed { forgotten, kept_mark })
    }

    fn moment(&self, key: &[u8]) -> Result<Option<Timestamp>, OpenError> {
        match self.engine.trees.meta.get(key).map_err(|error| OpenError::from_sled(&self.dir, error))? {
            None => Ok(None),
            Some(bytes) => match moment(&bytes) {
                Some(moment) => Ok(Some(moment)),
                None => Err(OpenError::Damaged(self.dir.clone(), "a time in it is no time".into())),
            },
        }
    }

    fn forgotten(&self) -> Result<Forgotten, OpenError> {
        let bytes = self
            .engine
            .trees
            .meta
            .get(meta::FORGOTTEN)
            .map_err(|error| OpenError::from_sled(&self.dir, error))?;
        let read = |bytes: sled::IVec| {
            let (ended, begun) = bytes.split_at_checked(8)?;
            let begun_before = Era::from_bytes(begun.try_into().ok()?);
            Some(Forgotten { ended_before: moment(ended)?, begun_before })
        };
        Ok(bytes.and_then(read).unwrap_or_default())
    }

    fn set_back(&self, forgotten: Forgotten, mark: Timestamp) -> Result<(), OpenError> {
        let write = || -> Result<(), sled::Error> {
            let ended = forgotten.ended_before.unix_millis().to_be_bytes();
            let begun = forgotten.begun_before.to_bytes();
            self.engine.trees.meta.insert(meta::FORGOTTEN, [&ended[..], &begun].concat())?;
            self.engine.trees.meta.insert(meta::CLOCK_MARK, &mark.unix_millis().to_be_bytes())?;
            flush(&self.engine.db, &self.engine.config)?;
            Ok(self.log.sync_data()?)
        };
        write().map_err(|error| OpenError::from_sled(&self.dir, error))
    }
}

fn moment(bytes: &[u8]) -> Option<Timestamp> {
    /// 9999-12-31T23:59:59Z: no clock of ours has been there.
    const LAST: Timestamp = Timestamp::from_unix_secs(253_402_300_799);
    let moment = Timestamp::from_unix_millis(u64::from_be_bytes(bytes.try_into().ok()?));
    (moment <= LAST).then_some(moment)
}
