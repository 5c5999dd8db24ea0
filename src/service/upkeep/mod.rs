//! What keeps the service going: readiness, periodic work, metrics, the end.

mod check;

use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::audit::{By, Origin};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::key::KeyState;
use crate::metrics::{Instruments, Readings};
use crate::password::HashPool;
use crate::store::{Store, StoreError};
use crate::throttle::{KnownFile, Throttle};
use crate::token::LEEWAY;

use super::{Keys, Refusal};

pub use check::{Check, Verdict};

/// Keeps store, keys and known networks in order, and measures them.
pub struct Upkeep {
    pub(super) store: Arc<Store>,
    pub(super) keys: Keys,
    pub(super) throttle: Arc<Throttle>,
    pub(super) known_networks: Arc<KnownFile>,
    pub(super) hashes: Arc<HashPool>,
    pub(super) instruments: Instruments,
    pub(super) started: Timestamp,
    pub(super) clock: Arc<Clock>,
}

impl Upkeep {
    /// Whether reads and durable writes work now. Writes.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] with the reason.
    pub async fn ready(&self) -> Result<(), Refusal> {
        self.clock.now()?;
        self.store.has_users().await?;
        Ok(self.store.keep_time().await?)
    }

    /// The periodic work: saves the clock's mark and known networks; forgets names whose time is over, sessions that
    /// have expired and keys whose last token has.
    pub async fn run(&self) {
        let Ok(now) = self.clock.now() else {
            return; // the clock has logged why
        };
        let (file, throttle) = (Arc::clone(&self.known_networks), Arc::clone(&self.throttle));
        drop(spawn_blocking(move || file.keep(&throttle, now))); // not awaited
        let kept = async {
            self.store.keep_time().await?;
            self.store.prune_names(now).await?;
            self.store.prune_sessions(now.before(LEEWAY)).await
        };
        match kept.await {
            Ok(()) | Err(StoreError::DiskFull | StoreError::Failed | StoreError::Page) => {} // logged by the store
            Err(error @ StoreError::Unreadable) => log::error!("housekeeping: {error}"),
        }
        match self.keys.prune_by(&Arc::new(Origin::local("housekeeping")), By::Housekeeping).await {
            Ok(_) | Err(Refusal::Unavailable(_)) => {}
            Err(Refusal::Internal(fault)) => log::error!("housekeeping: keys could not be pruned: {fault}"),
            Err(_) => log::error!("housekeeping: keys could not be pruned"),
        }
    }

    /// Returns once the store has failed.
    pub async fn store_failure(&self) {
        self.store.failure().await;
    }

    /// Writes what is pending and closes the store. Blocks.
    ///
    /// # Errors
    /// The store has failed, now or earlier.
    pub fn close(&self) -> Result<(), StoreError> {
        self.known_networks.close(&self.throttle, self.clock.now_or_mark());
        self.store.close()
    }

    /// What the service counts with.
    pub fn instruments(&self) -> Instruments {
        self.instruments.clone()
    }

    /// The state of the service at this moment. Asks the file system: blocks.
    pub fn readings(&self) -> Readings {
        let (hashes_running, hashes_queued) = self.hashes.load();
        let extent = self.store.extent();
        let keys = self.keys.tokens.ring().records();
        let in_state = |state| keys.iter().filter(|key| key.state() == state).count();
        Readings {
            started: self.started,
            hashes_running,
            hashes_queued,
            users: extent.users,
            ended_sessions: extent.revoked_sessions,
            store_bytes: extent.bytes,
            free_bytes: extent.free_bytes,
            min_free_bytes: extent.min_free_bytes,
            active_keys: in_state(KeyState::Active),
            retiring_keys: in_state(KeyState::Retiring),
            clock_behind: self.clock.now().is_err(),
        }
    }
}
