//! The connections that are open, and which of them makes room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::connection::Activity;

/// How long a connection waits before it has to make room: a client that sends its request at once, as all good
/// ones do, is safe from those who come behind it.
const GRACE: Duration = Duration::from_millis(100);

/// The connections that are open.
#[derive(Default)]
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Open>>,
    next_id: AtomicU64,
    pub(super) ended: Notify,
}

pub(super) struct Open {
    activity: Arc<Activity>,
    task: Option<AbortHandle>,
}

/// A connection's entry, gone when this is dropped.
pub(super) struct Place {
    connections: Arc<Connections>,
    pub(super) id: u64,
}

impl Connections {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(self: Arc<Self>, activity: Arc<Activity>) -> Place {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id, Open { activity, task: None });
        Place { connections: self, id }
    }

    pub(super) fn attach(&self, id: u64, task: AbortHandle) {
        if let Some(open) = self.lock().get_mut(&id) {
            open.task = Some(task);
        }
    }

    pub(super) fn evict_longest_waiting(&self) -> bool {
        let mut open = self.lock();
        let longest = open.iter().filter_map(|(id, open)| Some((open.activity.waiting_since()?, *id))).min();
        let Some((_, id)) = longest.filter(|(since, _)| since.elapsed() > GRACE) else {
            return false;
        };
        // It may have become busy this very moment; the caller looks again.
        if !open.get(&id).is_some_and(|open| open.activity.evict()) {
            return false;
        }
        if let Some(Open { task: Some(task), .. }) = open.remove(&id) {
            task.abort();
        }
        true
    }

    pub(super) async fn none_left(&self) {
        while !self.lock().is_empty() {
            self.ended.notified().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.id);
        self.connections.ended.notify_one();
    }
}
