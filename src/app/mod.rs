//! The whole server: opened from settings, run on a listener, closed.

mod backups;
mod error;
mod first_admin;
mod options;
mod run;
mod start;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::task::spawn_blocking;

use crate::config::Settings;
use crate::domain::clock::Clock;
use crate::exit::Exit;
use crate::http::admin;
use crate::http::{App, Limits};
use crate::store::{OpenError, Store};
use start::Purpose;

pub use error::StartError;
pub(crate) use first_admin::first_admin;
pub(crate) use options::{lifetimes, min_free, store_options};
pub use run::MetricsListener;

/// How long a wait for the store goes unmentioned.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// How often to look whether the store is free.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A server that is ready to run.
pub struct Server {
    app: Arc<App>,
    limits: Limits,
    data_dir: PathBuf,
}

impl Server {
    /// Opens store and keys and starts the hashing threads.
    ///
    /// # Errors
    /// [`StartError`]; nothing is running then.
    pub async fn open(settings: &Settings, clock: Arc<Clock>) -> Result<Self, StartError> {
        start::open(Purpose::Serve, settings, clock).await
    }

    /// Like `open`, but on a store that is open already. Tests run servers on [`Store::in_memory`].
    ///
    /// # Errors
    /// [`StartError`]; nothing is running then.
    pub async fn open_on(store: Store, settings: &Settings, clock: Arc<Clock>) -> Result<Self, StartError> {
        start::open_on(store, Purpose::Serve, first_admin(settings)?, settings, clock).await
    }

    /// Like `open`, but waits up to `patience` while a command, or a server that starts or stops, holds the lock.
    ///
    /// # Errors
    /// [`StartError`]; nothing is running then.
    pub async fn open_within(
        patience: Duration,
        settings: &Settings,
        clock: Arc<Clock>,
    ) -> Result<Self, StartError> {
        Self::open_patiently(Purpose::Serve, patience, settings, clock).await
    }

    /// Like `open_within`, but works on a copy of the store, and changes neither store nor keys.
    ///
    /// # Errors
    /// [`StartError`]; nothing is running then.
    pub async fn look_within(
        patience: Duration,
        settings: &Settings,
        clock: Arc<Clock>,
    ) -> Result<Self, StartError> {
        Self::open_patiently(Purpose::Look, patience, settings, clock).await
    }

    async fn open_patiently(
        purpose: Purpose,
        patience: Duration,
        settings: &Settings,
        clock: Arc<Clock>,
    ) -> Result<Self, StartError> {
        let began = Instant::now();
        let mut said = false;
        loop {
            let is_served = admin::connect(settings.data_dir()).await.is_ok();
            match start::open(purpose, settings, Arc::clone(&clock)).await {
                Err(StartError::Store(OpenError::InUse(dir, pid)))
                    if !is_served && began.elapsed() < patience =>
                {
                    if !said && began.elapsed() > IMPATIENCE {
                        log::warn!("waiting for process {pid}, which uses {}", dir.display());
                        said = true;
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                opened => return opened,
            }
        }
    }

    /// Serves the admin socket's interface on one connection, for a command that found no server running.
    pub async fn serve_admin_socket(&self, stream: UnixStream) {
        admin::serve_one(stream, Arc::clone(&self.app)).await;
    }

    /// Writes what is pending, closes the store, and answers the exit code.
    pub async fn close(&self) -> Exit {
        let app = Arc::clone(&self.app);
        match spawn_blocking(move || app.service.upkeep.close()).await {
            Ok(Ok(())) => Exit::Stopped,
            Ok(Err(_)) => Exit::StoreFailed,
            Err(_) => {
                log::error!("closing the store panicked");
                Exit::StoreFailed
            }
        }
    }
}
