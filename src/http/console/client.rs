//! The asking end, for commands.

use std::fmt;
use std::io;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::{PATIENCE, SOCKET};

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
}

impl fmt::Display for ConsoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning => f.write_str("no server is running there"),
            Self::NotAllowed => f.write_str("the data directory is not open to this user"),
            Self::Failed(why) => write!(f, "the console does not answer: {why}"),
        }
    }
}

/// Connects to the console of the server that uses `dir`.
///
/// # Errors
/// [`ConsoleError`].
pub async fn connect(dir: &Path) -> Result<UnixStream, ConsoleError> {
    UnixStream::connect(dir.join(SOCKET)).await.map_err(|error| match error.kind() {
        // The last: the path is too long for a socket, so nobody listens there either.
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidInput => {
            ConsoleError::NotRunning
        }
        io::ErrorKind::PermissionDenied => ConsoleError::NotAllowed,
        _ => ConsoleError::Failed(error.to_string()),
    })
}

/// Asks a console.
///
/// # Errors
/// [`ConsoleError::Failed`].
pub async fn ask(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<ConsoleReply, ConsoleError> {
    let failed = |error: &dyn fmt::Display| ConsoleError::Failed(error.to_string());
    let exchange = async {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        tokio::spawn(connection);
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|error| failed(&error))?;
        request.headers_mut().insert(http::header::HOST, HeaderValue::from_static("console"));
        let reply = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = reply.status();
        let bytes = reply.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Ok(ConsoleReply { status, body })
    };
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|late| Err(failed(&late)))
}
