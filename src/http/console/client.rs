//! The asking end, for commands.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::{PATIENCE, address};

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
}

impl fmt::Display for ConsoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning => f.write_str("no server is running there"),
            Self::NotAllowed => f.write_str("the data directory is not open to this user"),
            Self::Failed(why) => write!(f, "the console does not answer: {why}"),
            Self::BrokenOff => f.write_str("the server broke off in the middle; its log says why"),
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
        if reply.status().is_success() { Ok(Ok(Download(reply))) } else { whole(reply).await.map(Err) }
    })
    .await
}

/// An answer that is still coming in.
pub struct Download(Response<Incoming>);

impl Download {
    /// The next part. `None`: that was all; an answer that was broken off is an error.
    ///
    /// # Errors
    /// [`ConsoleError`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, ConsoleError> {
        loop {
            match within(PATIENCE, async { Ok(self.0.frame().await) }).await? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(bytes) = frame.map_err(|_| ConsoleError::BrokenOff)?.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

async fn whole(reply: Response<Incoming>) -> Result<ConsoleReply, ConsoleError> {
    let status = reply.status();
    let bytes = reply.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
    Ok(ConsoleReply { status, body: serde_json::from_slice(&bytes).unwrap_or_default() })
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
