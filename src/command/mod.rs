//! The commands of the executable besides `serve`.
//!
//! Those that look at a data directory or change it work whether a server uses it or not: a running server is asked
//! through the socket in the directory, otherwise the store is opened here and served to nobody else. Either way
//! it is the same service.

pub mod key;
pub mod token;
pub mod user;

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::Value;
use tokio::net::UnixStream;

use crate::clock::Clock;
use crate::exit::Exit;
use crate::http::console::{ConsoleError, ConsoleReply, ask, connect};
use crate::logging::Logging;
use crate::server::{Server, StartError};
use crate::settings::Settings;
use crate::store::OpenError;

/// A command that did not do what it was told.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// There is no store.
    NoStore(PathBuf),
    /// The directory is somebody else's; what is made in it here could not be read there.
    NotOurs(PathBuf),
    /// The store does not open.
    Start(StartError),
    /// A running server does not answer.
    Console(ConsoleError),
    /// What was asked for is refused.
    Refused(StatusCode, String),
    /// Standard input holds nothing that could be used.
    Input(String),
    /// The store failed.
    StoreFailed,
    /// The system is at fault.
    System(io::Error),
}

impl CommandError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoStore(_) | Self::NotOurs(_) => Exit::Unavailable,
            Self::StoreFailed | Self::Refused(StatusCode::SERVICE_UNAVAILABLE, _) => Exit::StoreFailed,
            Self::Start(error) => error.exit(),
            Self::Console(_) | Self::System(_) => Exit::Other,
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
            Self::NotOurs(dir) => write!(
                f,
                "{} belongs to another user: run this as that user, or as root while the server is running",
                dir.display()
            ),
            Self::StoreFailed => f.write_str("the store failed: try again"),
            Self::Start(error) => error.fmt(f),
            Self::Console(error) => error.fmt(f),
            Self::Refused(_, why) | Self::Input(why) => f.write_str(why),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Runs a command to its exit code; what went wrong goes to standard error.
pub(crate) fn finish(result: Result<(), CommandError>) -> Exit {
    match result {
        Ok(()) => Exit::Stopped,
        Err(error) => {
            say(format_args!("gatelet: {error}"));
            error.exit()
        }
    }
}

/// Writes to standard output. Whoever has closed it does not want to know.
pub(crate) fn print(text: impl fmt::Display) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Writes to standard error.
pub(crate) fn say(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// What to do where there is no store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhereNone {
    Refuse,
    Make,
}

/// How long to wait for a server that is just starting or stopping, or for another command. A server that stops
/// gives its last requests eight seconds, and its store one and a half.
const IN_BETWEEN: Duration = Duration::from_secs(10);

/// How often to look meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Asks the console of the data directory: the running server's, or one of our own.
pub(crate) fn call(
    settings: &Settings,
    none: WhereNone,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, CommandError> {
    // Nobody else would keep the audit log's line of a change that is made here.
    let logging = Logging::start("warn,gatelet::audit=info")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let began = Instant::now();
    let reply = runtime.block_on(async {
        loop {
            let reply = match connect(settings.data_dir()).await {
                Ok(stream) => ask(stream, method.clone(), path, body).await.map_err(CommandError::Console),
                Err(ConsoleError::NotAllowed) => Err(CommandError::NotOurs(settings.data_dir().to_owned())),
                Err(ConsoleError::NotRunning) => alone(settings, none, method.clone(), path, body).await,
                Err(error) => Err(CommandError::Console(error)),
            };
            match reply {
                Err(CommandError::Start(StartError::Store(OpenError::InUse(..))))
                    if began.elapsed() < IN_BETWEEN =>
                {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                reply => return reply,
            }
        }
    });
    logging.finish();
    runtime.shutdown_background(); // a thread that hangs on a broken disk is not waited for
    let reply = reply?;
    if reply.status.is_success() { Ok(reply.body) } else { Err(refused(reply.status, &reply.body)) }
}

/// Opens the store, asks, and closes it again.
async fn alone(
    settings: &Settings,
    none: WhereNone,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<ConsoleReply, CommandError> {
    let dir = settings.data_dir();
    if none == WhereNone::Refuse && !is_data_dir(dir) {
        return Err(CommandError::NoStore(dir.to_owned()));
    }
    // A volume may be lent to its user by group; what has been made in it tells whose it is.
    let lock = dir.join("lock");
    let whose = fs::metadata(if lock.exists() { &lock } else { dir });
    if whose.is_ok_and(|made| made.uid() != rustix::process::geteuid().as_raw()) {
        return Err(CommandError::NotOurs(dir.to_owned()));
    }
    let (ours, theirs) = UnixStream::pair()?;
    // Never dropped: sled's destructors would write again, and panic where the disk does not let them.
    let server = Server::open(settings, Arc::new(Clock::system())).await.map_err(CommandError::Start)?;
    let server = ManuallyDrop::new(server);
    let ((), reply) = tokio::join!(server.serve_console(theirs), ask(ours, method, path, body));
    match server.close().await {
        Exit::Stopped => reply.map_err(CommandError::Console),
        _ => Err(CommandError::StoreFailed),
    }
}

fn is_data_dir(dir: &Path) -> bool {
    dir.join("store").exists() || dir.join("store-id").exists()
}

/// The texts of an answer that is no success.
fn refused(status: StatusCode, body: &Value) -> CommandError {
    let mut texts = Vec::new();
    if let Some(fields) = body["errors"]["json"].as_object() {
        for (field, problems) in fields {
            for problem in problems.as_array().into_iter().flatten().filter_map(Value::as_str) {
                texts.push(format!("{field}: {problem}"));
            }
        }
    }
    if let Some(message) = body["message"].as_str() {
        texts.push(message.to_owned());
    }
    if texts.is_empty() {
        texts.push(format!("refused: {status}"));
    }
    CommandError::Refused(status, texts.join(" "))
}
