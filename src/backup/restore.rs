//! Restores a backup: checks everything before it writes anything.

use super::{BackupFile, Checked, Flaw, ReadError, Restored};
use crate::domain::clock::Timestamp;
use crate::store::{OpenError, Restoration};
use crate::token::offline::PublicKeys;
use crate::token::{KeyError, KeyRing, Lifetimes, LostKeys, key_files};

/// Why a backup was not restored. The directory is as empty as before.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup is not good.
    #[error(transparent)]
    Backup(#[from] ReadError),
    /// The store cannot be made.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store's keys cannot be made.
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// Makes a store of `backup`, which was found good before: `checked`. The store gets new keys and remembers no others, so
/// that it refuses every token of the old store, even if the old keys are put beside the new ones. Calls `restored` for
/// each user, with the number of all. Blocks.
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
    let keys = KeyRing::open(&into.key_dir(), &[], LostKeys::Replace, lifetimes, now)?;
    // Before the store remembers them: nothing looks at the files without it.
    key_files::settle(&into.key_dir(), &keys.records())?;
    into.complete(&keys.records(), |store| {
        let again = backup.read(known, |total, read| {
            match read {
                Restored::User(user, hash) => {
                    restored(total);
                    store.add(&user, &hash)?;
                }
                Restored::KeptName(name, until) => store.keep_name(&name, until)?,
            }
            Ok::<_, RestoreError>(())
        })?;
        // The file may have been replaced since it was checked.
        if again == *checked { Ok(()) } else { Err(ReadError::Flaw(Flaw::Checksum).into()) }
    })
}
