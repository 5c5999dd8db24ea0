//! Reproducible randomness.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Marsaglia's xorshift64*: not secure, but unpredictable enough for a server under test.
pub struct Random(u64);

impl Random {
    /// Seeded by the variable `SEED` or randomly; prints the seed, so that failures can be reproduced.
    pub fn begin(test: &str) -> Self {
        let seed = match std::env::var("SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => RandomState::new().hash_one(test),
        };
        println!("{test}: SEED={seed}");
        Self::seeded(seed)
    }

    pub fn seeded(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Another generator, for another thread.
    pub fn branch(&mut self) -> Self {
        Self::seeded(self.number())
    }

    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 up to, but not including, `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() >> 33).unwrap() % end
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// A random moment in the first `thousandths` of `whole`.
    pub fn moment_in(&mut self, whole: Duration, thousandths: usize) -> Duration {
        whole * u32::try_from(self.below(thousandths)).unwrap() / 1000
    }

    /// The index of a random element that fulfils `wanted`, if there is one.
    pub fn place_of<T>(&mut self, list: &[T], wanted: impl Fn(&T) -> bool) -> Option<usize> {
        let places: Vec<_> = (0..list.len()).filter(|&i| wanted(&list[i])).collect();
        (!places.is_empty()).then(|| places[self.below(places.len())])
    }
}
