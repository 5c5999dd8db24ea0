//! The start: store, keys and throttle opened, the parts put together.

use std::path::Path;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::config::Settings;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::user::NewName;
use crate::http::App;
use crate::machine;
use crate::password::{HashPool, Password};
use crate::service::{Parts, Service};
use crate::store::{Store, StoreError, StoreOptions};
use crate::throttle::{KnownFile, Throttle};
use crate::token::{KeyError, KeyRing, LostKeys, Tokens, key_files};

use super::first_admin::{ensure_admin, first_admin};
use super::options::{self, lifetimes, store_options};
use super::{Server, StartError, backups};

/// What a server is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To serve the store.
    Serve,
    /// To look at a copy of the store.
    Look,
}

pub(super) async fn open(
    purpose: Purpose,
    settings: &Settings,
    clock: Arc<Clock>,
) -> Result<Server, StartError> {
    // Read before anything is made, and once: the password may come through a pipe.
    let admin = if Store::is_in(settings.data_dir()) { None } else { first_admin(settings)? };
    let store = open_store(purpose, settings, Arc::clone(&clock)).await?;
    open_on(store, purpose, admin, settings, clock).await
}

pub(super) async fn open_on(
    store: Store,
    purpose: Purpose,
    admin: Option<(NewName, Password)>,
    settings: &Settings,
    clock: Arc<Clock>,
) -> Result<Server, StartError> {
    let key_dir = settings.data_dir().join("keys");
    let keys = open_keys(purpose, settings, &store, &key_dir, &clock).await?;
    let tokens = Tokens::new(keys, settings.issuer.clone(), lifetimes(settings));
    let slots = settings.hash_slots.unwrap_or_else(|| machine::hash_slots(settings.scrypt));
    log::info!("password hashes: {} at once at {}", slots, settings.scrypt);
    let hashes = HashPool::start(slots, settings.scrypt, machine::hash_memory())?;
    let known_networks = Arc::new(KnownFile::at(settings.data_dir().join("known-networks")));
    let throttle = open_throttle(settings, &known_networks, clock.now_or_mark()).await?;
    let backups = match purpose {
        Purpose::Serve => backups::open(settings, store.id(), &clock).await?,
        Purpose::Look => None,
    };
    let parts = Parts { store, tokens, key_dir, hashes, throttle, known_networks, backups, clock };
    let service = Service::new(parts, options::rules(settings));
    if purpose == Purpose::Serve {
        ensure_admin(settings, &service.accounts, admin).await?;
    }
    Ok(Server {
        app: Arc::new(App::new(service, settings.password_policy())),
        limits: options::limits(settings),
        data_dir: settings.data_dir().to_owned(),
    })
}

async fn open_store(purpose: Purpose, settings: &Settings, clock: Arc<Clock>) -> Result<Store, StartError> {
    let dir = settings.data_dir().to_owned();
    let accept_clock = settings.accept_clock.then(|| clock.reading());
    let options = StoreOptions { accept_clock, ..store_options(settings) };
    let open = match purpose {
        Purpose::Serve => Store::open,
        Purpose::Look => Store::look,
    };
    let mark = Arc::clone(&clock);
    let opened = spawn_blocking(move || open(&dir, &options, mark)).await;
    let store = opened.map_err(|_| StoreError::Failed)??;
    let _ = clock.now(); // logs a clock that is behind
    Ok(store)
}

/// The keys that the store remembers; new ones if no session depends on them, or on request.
async fn open_keys(
    purpose: Purpose,
    settings: &Settings,
    store: &Store,
    dir: &Path,
    clock: &Clock,
) -> Result<KeyRing, StartError> {
    let remembered = store.keys().await?;
    let has_users = store.has_users().await?;
    let may_replace = purpose == Purpose::Serve && (settings.replace_keys || !has_users);
    let lost = if may_replace { LostKeys::Replace } else { LostKeys::Refuse };
    let (lifetimes, now) = (lifetimes(settings), clock.now_or_mark());
    let keys = {
        let dir = dir.to_owned();
        spawn_blocking(move || KeyRing::open(&dir, &remembered, lost, lifetimes, now))
            .await
            .map_err(|_| KeyError::NotGenerated)??
    };
    let records = keys.records();
    store.keep_keys(records.clone()).await?;
    let dir = dir.to_owned();
    match spawn_blocking(move || key_files::settle(&dir, &records)).await {
        Ok(Ok(())) => {}
        // They are found under either name.
        Ok(Err(error)) => log::warn!("the key files are brought in order by a later start: {error}"),
        Err(_) => log::warn!("the key files are brought in order by a later start"),
    }
    Ok(keys)
}

/// The throttle, with the known networks of the last server.
async fn open_throttle(
    settings: &Settings,
    file: &Arc<KnownFile>,
    now: Timestamp,
) -> Result<Throttle, StartError> {
    let (limits, file) = (options::throttling(settings), Arc::clone(file));
    let opened = spawn_blocking(move || file.open(limits, now)).await;
    opened.unwrap_or_else(|_| Throttle::new(limits)).map_err(StartError::NoRandomness)
}
