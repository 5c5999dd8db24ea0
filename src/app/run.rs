//! The run: listeners, the admin socket and background tasks, until the server is told to stop or the store fails.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::http::admin::AdminListener;
use crate::http::{self, App, Front, Limits, MetricsPage};
use crate::metrics::{Connections, Logs, Metrics};

use super::Server;

/// Connections to the metrics listener: two Prometheus servers, an operator with `curl`, and some that hang.
const SCRAPERS_MAX: usize = 8;

/// The interval of periodic work: as far as the clock's mark may lag behind after a power cut, and rarely enough to
/// spare an SD card.
const UPKEEP: Duration = Duration::from_secs(60);

/// The metrics listener.
pub struct MetricsListener {
    /// Listens already.
    pub listener: TcpListener,
    /// What the log counts.
    pub logs: Logs,
}

impl Server {
    /// Serves on `listener`, for Prometheus on `metrics`, and on the admin socket, until `stop` is done or the store
    /// fails, and finishes the requests under way. Calls `ready` once clients and commands can connect.
    pub async fn run(
        &self,
        listener: TcpListener,
        metrics: Option<MetricsListener>,
        ready: impl FnOnce(),
        stop: impl Future<Output = ()>,
    ) {
        if let Ok(address) = listener.local_addr() {
            let _ = self.app.address.set(address); // there is one run
        }
        let (stopping, stopped) = watch::channel(false);
        let told = || {
            let mut stopped = stopped.clone();
            async move { drop(stopped.wait_for(|&stopped| stopped).await) }
        };
        let upkeep = tokio::spawn(upkeep(Arc::clone(&self.app)));
        let app = Arc::clone(&self.app);
        let backups = tokio::spawn(async move { app.service.backups.run().await });
        let admin = self.open_admin_socket().map(|socket| socket.serve(Arc::clone(&self.app), told()));
        ready();
        // Watched to the very end: requests under way may wait for a store that fails while the server stops.
        let app = Arc::clone(&self.app);
        let mut failure = tokio::spawn(async move { app.service.upkeep.store_failure().await });
        let stop = async {
            tokio::select! {
                () = stop => {}
                _ = &mut failure => {}
            }
            let _ = stopping.send(true);
        };
        let mut front = Front::new(http::routes(Arc::clone(&self.app)), self.limits.clone());
        let metrics = metrics.map(|MetricsListener { listener, logs }| {
            self.metrics_front(&mut front, logs).serve(listener, told())
        });
        let front = front.serve(listener, told());
        tokio::join!(stop, front, OptionFuture::from(metrics), OptionFuture::from(admin));
        for task in [upkeep, backups, failure] {
            task.abort();
        }
    }

    /// The metrics listener's front. It withstands overload like `front`, with fewer connections.
    fn metrics_front(&self, front: &mut Front, logs: Logs) -> Front {
        let undecided = self.app.undecided.clone();
        let metrics =
            Metrics::new(self.app.service.upkeep.instruments(), front.count_requests(), undecided, logs);
        let (open, max) = (front.open_connections(), self.limits.max_connections);
        let page =
            MetricsPage::new(Arc::clone(&self.app), metrics, move || Connections { open: open(), max });
        let trusted_proxies = self.limits.trusted_proxies.clone();
        let limits = Limits { max_connections: SCRAPERS_MAX, trusted_proxies, ..Limits::default() };
        Front::new(http::metrics_routes(Arc::new(page)), limits)
    }

    /// The admin socket. The server runs without it if it cannot be made.
    fn open_admin_socket(&self) -> Option<AdminListener> {
        AdminListener::listen(&self.data_dir)
            .inspect_err(|error| {
                log::warn!(
                    "commands like `gatelet key rotate` cannot reach this server, because control.sock in its data \
                     directory cannot be made: {error}: mend that and restart the server"
                );
            })
            .ok()
    }
}

async fn upkeep(app: Arc<App>) {
    let mut ticks = tokio::time::interval(UPKEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await; // the first at once
        app.service.upkeep.run().await;
    }
}
