//! The admin socket: what the owner of the data directory may do, over a Unix socket in it.
//!
//! Commands send one message on a connection and are answered by the service that serves the API. The socket is open to
//! its owner alone (0600), like the keys beside it: their owner needs no password.

mod answers;
mod backup;
mod client;
mod frame;
mod keys;
pub(crate) mod messages;
mod moves;
mod users;

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::ReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::App;
use crate::audit::Origin;
use answers::Context;
use frame::FrameError;
use messages::{IMPORT_MAX, Refused, Request};

pub use client::{AdminError, connect};
pub(crate) use client::{ask, download};

/// The socket's name in the data directory.
const SOCKET: &str = "control.sock";

/// How long a command waits for an answer: hashing and a hundred changes before it fit many times.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long a request may take to arrive: commands send it at once.
const REQUEST: Duration = Duration::from_secs(7);

/// How long commands under way may take once the server is to stop: changing keys takes some milliseconds, adding a
/// user a hash. A backup that takes longer is broken off.
const LAST_COMMANDS: Duration = Duration::from_secs(2);

/// How long a stopping server looks for commands that have connected already.
const LAST_COMERS: Duration = Duration::from_millis(10);

/// The listening end.
pub struct AdminListener {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminListener {
    /// Listens in the data directory `dir`, which must be locked: a socket that is there is a dead one.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(dir: &Path) -> io::Result<Self> {
        let path = dir.join(SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Only its owner can enter the directory, so the socket is never open to others.
        let (address, _held) = address(dir)?;
        let listener = UnixListener::bind(address)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Serves until `stop` is done, and finishes the commands under way.
    pub async fn serve(self, app: Arc<App>, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut commands = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let app = Arc::clone(&app);
                        commands.spawn(serve_one(stream, app));
                    }
                    Err(error) => {
                        log::warn!("the admin socket cannot accept connections just now: {error}");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                },
                Some(_) = commands.join_next() => {}
            }
        }
        let _ = fs::remove_file(&self.path); // later commands wait for the lock instead
        // Commands that have connected are served, and need not guess whether a change was made.
        while let Ok(Ok((stream, _))) = tokio::time::timeout(LAST_COMERS, self.listener.accept()).await {
            commands.spawn(serve_one(stream, Arc::clone(&app)));
        }
        // A change under way gets its line in the audit log. An idle connection gets no more time.
        let _ = tokio::time::timeout(LAST_COMMANDS, async { while commands.join_next().await.is_some() {} })
            .await;
    }
}

impl Drop for AdminListener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The address of the socket in `dir`, valid while the file beside it is held. A socket's path may have 107 bytes
/// (`sun_path`); a longer one is reached by a handle of its directory.
fn address(dir: &Path) -> io::Result<(PathBuf, Option<File>)> {
    const PATH_MAX: usize = 107;
    let path = dir.join(SOCKET);
    if path.as_os_str().len() <= PATH_MAX {
        return Ok((path, None));
    }
    let dir = File::open(dir)?;
    Ok((Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(SOCKET), Some(dir)))
}

/// Answers the request that comes on `stream`, unless its client leaves first.
pub async fn serve_one(mut stream: UnixStream, app: Arc<App>) {
    let context = Context { origin: Arc::new(Origin::local("console")), app };
    let (mut reader, mut writer) = stream.split();
    let done = match tokio::time::timeout(REQUEST, request(&mut reader)).await {
        Ok(Ok(Some(request))) => tokio::select! {
            done = answers::answer(request, &context, &mut writer) => done,
            _ = reader.read_u8() => Ok(()), // changes go on without their client
        },
        Ok(Ok(None) | Err(FrameError::Http)) => answers::refuse(&mut writer, Refused::NotUnderstood).await,
        Ok(Err(error @ FrameError::TooLarge)) => answers::refuse(&mut writer, Refused::input(error)).await,
        Ok(Err(FrameError::Io(error))) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()), // it only looked
        Ok(Err(FrameError::Io(error))) => Err(error),
        Err(_) => Ok(()),
    };
    if let Err(error) = done {
        log::debug!("admin socket: {error}");
    }
}

/// `None`: a request that this server does not know.
async fn request(reader: &mut ReadHalf<'_>) -> Result<Option<Request>, FrameError> {
    let bytes = frame::read(reader, IMPORT_MAX).await?;
    match serde_json::from_slice::<Request>(&bytes) {
        Ok(request) if bytes.len() > request.max() => Err(FrameError::TooLarge),
        request => Ok(request.ok()),
    }
}
