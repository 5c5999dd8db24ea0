//! The keys of tokens: listed, rotated and pruned while requests go on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::audit::{By, Event, Origin};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::key::{KeyId, KeyRecord};
use crate::store::Store;
use crate::token::{KeyError, KeyRing, PublishedKey, Tokens, key_files};

use super::changes::{Changes, run};
use super::{Fault, Operator, Refusal, Unavailable};

/// The keys of tokens: in their directory, in the store and in use.
#[derive(Clone)]
pub struct Keys {
    pub(super) store: Arc<Store>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) dir: PathBuf,
    /// Held during a change, so that there is one at a time.
    pub(super) turn: Arc<Mutex<()>>,
    pub(super) changes: Changes,
    pub(super) clock: Arc<Clock>,
}

impl Keys {
    /// The public keys that check access tokens, the active one first.
    pub fn published(&self) -> Vec<PublishedKey> {
        self.tokens.ring().published()
    }

    /// All keys.
    pub fn list(&self, _: Operator) -> Vec<KeyRecord> {
        self.tokens.ring().records()
    }

    /// Makes new keys and uses them from now on. The old keys check their tokens until the last has expired; with
    /// `revoke`, they are removed at once, and only requests whose token was checked before go on.
    pub async fn rotate(
        &self,
        origin: &Arc<Origin>,
        _: Operator,
        revoke: bool,
    ) -> Result<Vec<KeyRecord>, Refusal> {
        run(&self.changes, self, origin, async move |keys, origin| {
            let change = move |ring: &KeyRing, dir: &Path, now| {
                let rotated = ring.rotated(dir, now)?;
                Ok(if revoke { rotated.only_active() } else { (rotated, Vec::new()) })
            };
            let gone = keys.replace(change).await?;
            keys.changes.record(&origin, Event::KeysRotated(By::Operator));
            if !gone.is_empty() {
                keys.changes.record(&origin, Event::KeysRemoved(By::Operator, &gone));
            }
            Ok(keys.tokens.ring().records())
        })
        .await
    }

    /// Removes the keys whose last token has expired, and answers their ids.
    pub async fn prune(&self, origin: &Arc<Origin>, _: Operator) -> Result<Vec<KeyId>, Refusal> {
        self.prune_by(origin, By::Operator).await
    }

    pub(super) async fn prune_by(&self, origin: &Arc<Origin>, by: By) -> Result<Vec<KeyId>, Refusal> {
        if self.tokens.ring().pruned(self.clock.now()?).1.is_empty() {
            return Ok(Vec::new());
        }
        run(&self.changes, self, origin, async move |keys, origin| {
            let gone = keys.replace(|ring, _, now| Ok(ring.pruned(now))).await?;
            if !gone.is_empty() {
                keys.changes.record(&origin, Event::KeysRemoved(by, &gone));
            }
            Ok(gone)
        })
        .await
    }

    /// The faults of the remembered keys' files, and other files in the directory. Waits for a change under way.
    pub(super) async fn check_files(&self) -> Result<(Vec<KeyError>, Vec<String>), Refusal> {
        let _turn = self.turn.lock().await;
        let remembered = self.store.keys().await?;
        let (dir, now) = (self.dir.clone(), self.clock.now_or_mark());
        blocking(move || KeyRing::check_files(&dir, &remembered, now)).await
    }

    /// Replaces the ring in use. Each step is on stable storage before the next, and can be undone until the store
    /// remembers the new ring: a fault leaves the old keys or the new ones.
    async fn replace(
        &self,
        change: impl FnOnce(&KeyRing, &Path, Timestamp) -> Result<(KeyRing, Vec<KeyId>), KeyError>
        + Send
        + 'static,
    ) -> Result<Vec<KeyId>, Refusal> {
        let _turn = self.turn.lock().await;
        self.store.keep_time().await?; // fails on a full disk, before any file is made
        let (before, dir, now) = (self.tokens.ring(), self.dir.clone(), self.clock.now()?);
        let old = Arc::clone(&before);
        let changed = blocking(move || {
            let (ring, gone) = change(&old, &dir, now)?;
            key_files::set_aside(&dir, &gone)?;
            Ok((ring, gone))
        });
        let remembered = async {
            let (ring, gone) = changed.await?;
            self.store.keep_keys(ring.records()).await?;
            Ok((ring, gone))
        };
        let (ring, gone) = match remembered.await {
            Ok(done) => done,
            // Only the next start can tell what the store remembers, and settles the files accordingly.
            Err(refusal @ Refusal::Unavailable(Unavailable::StoreFailed)) => return Err(refusal),
            Err(refusal) => {
                self.settle(before.records()).await;
                return Err(refusal);
            }
        };
        let records = ring.records();
        self.tokens.use_ring(ring);
        self.settle(records).await;
        Ok(gone)
    }

    /// Makes the files match what the store remembers. If that fails, the next start does it.
    async fn settle(&self, remembered: Vec<KeyRecord>) {
        let dir = self.dir.clone();
        if blocking(move || key_files::settle(&dir, &remembered)).await.is_err() {
            log::warn!("the next start, or the next rotation, brings the key files in order");
        }
    }
}

/// Works with the disk, off the async threads, and logs its errors.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeyError> + Send + 'static,
) -> Result<T, Refusal> {
    let done = spawn_blocking(work).await;
    let done = done.map_err(|error| Refusal::Internal(Fault::new(format!("keys: {error}"))))?;
    done.map_err(|error| match error {
        KeyError::NotGenerated => Refusal::Internal(Fault::new(error.to_string())),
        KeyError::Missing(_)
        | KeyError::Damaged(_)
        | KeyError::Exposed(_)
        | KeyError::NotPrivate(_)
        | KeyError::Io(..) => {
            log::error!("{error}");
            Refusal::Unavailable(Unavailable::KeyFiles)
        }
    })
}
