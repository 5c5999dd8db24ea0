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
use crate::http::admin::{self, AdminListener};
use crate::http::{self, App, Front, Hosts, Limits, MetricsPage};
use crate::machine;
use crate::metrics::{Connections, Logs, Metrics};
use crate::password::{HashPool, Password, PoolStartError};
use crate::random::NoRandomness;
use crate::service::{Copies, CopyPlan, Parts, Refusal, Rules, Service, Unavailable};
use crate::store::{OpenError, Store, StoreError, StoreOptions};
use crate::throttle::{self, KnownFile, Throttle};
use crate::token::{KeyError, KeyRing, Lifetimes, LostKeys, Tokens, key_files};

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

    /// Serves on `listener`, for Prometheus on `metrics`, and in the data directory, until `stop` is done or the store
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
        let housekeeping = tokio::spawn(keep_house(Arc::clone(&self.app)));
        let app = Arc::clone(&self.app);
        let copying = tokio::spawn(async move { app.service.keep_copies().await });
        let console = self.open_console().map(|console| console.serve(Arc::clone(&self.app), told()));
        ready();
        // Watched to the very end: requests under way may wait for a store that fails while the server stops.
        let app = Arc::clone(&self.app);
        let mut failure = tokio::spawn(async move { app.service.store_failure().await });
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
        tokio::join!(stop, front, OptionFuture::from(metrics), OptionFuture::from(console));
        housekeeping.abort();
        copying.abort();
        failure.abort();
    }

    /// A front that shows what `front` and everybody behind it do: as hard to tire out, and smaller.
    fn metrics_front(&self, front: &mut Front, logs: Logs) -> Front {
        let undecided = self.app.undecided.clone();
        let metrics = Metrics::new(self.app.service.instruments(), front.count_requests(), undecided, logs);
        let (open, max) = (front.open_connections(), self.limits.max_connections);
        let page =
            MetricsPage::new(Arc::clone(&self.app), metrics, move || Connections { open: open(), max });
        let trusted_proxies = self.limits.trusted_proxies.clone();
        let limits = Limits { max_connections: SCRAPERS_MAX, trusted_proxies, ..Limits::default() };
        Front::new(http::metrics_routes(Arc::new(page)), limits)
    }

    /// The console in the data directory. Without it there is still a server, which commands cannot reach.
    fn open_console(&self) -> Option<AdminListener> {
        AdminListener::listen(&self.data_dir)
            .inspect_err(|error| {
                log::warn!(
                    "commands like `gatelet key rotate` cannot reach this server, because control.sock in its data \
                     directory cannot be made: {error}: mend that and restart the server"
                );
            })
            .ok()
    }

    /// Serves the console on one connection, for a command that found no server running.
    pub async fn serve_console(&self, stream: UnixStream) {
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

/// How the settings want a store to be opened.
pub(crate) fn store_options(settings: &Settings) -> StoreOptions {
    StoreOptions {
        cache: u64::from(settings.cache_mib) << 20,
        min_free: min_free(settings),
        accept_clock: None,
    }
}

/// Bytes that the settings want to be left on a disk.
pub(crate) fn min_free(settings: &Settings) -> u64 {
    u64::from(settings.min_free_mib) << 20
}

/// How long the settings let tokens live.
pub(crate) fn lifetimes(settings: &Settings) -> Lifetimes {
    Lifetimes { access: settings.access_ttl, refresh: settings.refresh_ttl }
}

/// The folder of automatic backups, if the settings name one.
async fn open_copies(settings: &Settings, store: Uuid, clock: &Clock) -> Result<Option<Copies>, StartError> {
    let Some(dir) = &settings.backup_dir else {
        return Ok(None);
    };
    let plan = CopyPlan {
        dir: dir.clone(),
        store,
        every: settings.backup_every,
        keep: usize::try_from(settings.backup_keep).unwrap_or(usize::MAX),
        min_free: min_free(settings),
    };
    let now = clock.now_or_mark();
    let opened = {
        let (plan, data_dir) = (plan.clone(), settings.data_dir().to_owned());
        let opened = spawn_blocking(move || {
            demand_apart(&plan.dir, &data_dir)?;
            Copies::open(plan, now)
        });
        let hangs = io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer");
        tokio::time::timeout(BACKUP_DISK, opened)
            .await
            .map_or(Err(hangs), |opened| opened.unwrap_or_else(|gone| Err(io::Error::other(gone))))
    };
    use io::ErrorKind::{AlreadyExists, InvalidInput, NotADirectory, PermissionDenied};
    match opened {
        Ok(copies) => Ok(Some(copies)),
        // Somebody has to do something about these, and best now.
        Err(error)
            if matches!(error.kind(), AlreadyExists | InvalidInput | NotADirectory | PermissionDenied) =>
        {
            Err(StartError::Backups(dir.clone(), error))
        }
        // The disk may come later. Nobody should be kept from logging in for that.
        Err(error) => Ok(Some(Copies::failed(plan, error, now))),
    }
}

/// Refuses to put backups among the store's own files, and warns where they would be lost with them.
fn demand_apart(copies: &Path, data: &Path) -> io::Result<()> {
    let data = data.canonicalize()?;
    let copies = match (copies.canonicalize(), copies.file_name()) {
        // About to be made.
        (Err(error), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
            durable_file::parent(copies).canonicalize()?.join(name)
        }
        (canonical, _) => canonical?,
    };
    if copies == data || ["store", "keys"].iter().any(|own| copies.starts_with(data.join(own))) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the store keeps its own files there"));
    }
    if copies.starts_with(&data) {
        log::warn!(
            "--backup-dir {} is inside --data-dir: what loses the one loses the other",
            copies.display()
        );
    }
    Ok(())
}

