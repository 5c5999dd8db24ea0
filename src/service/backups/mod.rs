//! Backups: on request, and automatic ones in a directory.

mod automatic;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::audit::{By, Event, Origin};
use crate::backup::Backup;
use crate::domain::clock::{Clock, Timestamp};
use crate::store::{Store, StoreError};
use crate::token::Tokens;

use super::changes::Changes;
use super::{Operator, Refusal};
use automatic::BackupError;

pub use automatic::{AutomaticBackups, BackupPlan, BackupState};

/// How often to look whether a backup is due: often enough for any interval, and for a clock that was set.
const LOOK: Duration = Duration::from_secs(1);

/// How long an automatic backup may take before its disk counts as hanging. A million users take some ten seconds.
const HANGS: Duration = Duration::from_secs(3600);

/// Backups on request, and automatic ones.
pub struct Backups {
    pub(super) store: Arc<Store>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) automatic: Option<AutomaticBackups>,
    pub(super) changes: Changes,
    pub(super) clock: Arc<Clock>,
}

impl Backups {
    /// A backup of this moment, which can be written now.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn begin(&self, origin: &Origin, _: Operator) -> Result<Backup, Refusal> {
        let backup = self.snapshot().await?;
        self.changes.record(origin, Event::BackedUp(By::Operator, backup.header().users));
        Ok(backup)
    }

    /// Makes automatic backups whenever one is due, for ever.
    pub async fn run(&self) {
        let Some(automatic) = &self.automatic else {
            return;
        };
        loop {
            // Without a clock to believe nothing is known to be due; the clock has logged why.
            if let Ok(now) = self.clock.now()
                && automatic.is_due(now)
            {
                let outcome = self.make(automatic.plan(), now).await;
                automatic.settle(now, self.clock.now().unwrap_or(now), outcome);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The state of automatic backups, if the settings ask for them.
    pub fn state(&self) -> Option<BackupState> {
        self.automatic.as_ref().map(AutomaticBackups::state)
    }

    async fn snapshot(&self) -> Result<Backup, StoreError> {
        let snapshot = self.store.snapshot().await?;
        let now = self.clock.now_or_mark();
        Ok(Backup::new(snapshot, self.tokens.ring(), self.tokens.issuer(), now))
    }

    /// Makes an automatic backup. Answers how many users it holds.
    async fn make(&self, plan: &BackupPlan, now: Timestamp) -> Result<u64, BackupError> {
        let backup = self.snapshot().await?;
        let users = backup.header().users;
        let plan = plan.clone();
        let abandoner = backup.abandoner();
        let written = spawn_blocking(move || plan.write(backup, now));
        match tokio::time::timeout(HANGS, written).await {
            Ok(written) => written.unwrap_or(Err(BackupError::Gone))?,
            Err(_) => {
                abandoner.abandon(); // the thread may hang for ever
                return Err(BackupError::Hangs);
            }
        }
        Ok(users)
    }
}
