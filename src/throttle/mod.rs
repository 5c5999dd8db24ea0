//! Rate limits against guessing and flooding: failed logins per account and per client network, registrations
//! per network.
//!
//! An attempt is charged before it is worked on and before anything is hashed, so that a thousand concurrent
//! guesses gain nothing. The charge is given back if the attempt did no harm.
//!
//! Accounts are throttled by the name as typed, whether the user exists or not, so being throttled reveals
//! nothing. Wrong guesses must not lock an owner out: a network from which a user has logged in is *known* to
//! the account and has a reserve of its own there, which strangers cannot use up. A session has one too, for
//! changes of its user's password. Reserves come last, and no network gets more guesses at an account than a
//! stranger does: the number of guesses reveals neither which users exist nor which networks are known.
//!
//! Counts are in memory and end with the process; known networks are kept in a file. Names and addresses are
//! kept only as hashes under secret keys, so that clients cannot choose names that displace others from the
//! tables, which have a fixed size.

mod debts;
mod known;
mod known_file;
mod limit;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::clock::Timestamp;
use crate::domain::network::Network;
use crate::domain::session::SessionId;
use crate::random::NoRandomness;
use debts::Debts;
use known::{KnownNetworks, Pair};
pub use known_file::KnownFile;
pub use limit::{Allowance, Limit, LimitError};

/// Rough duration of a login: two seconds in the hash queue, and the hash itself.
const LOGIN: Duration = Duration::from_secs(3);

/// The configured limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Failed logins of an account, from anywhere. Each network known to it (at most eight), and each of its
    /// sessions for password changes, has a quarter of this besides.
    pub account: Allowance,
    /// Failed logins of a network, to any account.
    pub network: Allowance,
    /// Registrations of a network.
    pub registrations: Allowance,
}

/// A limit is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled {
    /// The limit; of several, the one with the longest wait.
    pub by: ThrottledBy,
    /// When to retry, in whole seconds, at least one: the retry is let through unless others come first.
    /// Where only logins under way fill the limit, the wait is short; it grows if they fail.
    pub retry_after: Duration,
}

/// The limits, as the audit log and metrics name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThrottledBy {
    /// Failed logins of this account.
    Account,
    /// Failed logins of this network.
    Network,
    /// Registrations of this network.
    Registrations,
}

impl fmt::Display for ThrottledBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "account",
            Self::Network => "network",
            Self::Registrations => "registrations",
        })
    }
}

/// Admits or refuses attempts by the configured limits.
pub struct Throttle {
    limits: Limits,
    /// SipHash, keyed with the operating system's randomness.
    hasher: RandomState,
    ledger: Arc<Mutex<Ledger>>,
}

/// The keys of the table of debts.
#[derive(Hash)]
enum DebtKey<'a> {
    Account(&'a str),
    /// Failed logins to an account from one known network, reserve included.
    Pair(Pair),
    /// Failed logins charged to a known network's reserve.
    Reserve(Pair),
    /// Failed password changes charged to a session's reserve.
    Session(SessionId),
    Network(Network),
    Registrations(Network),
}

