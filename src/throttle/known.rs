//! Known networks: those from which a user has logged in to an account. Bounded memory, and an encoding for
//! the file that outlives the process.
//!
//! Names and addresses are kept only as SipHash-2-4 values, under a random key that stands in the same file:
//! this keeps addresses out of files and dumps, but does not hide them from a reader of the data directory.

use std::collections::BTreeMap;
#[allow(deprecated)] // std's other hasher may change its algorithm between versions
use std::hash::{Hasher, SipHasher};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::domain::clock::Timestamp;
use crate::domain::network::Network;
use crate::random::{self, NoRandomness};

/// How long after a login its network stays known: the default lifetime of a refresh token, so that a user
/// who returns when it expires is still known.
pub(super) const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// An expiry that moves by less is not worth a write.
const WORTH_A_WRITE: Duration = Duration::from_secs(24 * 3600);

/// With eight places in a set, room for a million networks.
const SETS: u32 = 1 << 17;
const PLACES: usize = 8;

/// Format name and version.
const MAGIC: &[u8; 24] = b"gatelet known networks 1";
const KEY_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 32;
/// The set's number, two tags, an expiry.
const ENTRY_BYTES: usize = 4 + 8 + 8;

/// The largest possible encoding.
pub(super) const MAX_BYTES: usize =
    MAGIC.len() + KEY_BYTES + SETS as usize * PLACES * ENTRY_BYTES + CHECKSUM_BYTES;

/// A network known to an account. Free once it has expired; a default one has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    account: u32,
    network: u32,
    /// Expiry, in milliseconds since 1970.
    until: u64,
}

type Set = [Place; PLACES];

/// Account and network as tags in the table. Two accounts collide in 1 of 2^49 pairs, two networks of an
/// account in 1 of 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    set: u32,
    account: u32,
    network: u32,
}

/// The bytes are damaged or of another format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// At most 16 MiB.
pub(super) struct KnownNetworks {
    key: [u64; 2],
    sets: BTreeMap<u32, Set>,
    changed: bool,
}

impl KnownNetworks {
    /// An empty table under a new key.
    pub(super) fn new() -> Result<Self, NoRandomness> {
        Ok(Self::with_key([u64::from_be_bytes(random::bytes()?), u64::from_be_bytes(random::bytes()?)]))
    }

    fn with_key(key: [u64; 2]) -> Self {
        Self { key, sets: BTreeMap::new(), changed: false }
    }

    pub(super) fn pair(&self, name: &str, network: Network) -> Pair {
        let (set, account) = self.account(name);
        let mut hash = self.hasher();
        hash.write(&set.to_be_bytes());
        hash.write(&account.to_be_bytes());
        match network {
            Network::V4(octets) => hash.write(&octets),
            Network::V6(segments) => segments.iter().for_each(|segment| hash.write(&segment.to_be_bytes())),
        }
        Pair { set, account, network: halves(hash.finish()).0 }
    }

    /// The account's set and tag.
    fn account(&self, name: &str) -> (u32, u32) {
        let mut hash = self.hasher();
        hash.write(name.as_bytes());
        let (set, account) = halves(hash.finish());
        (set % SETS, account)
    }

    #[allow(deprecated)]
    fn hasher(&self) -> SipHasher {
        let [a, b] = self.key;
        SipHasher::new_with_keys(a, b)
    }

    pub(super) fn knows(&self, pair: Pair, now: Timestamp) -> bool {
        let mut places = self.sets.get(&pair.set).into_iter().flatten();
        places.any(|place| place.is(pair) && place.until > now.unix_millis())
    }

    /// All entries of this account, expired ones included.
    pub(super) fn of(&self, name: &str) -> Vec<Pair> {
        let (set, account) = self.account(name);
        let places = self.sets.get(&set).into_iter().flatten().filter(|place| place.account == account);
        places.map(|place| Pair { set, account, network: place.network }).collect()
    }

