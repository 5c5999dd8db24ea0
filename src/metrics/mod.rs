//! Metrics: what each module counts, and readings that are taken when Prometheus asks.
//!
//! The only folder that names `prometheus_client`. Each module owns its instruments and always counts; here they get
//! their names. Labels have few values, fixed in the code: never a name, an id or a path.
//!
//! The page is in Prometheus's text format, version 0.0.4, which every scraper and `promtool check metrics` read. The
//! library writes OpenMetrics, which differs in the names of counters (see [`Counter`]) and in its last line.

mod instruments;
mod readings;
mod requests;

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;

pub use instruments::{BackupMetrics, Commits, Counter, Counters, Events, Histogram, Logs};
pub use readings::{Connections, Readings};
pub use requests::Requests;

/// The page's content type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the service counts with.
#[derive(Clone, Debug)]
pub struct Instruments {
    /// Of the audit log.
    pub events: Events,
    /// Durations of password hashes.
    pub hashes: Histogram,
    /// Of the committer.
    pub commits: Commits,
    /// Pages of the store that could not be read.
    pub unread: Counter,
    /// Of automatic backups.
    pub backups: BackupMetrics,
}

/// All instruments, with their names.
#[derive(Debug)]
pub struct Metrics(Registry);

impl Metrics {
    /// Names the instruments.
    #[rustfmt::skip] // one line a metric
    pub fn new(instruments: Instruments, requests: Requests, undecided: Counters, logs: Logs) -> Self {
        let Instruments { events, hashes, commits, unread, backups } = instruments;
        let mut all = Registry::default();
        all.register_collector(Box::new(requests));
        all.register("gatelet_logins_total", "Logins by what became of them", events.logins);
        all.register("gatelet_refreshes_total", "Refresh tokens taken, or found to be copies", events.refreshes);
        all.register("gatelet_logouts_total", "Sessions ended by their users", events.logouts);
        all.register("gatelet_registrations_total", "Users made, and registrations that came too fast", events.registrations);
        all.register("gatelet_token_refusals_total", "Tokens not accepted, by reason", events.token_refusals);
        all.register("gatelet_verify_undecided_total", "Requests that /verify let nobody pass for, because of an outage or a parameter unknown to it", undecided);
        all.register("gatelet_account_changes_total", "Other changes to accounts and keys", events.changes);
        all.register("gatelet_password_hash_duration_seconds", "How long password hashes took", hashes);
        all.register("gatelet_store_batch_changes", "How many changes shared a sync", commits.batch);
        all.register("gatelet_store_sync_duration_seconds", "How long changes took to reach the disk", commits.sync);
        all.register("gatelet_store_unreadable_total", "Reads of the store that met a page that cannot be read", unread);
        all.register("gatelet_backup_last_success_timestamp_seconds", "When a backup last succeeded, 0 if none has", backups.last_success);
        all.register("gatelet_backup_failed", "1 if the last backup failed", backups.last_failed);
        all.register("gatelet_log_lines_lost_total", "Log lines dropped because standard error did not take them in time, by kind", logs.lost);
        Self(all)
    }

    /// The page: all counts, and the readings of this moment.
    pub fn page(&self, connections: Connections, readings: Readings) -> String {
        let mut now = Registry::default();
        now.register_collector(Box::new(connections));
        now.register_collector(Box::new(readings));
        let mut page = String::new();
        for registry in [&self.0, &now] {
            let _ = encode_registry(&mut page, registry); // a String takes everything
        }
        page
    }
}
