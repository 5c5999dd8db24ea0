//! The asking end, for commands.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use super::frame::{self, FrameError};
use super::messages::{ANSWER_MAX, Backup, Call, Refused, Request};
use super::{PATIENCE, SOCKET, address};

/// The fewest bytes that a download must bring in a second, on average: a thousandth of what a slow disk reads.
const RATE_MIN: u32 = 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No server uses the data directory.
    #[error("no server is running there")]
    NotRunning,
    /// This user may not connect.
    #[error("the data directory is not open to this user")]
    NotAllowed,
    /// Something is there that does not answer.
    #[error("the admin socket does not answer: {0}")]
    Failed(String),
    /// No answer came within this time.
    #[error("the admin socket did not answer within {}", humantime::format_duration(*.0))]
    TooLate(Duration),
    /// A download ended in the middle.
    #[error("the server broke off in the middle; its log says why")]
    BrokenOff,
    /// An answer is larger than any that a server gives.
    #[error("what answers on {SOCKET} sends more than a server would: look at what runs there (`ss -lxp`)")]
    TooLarge,
    /// No server of this version gives such an answer.
    #[error(
        "what answers on {SOCKET} says what this command does not understand: if the server that runs there is of \
         another version, restart it; if there is none, look at what answers (`ss -lxp`)"
    )]
    NotUnderstood,
}

impl From<FrameError> for AdminError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLarge => Self::TooLarge,
            FrameError::Http => Self::NotUnderstood,
            FrameError::Io(error) => error.into(),
        }
    }
}

impl From<io::Error> for AdminError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Self::Failed("it has closed the connection".to_owned())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Connects to the server that uses the data directory `dir`.
///
/// # Errors
/// [`AdminError`].
pub async fn connect(dir: &Path) -> Result<UnixStream, AdminError> {
    let connected = async {
        // The directory's owner could lead the commands of root to a socket elsewhere.
        if dir.join(SOCKET).symlink_metadata()?.is_symlink() {
            return Err(io::Error::other("control.sock is a link"));
        }
        let (address, _held) = address(dir)?;
        UnixStream::connect(address).await
    };
    connected.await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
            AdminError::NotRunning
        }
        io::ErrorKind::PermissionDenied => AdminError::NotAllowed,
        _ => AdminError::Failed(error.to_string()),
    })
}

/// Asks on a connection, and waits for the answer up to `deadline`.
///
/// # Errors
/// [`AdminError`].
pub(crate) async fn ask<C: Call>(
    mut stream: UnixStream,
    call: C,
    deadline: Duration,
) -> Result<Result<C::Answer, Refused>, AdminError> {
    within(deadline, send(&mut stream, call)).await
}

/// Asks for a backup.
///
/// # Errors
/// [`AdminError`].
pub(crate) async fn download(mut stream: UnixStream) -> Result<Result<Download, Refused>, AdminError> {
    let answer = within(PATIENCE, send(&mut stream, Backup {})).await?;
    Ok(answer.map(|()| Download { stream, patience: Patience::new() }))
}

/// A backup that is still coming in.
pub(crate) struct Download {
    stream: UnixStream,
    patience: Patience,
}

/// How long a download is waited for: a minute, and a second longer for each KiB that comes. A server may be slow for a
/// while, and cannot drip for ever.
struct Patience {
    left: Duration,
}

impl Patience {
    fn new() -> Self {
        Self { left: PATIENCE }
    }

    fn spend(&mut self, waited: Duration, received: usize) {
        let received = Duration::from_secs(u64::try_from(received).unwrap_or(u64::MAX)) / RATE_MIN;
        self.left = self.left.saturating_sub(waited).saturating_add(received).min(PATIENCE);
    }
}

impl Download {
    /// The next part; `None` after the last.
    ///
    /// # Errors
    /// [`AdminError`].
    pub(crate) async fn next(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, AdminError> {
        let began = Instant::now();
        let part = tokio::time::timeout(self.patience.left, frame::read(&mut self.stream, ANSWER_MAX)).await;
        let part = part.map_err(|_| AdminError::TooLate(PATIENCE))?.map_err(|error| match error {
            FrameError::Io(_) => AdminError::BrokenOff,
            error => error.into(),
        })?;
        self.patience.spend(began.elapsed(), part.len());
        Ok(Some(part).filter(|part| !part.is_empty()))
    }
}

async fn send<C: Call>(stream: &mut UnixStream, call: C) -> Result<Result<C::Answer, Refused>, AdminError> {
    let request: Request = call.into();
    // A server that refuses the request early has answered before it closed.
    let written = frame::write_json(stream, &request).await;
    match frame::read(stream, ANSWER_MAX).await {
        Ok(answer) => understand(&answer),
        Err(FrameError::Io(error)) => Err(written.err().unwrap_or(error).into()),
        Err(error) => Err(error.into()),
    }
}

fn understand<T: DeserializeOwned>(answer: &[u8]) -> Result<Result<T, Refused>, AdminError> {
    match serde_json::from_slice(answer) {
        Ok(Err(Refused::NotUnderstood)) | Err(_) => Err(AdminError::NotUnderstood),
        Ok(answer) => Ok(answer),
    }
}

async fn within<T>(
    deadline: Duration,
    exchange: impl Future<Output = Result<T, AdminError>>,
) -> Result<T, AdminError> {
    tokio::time::timeout(deadline, exchange).await.unwrap_or(Err(AdminError::TooLate(deadline)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_with_a_download_ends_where_it_drips_and_lasts_where_it_flows() {
        let second = Duration::from_secs(1);
        let mut patience = Patience::new();
        for _ in 0..PATIENCE.as_secs() {
            assert!(!patience.left.is_zero());
            patience.spend(second, 1);
        }
        assert!(patience.left < second, "{:?}", patience.left);

        let mut patience = Patience::new();
        for _ in 0..1000 {
            patience.spend(30 * second, 64 * 1024);
            assert_eq!(patience.left, PATIENCE);
        }
        patience.spend(Duration::MAX, usize::MAX);
        assert!(patience.left <= PATIENCE);
    }
}
