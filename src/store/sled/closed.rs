//! The mark of a clean stop: the store's content at that time, and a checksum of everything that sled reads
//! when it opens.
//!
//! Damage that sled does not report occurs only in the part of its log that it replays. If that part is
//! unchanged since the stop, sled opens the store as it was closed.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::files::{self, Survey};
use super::seal::Seal;
use crate::durable_file;

const NAME: &str = "closed";

/// The store's state when it was closed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Closed {
    store: Uuid,
    changes: u64,
    sum: u64,
    users: u64,
    ended_sessions: u64,
    /// The snapshot that sled starts from, and its length.
    snapshot: Option<(String, u64)>,
    log_length: u64,
    /// [`Survey::checksum`].
    checksum: u32,
}

impl Closed {
    /// The state of a store with this seal and these counts.
    pub(super) fn of(store: Uuid, seal: Seal, users: u64, revoked: u64, survey: &Survey) -> Self {
        Self {
            store,
            changes: seal.changes,
            sum: seal.sum(),
            users,
            ended_sessions: revoked,
            snapshot: survey.snapshot().map(|(name, sum)| (name.to_owned(), sum.length)),
            log_length: survey.log_length,
            checksum: survey.checksum(),
        }
    }

    /// The mark in the store's folder, if there is a valid one.
    pub(super) fn read(store: &Path) -> io::Result<Option<Self>> {
        files::from_line(&store.join(NAME))
    }

    pub(super) fn write(&self, store: &Path) -> io::Result<()> {
        durable_file::write(&store.join(NAME), &files::to_line(self)?)
    }

    /// Removes the mark before the first change. Durable on return.
    pub(super) fn remove(store: &Path) -> io::Result<()> {
        match fs::remove_file(store.join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| durable_file::sync_dir(store)),
        }
    }

    /// Whether the files are unchanged since the stop.
    pub(super) fn fits(&self, survey: &Survey) -> bool {
        let snapshot = survey.snapshot().map(|(name, sum)| (name, sum.length));
        self.log_length == survey.log_length
            && self.snapshot.as_ref().map(|(name, length)| (name.as_str(), *length)) == snapshot
            && self.checksum == survey.checksum()
    }
}
