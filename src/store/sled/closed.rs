//! The mark of a clean stop: what the store held then, and a checksum of all that sled goes by when it opens.
//!
//! Damage that sled passes over in silence exists only in the part of its log that it replays. Where that reads as it did
//! when the store was closed, sled opens the store that was closed.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::files::{self, Survey};
use super::seal::Seal;
use crate::durable_file;

const NAME: &str = "closed";

/// What the store was when it was closed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Closed {
    store: Uuid,
    changes: u64,
    sum: u64,
    users: u64,
    ended_sessions: u64,
    /// The snapshot that sled begins with, and how long it is.
    snapshot: Option<(String, u64)>,
    log_length: u64,
    /// Of the files: [`Survey::checksum`].
    checksum: u32,
}

impl Closed {
    /// Of a store with that seal, so many users, and so many revoked sessions.
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

    /// The mark in the store's folder, where there is a whole one.
    pub(super) fn read(store: &Path) -> io::Result<Option<Self>> {
        files::from_line(&store.join(NAME))
    }

    pub(super) fn write(&self, store: &Path) -> io::Result<()> {
        durable_file::write(&store.join(NAME), &files::to_line(self)?)
    }

    /// Removes the mark before the first change. Durable when this returns.
    pub(super) fn remove(store: &Path) -> io::Result<()> {
        match fs::remove_file(store.join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| durable_file::sync_dir(store)),
        }
    }

    /// Whether the files are those that were closed.
    pub(super) fn fits(&self, survey: &Survey) -> bool {
        let snapshot = survey.snapshot().map(|(name, sum)| (name, sum.length));
        self.log_length == survey.log_length
            && self.snapshot.as_ref().map(|(name, length)| (name.as_str(), *length)) == snapshot
            && self.checksum == survey.checksum()
    }
}
