//! The console: what whoever can reach the data directory may do, over a Unix socket in it.
//!
//! The same service as behind the front, by HTTP, for the commands of the executable. The socket is open to its
//! owner alone (0600), as the keys beside it are; whoever has those needs no password.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tower_service::Service as _;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, path};

use super::answer::{self, ApiError};
use super::connection::Activity;
use super::request::{Document, document};
use super::{Answer, App, fields, named, other, register, unknown_path};
use crate::audit::Origin;
use crate::key::{KeyKind, KeyRecord};
use crate::service::Actor;

/// The socket's name in the data directory.
const SOCKET: &str = "control.sock";

/// How long a command may take, to ask and to hear: hashing and a hundred changes before it fit many times.
const PATIENCE: Duration = Duration::from_secs(60);

/// The listening end.
pub struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    /// Listens in the data directory `dir`, which must be locked: a socket that is there is a dead one.
    ///
    /// # Errors
    /// When the socket cannot be made, for example because its path is longer than 107 bytes.
    pub fn listen(dir: &Path) -> io::Result<Self> {
        let path = dir.join(SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // The directory is its owner's alone, so nobody can come in between.
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Serves until dropped.
    pub async fn serve(self, app: Arc<App>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let app = Arc::clone(&app);
                    tokio::spawn(async move {
                        let _ = tokio::time::timeout(PATIENCE, serve_one(stream, app)).await;
                    });
                }
                Err(error) => {
                    log::warn!("the console cannot accept connections just now: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Serves the console on one connection.
pub async fn serve_one(stream: UnixStream, app: Arc<App>) {
    let service = warp::service(routes(app));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::new(Activity::begin()));
        service.clone().call(request)
    });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        log::debug!("console: {error}");
    }
}

#[rustfmt::skip] // one line a method
fn routes(app: Arc<App>) -> BoxedFilter<(Response,)> {
    let app = warp::any().map(move || Arc::clone(&app));
    let call = || warp::any().map(|| Arc::new(Origin::local("console"))).and(app.clone());

    let users = path!("user")
        .and(warp::post().and(call()).and(document()).then(create_user).or(other("POST")).unify())
        .map(named("/user")).boxed();
    let keys = || path!("keys");
    let keys = keys().and(warp::get()).and(call()).then(list_keys)
        .or(keys().and(warp::post()).and(call()).and(document()).then(rotate_keys)).unify()
        .or(keys().and(warp::delete()).and(call()).then(prune_keys)).unify()
        .or(keys().and(other("DELETE, GET, POST"))).unify()
        .map(named("/keys")).boxed();
    let published = path!("keys" / "public")
        .and(warp::get().and(call()).then(published_keys).or(other("GET")).unify())
        .map(named("/keys/public")).boxed();

    users.or(keys).unify().or(published).unify().recover(unknown_path).unify().boxed()
}

async fn create_user(origin: Arc<Origin>, app: Arc<App>, body: Result<Document, ApiError>) -> Answer {
    register::create_for(&origin, &app, &Actor::Console, body).await
}

async fn list_keys(_: Arc<Origin>, app: Arc<App>) -> Answer {
    Ok(answer::ok(&keys_body(&app.service.list_keys(&Actor::Console)?)))
}

async fn published_keys(_: Arc<Origin>, app: Arc<App>) -> Answer {
    Ok(answer::ok(&json!({ "keys": app.service.published_keys() })))
}

async fn rotate_keys(origin: Arc<Origin>, app: Arc<App>, body: Result<Document, ApiError>) -> Answer {
    let mut body = body?;
    let revoke = fields::flag(&mut body, "revoke").unwrap_or(false);
    body.finish()?;
    let keys = app.service.rotate_keys(&origin, &Actor::Console, revoke).await?;
    Ok(answer::ok(&keys_body(&keys)))
}

async fn prune_keys(origin: Arc<Origin>, app: Arc<App>) -> Answer {
    let removed = app.service.prune_keys(&origin, &Actor::Console).await?;
    Ok(answer::ok(&json!({ "removed": removed })))
}

fn keys_body(keys: &[KeyRecord]) -> Value {
    let describe = |key: &KeyRecord| {
        json!({
            "kid": key.id,
            "use": match key.id.kind() {
                KeyKind::Signing => "access tokens",
                KeyKind::Encrypting => "refresh tokens",
            },
            "state": if key.not_after.is_none() { "active" } else { "retiring" },
            "not_after": key.not_after,
        })
    };
    json!({ "keys": keys.iter().map(describe).collect::<Vec<_>>() })
}

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
    /// Something is there that does not answer.
    Failed(String),
}

impl fmt::Display for ConsoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning => f.write_str("no server is running there"),
            Self::Failed(why) => write!(f, "the running server does not answer: {why}"),
        }
    }
}

/// Connects to the console of the server that uses `dir`.
///
/// # Errors
/// [`ConsoleError`].
pub async fn connect(dir: &Path) -> Result<UnixStream, ConsoleError> {
    UnixStream::connect(dir.join(SOCKET)).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ConsoleError::NotRunning,
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
            client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
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
