//! The keys of tokens: shown, rotated and pruned while requests go on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::audit::{By, Event, Origin};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::key::{KeyId, KeyRecord};
use crate::store::Store;
use crate::token::{KeyError, KeyRing, PublishedKey, Tokens, key_files};

use super::{Console, Fault, Refusal, Service, Unavailable};

/// Changes which keys there are: in the folder, in the store and in use.
pub(super) struct KeyKeeper {
    store: Arc<Store>,
    tokens: Arc<Tokens>,
    dir: PathBuf,
    clock: Arc<Clock>,
    /// One change after the other.
    turn: Mutex<()>,
}

impl KeyKeeper {
    pub(super) fn new(store: Arc<Store>, tokens: Arc<Tokens>, dir: PathBuf, clock: Arc<Clock>) -> Self {
        Self { store, tokens, dir, clock, turn: Mutex::new(()) }
    }

    /// What is wrong with the files of the keys that are remembered, and which files are none of theirs, while none is
    /// being changed.
    pub(super) async fn check_files(&self) -> Result<(Vec<KeyError>, Vec<String>), Refusal> {
        let _turn = self.turn.lock().await;
        let remembered = self.store.keys().await?;
        let (dir, now) = (self.dir.clone(), self.clock.now_or_mark());
        blocking(move || KeyRing::check_files(&dir, &remembered, now)).await
    }

    /// Puts another ring in the place of the one in use. Each step is on stable storage before the next, and until the
    /// store remembers the new ring all of it can be undone: a fault leaves the keys as they were, or as they should be.
    async fn replace(
        &self,
        change: impl FnOnce(&KeyRing, &Path, Timestamp) -> Result<(KeyRing, Vec<KeyId>), KeyError>
        + Send
        + 'static,
    ) -> Result<Vec<KeyId>, Refusal> {
        let _turn = self.turn.lock().await;
        self.store.keep_time().await?; // no file is made that there is no room to remember
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
            // Only the next start knows what the store remembers, and settles the files by that.
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

    /// Brings the files to what the store remembers. What does not succeed now does at the next start.
    async fn settle(&self, remembered: Vec<KeyRecord>) {
        let dir = self.dir.clone();
        if blocking(move || key_files::settle(&dir, &remembered)).await.is_err() {
            log::warn!("the next start, or the next rotation, brings the key files in order");
        }
    }
}

impl Service {
    /// The keys by which anybody can check access tokens, the active one first.
    pub fn published_keys(&self) -> Vec<PublishedKey> {
        self.tokens.ring().published()
    }

    /// What is known about all keys.
    pub fn list_keys(&self, _: Console) -> Vec<KeyRecord> {
        self.tokens.ring().records()
    }

    /// Makes new keys and uses them from now on. Those before still check the tokens that they made, until the last
    /// has expired; or, with `revoke`, no more from this moment: requests whose token was checked before still end.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn rotate_keys(
        &self,
        origin: &Arc<Origin>,
        _: Console,
        revoke: bool,
    ) -> Result<Vec<KeyRecord>, Refusal> {
        self.see_through(origin, async move |service, origin| {
            let change = move |ring: &KeyRing, dir: &Path, now| {
                let rotated = ring.rotated(dir, now)?;
                Ok(if revoke { rotated.only_active() } else { (rotated, Vec::new()) })
            };
            let gone = service.keys.replace(change).await?;
            service.audit.record(&origin, Event::KeysRotated(By::Console));
            if !gone.is_empty() {
                service.audit.record(&origin, Event::KeysRemoved(By::Console, &gone));
            }
            Ok(service.tokens.ring().records())
        })
        .await
    }

    /// Removes the keys whose last token has expired. Answers which.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn prune_keys(&self, origin: &Arc<Origin>, _: Console) -> Result<Vec<KeyId>, Refusal> {
        self.prune(origin, By::Console).await
    }

    pub(super) async fn prune(&self, origin: &Arc<Origin>, by: By) -> Result<Vec<KeyId>, Refusal> {
        if self.tokens.ring().pruned(self.clock.now()?).1.is_empty() {
            return Ok(Vec::new());
        }
        self.see_through(origin, async move |service, origin| {
            let gone = service.keys.replace(|ring, _, now| Ok(ring.pruned(now))).await?;
            if !gone.is_empty() {
                service.audit.record(&origin, Event::KeysRemoved(by, &gone));
            }
            Ok(gone)
        })
        .await
    }
}

/// Does what the disk may be slow to do. Its errors are logged here; they are no fault of the program's.
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
