//! Errors of store calls.

use std::fmt;

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Too little free space to write. Reads continue, and writes resume once there is room.
    DiskFull,
    /// The store has failed; the process is about to end.
    Failed,
    /// A page cannot be read from the disk at present; records on other pages can.
    Page,
    /// A record cannot be read, or is too large to be written.
    Unreadable,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiskFull => "the disk is nearly full",
            Self::Failed => "the store has failed",
            Self::Page => "a page of the store cannot be read",
            Self::Unreadable => "a record cannot be read or written",
        })
    }
}

impl std::error::Error for StoreError {}
