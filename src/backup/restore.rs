//! Restoring a backup: everything is checked before anything is written.

use std::fmt;

use super::{BackupFile, Checked, Flaw, ReadError, Restored};
use crate::domain::clock::Timestamp;
use crate::store::{OpenError, Restoration};
use crate::token::offline::PublicKeys;
use crate::token::{KeyError, KeyRing, Lifetimes, LostKeys, key_files};

/// Why a backup was not restored. The directory is as empty as it was.
#[derive(Debug)]
pub enum RestoreError {
    /// The backup is not good.
    Backup(ReadError),
    /// The store cannot be made.
    Store(OpenError),
    /// There are no keys for it.
    Keys(KeyError),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backup(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Keys(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RestoreError {}

impl From<ReadError> for RestoreError {
    fn from(error: ReadError) -> Self {
        Self::Backup(error)
    }
}

impl From<OpenError> for RestoreError {
    fn from(error: OpenError) -> Self {
        Self::Store(error)
    }
}

/// Makes a store of what is in `backup`, which was found good before: `checked`. It gets new keys and remembers no
/// others, so that every token of the store that was backed up is refused, also where its keys are put beside the new
/// ones. Calls `restored` for each user, with the number of all. Blocks.
///
/// # Errors
/// [`RestoreError`].
pub fn restore(
    backup: &mut BackupFile,
    known: Option<&PublicKeys>,
    checked: &Checked,
    into: Restoration,
    lifetimes: Lifetimes,
    now: Timestamp,
    mut restored: impl FnMut(u64),
) -> Result<(), RestoreError> {
    let keys =
        KeyRing::open(&into.key_dir(), &[], LostKeys::Replace, lifetimes, now).map_err(RestoreError::Keys)?;
    // Nobody looks at them before the store is there that remembers them.
    key_files::settle(&into.key_dir(), &keys.records()).map_err(RestoreError::Keys)?;
    into.complete(&keys.records(), |store| {
        let again = backup.read(known, |total, read| {
            let added = match read {
                Restored::User(user, hash) => {
                    restored(total);
                    store.add(&user, &hash)
                }
                Restored::KeptName(name, until) => store.keep_name(&name, until),
            };
            added.map_err(RestoreError::Store)
        })?;
        // Between the two the file may have been replaced by another.
        if again == *checked { Ok(()) } else { Err(ReadError::Flaw(Flaw::Checksum).into()) }
    })
}
