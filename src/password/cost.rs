//! The cost of a hash: scrypt's parameters, within limits.

use std::fmt;
use std::str::FromStr;

use scrypt::Params;
use thiserror::Error;

/// scrypt's parameters: `N = 2^ln` rounds over blocks of `128 r` bytes, `p` times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    ln: u8,
    r: u32,
    p: u32,
}

/// Why parameters are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CostError {
    /// The text is not of the form `ln=15,r=8,p=3`.
    #[error("the form is ln=15,r=8,p=3")]
    Malformed,
    /// A parameter is zero, or scrypt is not defined for it.
    #[error("scrypt is not defined for these parameters")]
    OutOfRange,
    /// They need more memory than [`Cost::MAX_MEMORY`].
    #[error("these parameters need more than 256 MiB per hash")]
    TooMuchMemory,
    /// They need more work than [`Cost::MAX_WORK`].
    #[error("these parameters need more than 16 times the default's work")]
    TooMuchWork,
}

impl Cost {
    /// The row of OWASP's password storage cheat sheet that needs 32 MiB a hash; OWASP considers its rows
    /// equivalent.
    pub const DEFAULT: Self = Self { ln: 15, r: 8, p: 3 };

    /// OWASP's rows, all with `r=8`: `(ln, p)`.
    const OWASP: [(u8, u32); 5] = [(17, 1), (16, 2), (15, 3), (14, 5), (13, 10)];

    /// The most memory of one hash, in bytes. Imported hashes name their own cost, which must not exhaust the
    /// machine.
    pub const MAX_MEMORY: u64 = 256 << 20;

    /// The most work of one hash: 16 times the default's.
    pub const MAX_WORK: u64 = 16 * Self::DEFAULT.work();

    /// Checks the parameters.
    ///
    /// # Errors
    /// [`CostError`] if they are out of range or over a limit.
    pub fn new(ln: u8, r: u32, p: u32) -> Result<Self, CostError> {
        if ln == 0 || r == 0 || p == 0 || ln >= 32 || r >= 1 << 24 || p >= 1 << 24 {
            return Err(CostError::OutOfRange);
        }
        let cost = Self { ln, r, p };
        if cost.memory() > Self::MAX_MEMORY {
            return Err(CostError::TooMuchMemory);
        }
        if cost.work() > Self::MAX_WORK {
            return Err(CostError::TooMuchWork);
        }
        Params::new(ln, r, p).map_err(|_| CostError::OutOfRange)?;
        Ok(cost)
    }

    /// Bytes of memory for one hash.
    pub fn memory(self) -> u64 {
        (128 * self.r as u64) * ((1 << self.ln) + self.p as u64)
    }

    /// Work in block mixes (`2^ln · r · p`).
    pub const fn work(self) -> u64 {
        (1 << self.ln) * self.r as u64 * self.p as u64
    }

    /// Whether the cost reaches a row of OWASP's.
    pub fn meets_owasp(self) -> bool {
        Self::OWASP.iter().any(|&(ln, p)| self.ln >= ln && self.r >= 8 && self.p >= p)
    }

    #[allow(clippy::expect_used)] // Cost::new has checked them
    pub(super) fn params(self) -> Params {
        Params::new(self.ln, self.r, self.p).expect("checked in Cost::new")
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ln={},r={},p={}", self.ln, self.r, self.p)
    }
}

impl FromStr for Cost {
    type Err = CostError;

    fn from_str(text: &str) -> Result<Self, CostError> {
        let (mut ln, mut r, mut p) = (None, None, None);
        for part in text.split(',') {
            let (name, value) = part.trim().split_once('=').ok_or(CostError::Malformed)?;
            let slot = match name {
                "ln" => &mut ln,
                "r" => &mut r,
                "p" => &mut p,
                _ => return Err(CostError::Malformed),
            };
            let value: u32 = value.parse().map_err(|_| CostError::Malformed)?;
            if slot.replace(value).is_some() {
                return Err(CostError::Malformed);
            }
        }
        match (ln, r, p) {
            (Some(ln), Some(r), Some(p)) => {
                Self::new(u8::try_from(ln).map_err(|_| CostError::OutOfRange)?, r, p)
            }
            _ => Err(CostError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_and_every_owasp_row_pass_and_weaker_ones_are_known_to_be() {
        assert_eq!("ln=15,r=8,p=3".parse(), Ok(Cost::DEFAULT));
        for (ln, p) in Cost::OWASP {
            assert!(Cost::new(ln, 8, p).is_ok_and(Cost::meets_owasp));
        }
        for text in ["ln=14,r=8,p=4", "ln=4,r=8,p=1", "ln=17,r=4,p=1"] {
            assert_eq!(text.parse::<Cost>().map(Cost::meets_owasp), Ok(false), "{text}");
        }
    }

    #[test]
    fn parameters_beyond_the_limits_are_refused() {
        for (text, error) in [
            ("ln=18,r=8,p=1", CostError::TooMuchMemory),
            ("ln=15,r=8,p=49", CostError::TooMuchWork),
            ("ln=0,r=8,p=1", CostError::OutOfRange),
            ("ln=15,r=0,p=1", CostError::OutOfRange),
            ("ln=99,r=8,p=1", CostError::OutOfRange),
            ("ln=15,r=8", CostError::Malformed),
            ("ln=15,r=8,p=3,p=3", CostError::Malformed),
            ("ln=15,r=8,p=x", CostError::Malformed),
            ("", CostError::Malformed),
        ] {
            assert_eq!(text.parse::<Cost>(), Err(error), "{text}");
        }
    }
}
