//! The console of a data directory, as commands see it: the running server's, or one of their own.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use super::{CommandError, say};
use crate::app::{Server, StartError};
use crate::config::{Settings, absolute};
use crate::domain::clock::Clock;
use crate::exit::Exit;
use crate::http::admin::{ConsoleError, ConsoleReply, ask, ask_within, connect, download};
use crate::logging::Logging;
use crate::store::{OpenError, Store, demand_ours};
use crate::visible::Visible;

/// What is wanted of a store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// To look at it: where no server runs, in a copy, so that nothing of it changes.
    Look,
    /// To change it.
    Change,
    /// To change it, or make one where there is none.
    Make,
}

/// How long to wait for a server that is just starting or stopping, or for another command. A server that stops gives
/// its last requests eight seconds, and its store one and a half.
const IN_BETWEEN: Duration = Duration::from_secs(10);

/// A console that can be asked.
pub(crate) struct Console<'a> {
    settings: &'a Settings,
    access: Access,
    runtime: Runtime,
    /// Where no server runs: one that serves nobody but us. Never dropped: sled's destructors would write again, and
    /// panic where the disk does not let them.
    own: Option<ManuallyDrop<Arc<Server>>>,
}

/// Does `work` with the console of the data directory, and closes what was opened for it.
pub(crate) fn with_console<T>(
    settings: &Settings,
    access: Access,
    work: impl FnOnce(&mut Console<'_>) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    // Nobody else would keep the audit log's lines of changes that are made here.
    let logging = Logging::start("warn,gatelet::audit=info", &settings.log, settings.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut console = Console { settings, access, runtime, own: None };
    let done = work(&mut console);
    let closed = console.close();
    logging.finish();
    done.and_then(|done| closed.map(|()| done))
}

/// Asks the console of the data directory one thing.
pub(crate) fn call<T: DeserializeOwned>(
    settings: &Settings,
    access: Access,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<T, CommandError> {
    with_console(settings, access, |console| console.ask(method, path, body))
}

impl Console<'_> {
    /// Asks, and answers what a success says. Whoever owns the data directory may have put something else on the socket:
    /// what comes from there is of the type that is expected, and its texts are [`Visible`], or it is refused.
    pub(crate) fn ask<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, CommandError> {
        let stream = self.connect()?;
        let reply = self.runtime.block_on(ask(stream, method, path, body));
        Self::success(reply.map_err(CommandError::Console)?)
    }

    /// Asks something that may take until `deadline`.
    pub(crate) fn ask_within<T: DeserializeOwned>(
        &mut self,
        deadline: Duration,
        path: &str,
    ) -> Result<T, CommandError> {
        let stream = self.connect()?;
        let reply = self.runtime.block_on(ask_within(deadline, stream, Method::GET, path, None));
        Self::success(reply.map_err(|error| match error {
            ConsoleError::TooLate(deadline) => CommandError::TooLate(deadline),
            error => CommandError::Console(error),
        })?)
    }

    /// Whether it is a running server's, so that asking it keeps nobody else from the store.
    pub(crate) fn is_served(&self) -> bool {
        self.runtime.block_on(connect(self.settings.data_dir())).is_ok()
    }

    fn success<T: DeserializeOwned>(reply: ConsoleReply) -> Result<T, CommandError> {
        if !reply.status.is_success() {
            return Err(refused(reply.status, reply.body));
        }
        serde_json::from_value(reply.body).map_err(|_| not_understood())
    }

    /// Asks for something large, and shows each part of a success to `take`.
    pub(crate) fn download(
        &mut self,
        path: &str,
        mut take: impl FnMut(&[u8]) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let stream = self.connect()?;
        let mut reply = match self.runtime.block_on(download(stream, path)).map_err(CommandError::Console)? {
            Ok(reply) => reply,
            Err(reply) => return Err(refused(reply.status, reply.body)),
        };
        while let Some(part) = self.runtime.block_on(reply.next()).map_err(CommandError::Console)? {
            take(&part)?;
        }
        Ok(())
    }

    /// A connection to the running server, or to one of our own.
    fn connect(&mut self) -> Result<UnixStream, CommandError> {
        let began = Instant::now();
        let dir = self.settings.data_dir();
        loop {
            if let Some(server) = &self.own {
                let server = Arc::clone(server);
                let _within = self.runtime.enter();
                let (ours, theirs) = UnixStream::pair()?;
                self.runtime.spawn(async move { server.serve_console(theirs).await });
                return Ok(ours);
            }
            match self.runtime.block_on(connect(dir)) {
                Ok(stream) => return Ok(stream),
                Err(error @ ConsoleError::NotAllowed) => {
                    demand_ours(dir).map_err(|error| CommandError::Start(StartError::Store(error)))?;
                    return Err(CommandError::Console(error));
                }
                Err(
                    error @ (ConsoleError::Failed(_)
                    | ConsoleError::TooLate(_)
                    | ConsoleError::BrokenOff
                    | ConsoleError::TooLarge
                    | ConsoleError::NotUnderstood),
                ) => return Err(CommandError::Console(error)),
                // Opening waits for whoever is about to stop, and gives way to a server that has come up.
                Err(ConsoleError::NotRunning) => match self.open() {
                    Err(CommandError::Start(StartError::Store(OpenError::InUse(dir, pid)))) => {
                        if began.elapsed() >= IN_BETWEEN {
                            return Err(CommandError::InUse(dir, pid));
                        }
                    }
                    opened => opened?,
                },
            }
        }
    }

    /// Opens the store for ourselves alone.
    fn open(&mut self) -> Result<(), CommandError> {
        let dir = self.settings.data_dir();
        let is_new = !Store::is_in(dir);
        // What is no directory at all, opening calls by its name.
        let is_file = std::fs::metadata(dir).is_ok_and(|there| there.is_file());
        if self.access != Access::Make && is_new && !is_file {
            return Err(CommandError::NoStore(absolute(dir)));
        }
        let clock = Arc::new(Clock::system());
        let opened = if self.access == Access::Look {
            self.runtime.block_on(Server::look_within(IN_BETWEEN, self.settings, clock))
        } else {
            self.runtime.block_on(Server::open_within(IN_BETWEEN, self.settings, clock))
        };
        self.own = Some(ManuallyDrop::new(Arc::new(opened.map_err(CommandError::Start)?)));
        if is_new {
            say(format_args!("made a new store in {}", absolute(dir).display()));
        }
        Ok(())
    }

    fn close(self) -> Result<(), CommandError> {
        let exit = self.own.as_ref().map_or(Exit::Stopped, |server| self.runtime.block_on(server.close()));
        self.runtime.shutdown_background(); // a thread that hangs on a broken disk is not waited for
        match exit {
            Exit::Stopped => Ok(()),
            _ => Err(CommandError::StoreFailed),
        }
    }
}

/// An answer that no server of this version gives.
pub(super) fn not_understood() -> CommandError {
    CommandError::Console(ConsoleError::NotUnderstood)
}

/// What an answer that is no success says.
#[derive(Default, Deserialize)]
struct Refused {
    #[serde(default)]
    errors: Errors,
    message: Option<Visible>,
}

#[derive(Default, Deserialize)]
struct Errors {
    #[serde(default)]
    json: Problems,
}

/// In the body as a whole, or by field.
#[derive(Deserialize)]
#[serde(untagged)]
enum Problems {
    Fields(BTreeMap<Visible, Vec<Visible>>),
    Body(Vec<Visible>),
}

impl Default for Problems {
    fn default() -> Self {
        Self::Body(Vec::new())
    }
}

/// The most that is shown of a refusal, in characters.
const SHOWN_MAX: usize = 2000;

/// The texts of an answer that is no success.
fn refused(status: StatusCode, body: Value) -> CommandError {
    let Refused { errors, message } = serde_json::from_value(body).unwrap_or_default();
    let mut texts = Vec::new();
    match errors.json {
        Problems::Body(problems) => texts.extend(problems.iter().map(Visible::to_string)),
        Problems::Fields(fields) => {
            for (field, problems) in fields {
                let field = field.to_string();
                // Whoever types a password knows one only.
                let field = if field == "new_password" { "password" } else { &field };
                texts.extend(problems.iter().map(|problem| format!("{field}: {problem}")));
            }
        }
    }
    texts.extend(message.map(|message| message.to_string()));
    if texts.is_empty() {
        texts.push(format!("refused: {status}"));
    }
    CommandError::Refused(status, texts.join(" ").chars().take(SHOWN_MAX).collect())
}