impl Throttle {
    /// A throttle with empty counts and no known network.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn new(limits: Limits) -> Result<Self, NoRandomness> {
        Ok(Self::knowing(limits, KnownNetworks::new()?))
    }

    fn knowing(limits: Limits, known: KnownNetworks) -> Self {
        let ledger = Ledger { debts: Debts::new(), known, under_way: HashMap::new() };
        Self { limits, hasher: RandomState::new(), ledger: Arc::new(Mutex::new(ledger)) }
    }

    /// A login from `peer` to the account `name`, normalised as for lookup. Stays charged unless it succeeds
    /// or is withdrawn.
    ///
    /// # Errors
    /// [`Throttled`], with nothing charged.
    pub fn login(&self, peer: IpAddr, name: &str, now: Timestamp) -> Result<Attempt, Throttled> {
        self.attempt(peer, name, None, now)
    }

    /// A password change of `name` within a session, which proves the present password. Charged like a login.
    ///
    /// # Errors
    /// [`Throttled`], with nothing charged.
    pub fn password_change(
        &self,
        peer: IpAddr,
        name: &str,
        session: SessionId,
        now: Timestamp,
    ) -> Result<Attempt, Throttled> {
        self.attempt(peer, name, Some(session), now)
    }

    fn attempt(
        &self,
        peer: IpAddr,
        name: &str,
        session: Option<SessionId>,
        now: Timestamp,
    ) -> Result<Attempt, Throttled> {
        let network = Network::from(peer);
        let shared = self.bucket(self.limits.account, DebtKey::Account(name));
        let of_network = self.bucket(self.limits.network, DebtKey::Network(network));
        let reserve = |key: DebtKey<'_>| {
            shared.map(|shared| Bucket { key: self.hash(key), limit: shared.limit.quarter() })
        };

        let mut ledger = lock(&self.ledger);
        let pair = ledger.known.pair(name, network);
        let is_known = ledger.known.knows(pair, now);
        let of_session = session.and_then(|session| reserve(DebtKey::Session(session)));
        let of_known = if is_known { reserve(DebtKey::Reserve(pair)) } else { None };
        // The first with room: the allowance that strangers share comes before the reserves.
        let candidates = shared.into_iter().chain(of_session).chain(of_known);
        let of_account = candidates.min_by_key(|&bucket| ledger.wait(bucket, now));
        // The pair's limit hides whether the account exists. A session's user knows that anyway.
        let of_pair = shared
            .filter(|_| is_known && session.is_none())
            .map(|shared| Bucket { key: self.hash(DebtKey::Pair(pair)), ..shared });
        let charged = [of_pair, of_account, of_network];
        let [of_pair, of_account, of_network] = charged;
        ledger.admit(
            &[
                (ThrottledBy::Account, of_pair),
                (ThrottledBy::Account, of_account),
                (ThrottledBy::Network, of_network),
            ],
            now,
        )?;
        ledger.begin(charged);
        drop(ledger);
        Ok(Attempt {
            ledger: Arc::clone(&self.ledger),
            charged,
            pair,
            is_known: is_known || session.is_some(),
        })
    }

    /// Extends a known network when a session of the account `name` is used from there.
    pub fn seen(&self, peer: IpAddr, name: &str, now: Timestamp) {
        let mut ledger = lock(&self.ledger);
        let pair = ledger.known.pair(name, peer.into());
        if ledger.known.knows(pair, now) {
            ledger.known.learn(pair, now);
        }
    }

    /// Clears the failed logins of the account `name`, normalised as for lookup: its user may log in again at
    /// once. Failures of their networks at other accounts stay. Returns whether any counted.
    pub fn forgive(&self, name: &str, now: Timestamp) -> bool {
        let mut ledger = lock(&self.ledger);
        let known = ledger.known.of(name);
        let pairs =
            known.iter().flat_map(|&it| [self.hash(DebtKey::Pair(it)), self.hash(DebtKey::Reserve(it))]);
        let mut had_failed = false;
        for key in [self.hash(DebtKey::Account(name))].into_iter().chain(pairs) {
            if ledger.debts.moment(key, key).is_some_and(|debt| debt > now) {
                ledger.debts.set(key, key, Timestamp::default());
                had_failed = true;
            }
        }
        had_failed
    }

    /// A registration by `peer`. Stays charged unless it is withdrawn.
    ///
    /// # Errors
    /// [`Throttled`], with nothing charged.
    pub fn registration(&self, peer: IpAddr, now: Timestamp) -> Result<Registration, Throttled> {
        let bucket = self.bucket(self.limits.registrations, DebtKey::Registrations(peer.into()));
        lock(&self.ledger).admit(&[(ThrottledBy::Registrations, bucket)], now)?;
        Ok(Registration { ledger: Arc::clone(&self.ledger), charged: bucket })
    }

    fn bucket(&self, allowance: Allowance, key: DebtKey<'_>) -> Option<Bucket> {
        allowance.limit().map(|limit| Bucket { key: self.hash(key), limit })
    }

    fn hash(&self, key: DebtKey<'_>) -> u64 {
        self.hasher.hash_one(key)
    }
}

/// A login under way. Counts as failed if it is dropped.
#[must_use = "dropped, it counts as failed"]
pub struct Attempt {
    ledger: Arc<Mutex<Ledger>>,
    charged: [Option<Bucket>; 3],
    pair: Pair,
    is_known: bool,
}

impl Attempt {
    /// Whether the client is known: this network is known to the account, or the attempt comes from a
    /// session.
    pub fn is_by_a_known_client(&self) -> bool {
        self.is_known
    }

    /// The password was right: gives the charge back and makes the network known. Failures of others stay
    /// charged.
    pub fn succeeded(self, now: Timestamp) {
        let mut ledger = lock(&self.ledger);
        ledger.give_back(self.charged);
        ledger.known.learn(self.pair, now);
    }