async fn open_store(works: Works, settings: &Settings, clock: Arc<Clock>) -> Result<Store, StartError> {
    let dir = settings.data_dir().to_owned();
    let accept_clock = settings.accept_clock.then(|| clock.reading());
    let options = StoreOptions { accept_clock, ..store_options(settings) };
    let open = match works {
        Works::OnStore => Store::open,
        Works::OnCopy => Store::look,
    };
    let mark = Arc::clone(&clock);
    let opened = spawn_blocking(move || open(&dir, &options, mark)).await;
    let store =
        opened.map_err(|_| StartError::StoreBroken(StoreError::Failed))?.map_err(StartError::Store)?;
    // Says in the log what is the matter, if something is.
    let _ = clock.now();
    Ok(store)
}

/// The keys that the store remembers; new ones where nobody's session depends on them, or on request.
async fn open_keys(
    works: Works,
    settings: &Settings,
    store: &Store,
    dir: &Path,
    lifetimes: Lifetimes,
    clock: &Clock,
) -> Result<KeyRing, StartError> {
    let remembered = store.keys().await.map_err(StartError::StoreBroken)?;
    let has_users = store.has_users().await.map_err(StartError::StoreBroken)?;
    let may_replace = works == Works::OnStore && (settings.replace_keys || !has_users);
    let lost = if may_replace { LostKeys::Replace } else { LostKeys::Refuse };
    let now = clock.now_or_mark();
    let keys = {
        let dir = dir.to_owned();
        spawn_blocking(move || KeyRing::open(&dir, &remembered, lost, lifetimes, now))
            .await
            .map_err(|_| StartError::Keys(KeyError::NotGenerated))?
            .map_err(StartError::Keys)?
    };
    let records = keys.records();
    store.keep_keys(records.clone()).await.map_err(StartError::StoreBroken)?;
    let dir = dir.to_owned();
    match spawn_blocking(move || key_files::settle(&dir, &records)).await {
        Ok(Ok(())) => {}
        // They are found under either name.
        Ok(Err(error)) => log::warn!("the key files are brought in order by a later start: {error}"),
        Err(_) => log::warn!("the key files are brought in order by a later start"),
    }
    Ok(keys)
}

