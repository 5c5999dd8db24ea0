//! Why the store does not serve a call.

use std::fmt;

/// Why a call was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Too little space is free; reads go on, and so do writes when there is room again.
    DiskFull,
    /// The store has failed and the process is about to end.
    Failed,
    /// A page cannot be read from the disk now; everything that lies on others can.
    Page,
    /// One record cannot be read, or would be too large to be written.
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
