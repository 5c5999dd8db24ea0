//! The asking end, for commands.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::{PATIENCE, SOCKET, address};

/// The most bytes of an answer that is kept as a whole: a page of users with names and hashes at their longest has one
/// and a half million.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// What a download must bring in a second, on average: a store that reads from a disk at its end brings a thousand times
/// that.
const RATE_MIN: u32 = 1024;

/// What the console answered.
#[derive(Debug)]
pub struct ConsoleReply {
    /// As behind the front.
    pub status: StatusCode,
    /// JSON, or nothing.
    pub body: Value,
}

/// The console could not be asked.
#[derive(Debug)]
pub enum ConsoleError {
    /// Nobody listens: no server uses the data directory.
    NotRunning,
    /// This user may not connect.
    NotAllowed,
    /// Something is there that does not answer.
    Failed(String),
    /// No answer came within this time.
    TooLate(Duration),
    /// An answer ended in the middle.
    BrokenOff,
    /// An answer is larger than any that a server gives.
    TooLarge,
    /// An answer is none that a server of this version gives.
    NotUnderstood,
}

impl fmt::Display for ConsoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning => f.write_str("no server is running there"),
            Self::NotAllowed => f.write_str("the data directory is not open to this user"),
            Self::Failed(why) => write!(f, "the console does not answer: {why}"),
            Self::BrokenOff => f.write_str("the server broke off in the middle; its log says why"),
            Self::TooLarge => write!(
                f,
                "what answers on {SOCKET} sends more than a server would: look at what runs there (`ss -lxp`)"
            ),
            Self::NotUnderstood => write!(
                f,
                "what answers on {SOCKET} says what this command does not understand: if the server that runs there is of \
                 another version, restart it; if there is none, look at what answers (`ss -lxp`)"
            ),
            Self::TooLate(deadline) => {
                write!(f, "the console did not answer within {}", humantime::format_duration(*deadline))
            }
        }
    }
}

/// Connects to the console of the server that uses `dir`.
///
/// # Errors
/// [`ConsoleError`].
pub async fn connect(dir: &Path) -> Result<UnixStream, ConsoleError> {
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
            ConsoleError::NotRunning
        }
        io::ErrorKind::PermissionDenied => ConsoleError::NotAllowed,
        _ => ConsoleError::Failed(error.to_string()),
    })
}

/// Asks a console.
///
/// # Errors
/// [`ConsoleError`].
pub async fn ask(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<ConsoleReply, ConsoleError> {
    ask_within(PATIENCE, stream, method, path, body).await
}

/// Asks a console something that may take until `deadline`.
///
/// # Errors
/// [`ConsoleError`].
pub async fn ask_within(
    deadline: Duration,
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<ConsoleReply, ConsoleError> {
    within(deadline, async { whole(send(stream, method, path, body).await?).await }).await
}

/// Asks a console for something that is too large for memory; or answers what it says instead.
///
/// # Errors
/// [`ConsoleError`].
pub async fn download(
    stream: UnixStream,
    path: &str,
) -> Result<Result<Download, ConsoleReply>, ConsoleError> {
    within(PATIENCE, async {
        let reply = send(stream, Method::GET, path, None).await?;
        if reply.status().is_success() {
            Ok(Ok(Download { reply, patience: Patience::new() }))
        } else {
            whole(reply).await.map(Err)
        }
    })
    .await
}

/// An answer that is still coming in.
pub struct Download {
    reply: Response<Incoming>,
    patience: Patience,
}

/// How long a download is waited for: a minute, which every KiB of it makes a second longer again. A server may be slow
/// now and then; it cannot drip for ever.
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
    /// The next part. `None`: that was all; an answer that was broken off is an error.
    ///
    /// # Errors
    /// [`ConsoleError`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, ConsoleError> {
        loop {
            let began = Instant::now();
            let frame = tokio::time::timeout(self.patience.left, self.reply.frame()).await;
            let Some(frame) = frame.map_err(|_| ConsoleError::TooLate(PATIENCE))? else {
                return Ok(None);
            };
            let bytes = frame.map_err(|_| ConsoleError::BrokenOff)?.into_data().ok();
            self.patience.spend(began.elapsed(), bytes.as_ref().map_or(0, Bytes::len));
            if bytes.is_some() {
                return Ok(bytes);
            }
        }
    }
}

async fn whole(reply: Response<Incoming>) -> Result<ConsoleReply, ConsoleError> {
    let status = reply.status();
    let bytes = Limited::new(reply.into_body(), ANSWER_MAX).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { ConsoleError::TooLarge } else { failed(&error) }
    })?;
    let bytes = bytes.to_bytes();
    if bytes.is_empty() {
        return Ok(ConsoleReply { status, body: Value::Null });
    }
    let body = serde_json::from_slice(&bytes).map_err(|_| ConsoleError::NotUnderstood)?;
    Ok(ConsoleReply { status, body })
}

async fn send(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Response<Incoming>, ConsoleError> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    tokio::spawn(connection);
    let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|error| failed(&error))?;
    request.headers_mut().insert(http::header::HOST, HeaderValue::from_static("console"));
    sender.send_request(request).await.map_err(|error| failed(&error))
}

async fn within<T>(
    deadline: Duration,
    exchange: impl Future<Output = Result<T, ConsoleError>>,
) -> Result<T, ConsoleError> {
    tokio::time::timeout(deadline, exchange).await.unwrap_or(Err(ConsoleError::TooLate(deadline)))
}

fn failed(error: &dyn fmt::Display) -> ConsoleError {
    ConsoleError::Failed(error.to_string())
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
