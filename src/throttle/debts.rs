//! A fixed-size map from keys to moments.

use crate::domain::clock::Timestamp;

/// With eight slots in a set, room for a million keys.
const SETS: usize = 1 << 17;

/// A key's hash, and its moment in milliseconds since 1970. Plain numbers, because the system allocates
/// zeroed pages only when they are written to.
type Slot = [u64; 2];

/// The slots in which a key may be. Two cache lines.
type Slots = [Slot; 8];

/// At most 16 MiB. In a full set the key with the earliest moment gives way: an expired one if there is any,
/// else the one that matters least.
pub(super) struct Debts {
    sets: Box<[Slots]>,
}

impl Debts {
    pub(super) fn new() -> Self {
        Self { sets: vec![Slots::default(); SETS].into_boxed_slice() }
    }

    /// The moment of `key`. `home` picks the set: keys of one home share eight slots.
    pub(super) fn moment(&self, home: u64, key: u64) -> Option<Timestamp> {
        let slot = self.sets[set_of(home)].iter().find(|slot| slot[0] == key);
        slot.map(|slot| Timestamp::from_unix_millis(slot[1]))
    }

    pub(super) fn set(&mut self, home: u64, key: u64, moment: Timestamp) {
        let set = &mut self.sets[set_of(home)];
        let place = set.iter().position(|slot| slot[0] == key);
        let slot = match place {
            Some(place) => Some(&mut set[place]),
            None => set.iter_mut().min_by_key(|slot| slot[1]),
        };
        if let Some(slot) = slot {
            *slot = [key, moment.unix_millis()];
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.sets)
    }
}

#[allow(clippy::cast_possible_truncation)] // the remainder is below SETS
fn set_of(home: u64) -> usize {
    (home % SETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    #[test]
    fn in_a_full_set_the_nearest_moment_gives_way() {
        let mut table = Debts::new();
        for key in 1..=8 {
            table.set(5, key, at(100 + key));
        }
        table.set(5, 3, at(50));
        table.set(5, 9, at(60));
        assert_eq!(table.moment(5, 3), None);
        // A flood displaces only its own keys: the seven with later moments stay.
        for key in 10..10_000 {
            table.set(5, key, at(70));
        }
        for key in [1, 2, 4, 5, 6, 7, 8] {
            assert_eq!(table.moment(5, key), Some(at(100 + key)));
        }
        assert_eq!(table.moment(5, 9_999), Some(at(70)));
    }

    #[test]
    fn a_key_is_set_in_its_place() {
        let mut table = Debts::new();
        for moment in [10, 30, 20] {
            table.set(7, 7, at(moment));
            assert_eq!(table.moment(7, 7), Some(at(moment)));
        }
        assert_eq!(table.sets[7].iter().filter(|slot| slot[1] != 0).count(), 1);
        assert_eq!(table.moment(7, 8), None);
        assert_eq!(table.moment(8, 7), None);
    }
}
