//! The order of hashes, and which are refused when too many wait. Decides only; computes nothing.
//!
//! Fair by network, then by account: the client whose network had the least work recently goes first, so that
//! an idle network waits for no flood. A network's work is everything computed for it, plus a quarter of what
//! it was refused, so that retrying moves a client back. An account's work is what it was given with its
//! right password, from any network: an account that logs in from a hundred networks is one client. Wrong
//! guesses do not count for the account, or strangers could push its owner back.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use super::tally::Tallies;
use crate::domain::network::Network;
use crate::domain::user::UserId;

/// The share of refused work that counts. At zero, a network that sends a thousand requests a second would
/// rank like one that sends one; at one, a hundred networks that each ask a little less often could starve a
/// busy office.
const REFUSED: f64 = 0.25;

/// Who asks for a hash.
#[derive(Clone, Copy, Debug)]
pub enum Requester {
    /// A command, or the server itself. Goes first, and makes way only for others of its kind.
    Local,
    /// A client on the network.
    Client {
        /// The client's network.
        network: Network,
        /// The account that it logs in to or acts for; `None` for an unknown user.
        account: Option<UserId>,
        /// Whether this user has logged in from there before, or has shown a token. Known clients go before
        /// others of their network.
        known: bool,
    },
}

/// A job in the queue.
pub(super) struct Ticket<J> {
    /// In order of arrival.
    number: u64,
    requester: Requester,
    /// The work that could be computed in its place.
    pub(super) claim: u64,
    /// The slots that it takes.
    pub(super) slots: u32,
    pub(super) job: J,
}

/// The result of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobOutcome {
    /// The requester was gone.
    Nothing,
    /// Computed.
    Done,
    /// Computed, and the user had the right password or a token.
    Authorised,
}

/// The waiting jobs, and their requesters' recent work.
pub(super) struct Queue<J> {
    /// At most a thousand, because each has a connection waiting: few enough to rank all of them for every
    /// decision.
    waiting: Vec<Ticket<J>>,
    /// The next job, if too few slots were free at its turn. It keeps its turn: cheap jobs could otherwise
    /// overtake a costly one forever.
    chosen: Option<Ticket<J>>,
    networks: Tallies<Network>,
    accounts: Tallies<UserId>,
    arrived: u64,
}

/// The order of turns, and in reverse that of refusals. Unique to each job.
type Rank = (bool, u64, bool, u64, u64);

impl<J> Queue<J> {
    pub(super) fn new() -> Self {
        Self {
            waiting: Vec::new(),
            chosen: None,
            networks: Tallies::new(),
            accounts: Tallies::new(),
            arrived: 0,
        }
    }

    /// The number of waiting jobs.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.chosen.is_some())
    }

    /// The total claim of the waiting jobs.
    pub(super) fn claim(&self) -> u64 {
        self.waiting.iter().chain(&self.chosen).map(|ticket| ticket.claim).sum()
    }

    /// Queues a job. If more than `room` waits already, returns the refused jobs: the newest of the networks
    /// and accounts with the most past and requested work, possibly this very one.
    pub(super) fn push(
        &mut self,
        requester: Requester,
        claim: u64,
        slots: u32,
        job: J,
        room: u64,
        now: Duration,
    ) -> Vec<J> {
        let mut excess = self.claim().saturating_sub(room);
        let number = self.arrived;
        self.arrived += 1;
        self.waiting.push(Ticket { number, requester, claim, slots, job });
        let mut refused = Vec::new();
        while excess > 0
            && let Some(heaviest) = self.heaviest(now)
        {
            let ticket = self.waiting.swap_remove(heaviest);
            self.charge(ticket.requester, REFUSED * as_work(ticket.claim), now);
            excess = if ticket.number == number { 0 } else { excess.saturating_sub(ticket.claim) };
            refused.push(ticket.job);
        }
        refused
    }

    /// The next job, if enough slots are free.
    pub(super) fn take(&mut self, free_slots: u32, now: Duration) -> Option<Ticket<J>> {
        if free_slots == 0 {
            return None; // choose only when a slot is free, so that later arrivals are considered
        }
        if self.chosen.is_none() {
            self.chosen = self.lightest(now).map(|lightest| self.waiting.swap_remove(lightest));
        }
        let ticket = self.chosen.take_if(|ticket| ticket.slots <= free_slots)?;
        self.charge(ticket.requester, as_work(ticket.claim), now);
        Some(ticket)
    }

    /// Records the outcome of a job from [`Queue::take`].
    pub(super) fn finished(&mut self, requester: Requester, claim: u64, outcome: JobOutcome, now: Duration) {
        match (outcome, requester) {
            (JobOutcome::Nothing, _) => self.charge(requester, -as_work(claim), now),
            (JobOutcome::Authorised, Requester::Client { account: Some(account), .. }) => {
                self.accounts.add(account, as_work(claim), now);
            }
            (JobOutcome::Done | JobOutcome::Authorised, _) => {}
        }
    }

    fn charge(&mut self, requester: Requester, work: f64, now: Duration) {
        if let Requester::Client { network, .. } = requester {
            self.networks.add(network, work, now);
        }
    }

    fn lightest(&self, now: Duration) -> Option<usize> {
        let ranks =
            self.waiting.iter().enumerate().map(|(place, ticket)| (self.rank(ticket, 0.0, now), place));
        ranks.min().map(|(_, place)| place)
    }

    fn heaviest(&self, now: Duration) -> Option<usize> {
        let mut wanted: HashMap<Network, u64> = HashMap::new();
        for ticket in &self.waiting {
            if let Requester::Client { network, .. } = ticket.requester {
                *wanted.entry(network).or_default() += ticket.claim;
            }
        }
        let ranks = self.waiting.iter().enumerate().map(|(place, ticket)| {
            let wanted = match ticket.requester {
                Requester::Local => 0,
                Requester::Client { network, .. } => wanted.get(&network).copied().unwrap_or(0),
            };
            (self.rank(ticket, as_work(wanted), now), Reverse(place))
        });
        ranks.max().map(|(_, Reverse(place))| place)
    }

    /// A job's rank if its network also gets `wanted`. Non-negative floats sort like their bits.
    fn rank(&self, ticket: &Ticket<J>, wanted: f64, now: Duration) -> Rank {
        let Requester::Client { network, account, known } = ticket.requester else {
            return (false, 0, false, 0, ticket.number);
        };
        let of_network = self.networks.work(&network, now) + wanted;
        let of_account = account.map_or(0.0, |account| self.accounts.work(&account, now));
        (true, of_network.max(of_account).to_bits(), !known, of_account.to_bits(), ticket.number)
    }
}

impl<J> Ticket<J> {
    pub(super) fn requester(&self) -> Requester {
        self.requester
    }
}

#[allow(clippy::cast_precision_loss)] // compared, not counted
fn as_work(claim: u64) -> f64 {
    claim as f64
}

#[cfg(test)]
mod tests;
