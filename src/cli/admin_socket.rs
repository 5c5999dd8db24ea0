//! The admin socket of a data directory, as commands see it: the running server's, or one of their own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use super::{CommandError, say};
use crate::app::{Server, StartError};
use crate::config::{Settings, absolute};
use crate::domain::clock::Clock;
use crate::exit::Exit;
use crate::http::admin::messages::Call;
use crate::http::admin::{self, AdminError, PATIENCE, connect};
use crate::logging::Logging;
use crate::store::{OpenError, Store, demand_ours};

/// What a command does with the store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reads it: where no server runs, a copy, so that nothing in it changes.
    Look,
    /// Changes it.
    Change,
    /// Changes it, or makes one where there is none.
    Make,
}

/// How long to wait for another command, or for a server that starts or stops. A server that stops gives its last
/// requests eight seconds, and its store one and a half.
const IN_BETWEEN: Duration = Duration::from_secs(10);

/// An admin socket that can be asked.
pub(crate) struct AdminSocket<'a> {
    settings: &'a Settings,
    access: Access,
    runtime: Runtime,
    /// Where no server runs: one that serves only this command.
    own: Option<Arc<Server>>,
}

/// Does `work` with the admin socket of the data directory, and closes the store if it was opened for that.
pub(crate) fn with_socket<T>(
    settings: &Settings,
    access: Access,
    work: impl FnOnce(&mut AdminSocket<'_>) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    // Without a server, only this log keeps the audit lines of changes.
    let logging = Logging::start("warn,gatelet::audit=info", &settings.log, settings.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut socket = AdminSocket { settings, access, runtime, own: None };
    let done = work(&mut socket);
    let closed = socket.close();
    logging.finish();
    done.and_then(|done| closed.map(|()| done))
}

impl AdminSocket<'_> {
    /// Asks, and waits for the answer.
    pub(crate) fn ask<C: Call>(&mut self, call: C) -> Result<C::Answer, CommandError> {
        self.exchange(call, PATIENCE)
    }

    /// Asks something that may take until `deadline`.
    pub(crate) fn ask_within<C: Call>(
        &mut self,
        deadline: Duration,
        call: C,
    ) -> Result<C::Answer, CommandError> {
        self.exchange(call, deadline).map_err(|error| match error {
            CommandError::Admin(AdminError::TooLate(deadline)) => CommandError::TooLate(deadline),
            error => error,
        })
    }

    /// Asks for a backup, and shows each part of it to `take`.
    pub(crate) fn download(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let stream = self.connect()?;
        let mut backup = self.runtime.block_on(admin::download(stream))??;
        while let Some(part) = self.runtime.block_on(backup.next())? {
            take(&part)?;
        }
        Ok(())
    }

    /// Whether it is a running server's, so that asking it keeps no other command from the store.
    pub(crate) fn is_served(&self) -> bool {
        self.runtime.block_on(connect(self.settings.data_dir())).is_ok()
    }

    fn exchange<C: Call>(&mut self, call: C, deadline: Duration) -> Result<C::Answer, CommandError> {
        let stream = self.connect()?;
        Ok(self.runtime.block_on(admin::ask(stream, call, deadline))??)
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
                self.runtime.spawn(async move { server.serve_admin_socket(theirs).await });
                return Ok(ours);
            }
            match self.runtime.block_on(connect(dir)) {
                Ok(stream) => return Ok(stream),
                // Opening waits for a server that stops, and gives way to one that has come up.
                Err(AdminError::NotRunning) => match self.open() {
                    Err(CommandError::Start(StartError::Store(OpenError::InUse(dir, pid)))) => {
                        if began.elapsed() >= IN_BETWEEN {
                            return Err(CommandError::InUse(dir, pid));
                        }
                    }
                    opened => opened?,
                },
                Err(error @ AdminError::NotAllowed) => {
                    demand_ours(dir).map_err(|error| CommandError::Start(StartError::Store(error)))?;
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Opens the store for this command alone.
    fn open(&mut self) -> Result<(), CommandError> {
        let dir = self.settings.data_dir();
        let is_new = !Store::is_in(dir);
        // Opening names a file in the directory's place.
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
        self.own = Some(Arc::new(opened.map_err(CommandError::Start)?));
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
