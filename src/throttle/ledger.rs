//! What has been charged: debts, known networks, and logins under way.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::debts::Debts;
use super::known::KnownNetworks;
use super::limit::Limit;
use super::{Throttled, ThrottledBy};
use crate::domain::clock::Timestamp;

/// Rough duration of a login: two seconds in the hash queue, and the hash itself.
pub(super) const LOGIN: Duration = Duration::from_secs(3);

/// A key and its limit.
#[derive(Clone, Copy)]
pub(super) struct Bucket {
    pub(super) key: u64,
    pub(super) limit: Limit,
}

/// The throttle's state, at most 32 MiB.
pub(super) struct Ledger {
    /// By bucket: when all charges are worked off.
    pub(super) debts: Debts,
    /// Separate from the debts, because its entries live longer: logins to an attacker's own account from
    /// ever new networks must not displace debts of others.
    pub(super) known: KnownNetworks,
    /// By bucket: charges of logins under way, most of which will be given back. As many as there are
    /// requests.
    pub(super) under_way: HashMap<u64, u32>,
}

impl Ledger {
    /// Charges all buckets, or none if one of them is full. A bucket that is `None` is never full.
    pub(super) fn admit(
        &mut self,
        buckets: &[(ThrottledBy, Option<Bucket>)],
        now: Timestamp,
    ) -> Result<(), Throttled> {
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
    pub(super) fn give_back(&mut self, buckets: impl IntoIterator<Item = Option<Bucket>>) {
        for bucket in buckets.into_iter().flatten() {
            if let Some(settled) = self.debts.moment(bucket.key, bucket.key) {
                self.debts.set(bucket.key, bucket.key, bucket.limit.given_back(settled));
            }
        }
    }

    /// How long until one more is let in: at most the duration of a login if only logins under way fill the
    /// bucket.
    pub(super) fn wait(&self, bucket: Bucket, now: Timestamp) -> Duration {
        let settled = self.settled(bucket);
        let wait = bucket.limit.wait(settled, now);
        let under_way = self.under_way.get(&bucket.key).copied().unwrap_or(0);
        let without = (0..under_way).fold(settled, |settled, _| bucket.limit.given_back(settled));
        if bucket.limit.wait(without, now).is_zero() { wait.min(LOGIN) } else { wait }
    }

    pub(super) fn begin(&mut self, buckets: [Option<Bucket>; 3]) {
        for bucket in buckets.into_iter().flatten() {
            *self.under_way.entry(bucket.key).or_default() += 1;
        }
    }

    pub(super) fn end(&mut self, buckets: [Option<Bucket>; 3]) {
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
pub(super) fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
