//! What clients and commands can do, who may do it, and why it is refused. Knows nothing of HTTP.

mod accounts;
mod actor;
mod backups;
mod changes;
mod keys;
mod passwords;
mod refusal;
mod sessions;
mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::clock::Clock;
use crate::domain::user::Usernames;
use crate::metrics::Instruments;
use crate::password::HashPool;
use crate::store::Store;
use crate::throttle::{KnownFile, Throttle};
use crate::token::Tokens;
use changes::Changes;
use passwords::Passwords;

pub use accounts::{Accounts, Arrival, Newcomer};
pub use actor::{Actor, Caller, FreshAdmin, Operator, Overview, Visitor};
pub use backups::{AutomaticBackups, BackupPlan, BackupState, Backups};
pub use keys::Keys;
pub use refusal::{Fault, Refusal, Unavailable};
pub use sessions::{Demands, Renewed, Sessions};
pub use upkeep::{Check, Upkeep, Verdict};

/// What the service is built on.
pub struct Parts {
    /// Users and sessions.
    pub store: Store,
    /// Makes and checks tokens.
    pub tokens: Tokens,
    /// The directory of key files.
    pub key_dir: PathBuf,
    /// Makes and checks password hashes.
    pub hashes: HashPool,
    /// Throttles guesses and registrations.
    pub throttle: Throttle,
    /// The file that keeps the throttle's known networks across restarts.
    pub known_networks: Arc<KnownFile>,
    /// Automatic backups, if the settings ask for them.
    pub backups: Option<AutomaticBackups>,
    /// The current time.
    pub clock: Arc<Clock>,
}

/// What the settings allow.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Anyone may register; otherwise only administrators create users.
    pub open_registration: bool,
    /// When two names count as the same.
    pub usernames: Usernames,
    /// Every refresh replaces the refresh token.
    pub refresh_rotation: bool,
    /// `--dev`: reading, listing and deleting users needs no token.
    pub open_doors: bool,
}

/// Everything the server offers.
pub struct Service {
    /// Users and their passwords.
    pub accounts: Accounts,
    /// Logins and their tokens.
    pub sessions: Sessions,
    /// The keys of tokens.
    pub keys: Keys,
    /// Backups on request, and automatic ones.
    pub backups: Backups,
    /// Readiness, periodic work, metrics, the end.
    pub upkeep: Upkeep,
}

impl Service {
    /// Builds the service.
    pub fn new(parts: Parts, rules: Rules) -> Self {
        let Parts { store, tokens, key_dir, hashes, throttle, known_networks, backups, clock } = parts;
        let (store, tokens) = (Arc::new(store), Arc::new(tokens));
        let (hashes, throttle) = (Arc::new(hashes), Arc::new(throttle));
        let changes = Changes::default();
        let instruments = Instruments {
            events: changes.events(),
            hashes: hashes.durations(),
            commits: store.commits(),
            unread: store.unread(),
            backups: backups.as_ref().map(AutomaticBackups::metrics).unwrap_or_default(),
        };
        let passwords = Passwords {
            hashes: hashes.clone(),
            throttle: throttle.clone(),
            usernames: rules.usernames,
            changes: changes.clone(),
            clock: clock.clone(),
        };
        let keys = Keys {
            store: store.clone(),
            tokens: tokens.clone(),
            dir: key_dir,
            turn: Arc::default(),
            changes: changes.clone(),
            clock: clock.clone(),
        };
        Self {
            accounts: Accounts {
                store: store.clone(),
                passwords: passwords.clone(),
                rules,
                changes: changes.clone(),
                clock: clock.clone(),
            },
            sessions: Sessions {
                store: store.clone(),
                tokens: tokens.clone(),
                passwords,
                rules,
                changes: changes.clone(),
                clock: clock.clone(),
            },
            keys: keys.clone(),
            backups: Backups {
                store: store.clone(),
                tokens,
                automatic: backups,
                changes,
                clock: clock.clone(),
            },
            upkeep: Upkeep {
                store,
                keys,
                throttle,
                known_networks,
                hashes,
                instruments,
                started: clock.reading(),
                clock,
            },
        }
    }
}
