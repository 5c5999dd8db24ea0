//! Rate limits: N at once, then one per span.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::domain::clock::Timestamp;

/// N at once, then one per span: at most `burst + t / every` in any time `t`. Written `40,36m`.
///
/// The generic cell rate algorithm (GCRA, ITU-T I.371) in its virtual scheduling form: its whole state is one
/// moment, at which all charges so far are worked off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    burst: NonZeroU32,
    every: Duration,
}

/// A [`Limit`], or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// Unlimited. Written `off`.
    Off,
    /// Limited.
    Of(Limit),
}

/// Why a text is not a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LimitError {
    /// Not of the form `40,36m`.
    #[error("the form is 40,36m (40 at once, then one in 36 minutes), or off")]
    Malformed,
    /// None at once, or more than [`Limit::BURST_MAX`].
    #[error("the number at once must be between 1 and 100000")]
    Burst,
    /// Not whole seconds, or not between [`Limit::SPAN_MIN`] and [`Limit::SPAN_MAX`].
    #[error("the span must be whole seconds, between 1s and 366days")]
    Span,
}

impl Allowance {
    /// Failed logins of an account: 40 + 40 in any 24 hours; with the reserve of one known network (10 + 10),
    /// a hundred, the most in a row that NIST SP 800-63B, section 5.2.2, allows. Trying the million likeliest
    /// passwords takes 27 years, and an owner who mistypes never notices.
    pub const ACCOUNT: Self = Self::of(40, 36 * 60);

    /// Failed logins of a network: a school or an office behind one address may mistype 300 times in the
    /// first minutes of its day; an attacker who tries one password on many accounts gets under 9,000 guesses
    /// a day.
    pub const NETWORK: Self = Self::of(300, 10);

    /// Registrations of a network: a script that moves a thousand users here is not held up; an attacker who
    /// fills the disk at half a kilobyte an account gets 5 MB a day.
    pub const REGISTRATIONS: Self = Self::of(1000, 10);

    const fn of(burst: u32, every_secs: u64) -> Self {
        match NonZeroU32::new(burst) {
            Some(burst) => Self::Of(Limit { burst, every: Duration::from_secs(every_secs) }),
            None => Self::Off,
        }
    }

    pub(super) fn limit(self) -> Option<Limit> {
        match self {
            Self::Off => None,
            Self::Of(limit) => Some(limit),
        }
    }
}

impl Limit {
    /// The largest burst; beyond it, `off` is meant.
    pub const BURST_MAX: u32 = 100_000;

    /// The shortest span: `Retry-After` counts whole seconds.
    pub const SPAN_MIN: Duration = Duration::from_secs(1);

    /// The longest span: a leap year.
    pub const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

    /// A quarter of this limit: a quarter of the burst, four times the span.
    pub(super) fn quarter(self) -> Self {
        Self {
            burst: NonZeroU32::new(self.burst.get() / 4).unwrap_or(NonZeroU32::MIN),
            every: self.every * 4,
        }
    }

    /// How long until one more is allowed, if all charges are worked off at `settled`; zero if it is allowed
    /// now.
    pub(super) fn wait(self, settled: Timestamp, now: Timestamp) -> Duration {
        settled.before(self.every * (self.burst.get() - 1)).since(now)
    }

    /// The new `settled` after one more charge.
    pub(super) fn charged(self, settled: Timestamp, now: Timestamp) -> Timestamp {
        settled.max(now).after(self.every)
    }

    /// The new `settled` after one charge is given back.
    pub(super) fn given_back(self, settled: Timestamp) -> Timestamp {
        settled.before(self.every)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.burst, humantime::format_duration(self.every))
    }
}

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let (burst, every) = text.split_once(',').ok_or(LimitError::Malformed)?;
        let burst: u32 = burst.trim().parse().map_err(|_| LimitError::Malformed)?;
        let every = humantime::parse_duration(every.trim()).map_err(|_| LimitError::Malformed)?;
        let burst = NonZeroU32::new(burst).filter(|burst| burst.get() <= Self::BURST_MAX);
        let burst = burst.ok_or(LimitError::Burst)?;
        if !(Self::SPAN_MIN..=Self::SPAN_MAX).contains(&every) || every.subsec_nanos() != 0 {
            return Err(LimitError::Span);
        }
        Ok(Self { burst, every })
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Of(limit) => limit.fmt(f),
        }
    }
}

impl FromStr for Allowance {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        match text {
            "off" => Ok(Self::Off),
            limit => limit.parse().map(Self::Of),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_reads_back_as_written() {
        for text in ["off", "40,36m", "1,1s", "100000,1h 30m", "7,1month 12h"] {
            assert_eq!(text.parse::<Allowance>().map(|it| it.to_string()).as_deref(), Ok(text));
        }
        for (text, allowance) in [
            ("40,36m", Allowance::ACCOUNT),
            ("300,10s", Allowance::NETWORK),
            (" 1000 , 10s ", Allowance::REGISTRATIONS),
        ] {
            assert_eq!(text.parse(), Ok(allowance));
        }
        let longest: Limit = "1,366days".parse().unwrap();
        assert_eq!(longest.to_string().parse(), Ok(longest));
    }

    #[test]
    fn malformed_limits_are_refused() {
        for (text, error) in [
            ("", LimitError::Malformed),
            ("40", LimitError::Malformed),
            ("40,", LimitError::Malformed),
            ("40,36", LimitError::Malformed),
            ("-1,36m", LimitError::Malformed),
            ("40,36m,2", LimitError::Malformed),
            ("Off", LimitError::Malformed),
            ("0,36m", LimitError::Burst),
            ("100001,36m", LimitError::Burst),
            ("40,0s", LimitError::Span),
            ("40,999ms", LimitError::Span),
            ("40,1s 500ms", LimitError::Span),
            ("40,367days", LimitError::Span),
        ] {
            assert_eq!(text.parse::<Allowance>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_quarter_is_never_nothing() {
        let quarter = |text: &str| text.parse::<Limit>().unwrap().quarter().to_string();
        assert_eq!(quarter("40,36m"), "10,2h 24m");
        assert_eq!(quarter("3,1s"), "1,4s");
    }
}
