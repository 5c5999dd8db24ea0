//! Gauges that are read when Prometheus asks.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue};
use prometheus_client::metrics::MetricType;

use crate::domain::clock::Timestamp;

/// The server's connections.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// Open ones.
    pub open: usize,
    /// The limit.
    pub max: usize,
}

/// The state of the service at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Readings {
    /// When the process started.
    pub started: Timestamp,
    /// Password hashes being computed.
    pub hashes_running: usize,
    /// Password hashes waiting for one of the threads.
    pub hashes_queued: usize,
    /// Users, enabled and disabled.
    pub users: u64,
    /// Revoked sessions that are remembered, because their tokens have not expired.
    pub ended_sessions: u64,
    /// Bytes of the store's files, if they can be read.
    pub store_bytes: Option<u64>,
    /// Free bytes on the store's disk, likewise.
    pub free_bytes: Option<u64>,
    /// Free bytes below which nothing is written.
    pub min_free_bytes: u64,
    /// Keys that sign tokens.
    pub active_keys: usize,
    /// Keys that only check older tokens.
    pub retiring_keys: usize,
    /// Whether the clock is too far behind.
    pub clock_behind: bool,
}

impl Collector for Connections {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        gauge(&mut to, "gatelet_http_connections", "Connections that are open.", self.open)?;
        gauge(&mut to, "gatelet_http_connections_max", "The most there may be.", self.max)
    }
}

impl Collector for Readings {
    #[rustfmt::skip] // one line a metric
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut to;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        gauges(to, "gatelet_build_info", "Always 1; the label says which version this is.", &[(version, 1_u64)])?;
        gauge(to, "process_start_time_seconds", "When the process started, in Unix time.", self.started.unix_secs())?;
        gauge(to, "gatelet_password_hashes_running", "Password hashes being computed.", self.hashes_running)?;
        gauge(to, "gatelet_password_hashes_queued", "Password hashes waiting to be computed.", self.hashes_queued)?;
        gauge(to, "gatelet_users", "Users there are.", self.users)?;
        gauge(to, "gatelet_ended_sessions", "Ended sessions, remembered until their tokens have expired.", self.ended_sessions)?;
        if let Some(bytes) = self.store_bytes {
            gauge(to, "gatelet_store_size_bytes", "Size of the store's files.", bytes)?;
        }
        if let Some(bytes) = self.free_bytes {
            gauge(to, "gatelet_disk_free_bytes", "Free space where the store lies.", bytes)?;
        }
        gauge(to, "gatelet_disk_free_min_bytes", "Free space below which nothing is written.", self.min_free_bytes)?;
        gauge(to, "gatelet_clock_behind", "1 while the clock is too far behind to be believed.", u64::from(self.clock_behind))?;
        let keys = [([("state", "active")], self.active_keys), ([("state", "retiring")], self.retiring_keys)];
        gauges(to, "gatelet_keys", "Keys of tokens.", &keys)
    }
}

fn gauge(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: impl EncodeGaugeValue,
) -> fmt::Result {
    to.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}

fn gauges(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &[([(&str, &str); 1], impl EncodeGaugeValue)],
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    values.iter().try_for_each(|(label, value)| metric.encode_family(label)?.encode_gauge(value))
}
