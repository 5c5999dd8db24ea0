//! The clock, and when not to trust it.
//!
//! The only place that asks the system for the time. A small machine may boot in 1970, and an expired token
//! must stay expired. So the clock remembers the highest time it has seen (the *mark*, which the store keeps
//! across restarts) and never runs behind it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::ClockId;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How far the system's clock may fall behind the mark before it is distrusted.
///
/// Time servers set clocks back by a few seconds now and then. Within this span time stands still until the
/// system has caught up; beyond it, no expiry can be checked.
const BELIEVABLE_STEP_BACK: Duration = Duration::from_secs(60);

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `millis` milliseconds after 1970-01-01T00:00:00Z.
    pub fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The moment `secs` seconds after 1970-01-01T00:00:00Z.
    pub const fn from_unix_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn unix_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub fn unix_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The same moment without its fraction of a second: tokens carry whole seconds.
    pub fn whole_seconds(self) -> Self {
        Self::from_unix_secs(self.unix_secs())
    }

    /// The moment `span` later.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// The moment `span` earlier, 1970 at the earliest.
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// The span from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// RFC 3339, UTC, whole seconds: `2026-11-22T12:00:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = i64::try_from(self.unix_secs())
            .ok()
            .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())
            .and_then(|moment| moment.format(&Rfc3339).ok());
        match written {
            Some(text) => f.write_str(&text),
            None => write!(f, "@{}", self.unix_secs()), // beyond the year 9999
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let moment = OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom)?;
        u64::try_from(moment.unix_timestamp())
            .map(Self::from_unix_secs)
            .map_err(|_| serde::de::Error::custom("a moment before 1970"))
    }
}

/// The system's clock is more than a minute behind a time seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the system clock says {system}, but {mark} has been seen before: set the clock right, or, if the clock ran \
     ahead earlier and is right now, restart once with `gatelet serve --accept-clock`, or with GATELET_ACCEPT_CLOCK=1 in a container"
)]
pub struct ClockBehind {
    /// The system's time.
    pub system: Timestamp,
    /// The highest time seen so far.
    pub mark: Timestamp,
}

enum TimeSource {
    System,
    /// Milliseconds since 1970, set by tests.
    Manual(AtomicU64),
}

/// The system's clock, or one that tests set.
pub struct Clock {
    source: TimeSource,
    mark: AtomicU64,
    behind: AtomicBool,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::new(TimeSource::System)
    }

    /// A clock that moves only by [`Clock::set`], for tests.
    pub fn manual(start: Timestamp) -> Self {
        Self::new(TimeSource::Manual(AtomicU64::new(start.0)))
    }

    fn new(source: TimeSource) -> Self {
        Self { source, mark: AtomicU64::new(0), behind: AtomicBool::new(false) }
    }

    /// Moves a manual clock; the system's clock stays as it is.
    pub fn set(&self, to: Timestamp) {
        if let TimeSource::Manual(now) = &self.source {
            now.store(to.0, Ordering::SeqCst);
        }
    }

    /// The source's time, unchecked.
    #[allow(clippy::disallowed_methods)] // this is the place
    pub fn reading(&self) -> Timestamp {
        match &self.source {
            TimeSource::System => Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)),
            TimeSource::Manual(now) => Timestamp(now.load(Ordering::SeqCst)),
        }
    }

    /// The time, or the mark while the source is too far behind it: for callers that prefer a late time to an
    /// error.
    pub fn now_or_mark(&self) -> Timestamp {
        self.now().unwrap_or_else(|behind| behind.mark)
    }

    /// The time, which never goes back.
    ///
    /// # Errors
    /// [`ClockBehind`] while the source is more than a minute behind the mark. Each transition is logged
    /// once.
    pub fn now(&self) -> Result<Timestamp, ClockBehind> {
        let reading = self.reading();
        let mark = self.mark();
        if reading.after(BELIEVABLE_STEP_BACK) < mark {
            let behind = ClockBehind { system: reading, mark };
            if !self.behind.swap(true, Ordering::Relaxed) {
                log::error!("no tokens are issued or accepted: {behind}");
            }
            return Err(behind);
        }
        if self.behind.load(Ordering::Relaxed) && self.behind.swap(false, Ordering::Relaxed) {
            log::info!("the system clock is right again");
        }
        if reading > mark {
            self.mark.fetch_max(reading.0, Ordering::Relaxed);
            return Ok(reading);
        }
        Ok(mark)
    }

    /// The highest time seen so far.
    pub fn mark(&self) -> Timestamp {
        Timestamp(self.mark.load(Ordering::Relaxed))
    }

    /// Takes over the mark of an earlier run.
    pub fn resume(&self, mark: Timestamp) {
        self.mark.fetch_max(mark.0, Ordering::Relaxed);
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The highest time seen, kept across restarts.
pub trait Mark: Send + Sync {
    /// The highest time seen.
    fn mark(&self) -> Timestamp;

    /// Takes over the mark of an earlier run.
    fn resume(&self, mark: Timestamp);
}

impl Mark for Clock {
    fn mark(&self) -> Timestamp {
        self.mark()
    }

    fn resume(&self, mark: Timestamp) {
        self.resume(mark);
    }
}

/// CPU time of this process so far, over all cores.
pub(crate) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(secs.unwrap_or_default(), nanos.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp(1_764_000_000_000);

    #[test]
    fn time_stands_still_when_the_clock_steps_back_a_little() {
        let clock = Clock::manual(NOON);
        assert_eq!(clock.now(), Ok(NOON));
        clock.set(NOON.before(Duration::from_secs(59)));
        assert_eq!(clock.now(), Ok(NOON));
    }

    #[test]
    fn a_clock_that_woke_up_in_1970_is_not_believed_until_it_is_right_again() {
        let clock = Clock::manual(Timestamp(7));
        clock.resume(NOON);
        assert_eq!(clock.now(), Err(ClockBehind { system: Timestamp(7), mark: NOON }));
        clock.set(NOON.after(Duration::from_secs(1)));
        assert_eq!(clock.now(), Ok(NOON.after(Duration::from_secs(1))));
    }

    #[test]
    fn times_are_written_as_rfc_3339_in_whole_seconds() {
        let text = serde_json::to_string(&Timestamp(1_764_000_000_999)).unwrap();
        assert_eq!(text, "\"2025-11-24T16:00:00Z\"");
        let back: Timestamp = serde_json::from_str(&text).unwrap();
        assert_eq!(back, NOON);
        assert!(serde_json::from_str::<Timestamp>("\"1969-12-31T23:59:59Z\"").is_err());
    }
}
