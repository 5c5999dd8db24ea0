//! Exit codes, for supervisors and scripts; the numbers are those of `sysexits.h` where it has one.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Stopped on request.
    Stopped,
    /// Anything without a code of its own.
    Other,
    /// Wrong usage or settings.
    Usage,
    /// Damaged data or key; the message says what to do. (`EX_DATAERR`)
    Damaged,
    /// The data directory is in use or cannot be made, or the port is taken. (`EX_CANTCREAT`)
    Unavailable,
    /// The store failed while running: start again. (`EX_TEMPFAIL`)
    StoreFailed,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Stopped => 0,
            Self::Other => 1,
            Self::Usage => 2,
            Self::Damaged => 65,
            Self::Unavailable => 73,
            Self::StoreFailed => 75,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
