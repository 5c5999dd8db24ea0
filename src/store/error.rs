//! Errors of store calls.

use thiserror::Error;

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// Too little free space to write. Reads continue, and writes resume once there is room.
    #[error("the disk is nearly full")]
    DiskFull,
    /// The store has failed; the process is about to end.
    #[error("the store has failed")]
    Failed,
    /// A page cannot be read from the disk at present; records on other pages can.
    #[error("a page of the store cannot be read")]
    Page,
    /// A record cannot be read, or is too large to be written.
    #[error("a record cannot be read or written")]
    Unreadable,
}
