//! Recent work by client, in bounded memory: the basis of the fair order.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Half-life of work. A person who logs in once a minute counts as a newcomer every time; a network that
/// keeps hashing does not, even if a hundred others leave it one hash in ten seconds. With a longer one, a
/// network that was busy before a flood would outweigh the flood's networks.
const HALF_LIFE: Duration = Duration::from_secs(20);

/// The most clients remembered, 1 MiB in all. Beyond that the lighter half is dropped and counts as new.
const MOST: usize = 1 << 14;

/// Recent work by `K`. Times are relative to any fixed moment.
pub(super) struct Tallies<K> {
    entries: HashMap<K, Tally>,
}

#[derive(Clone, Copy)]
struct Tally {
    work: f64,
    at: Duration,
}

impl Tally {
    fn work(self, now: Duration) -> f64 {
        self.work * (-now.saturating_sub(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
    }
}

impl<K: Copy + Eq + Hash> Tallies<K> {
    pub(super) fn new() -> Self {
        Self { entries: HashMap::new() }
    }

    /// The recent work of `key`, never below zero.
    pub(super) fn work(&self, key: &K, now: Duration) -> f64 {
        self.entries.get(key).map_or(0.0, |tally| tally.work(now))
    }

    /// Adds work, or takes added work back.
    pub(super) fn add(&mut self, key: K, work: f64, now: Duration) {
        if self.entries.len() >= MOST && !self.entries.contains_key(&key) {
            self.forget_the_lighter_half(now);
        }
        let work = (self.work(&key, now) + work).max(0.0);
        self.entries.insert(key, Tally { work, at: now });
    }

    fn forget_the_lighter_half(&mut self, now: Duration) {
        let mut works: Vec<f64> = self.entries.values().map(|tally| tally.work(now)).collect();
        let middle = works.len() / 2;
        let (_, median, _) = works.select_nth_unstable_by(middle, f64::total_cmp);
        let median = *median;
        let heavier = works.iter().filter(|work| **work > median).count();
        let mut equal = middle.saturating_sub(heavier); // this many of those stay
        self.entries.retain(|_, tally| {
            let work = tally.work(now);
            let stays = work > median || (work >= median && equal > 0);
            equal -= usize::from(stays && work <= median);
            stays
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn work_counts_half_after_a_half_life_and_can_be_taken_back() {
        let mut tallies = Tallies::new();
        tallies.add('a', 8.0, at(0));
        assert!((tallies.work(&'a', at(20)) - 4.0).abs() < 1e-9);
        tallies.add('a', 4.0, at(20));
        assert!((tallies.work(&'a', at(40)) - 4.0).abs() < 1e-9);
        tallies.add('a', -9.0, at(40));
        assert!(tallies.work(&'a', at(40)) == 0.0 && tallies.work(&'b', at(40)) == 0.0);
    }

    #[test]
    fn a_flood_of_newcomers_displaces_its_own_and_takes_no_more_memory() {
        let mut tallies = Tallies::new();
        tallies.add(u32::MAX, 100.0, at(0));
        for key in 0..200_000 {
            tallies.add(key, 1.0, at(0));
            assert!(tallies.len() <= MOST);
        }
        assert!(tallies.work(&u32::MAX, at(0)) > 99.0);
    }
}
