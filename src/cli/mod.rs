//! The commands of the executable besides `serve`.
//!
//! Those that look at a data directory or change it work whether a server uses it or not: a running server is asked
//! through the socket in the directory, otherwise the store is opened here and served to nobody else. Either way
//! it is the same service. (`restore` alone wants a directory that nobody uses.)

pub mod args;
pub mod backup;
pub mod completions;
mod console;
mod environment;
pub mod export;
pub mod healthcheck;
pub mod import;
pub mod key;
pub mod output;
mod progress;
mod prompt;
pub mod restore;
pub mod settings;
mod stray;
pub mod token;
pub mod user;
pub mod user_files;
pub mod verify;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;

use crate::app::StartError;
use crate::exit::Exit;
use crate::http::admin::ConsoleError;
pub(crate) use console::{Access, call, with_console};
pub(crate) use output::{print, say};

/// A command that did not do what it was told.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// There is no store.
    NoStore(PathBuf),
    /// The store is in use, and no server answers that could be asked instead; the process that has it.
    InUse(PathBuf, String),
    /// The store does not open.
    Start(StartError),
    /// A running server does not answer.
    Console(ConsoleError),
    /// What was asked for is refused.
    Refused(StatusCode, String),
    /// Standard input holds nothing that could be used.
    Input(String),
    /// Somebody was asked whether they mean it, and does not.
    NotConfirmed,
    /// Standard output takes no more.
    Output(io::Error),
    /// A file cannot be read or written.
    File(PathBuf, io::Error),
    /// A backup is not good; what is wrong with it.
    Damaged(String),
    /// It was not done in this time.
    TooLate(Duration),
    /// The store failed.
    StoreFailed,
    /// The system is at fault.
    System(io::Error),
}

impl CommandError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoStore(_)
            | Self::InUse(..)
            | Self::Console(ConsoleError::NotAllowed | ConsoleError::Failed(_))
            | Self::File(..) => Exit::Unavailable,
            Self::Damaged(_) => Exit::Damaged,
            Self::StoreFailed | Self::TooLate(_) | Self::Refused(StatusCode::SERVICE_UNAVAILABLE, _) => {
                Exit::StoreFailed
            }
            Self::Start(error) => error.exit(),
            // Whoever has read enough, as `head` does, is no error.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Stopped,
            Self::Console(_) | Self::System(_) | Self::Output(_) | Self::NotConfirmed => Exit::Other,
            Self::Refused(StatusCode::UNPROCESSABLE_ENTITY, _) | Self::Input(_) => Exit::Usage,
            Self::Refused(..) => Exit::Other,
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStore(dir) => {
                write!(f, "there is no store in {}: start the server once, or give --data-dir", dir.display())
            }
            Self::InUse(dir, pid) => write!(
                f,
                "{} is in use by process {pid}, which takes no commands: if it is another command, or a server that starts \
                 or stops, try again when it has finished; if it is a server that runs, its log says why control.sock \
                 could not be made: mend that and restart it",
                dir.display()
            ),
            Self::File(path, error) => write!(f, "{}: {error}", output::path_cell(path)),
            Self::TooLate(deadline) => write!(
                f,
                "not done within {}: the machine is busy, the disk is slow, or the store is damaged: try again with a \
                 longer --deadline",
                humantime::format_duration(*deadline)
            ),
            Self::StoreFailed => f.write_str("the store failed: try again"),
            Self::Start(error) => error.fmt(f),
            Self::Console(error) => error.fmt(f),
            Self::Refused(_, why) | Self::Input(why) | Self::Damaged(why) => f.write_str(why),
            Self::NotConfirmed => f.write_str("nothing was changed"),
            Self::Output(error) => write!(f, "standard output: {error}"),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Settings that are wrong.
impl From<clap::Error> for CommandError {
    fn from(error: clap::Error) -> Self {
        Self::Input(error.to_string())
    }
}

/// JSON that cannot be written.
impl From<serde_json::Error> for CommandError {
    fn from(error: serde_json::Error) -> Self {
        Self::System(error.into())
    }
}

/// Runs a command to its exit code; what went wrong goes to standard error.
pub(crate) fn finish(result: Result<(), CommandError>) -> Exit {
    match result {
        Ok(()) => Exit::Stopped,
        Err(error) => {
            let exit = error.exit();
            if exit != Exit::Stopped {
                say(format_args!("gatelet: {error}"));
            }
            exit
        }
    }
}