    /// The password was wrong: stays charged.
    pub fn failed(self) {}

    /// The password was not checked: gives the charge back.
    pub fn withdrawn(self) {
        lock(&self.ledger).give_back(self.charged);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        lock(&self.ledger).end(self.charged);
    }
}

/// A registration under way. Counts if it is dropped: a user was created, or the client learnt that a name is
/// taken.
#[must_use = "dropped, it counts as made"]
pub struct Registration {
    ledger: Arc<Mutex<Ledger>>,
    charged: Option<Bucket>,
}

impl Registration {
    /// No user was created and nothing was revealed: gives the charge back.
    pub fn withdrawn(self) {
        lock(&self.ledger).give_back([self.charged]);
    }
}

/// A key and its limit.
#[derive(Clone, Copy)]
struct Bucket {
    key: u64,
    limit: Limit,
}

/// The throttle's state, at most 32 MiB.
struct Ledger {
    /// By bucket: when all charges are worked off.
    debts: Debts,
    /// Separate from the debts, because its entries live longer: logins to an attacker's own account from
    /// ever new networks must not displace debts of others.
    known: KnownNetworks,
    /// By bucket: charges of logins under way, most of which will be given back. As many as there are
    /// requests.
    under_way: HashMap<u64, u32>,
}

impl Ledger {
    /// Charges all buckets, or none if one of them is full. A bucket that is `None` is never full.
    fn admit(&mut self, buckets: &[(ThrottledBy, Option<Bucket>)], now: Timestamp) -> Result<(), Throttled> {
        let waits = buckets.iter().filter_map(|&(by, bucket)| Some((self.wait(bucket?, now), by)));
        if let Some((wait, by)) = waits.max_by_key(|&(wait, _)| wait)
            && !wait.is_zero()
        {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            return Err(Throttled { by, retry_after: Duration::from_secs(seconds) });
        }
        for bucket in buckets.iter().filter_map(|(_, bucket)| *bucket) {
            let settled = bucket.limit.charged(self.settled(bucket), now);
            self.debts.set(bucket.key, bucket.key, settled);
        }
        Ok(())
    }

    /// Gives back one charge of each. If the charge has been worked off by then, another client's is given
    /// back instead: harmless, because spans are minutes where it matters and logins take seconds.
    fn give_back(&mut self, buckets: impl IntoIterator<Item = Option<Bucket>>) {
        for bucket in buckets.into_iter().flatten() {
            if let Some(settled) = self.debts.moment(bucket.key, bucket.key) {
                self.debts.set(bucket.key, bucket.key, bucket.limit.given_back(settled));
            }
        }
    }

    /// How long until one more is let in: at most the duration of a login if only logins under way fill the
    /// bucket.
    fn wait(&self, bucket: Bucket, now: Timestamp) -> Duration {
        let settled = self.settled(bucket);
        let wait = bucket.limit.wait(settled, now);
        let under_way = self.under_way.get(&bucket.key).copied().unwrap_or(0);
        let without = (0..under_way).fold(settled, |settled, _| bucket.limit.given_back(settled));
        if bucket.limit.wait(without, now).is_zero() { wait.min(LOGIN) } else { wait }
    }

    fn begin(&mut self, buckets: [Option<Bucket>; 3]) {
        for bucket in buckets.into_iter().flatten() {
            *self.under_way.entry(bucket.key).or_default() += 1;
        }
    }

    fn end(&mut self, buckets: [Option<Bucket>; 3]) {
        for bucket in buckets.into_iter().flatten() {
            match self.under_way.get_mut(&bucket.key) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.under_way.remove(&bucket.key)),
            }
        }
    }

    fn settled(&self, bucket: Bucket) -> Timestamp {
        self.debts.moment(bucket.key, bucket.key).unwrap_or_default()
    }
}