    /// Makes the network known after a login. In a full set, the account with the most places gives up the
    /// one that expires first: of up to eight accounts that share a set, none loses its last place to
    /// another.
    pub(super) fn learn(&mut self, pair: Pair, now: Timestamp) {
        let set = self.sets.entry(pair.set).or_default();
        let (millis, until) = (now.unix_millis(), now.after(KNOWN_FOR).unix_millis());
        let count = |account: u32| {
            let taken = set.iter().filter(|place| place.until > millis && place.account == account).count();
            taken + usize::from(account == pair.account) // the new one would count too
        };
        let found = set.iter().position(|place| place.is(pair));
        let free = || set.iter().position(|place| place.until <= millis);
        let of_the_greediest = || {
            let places = set.iter().enumerate();
            places.max_by_key(|(_, place)| (count(place.account), u64::MAX - place.until)).map(|(at, _)| at)
        };
        let Some(at) = found.or_else(free).or_else(of_the_greediest) else {
            return;
        };
        let place = Place { account: pair.account, network: pair.network, until };
        let worth = u64::try_from(WORTH_A_WRITE.as_millis()).unwrap_or(u64::MAX);
        self.changed |= !set[at].is(pair) || set[at].until.abs_diff(until) >= worth;
        set[at] = place;
    }

    pub(super) fn has_changed(&self) -> bool {
        self.changed
    }

    /// The encoding of all live entries. They count as written.
    pub(super) fn encode(&mut self, now: Timestamp) -> Vec<u8> {
        self.changed = false;
        let mut bytes = MAGIC.to_vec();
        self.key.iter().for_each(|half| bytes.extend(half.to_be_bytes()));
        for (set, places) in &self.sets {
            for place in places.iter().filter(|place| place.until > now.unix_millis()) {
                bytes.extend(set.to_be_bytes());
                bytes.extend(place.account.to_be_bytes());
                bytes.extend(place.network.to_be_bytes());
                bytes.extend(place.until.to_be_bytes());
            }
        }
        bytes.extend(Sha256::digest(&bytes));
        bytes
    }

