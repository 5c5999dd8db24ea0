//! What can be done with accounts, sessions and keys, without a word about HTTP.

mod accounts;
mod actor;
mod backup;
mod check;
mod keys;
mod moves;
mod refusal;
mod sessions;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::audit::{Audit, By, Event, Origin};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::key::KeyState;
use crate::domain::user::{UserId, Usernames};
use crate::metrics::{Instruments, Readings};
use crate::password::{HashPool, Requester};
use crate::store::{Store, StoreError};
use crate::throttle::{KnownFile, Throttle};
use crate::token::{LEEWAY, Tokens};
use keys::KeyKeeper;

pub use actor::{Actor, Caller, Console, FreshAdmin, Overview, Visitor};
pub use backup::{Copies, CopiesState, CopyPlan};
pub use check::{Check, Verdict};
pub use moves::{Arrival, Newcomer};
pub use refusal::{Fault, Refusal, Unavailable};
pub use sessions::{Demands, Renewed};

/// What the service is made of.
pub struct Parts {
    /// Users and sessions.
    pub store: Store,
    /// Makes and checks tokens.
    pub tokens: Tokens,
    /// Where the keys of tokens lie.
    pub key_dir: PathBuf,
    /// Makes and checks hashes of passwords.
    pub hashes: HashPool,
    /// Slows down those who guess.
    pub throttle: Throttle,
    /// Where the networks stay that are known to accounts.
    pub known_networks: Arc<KnownFile>,
    /// Automatic backups, where there are any.
    pub copies: Option<Copies>,
    /// What time it is.
    pub clock: Arc<Clock>,
}

/// What the service allows.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whoever likes may register; otherwise administrators create users.
    pub open_registration: bool,
    /// When two names are the same.
    pub usernames: Usernames,
    /// Every refresh replaces the refresh token.
    pub refresh_rotation: bool,
    /// `--dev`: reading, listing and deleting users needs no token.
    pub open_doors: bool,
}

/// Accounts, sessions, tokens and keys. Clones are the same service.
#[derive(Clone)]
pub struct Service(Arc<Rooms>);

/// Where the service works.
pub struct Rooms {
    store: Arc<Store>,
    tokens: Arc<Tokens>,
    keys: Arc<KeyKeeper>,
    hashes: HashPool,
    throttle: Arc<Throttle>,
    known_networks: Arc<KnownFile>,
    audit: Audit,
    copies: Option<Copies>,
    clock: Arc<Clock>,
    started: Timestamp,
    rules: Rules,
}

impl Deref for Service {
    type Target = Rooms;

    fn deref(&self) -> &Rooms {
        &self.0
    }
}

impl Service {
    /// Puts the parts together.
    pub fn new(parts: Parts, rules: Rules) -> Self {
        let Parts { store, tokens, key_dir, hashes, throttle, known_networks, copies, clock } = parts;
        let (store, tokens, throttle) = (Arc::new(store), Arc::new(tokens), Arc::new(throttle));
        let keys =
            Arc::new(KeyKeeper::new(Arc::clone(&store), Arc::clone(&tokens), key_dir, Arc::clone(&clock)));
        let started = clock.reading();
        let audit = Audit::default();
        Self(Arc::new(Rooms {
            store,
            tokens,
            keys,
            hashes,
            throttle,
            known_networks,
            audit,
            copies,
            clock,
            started,
            rules,
        }))
    }

    /// When two names are the same, and what a new one may be.
    pub fn usernames(&self) -> Usernames {
        self.rules.usernames
    }

    /// Whether reads and durable writes work now. Writes.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] with the reason.
    pub async fn ready(&self) -> Result<(), Refusal> {
        self.clock.now()?;
        self.store.has_users().await?;
        Ok(self.store.keep_time().await?)
    }

    /// What has to be done now and then: keeps the clock's mark and known networks, forgets sessions that are over and keys whose
    /// last token has expired.
    pub async fn keep_house(&self) {
        let Ok(now) = self.clock.now() else {
            return; // the clock has said why
        };
        let (file, throttle) = (Arc::clone(&self.known_networks), Arc::clone(&self.throttle));
        drop(spawn_blocking(move || file.keep(&throttle, now))); // no one waits for it
        let over = now.before(LEEWAY);
        let kept = async {
            self.store.keep_time().await?;
            self.store.prune_names(now).await?;
            self.store.prune_sessions(over).await
        };
        match kept.await {
            Ok(()) | Err(StoreError::DiskFull | StoreError::Failed | StoreError::Page) => {} // said where it was noticed
            Err(error @ StoreError::Unreadable) => log::error!("housekeeping: {error}"),
        }
        match self.prune(&Arc::new(Origin::local("housekeeping")), By::Housekeeping).await {
            Ok(_) | Err(Refusal::Unavailable(_)) => {}
            Err(Refusal::Internal(fault)) => log::error!("housekeeping: keys could not be pruned: {fault}"),
            Err(_) => log::error!("housekeeping: keys could not be pruned"),
        }
    }

    /// What it is measured with.
    pub fn instruments(&self) -> Instruments {
        Instruments {
            events: self.audit.events.clone(),
            hashes: self.hashes.durations(),
            commits: self.store.commits(),
            unread: self.store.unread(),
            backups: self.copies.as_ref().map(Copies::metrics).unwrap_or_default(),
        }
    }

    /// How things stand. Asks the file system: blocks.
    pub fn readings(&self) -> Readings {
        let (hashes_running, hashes_queued) = self.hashes.load();
        let extent = self.store.extent();
        let keys = self.tokens.ring().records();
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

    /// Records a token that was not accepted.
    fn noted<T, E: Into<Refusal>>(&self, origin: &Origin, outcome: Result<T, E>) -> Result<T, Refusal> {
        let outcome = outcome.map_err(Into::into);
        if let Err(Refusal::Token(reason)) = &outcome {
            self.audit.record(origin, Event::TokenRefused(*reason, origin.user()));
        }
        outcome
    }

    /// The one way to make a change that somebody asks for: it runs to its end even if they hang up meanwhile. So all
    /// that belongs to the change happens in here: its line in the audit log, what it forgives, what it gives back, and
    /// the line of a token that turns out to be good no more.
    async fn see_through<T: Send + 'static, F: Future<Output = Result<T, Refusal>> + Send + 'static>(
        &self,
        origin: &Arc<Origin>,
        change: impl FnOnce(Self, Arc<Origin>) -> F,
    ) -> Result<T, Refusal> {
        let (service, origin) = (self.clone(), Arc::clone(origin));
        let change = change(self.clone(), Arc::clone(&origin));
        tokio::spawn(async move { service.noted(&origin, change.await) }).await.unwrap_or_else(|error| {
            Err(Refusal::Internal(Fault::new(format!("a change did not end: {error}"))))
        })
    }
}

/// Who asks for a hash: on behalf of `account`, whom this client is `known` to be or has been before.
fn requester(origin: &Origin, account: Option<UserId>, known: bool) -> Requester {
    origin.network().map_or(Requester::Local, |network| Requester::Client { network, account, known })
}
