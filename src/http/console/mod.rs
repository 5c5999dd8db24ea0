//! The console: what whoever can reach the data directory may do, over a Unix socket in it.
//!
//! The same service as behind the front, by HTTP, for the commands of the executable. The socket is open to its
//! owner alone (0600), as the keys beside it are; whoever has those needs no password.

mod client;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
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

pub use client::{ConsoleError, ConsoleReply, ask, connect};

/// The socket's name in the data directory.
const SOCKET: &str = "control.sock";

/// How long a command may take, to ask and to hear: hashing and a hundred changes before it fit many times.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long commands under way may take once the server is to stop: changing keys takes some milliseconds, adding a
/// user a hash.
const LAST_COMMANDS: Duration = Duration::from_secs(2);

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
                        commands.spawn(tokio::time::timeout(PATIENCE, serve_one(stream, app)));
                    }
                    Err(error) => {
                        log::warn!("the console cannot accept connections just now: {error}");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                },
                Some(_) = commands.join_next() => {}
            }
        }
        let _ = fs::remove_file(&self.path); // who comes now waits for the lock instead
        // A change that is under way gets its line in the audit log. Whoever just holds a connection open has no
        // such claim.
        let _ = tokio::time::timeout(LAST_COMMANDS, async { while commands.join_next().await.is_some() {} })
            .await;
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
    let revoke = body.finish(Some(revoke))?;
    let admin = app.service.fresh_admin(&origin, &Actor::Console)?;
    let keys = app.service.rotate_keys(&origin, admin, revoke).await?;
    Ok(answer::ok(&keys_body(&keys)))
}

async fn prune_keys(origin: Arc<Origin>, app: Arc<App>) -> Answer {
    let admin = app.service.fresh_admin(&origin, &Actor::Console)?;
    let removed = app.service.prune_keys(&origin, admin).await?;
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
            "state": key.state(),
            "not_after": key.not_after,
        })
    };
    json!({ "keys": keys.iter().map(describe).collect::<Vec<_>>() })
}