/// Each change leaves consistent state, so a poisoned lock is safe to use.
fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const START: Timestamp = Timestamp::from_unix_secs(1_764_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    const HOME: &str = "2001:db8:1:2::7";

    fn throttle(account: &str, network: &str, registrations: &str) -> Throttle {
        Throttle::new(Limits {
            account: account.parse().unwrap(),
            network: network.parse().unwrap(),
            registrations: registrations.parse().unwrap(),
        })
        .unwrap()
    }

    fn with_defaults() -> Throttle {
        Throttle::new(Limits {
            account: Allowance::ACCOUNT,
            network: Allowance::NETWORK,
            registrations: Allowance::REGISTRATIONS,
        })
        .unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn stranger(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0xcb00_0000 + number).into()
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn guess(throttle: &Throttle, peer: IpAddr, name: &str, now: Timestamp) -> Result<(), Throttled> {
        throttle.login(peer, name, now).map(Attempt::failed)
    }

    fn log_in(throttle: &Throttle, peer: IpAddr, name: &str, now: Timestamp) -> Result<(), Throttled> {
        throttle.login(peer, name, now).map(|attempt| attempt.succeeded(now))
    }

    /// Guesses until refused. Returns the refusal.
    fn exhaust(throttle: &Throttle, peer: IpAddr, name: &str, now: Timestamp) -> Throttled {
        for _ in 0..Limit::BURST_MAX {
            if let Err(throttled) = guess(throttle, peer, name, now) {
                return throttled;
            }
        }
        panic!("never refused");
    }

    /// The moments of all guesses in five days of an attacker who tries from all addresses as soon as one is
    /// let in, and pauses for `pause` whenever none is left.
    fn attack(throttle: &Throttle, addresses: &[IpAddr], pause: Duration) -> Vec<Timestamp> {
        let mut guesses = Vec::new();
        let mut now = START;
        while now < START.after(5 * DAY) {
            let mut wait = Duration::MAX;
            for &address in addresses {
                wait = wait.min(loop {
                    match guess(throttle, address, "ada", now) {
                        Ok(()) => guesses.push(now),
                        Err(throttled) => break throttled.retry_after,
                    }
                });
            }
            now = now.after(wait.max(pause));
        }
        guesses
    }

    /// The most guesses in any 24 hours, both ends included.
    fn most_a_day(guesses: &[Timestamp]) -> usize {
        let within = |first: usize| guesses[first..].partition_point(|&at| at <= guesses[first].after(DAY));
        (0..guesses.len()).map(within).max().unwrap_or(0)
    }

    #[test]
    fn logins_under_way_fill_an_account_for_no_longer_than_they_take() {
        let throttle = throttle("3,10m", "off", "off");
        let home = ip(HOME);
        let under_way: Vec<_> = (0..3).map(|_| throttle.login(home, "ada", START).ok().unwrap()).collect();
        let throttled = throttle.login(home, "ada", START).err().unwrap();
        assert_eq!((throttled.by, throttled.retry_after), (ThrottledBy::Account, LOGIN));
        for attempt in under_way {
            attempt.succeeded(START);
        }
        assert_eq!(guess(&throttle, home, "ada", START), Ok(()));

        // One of them fails and takes its full span.
        let mut under_way: Vec<_> =
            (0..2).map(|_| throttle.login(stranger(1), "ada", START).ok().unwrap()).collect();
        exhaust(&throttle, stranger(2), "ada", START);
        under_way.clear();
        let throttled = throttle.login(stranger(2), "ada", START).err().unwrap();
        assert_eq!(throttled.retry_after, secs(600));
    }

    #[test]
    fn a_thousand_addresses_get_no_more_than_a_hundred_guesses_in_any_day() {
        let strangers: Vec<_> = (0..1000).map(stranger).collect();
        let and_one_known: Vec<_> = strangers.iter().copied().chain([ip(HOME)]).collect();
        for hours in [0, 1, 5, 7, 24, 25] {
            let pause = secs(hours * 3600);
            assert!(most_a_day(&attack(&with_defaults(), &strangers, pause)) <= 80, "{hours}");

            let throttle = with_defaults();
            assert_eq!(log_in(&throttle, ip(HOME), "ada", START), Ok(()));
            let most = most_a_day(&attack(&throttle, &and_one_known, pause));
            assert!(most <= 100, "{most}, {hours}");
            assert!(hours > 0 || most == 100); // the promise is exact
        }
    }

    #[test]
    fn an_owner_gets_in_from_a_known_network_while_strangers_are_guessing() {
        let throttle = with_defaults();
        assert_eq!(log_in(&throttle, ip(HOME), "ada", START), Ok(()));
        for day in 0..30 {
            let now = START.after(day * DAY);
            assert_eq!(exhaust(&throttle, stranger(1), "ada", now).by, ThrottledBy::Account);
            assert!(throttle.login(stranger(2), "ada", now).is_err());
            // From the same /64, after nine slips, and as often as it succeeds.
            let office = ip("2001:db8:1:2:ffff::1");
            for _ in 0..if day == 0 { 9 } else { 0 } {
                assert_eq!(guess(&throttle, office, "ada", now), Ok(()));
            }
            for _ in 0..100 {
                assert_eq!(log_in(&throttle, office, "ada", now), Ok(()));
            }
        }
    }

    #[test]
    fn a_network_is_known_to_one_account_for_thirty_days_and_by_a_success_alone() {
        let throttle = with_defaults();
        let known = |name, now| throttle.login(ip(HOME), name, now).map(Attempt::withdrawn).is_ok();
        for name in ["ada", "bob"] {
            throttle.login(ip(HOME), name, START).ok().unwrap().failed();
            throttle.login(ip(HOME), name, START).ok().unwrap().withdrawn();
            drop(throttle.login(ip(HOME), name, START));
        }
        for name in ["ada", "bob"] {
            exhaust(&throttle, stranger(1), name, START);
            assert!(!known(name, START));
        }
        let later = START.after(DAY);
        assert_eq!(log_in(&throttle, ip(HOME), "ada", later), Ok(()));
        for name in ["ada", "bob"] {
            exhaust(&throttle, stranger(1), name, later);
            assert_eq!(known(name, later), name == "ada");
        }
        for (days, still) in [(29, true), (30, false)] {
            let now = later.after(days * DAY);
            exhaust(&throttle, stranger(1), "ada", now);
            assert_eq!(known("ada", now), still, "{days}");
        }
    }

    #[test]
    fn an_account_has_eight_known_networks_at_the_most() {
        let throttle = throttle("4,1h", "off", "off");
        for number in 0..1000 {
            assert_eq!(log_in(&throttle, stranger(number), "ada", START), Ok(()));
        }
        exhaust(&throttle, ip(HOME), "ada", START);
        let known = (0..1000).filter(|&number| guess(&throttle, stranger(number), "ada", START).is_ok());
        assert_eq!(known.count(), 8);
    }

    #[test]
    fn success_and_withdrawal_cost_nothing_and_failure_and_silence_do() {
        let throttle = throttle("2,1h", "off", "off");
        for _ in 0..100 {
            throttle.login(stranger(1), "ada", START).ok().unwrap().withdrawn();
        }
        drop(throttle.login(stranger(1), "ada", START));
        // One charge is left; a success gives back its own and no other.
        for _ in 0..100 {
            assert_eq!(log_in(&throttle, stranger(2), "ada", START), Ok(()));
        }
        assert_eq!(guess(&throttle, stranger(3), "ada", START), Ok(()));
        assert!(throttle.login(stranger(3), "ada", START).is_err());
    }

    #[test]
    fn a_network_is_throttled_over_all_accounts_and_others_are_not() {
        let throttle = throttle("off", "3,10s", "off");
        for name in ["ada", "bob", "eve"] {
            assert_eq!(guess(&throttle, ip("2001:db8::1"), name, START), Ok(()));
        }
        let refused = Err(Throttled { by: ThrottledBy::Network, retry_after: secs(10) });
        assert_eq!(guess(&throttle, ip("2001:db8::ffff:1"), "joe", START), refused);
        assert_eq!(guess(&throttle, ip("2001:db8:0:1::1"), "joe", START), Ok(()));
    }

    #[test]
    fn an_account_that_refuses_costs_the_network_nothing() {
        let throttle = throttle("1,1h", "2,1h", "off");
        assert_eq!(guess(&throttle, stranger(1), "ada", START), Ok(()));
        for _ in 0..10 {
            assert_eq!(
                guess(&throttle, stranger(1), "ada", START).map_err(|it| it.by),
                Err(ThrottledBy::Account)
            );
        }
        assert_eq!(guess(&throttle, stranger(1), "bob", START), Ok(()));
        assert_eq!(
            guess(&throttle, stranger(1), "eve", START).map_err(|it| it.by),
            Err(ThrottledBy::Network)
        );
    }

    #[test]
    fn a_client_that_waits_as_long_as_told_is_let_in_and_no_second_earlier() {
        for (account, network) in [("3,7m", "off"), ("off", "3,7m"), ("3,7m", "2,11m"), ("1,1s", "5,13s")] {
            let throttle = throttle(account, network, "off");
            assert_eq!(log_in(&throttle, ip(HOME), "ada", START), Ok(()));
            let mut now = START;
            for step in 0..200 {
                let peer = if step % 3 == 0 { ip(HOME) } else { stranger(1) };
                now = now.after(Duration::from_millis(step * 137));
                let Throttled { retry_after, .. } = exhaust(&throttle, peer, "ada", now);
                assert!(retry_after >= secs(1) && retry_after.subsec_nanos() == 0);
                let almost = now.after(retry_after - secs(1));
                assert!(throttle.login(peer, "ada", almost).is_err());
                now = now.after(retry_after);
                assert_eq!(guess(&throttle, peer, "ada", now), Ok(()));
            }
        }
    }

    #[test]
    fn a_thousand_guesses_at_once_are_no_more_than_the_burst() {
        let throttle = with_defaults();
        let throttle = &throttle;
        let under_way: Vec<Attempt> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    let addresses = (thread * 125..).take(125).map(stranger);
                    scope.spawn(move || {
                        addresses
                            .filter_map(|address| throttle.login(address, "ada", START).ok())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(under_way.len(), 40);
    }

    #[test]
    fn accounts_made_are_counted_and_those_not_made_are_not() {
        let throttle = throttle("1,1h", "1,1h", "3,10s");
        for _ in 0..3 {
            throttle.registration(ip(HOME), START).ok().unwrap().withdrawn();
            drop(throttle.registration(ip(HOME), START).ok().unwrap());
        }
        let refused = Throttled { by: ThrottledBy::Registrations, retry_after: secs(10) };
        assert_eq!(throttle.registration(ip(HOME), START).err(), Some(refused));
        assert!(throttle.registration(stranger(1), START).is_ok());
        assert!(throttle.registration(ip(HOME), START.after(secs(10))).is_ok());
        assert_eq!(guess(&throttle, ip(HOME), "ada", START), Ok(()));
    }

    #[test]
    fn a_million_other_keys_do_not_free_an_account_at_its_limit_nor_take_more_memory() {
        let throttle = with_defaults();
        let bytes = || {
            let ledger = lock(&throttle.ledger);
            ledger.debts.bytes() + ledger.known.bytes()
        };
        let before = bytes();
        assert!(before <= 64 << 20);
        let until = exhaust(&throttle, stranger(0), "ada", START);
        for number in 1..=500_000 {
            // An account and a network each; every other network becomes known.
            let attempt = throttle.login(stranger(number), &number.to_string(), START).ok().unwrap();
            if number % 2 == 0 { attempt.succeeded(START) } else { attempt.failed() }
        }
        assert_eq!(exhaust(&throttle, ip(HOME), "ada", START), until);
        assert_eq!(bytes(), before);
    }

    #[test]
    fn a_forgiven_account_begins_anew_and_no_other_and_no_network_does() {
        let throttle = throttle("3,10m", "10,10s", "off");
        let under_way = throttle.login(stranger(1), "ada", START).ok().unwrap();
        for name in ["ada", "bob"] {
            assert_eq!(exhaust(&throttle, stranger(2), name, START).by, ThrottledBy::Account);
        }
        assert!(throttle.forgive("ada", START) && !throttle.forgive("ada", START));
        assert!(!throttle.forgive("nobody", START));
        under_way.withdrawn(); // gives back a charge that is cleared already
        assert_eq!(exhaust(&throttle, stranger(3), "bob", START).by, ThrottledBy::Account);
        for _ in 0..3 {
            assert_eq!(guess(&throttle, stranger(2), "ada", START), Ok(()));
        }
        assert_eq!(exhaust(&throttle, stranger(2), "ada", START).by, ThrottledBy::Account);
        throttle.forgive("ada", START);
        for _ in 0..2 {
            assert_eq!(guess(&throttle, stranger(2), "ada", START), Ok(()));
        }
        assert_eq!(exhaust(&throttle, stranger(2), "ada", START).by, ThrottledBy::Network);
    }

    #[test]
    fn off_means_never() {
        let throttle = throttle("off", "off", "off");
        for _ in 0..10_000 {
            assert_eq!(guess(&throttle, stranger(1), "ada", START), Ok(()));
            assert!(throttle.registration(stranger(1), START).is_ok());
        }
    }

    #[test]
    fn time_may_step_back_and_end() {
        let throttle = throttle("2,366days", "2,366days", "2,366days");
        let (first, last) = (Timestamp::default(), Timestamp::from_unix_millis(u64::MAX));
        for now in [START, first, last, START, last, first] {
            let _ = log_in(&throttle, ip(HOME), "ada", now);
            let _ = throttle.login(stranger(1), "ada", now).map(Attempt::withdrawn);
            let _ = guess(&throttle, ip(HOME), "bob", now.after(secs(1)));
            let _ = throttle.registration(ip(HOME), now).map(Registration::withdrawn);
        }
    }
}
