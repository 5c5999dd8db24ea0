//! The commands of the executable besides `serve`.
//!
//! Those that read or change a data directory work whether a server uses it or not: they ask a running server through the
//! admin socket in the directory, or open the store and serve it to themselves. Either way the same service answers.
//! (`restore` alone wants a directory that no server uses.)

mod admin_socket;
pub mod args;
pub mod backup;
pub mod completions;
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

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::app::StartError;
use crate::exit::Exit;
use crate::http::admin::AdminError;
use crate::http::admin::messages::Refused;
pub(crate) use admin_socket::{Access, with_socket};
pub(crate) use output::{print, say};

/// The most that is shown of a refusal, in characters.
const SHOWN_MAX: usize = 2000;

/// A command that did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// There is no store.
    #[error("there is no store in {}: start the server once, or give --data-dir", .0.display())]
    NoStore(PathBuf),
    /// A process has the store, and is no server that could be asked instead.
    #[error(
        "{dir} is in use by process {pid}, which takes no commands: if it is another command, or a server that starts or \
         stops, try again when it has finished; if it is a server that runs, its log says why control.sock could not be \
         made: mend that and restart it",
        dir = .0.display(),
        pid = .1
    )]
    InUse(PathBuf, String),
    /// The store does not open.
    #[error("{0}")]
    Start(StartError),
    /// A running server does not answer.
    #[error("{0}")]
    Admin(#[from] AdminError),
    /// The server refuses.
    #[error("{}", .0.to_string().chars().take(SHOWN_MAX).collect::<String>())]
    Refused(#[from] Refused),
    /// Nothing has the name that was given; in words.
    #[error("{0}")]
    NotFound(String),
    /// Arguments or standard input cannot be used, and why.
    #[error("{0}")]
    Input(String),
    /// The operator was asked, and does not mean it.
    #[error("nothing was changed")]
    NotConfirmed,
    /// Standard output takes no more.
    #[error("standard output: {0}")]
    Output(io::Error),
    /// A file cannot be read or written.
    #[error("{}: {}", output::path_cell(.0), .1)]
    File(PathBuf, io::Error),
    /// A backup is not good, and why.
    #[error("{0}")]
    Damaged(String),
    /// It was not done in this time.
    #[error(
        "not done within {}: the machine is busy, the disk is slow, or the store is damaged: try again with a longer \
         --deadline",
        humantime::format_duration(*.0)
    )]
    TooLate(Duration),
    /// The store failed.
    #[error("the store failed: try again")]
    StoreFailed,
    /// The system is at fault.
    #[error("{0}")]
    System(#[from] io::Error),
}

impl CommandError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoStore(_) | Self::InUse(..) | Self::File(..) => Exit::Unavailable,
            Self::Damaged(_) => Exit::Damaged,
            Self::StoreFailed | Self::TooLate(_) => Exit::StoreFailed,
            Self::Input(_) => Exit::Usage,
            Self::NotFound(_) | Self::NotConfirmed | Self::System(_) => Exit::Other,
            Self::Start(error) => error.exit(),
            // A reader that has read enough, like `head`, is no error.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Stopped,
            Self::Output(_) => Exit::Other,
            Self::Admin(error) => match error {
                AdminError::NotAllowed | AdminError::Failed(_) => Exit::Unavailable,
                AdminError::NotRunning
                | AdminError::TooLate(_)
                | AdminError::BrokenOff
                | AdminError::TooLarge
                | AdminError::NotUnderstood => Exit::Other,
            },
            Self::Refused(refused) => match refused {
                Refused::Input(_) => Exit::Usage,
                Refused::Unavailable(_) => Exit::StoreFailed,
                Refused::NotFound
                | Refused::NameTaken
                | Refused::NameKept
                | Refused::LastAdmin
                | Refused::Forbidden
                | Refused::Failed
                | Refused::NotUnderstood => Exit::Other,
            },
        }
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
