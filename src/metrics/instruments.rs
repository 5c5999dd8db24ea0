//! What is counted with. Clones count together; counting never waits for long and never fails.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric, counter, histogram};

use crate::clock::Timestamp;

/// A number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(counter::Counter);

impl Counter {
    /// One more.
    pub fn count(&self) {
        self.0.inc();
    }

    /// How many there have been.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

impl EncodeMetric for Counter {
    /// OpenMetrics names a counter without the `_total` of its samples; Prometheus's own format with it. So it is
    /// registered with it, and its value written as it is.
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.get())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Counter {
    const TYPE: MetricType = MetricType::Counter;
}

type Label = [(&'static str, &'static str); 1];

/// A counter for each value of a label.
#[derive(Clone, Debug)]
pub struct Counters {
    label: &'static str,
    family: Family<Label, Counter>,
}

impl Counters {
    /// Counters for these `values`, which are there, at 0, from the beginning: a rate misses the first of something
    /// that was not there before.
    pub fn new(label: &'static str, values: &[&'static str]) -> Self {
        let counters = Self { label, family: Family::default() };
        for value in values {
            drop(counters.family.get_or_create(&[(label, value)]));
        }
        counters
    }

    /// One more of `value`.
    pub fn count(&self, value: &'static str) {
        self.family.get_or_create(&[(self.label, value)]).count();
    }
}

impl EncodeMetric for Counters {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.family.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// How often something was how large.
#[derive(Clone, Debug)]
pub struct Histogram(histogram::Histogram);

impl Histogram {
    /// From 100 µs, a token check, to 10 s, which is longer than a client waits, in steps of 1, 2 and 5.
    const DURATIONS: [f64; 16] =
        [1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

    /// Powers of two up to the largest batch.
    const BATCHES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

    /// A histogram of durations.
    pub fn of_durations() -> Self {
        Self(histogram::Histogram::new(Self::DURATIONS))
    }

    /// A histogram of sizes of batches.
    pub fn of_batches() -> Self {
        Self(histogram::Histogram::new(Self::BATCHES))
    }

    /// Something took so long.
    pub fn took(&self, time: Duration) {
        self.0.observe(time.as_secs_f64());
    }

    /// Something had so many parts.
    pub fn held(&self, parts: usize) {
        self.0.observe(f64::from(u32::try_from(parts).unwrap_or(u32::MAX)));
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// What the audit log counts; each event once.
#[derive(Clone, Debug)]
pub struct Events {
    /// By `outcome`.
    pub logins: Counters,
    /// By `outcome`. A refresh that was refused is a refused token.
    pub refreshes: Counters,
    /// Of one session by its user.
    pub logouts: Counter,
    /// By `outcome`.
    pub registrations: Counters,
    /// By `reason`.
    pub token_refusals: Counters,
    /// Whatever else happens to accounts and keys, by `change`.
    pub changes: Counters,
}

impl Default for Events {
    #[rustfmt::skip] // one line a counter
    fn default() -> Self {
        Self {
            logins: Counters::new("outcome", &[
                "ok", "wrong_password", "unknown_user", "disabled", "throttled",
                "busy", "disk_full", "clock", "store_failed", "stopping",
            ]),
            refreshes: Counters::new("outcome", &["ok", "reused"]),
            logouts: Counter::default(),
            registrations: Counters::new("outcome", &["ok", "throttled"]),
            token_refusals: Counters::new("reason", &["missing", "invalid", "expired", "revoked", "not_fresh"]),
            changes: Counters::new("change", &[
                "sessions_ended", "password_changed", "updated", "deleted", "users_exported", "keys_rotated", "keys_removed",
            ]),
        }
    }
}

/// What the store's committer measures.
#[derive(Clone, Debug)]
pub struct Commits {
    /// Changes that share a sync.
    pub batch: Histogram,
    /// From the flush to stable storage.
    pub sync: Histogram,
}

impl Default for Commits {
    fn default() -> Self {
        Self { batch: Histogram::of_batches(), sync: Histogram::of_durations() }
    }
}

/// How backups go: whoever makes them says so here.
#[derive(Clone, Debug, Default)]
pub struct Backups {
    pub(super) last_success: Gauge,
    pub(super) last_failed: Gauge,
}

impl Backups {
    /// A backup was complete, and on stable storage, at this time. A start that finds an earlier one says so as well:
    /// otherwise nobody knows of it until the next.
    pub fn done(&self, at: Timestamp) {
        self.last_success.set(i64::try_from(at.unix_secs()).unwrap_or(i64::MAX));
        self.last_failed.set(0);
    }

    /// A backup was tried in vain.
    pub fn failed(&self) {
        self.last_failed.set(1);
    }
}