    /// Expiries are capped at what a login now would set: the clock may have run ahead when they were
    /// written.
    pub(super) fn decode(bytes: &[u8], now: Timestamp) -> Result<Self, Unreadable> {
        let (bytes, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(Unreadable)?;
        if Sha256::digest(bytes)[..] != checksum[..] {
            return Err(Unreadable);
        }
        let rest = bytes.strip_prefix(MAGIC).ok_or(Unreadable)?;
        let (keys, rest) = rest.split_at_checked(KEY_BYTES).ok_or(Unreadable)?;
        let ([a, b], []) = keys.as_chunks::<8>() else {
            return Err(Unreadable);
        };
        let (entries, []) = rest.as_chunks::<ENTRY_BYTES>() else {
            return Err(Unreadable);
        };
        let mut table = Self::with_key([u64::from_be_bytes(*a), u64::from_be_bytes(*b)]);
        let latest = now.after(KNOWN_FOR).unix_millis();
        for entry in entries {
            let [a, b, c, d, e, f, g, h, i, j, k, l, until @ ..] = *entry;
            let set = u32::from_be_bytes([a, b, c, d]);
            let place = Place {
                account: u32::from_be_bytes([e, f, g, h]),
                network: u32::from_be_bytes([i, j, k, l]),
                until: u64::from_be_bytes(until).min(latest),
            };
            if set >= SETS {
                return Err(Unreadable);
            }
            let places = table.sets.entry(set).or_default();
            *places.iter_mut().find(|place| place.until == 0).ok_or(Unreadable)? = place;
        }
        Ok(table)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        SETS as usize * size_of::<Set>()
    }
}

impl Place {
    fn is(&self, pair: Pair) -> bool {
        (self.account, self.network) == (pair.account, pair.network)
    }
}

#[allow(clippy::cast_possible_truncation)] // the truncation splits the hash
fn halves(hash: u64) -> (u32, u32) {
    ((hash >> 32) as u32, hash as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_secs(1_764_000_000);

    fn network(number: u8) -> Network {
        Network::V4([192, 0, 2, number])
    }

    fn table() -> KnownNetworks {
        KnownNetworks::with_key([7; 2])
    }

    fn meet(table: &mut KnownNetworks, name: &str, number: u8, now: Timestamp) {
        table.learn(table.pair(name, network(number)), now);
    }

    fn known(table: &KnownNetworks, name: &str, numbers: impl Iterator<Item = u8>, now: Timestamp) -> usize {
        numbers.filter(|number| table.knows(table.pair(name, network(*number)), now)).count()
    }

    /// `count` names that share a set.
    fn neighbours(table: &KnownNetworks, count: usize) -> Vec<String> {
        let set = table.account("ada").0;
        let names = (0..).map(|number: u32| number.to_string());
        names.filter(|name| table.account(name).0 == set).take(count).collect()
    }

    #[test]
    fn an_accounts_last_eight_networks_are_known() {
        let mut table = table();
        for number in 0..20 {
            meet(&mut table, "ada", number, NOW.after(Duration::from_secs(number.into())));
        }
        assert_eq!(known(&table, "ada", 12..20, NOW), 8);
        assert_eq!(known(&table, "ada", 0..12, NOW), 0);
        assert_eq!(known(&table, "bob", 0..20, NOW), 0);
    }

    #[test]
    fn accounts_that_share_a_set_leave_each_other_a_place() {
        let mut table = table();
        let others = neighbours(&table, 7);
        meet(&mut table, "ada", 1, NOW);
        for round in 0..5 {
            for name in &others {
                for number in 0..100 {
                    meet(&mut table, name, number, NOW.after(Duration::from_secs(round)));
                }
            }
        }
        assert_eq!(known(&table, "ada", 1..2, NOW), 1);
        for name in &others {
            assert_eq!(known(&table, name, 99..100, NOW), 1, "{name}");
        }
    }

    #[test]
    fn only_an_intact_encoding_reads_back() {
        let mut table = table();
        for number in 0..200 {
            meet(&mut table, &format!("user {}", number % 50), number, NOW);
        }
        assert!(table.has_changed());
        let bytes = table.encode(NOW);
        assert!(!table.has_changed() && bytes.len() <= MAX_BYTES);
        let mut back = KnownNetworks::decode(&bytes, NOW).ok().unwrap();
        assert!(back.sets == table.sets && back.encode(NOW) == bytes);
        for at in 0..bytes.len() {
            let mut spoilt = bytes.clone();
            spoilt[at] ^= 1;
            assert!(
                KnownNetworks::decode(&spoilt, NOW).is_err()
                    && KnownNetworks::decode(&bytes[..at], NOW).is_err()
            );
        }
    }

    #[test]
    fn impossible_entries_are_refused_and_far_expiries_are_capped() {
        let sealed = |entries: &[u8]| {
            let mut bytes = [&MAGIC[..], &[7; KEY_BYTES], entries].concat();
            bytes.extend(Sha256::digest(&bytes));
            KnownNetworks::decode(&bytes, NOW)
        };
        let entry = |set: u32| [&set.to_be_bytes()[..], &[1; 8], &[255; 8]].concat();
        assert!(sealed(&entry(SETS)).is_err());
        assert!(sealed(&entry(5).repeat(9)).is_err());
        assert!(sealed(&entry(5)[1..]).is_err());
        let table = sealed(&entry(5)).ok().unwrap();
        assert_eq!(table.sets[&5][0].until, NOW.after(KNOWN_FOR).unix_millis());
    }

    #[test]
    fn a_renewal_is_written_once_a_day() {
        let mut table = table();
        meet(&mut table, "ada", 1, NOW);
        table.encode(NOW);
        meet(&mut table, "ada", 1, NOW.after(Duration::from_secs(3600)));
        assert!(!table.has_changed());
        meet(&mut table, "ada", 1, NOW.after(Duration::from_secs(90_000)));
        assert!(table.has_changed());
    }
}
