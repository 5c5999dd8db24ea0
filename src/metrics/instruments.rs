//! Instruments. Clones count together. Counting never blocks for long and never fails.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric, counter};

use crate::domain::clock::Timestamp;

/// A number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(counter::Counter);

impl Counter {
    /// Counts one.
    pub fn count(&self) {
        self.0.inc();
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

impl EncodeMetric for Counter {
    /// OpenMetrics adds `_total` to a counter's name in its samples; Prometheus's own format does not. So counters are
    /// registered with `_total`, and their values written like a gauge's.
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
    /// Counters that begin at 0 for each of `values`: a rate misses the first event of a series that appears with it.
    pub fn new(label: &'static str, values: &[&'static str]) -> Self {
        let counters = Self { label, family: Family::default() };
        for value in values {
            drop(counters.family.get_or_create(&[(label, value)]));
        }
        counters
    }

    /// Counts one of `value`.
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

/// A histogram without a lock, unlike the library's: each token check counts here.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// The upper end of each bucket, in ascending order.
    bounds: &'static [u64],
    /// How many counted units make one shown unit.
    per_unit: f64,
    /// The sum, the count of each bucket, and the count beyond them. Side by side, as they change together.
    cells: Arc<[AtomicU64]>,
}

impl Histogram {
    /// In nanoseconds, from 100 µs, a token check, to 10 s, longer than a client waits, in steps of 1, 2 and 5.
    #[rustfmt::skip] // one line a power of ten
    const DURATIONS: [u64; 16] = [
        100_000, 200_000, 500_000,
        1_000_000, 2_000_000, 5_000_000,
        10_000_000, 20_000_000, 50_000_000,
        100_000_000, 200_000_000, 500_000_000,
        1_000_000_000, 2_000_000_000, 5_000_000_000,
        10_000_000_000,
    ];

    /// Powers of two up to the largest batch.
    const BATCHES: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

    /// A histogram of durations, shown in seconds.
    pub fn of_durations() -> Self {
        Self::new(&Self::DURATIONS, 1e9)
    }

    /// A histogram of sizes of batches.
    pub fn of_batches() -> Self {
        Self::new(&Self::BATCHES, 1.0)
    }

    fn new(bounds: &'static [u64], per_unit: f64) -> Self {
        let cells = 1 + bounds.len() + 1;
        Self { bounds, per_unit, cells: (0..cells).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Records a duration.
    pub fn took(&self, time: Duration) {
        self.count(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Records a size.
    pub fn held(&self, parts: usize) {
        self.count(u64::try_from(parts).unwrap_or(u64::MAX));
    }

    fn count(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.cells[0].fetch_add(value, Ordering::Relaxed);
        self.cells[1 + bucket].fetch_add(1, Ordering::Relaxed);
    }
}

impl EncodeMetric for Histogram {
    #[allow(clippy::cast_precision_loss)] // for people
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let mut cells = self.cells.iter().map(|cell| cell.load(Ordering::Relaxed));
        let sum = cells.next().unwrap_or_default() as f64 / self.per_unit;
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / self.per_unit).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(cells).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// The audit log's counters; each event counts once.
#[derive(Clone, Debug)]
pub struct Events {
    /// By `outcome`.
    pub logins: Counters,
    /// By `outcome`. A refused refresh counts as a refused token.
    pub refreshes: Counters,
    /// Sessions revoked by their users.
    pub logouts: Counter,
    /// By `outcome`.
    pub registrations: Counters,
    /// By `reason`.
    pub token_refusals: Counters,
    /// Other changes to accounts and keys, by `change`.
    pub changes: Counters,
}

impl Default for Events {
    #[rustfmt::skip] // one line a counter
    fn default() -> Self {
        Self {
            logins: Counters::new("outcome", &[
                "ok", "wrong_password", "unknown_user", "disabled", "overtaken", "throttled",
                "busy", "disk_full", "clock", "store_failed", "unreadable", "stopping",
            ]),
            refreshes: Counters::new("outcome", &["ok", "reused"]),
            logouts: Counter::default(),
            registrations: Counters::new("outcome", &["ok", "name_taken", "throttled"]),
            token_refusals: Counters::new("reason", &["missing", "invalid", "expired", "revoked", "not_fresh"]),
            changes: Counters::new("change", &[
                "sessions_ended", "password_changed", "updated", "deleted", "name_freed", "users_exported", "backed_up", "keys_rotated", "keys_removed",
            ]),
        }
    }
}

/// What the committer measures.
#[derive(Clone, Debug)]
pub struct Commits {
    /// Changes that share a sync.
    pub batch: Histogram,
    /// Durations from the flush to stable storage.
    pub sync: Histogram,
}

impl Default for Commits {
    fn default() -> Self {
        Self { batch: Histogram::of_batches(), sync: Histogram::of_durations() }
    }
}

/// The outcome of automatic backups.
#[derive(Clone, Debug, Default)]
pub struct BackupMetrics {
    pub(super) last_success: Gauge,
    pub(super) last_failed: Gauge,
}

impl BackupMetrics {
    /// Records a complete backup on stable storage, begun at this time. A start calls it for the newest backup that it
    /// finds, so that the metric is right before the next.
    pub fn done(&self, at: Timestamp) {
        self.last_success.set(i64::try_from(at.unix_secs()).unwrap_or(i64::MAX));
        self.last_failed.set(0);
    }

    /// Records a failed backup.
    pub fn failed(&self) {
        self.last_failed.set(1);
    }
}

/// What the log counts.
#[derive(Clone, Debug)]
pub struct Logs {
    /// Lines that were not written, by `kind`.
    pub lost: Counters,
}

impl Default for Logs {
    fn default() -> Self {
        Self { lost: Counters::new("kind", &["audit", "access", "other"]) }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode_registry;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_histogram_counts_each_value_in_its_bucket_and_all_above() {
        let histogram = Histogram::of_durations();
        for micros in [0, 100, 101, 300_000, 11_000_000] {
            histogram.took(Duration::from_micros(micros));
        }
        let mut registry = Registry::default();
        registry.register("took_seconds", "Help", histogram);
        let mut text = String::new();
        encode_registry(&mut text, &registry).unwrap();
        for line in [
            "took_seconds_sum 11.300201",
            "took_seconds_count 5",
            "took_seconds_bucket{le=\"0.0001\"} 2",
            "took_seconds_bucket{le=\"0.0002\"} 3",
            "took_seconds_bucket{le=\"0.2\"} 3",
            "took_seconds_bucket{le=\"0.5\"} 4",
            "took_seconds_bucket{le=\"10.0\"} 4",
            "took_seconds_bucket{le=\"+Inf\"} 5",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line}: {text}");
        }
    }
}