/// What slows down those who guess, with the networks that were known to accounts when the last server stopped.
async fn open_throttle(
    settings: &Settings,
    file: &Arc<KnownFile>,
    now: Timestamp,
) -> Result<Throttle, StartError> {
    let limits = throttle::Limits {
        account: settings.account_limit,
        network: settings.network_limit,
        registrations: settings.registration_limit,
    };
    let file = Arc::clone(file);
    let opened = spawn_blocking(move || file.open(limits, now)).await;
    opened.unwrap_or_else(|_| Throttle::new(limits)).map_err(StartError::NoRandomness)
}

/// Name and password of the administrator that the settings want to be created where there is none.
///
/// # Errors
/// [`StartError::FirstAdmin`]: nobody can have that name or that password.
pub(crate) fn first_admin(settings: &Settings) -> Result<Option<(NewName, Password)>, StartError> {
    let Some(name) = &settings.admin_username else {
        return Ok(None);
    };
    let refuse = |why| StartError::FirstAdmin(why);
    let name = settings.usernames.new_name(name);
    let name = name.map_err(|error| {
        refuse(format!("--admin-username: {} (the name {error})", wire::name_refused(error)))
    })?;
    let password = Password::typed(&settings.admin_password().map_err(refuse)?);
    let checked = settings.password_policy().check(&password, Some(&name));
    checked.map_err(|error| {
        refuse(format!("{}: {}", settings.admin_password_source(), wire::password_refused(error)))
    })?;
    Ok(Some((name, password)))
}

/// Creates the administrator that the settings name, if there is none: `admin`, or whom they name now.
async fn ensure_admin(
    settings: &Settings,
    service: &Service,
    admin: Option<(NewName, Password)>,
) -> Result<(), StartError> {
    let failed = |refusal| {
        match refusal {
        Refusal::NameTaken => StartError::FirstAdmin(
            "--admin-username: a user of that name exists and is no administrator, or was deleted in the last 30 days \
             (`gatelet user free` frees the name)"
                .into(),
        ),
        Refusal::Unavailable(Unavailable::DiskFull) => StartError::StoreBroken(StoreError::DiskFull),
        Refusal::Unavailable(Unavailable::StoreFailed) => StartError::StoreBroken(StoreError::Failed),
        Refusal::Unavailable(Unavailable::Clock(behind)) => StartError::Clock(behind),
        Refusal::Unavailable(
            reason @ (Unavailable::Busy | Unavailable::Page | Unavailable::KeyFiles | Unavailable::Stopping),
        ) => StartError::FirstAdminFailed(reason.to_string()),
        Refusal::Internal(fault) => StartError::FirstAdminFailed(fault.to_string()),
        // Nobody is answered so who makes a user.
        Refusal::InvalidCredentials
        | Refusal::Token(_)
        | Refusal::Forbidden
        | Refusal::NotFound
        | Refusal::RegistrationClosed
        | Refusal::LastAdmin
        | Refusal::Throttled(_) => StartError::FirstAdminFailed("refused".into()),
    }
    };
    if settings.admin_username.is_none() || service.has_admin().await.map_err(failed)? {
        return Ok(());
    }
    match admin.map_or_else(|| first_admin(settings), |admin| Ok(Some(admin)))? {
        Some((name, password)) => service.create_first_admin(name, password).await.map_err(failed),
        None => Ok(()),
    }
}

async fn keep_house(app: Arc<App>) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await; // the first at once
        app.service.keep_house().await;
    }
}

/// Connections to the listener of metrics: two Prometheus servers, somebody with `curl`, and some that hang.
const SCRAPERS_MAX: usize = 8;

/// How long the disk for backups may take to answer at the start: a share on a network that is down never does.
const BACKUP_DISK: Duration = Duration::from_secs(5);

/// How long a wait for the store needs no word.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// How often to look whether a store is in use no longer.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How often the house is kept: as far as the clock's mark may lag behind when the power goes, and rarely
/// enough to spare an SD card.
const HOUSEKEEPING: Duration = Duration::from_secs(60);
