//! The whole server: opened from settings, run on a listener, closed.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

use crate::clock::Clock;
use crate::exit::Exit;
use crate::http::{App, Front, Limits};
use crate::machine;
use crate::password::{Cost, HashPool};
use crate::random;
use crate::service::Service;
use crate::settings::Settings;
use crate::store::{OpenError, Store, StoreError, StoreOptions};
use crate::token::{KeyError, KeyRing, Lifetimes, LostKeys, Tokens};

/// Why the server does not start. The text tells the operator what to do.
#[derive(Debug)]
pub enum StartError {
    /// The store cannot be opened.
    Store(OpenError),
    /// The store opened but does not work.
    StoreBroken(StoreError),
    /// The keys cannot be used.
    Keys(KeyError),
    /// The system gives no threads or no random numbers.
    System(io::Error),
}

impl StartError {
    /// How the process should end.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Store(error) => match error {
                OpenError::InUse(..) | OpenError::Io(..) => Exit::Unavailable,
                OpenError::Damaged(..)
                | OpenError::TimedOut(_)
                | OpenError::Vanished(_)
                | OpenError::Foreign(_)
                | OpenError::Unmarked(..)
                | OpenError::Newer(_) => Exit::Damaged,
            },
            Self::Keys(error) => match error {
                KeyError::Missing(_) | KeyError::Damaged(_) | KeyError::Exposed(_) => Exit::Damaged,
                KeyError::Io(..) => Exit::Unavailable,
                KeyError::NotGenerated => Exit::Other,
            },
            // Starting again would not help before somebody makes room.
            Self::StoreBroken(StoreError::DiskFull) => Exit::Unavailable,
            Self::StoreBroken(StoreError::Failed | StoreError::Unreadable) => Exit::StoreFailed,
            Self::System(_) => Exit::Other,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::StoreBroken(StoreError::DiskFull) => {
                f.write_str("the disk is too full to begin: free some space and start again")
            }
            Self::StoreBroken(error) => write!(f, "the store does not work: {error}"),
            Self::Keys(error) => error.fmt(f),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

/// A server that is ready to run.
pub struct Server {
    app: Arc<App>,
    limits: Limits,
}

impl Server {
    /// Opens store and keys and starts the hashing threads.
    ///
    /// # Errors
    /// [`StartError`]; nothing is running then.
    pub async fn open(settings: &Settings, clock: Arc<Clock>) -> Result<Self, StartError> {
        warn_about(settings);
        let store = open_store(settings, Arc::clone(&clock)).await?;
        let keys = open_keys(settings, &store).await?;
        let lifetimes = Lifetimes { access: settings.access_ttl, refresh: settings.refresh_ttl };
        let tokens = Tokens::new(keys, settings.issuer.clone(), lifetimes);
        let slots = settings.hash_slots.unwrap_or_else(|| machine::hash_slots(settings.scrypt));
        log::info!("password hashes: {} at once at {}", slots, settings.scrypt);
        let hashes = HashPool::start(slots, settings.scrypt).map_err(StartError::System)?;
        let service = Service::new(store, tokens, hashes, clock, settings.dev);
        let wanted = u64::from(settings.max_connections.get());
        let fit = machine::allow_connections(wanted);
        Ok(Self {
            app: Arc::new(App { service, min_password_chars: settings.min_password_chars() }),
            limits: Limits { max_connections: usize::try_from(fit).unwrap_or(usize::MAX) },
        })
    }

    /// Serves on `listener` until `stop` is done or the store fails, and finishes the requests under way.
    pub async fn run(&self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let housekeeping = tokio::spawn(keep_house(Arc::clone(&self.app)));
        // Watched to the very end: requests under way may wait for a store that fails while the server stops.
        let app = Arc::clone(&self.app);
        let mut failure = tokio::spawn(async move { app.service.store_failure().await });
        let stop = async {
            tokio::select! {
                () = stop => {}
                _ = &mut failure => {}
            }
        };
        let seed = random::bytes().map_or(0, u32::from_be_bytes);
        Front::new(Arc::clone(&self.app), self.limits, seed).serve(listener, stop).await;
        housekeeping.abort();
        failure.abort();
    }

    /// Writes what is pending, closes the store and tells how the process should end.
    pub async fn close(&self) -> Exit {
        let app = Arc::clone(&self.app);
        match spawn_blocking(move || app.service.close()).await {
            Ok(Ok(())) => Exit::Stopped,
            Ok(Err(_)) => Exit::StoreFailed,
            Err(_) => {
                log::error!("closing the store panicked");
                Exit::StoreFailed
            }
        }
    }
}

fn warn_about(settings: &Settings) {
    if settings.dev {
        log::warn!(
            "--dev: anybody who reaches {} may read, list and delete users, and any password will do",
            settings.listen()
        );
    }
    if !settings.scrypt.meets_owasp() {
        log::warn!(
            "--scrypt {} is weaker than what OWASP asks for; {} is the default",
            settings.scrypt,
            Cost::DEFAULT
        );
    }
}

async fn open_store(settings: &Settings, clock: Arc<Clock>) -> Result<Store, StartError> {
    let dir = settings.data_dir.clone();
    let options = StoreOptions {
        cache: u64::from(settings.cache_mib) << 20,
        min_free: u64::from(settings.min_free_mib) << 20,
        accept_clock: settings.accept_clock,
    };
    spawn_blocking(move || Store::open(&dir, &options, clock))
        .await
        .map_err(|_| StartError::StoreBroken(StoreError::Failed))?
        .map_err(StartError::Store)
}

/// The keys that the store remembers; new ones where nobody's session depends on them, or on request.
async fn open_keys(settings: &Settings, store: &Store) -> Result<KeyRing, StartError> {
    let dir = settings.data_dir.join("keys");
    let remembered = store.key_ids().await.map_err(StartError::StoreBroken)?;
    let has_users = store.has_users().await.map_err(StartError::StoreBroken)?;
    let lost = if settings.replace_keys || !has_users { LostKeys::Replace } else { LostKeys::Refuse };
    let before = remembered.clone();
    let keys = spawn_blocking(move || KeyRing::open(&dir, &remembered, lost))
        .await
        .map_err(|_| StartError::Keys(KeyError::NotGenerated))?
        .map_err(StartError::Keys)?;
    let ids = keys.ids();
    if ids != before {
        store.keep_key_ids(ids).await.map_err(StartError::StoreBroken)?;
    }
    Ok(keys)
}

async fn keep_house(app: Arc<App>) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await; // the first at once
        app.service.keep_house().await;
    }
}

/// How often the house is kept: as far as the clock's mark may lag behind when the power goes, and rarely
/// enough to spare an SD card.
const HOUSEKEEPING: Duration = Duration::from_secs(60);
