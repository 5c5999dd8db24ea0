//! Why hashes are not computed, and why the pool does not start.

use std::io;

use thiserror::Error;

use crate::password::HashFailure;

/// Why a hash was not computed.
#[derive(Debug, Error)]
pub enum PoolError {
    /// The queue is full.
    #[error("too many logins at once")]
    Busy,
    /// Computing it failed.
    #[error(transparent)]
    Failed(#[from] HashFailure),
    /// It needs more memory than one hash may take.
    #[error(
        "a stored password hash takes {} MiB to check, and this machine has {} MiB for that: give it more memory, \
         or the user another password",
        .takes.div_ceil(1 << 20),
        .most >> 20
    )]
    TooLarge {
        /// The bytes that it needs.
        takes: u64,
        /// The bytes that it may take.
        most: u64,
    },
    /// The pool has ended: the server is stopping, or a hash panicked.
    #[error("password hashing has stopped")]
    Gone,
}

/// Why the pool could not start.
#[derive(Debug, Error)]
pub enum PoolStartError {
    /// The system refused to start a thread.
    #[error("the system gives no threads for password hashes: {0}")]
    Threads(#[source] io::Error),
    /// No decoy could be made.
    #[error(transparent)]
    Decoy(HashFailure),
}
