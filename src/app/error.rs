//! Why the server does not start.

use std::io;
use std::path::PathBuf;

use crate::domain::clock::ClockBehind;
use crate::exit::Exit;
use crate::password::PoolStartError;
use crate::random::NoRandomness;
use crate::store::{OpenError, StoreError};
use crate::token::KeyError;

/// Why the server does not start. The text tells the operator what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store opened but does not work.
    #[error("{}", broken(*.0))]
    StoreBroken(#[from] StoreError),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The hashing threads cannot be started.
    #[error(transparent)]
    Hashes(#[from] PoolStartError),
    /// Backups cannot be written where the settings say.
    #[error(
        "backups cannot be written to {dir}: {1}: make it a directory of its own that this user can write to \
         (--backup-dir)",
        dir = .0.display()
    )]
    Backups(PathBuf, #[source] io::Error),
    /// There is no key to hash names and addresses with.
    #[error("{0}")]
    NoRandomness(NoRandomness),
    /// The settings of the first administrator are wrong.
    #[error("the first administrator cannot be created: {0}")]
    FirstAdmin(String),
    /// The first administrator cannot be created, though the settings are right.
    #[error("the first administrator cannot be created: {0}")]
    FirstAdminFailed(String),
    /// The first administrator cannot be created while the clock is behind.
    #[error("{0}")]
    Clock(ClockBehind),
}

fn broken(error: StoreError) -> String {
    match error {
        StoreError::DiskFull => "the disk is too full to begin: free some space and start again".into(),
        error => format!("the store does not work: {error}"),
    }
}

impl StartError {
    /// The process's exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Store(error) => match error {
                OpenError::InUse(..)
                | OpenError::NotOurs(..)
                | OpenError::Io(..)
                | OpenError::NoScratch(..)
                | OpenError::NotEmpty(..)
                | OpenError::Unconfirmed(..) => Exit::Unavailable,
                OpenError::Damaged(..)
                | OpenError::Behind(..)
                | OpenError::TimedOut(_)
                | OpenError::Vanished(_)
                | OpenError::Foreign(_)
                | OpenError::Unmarked(..)
                | OpenError::Newer(_)
                | OpenError::HalfRestored(_) => Exit::Damaged,
            },
            Self::Keys(error) => match error {
                KeyError::Missing(_) | KeyError::Damaged(_) | KeyError::Exposed(_) => Exit::Damaged,
                KeyError::NotPrivate(_) | KeyError::Io(..) => Exit::Unavailable,
                KeyError::NotGenerated => Exit::Other,
            },
            // A restart does not help before there is room.
            Self::StoreBroken(StoreError::DiskFull) => Exit::Unavailable,
            Self::StoreBroken(StoreError::Failed | StoreError::Page | StoreError::Unreadable) => {
                Exit::StoreFailed
            }
            Self::Hashes(PoolStartError::Threads(_) | PoolStartError::Decoy(_)) => Exit::Other,
            Self::Backups(..) => Exit::Unavailable,
            Self::FirstAdmin(_) => Exit::Usage,
            Self::FirstAdminFailed(_) | Self::Clock(_) | Self::NoRandomness(_) => Exit::Other,
        }
    }
}
