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
mod ledger;
mod limit;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::domain::clock::Timestamp;
use crate::domain::network::Network;
use crate::domain::session::SessionId;
use crate::random::NoRandomness;
use debts::Debts;
use known::{KnownNetworks, Pair};
pub use known_file::KnownFile;
use ledger::{Bucket, Ledger, lock};
pub use limit::{Allowance, Limit, LimitError};

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

#[cfg(test)]
mod tests;
