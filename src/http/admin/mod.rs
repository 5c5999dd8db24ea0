//! The console: what whoever can reach the data directory may do, over a Unix socket in it.
//!
//! The same service as behind the front, by HTTP, for the commands of the executable. The socket is open to its
//! owner alone (0600), as the keys beside it are; whoever has those needs no password.

mod backup;
mod client;
mod keys;
mod moves;
mod server;
mod users;
mod verify;

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
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
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tower_service::Service as _;
use warp::filters::BoxedFilter;
use warp::reply::{Reply as _, Response};
use warp::{Filter, path};

use super::connection::Activity;
use super::request::{document, document_of, query};
use super::target::check_path;
use super::user::Target;
use super::{App, named, other, unknown_path};
use crate::audit::Origin;

pub use client::{ConsoleError, ConsoleReply, Download, ask, ask_within, connect, download};
pub(crate) use moves::{MOVED_AT_ONCE, import_body};

/// The socket's name in the data directory.
const SOCKET: &str = "control.sock";

/// How long a command waits for an answer to begin: hashing and a hundred changes before it fit many times.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long commands under way may take once the server is to stop: changing keys takes some milliseconds, adding a
/// user a hash. A backup that takes longer is broken off.
const LAST_COMMANDS: Duration = Duration::from_secs(2);

/// How long commands are looked for then that have connected already.
const LAST_COMERS: Duration = Duration::from_millis(10);

/// The listening end.
pub struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
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
        // The directory is its owner's alone, so nobody can come in between.
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
                        log::warn!("the console cannot accept connections just now: {error}");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                },
                Some(_) = commands.join_next() => {}
            }
        }
        let _ = fs::remove_file(&self.path); // who comes now waits for the lock instead
        // Who has come is served, and does not have to guess whether a change was made.
        while let Ok(Ok((stream, _))) = tokio::time::timeout(LAST_COMERS, self.listener.accept()).await {
            commands.spawn(serve_one(stream, Arc::clone(&app)));
        }
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

/// Where the socket in `dir` is bound and found, which is good for as long as the file with it is held: the path of a
/// socket may have 107 bytes (`sun_path`), and that of a directory more. Then there is a short one by way of a handle.
fn address(dir: &Path) -> io::Result<(PathBuf, Option<File>)> {
    const PATH_MAX: usize = 107;
    let path = dir.join(SOCKET);
    if path.as_os_str().len() <= PATH_MAX {
        return Ok((path, None));
    }
    let dir = File::open(dir)?;
    Ok((Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(SOCKET), Some(dir)))
}

/// Serves the console on one connection.
pub async fn serve_one(stream: UnixStream, app: Arc<App>) {
    let service = warp::service(routes(app));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::new(Activity::begin()));
        let checked = check_path(request.uri().path());
        let answer = service.clone().call(request);
        async move {
            match checked {
                Ok(()) => answer.await,
                Err(refusal) => Ok(refusal.into_response()),
            }
        }
    });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        log::debug!("console: {error}");
    }
}

#[rustfmt::skip] // one line a method
fn routes(app: Arc<App>) -> BoxedFilter<(Response,)> {
    let app = warp::any().map(move || Arc::clone(&app));
    let call = || warp::any().map(|| Arc::new(Origin::local("console"))).and(app.clone());

    let users = || path!("user");
    let users = users().and(warp::get()).and(call()).and(query()).then(users::list)
        .or(users().and(warp::post()).and(call()).and(document()).then(users::create)).unify()
        .or(users().and(other("GET, POST"))).unify()
        .map(named("/user")).boxed();
    let user = || path!("user" / Target);
    let user = user().and(warp::get()).and(call()).then(users::show)
        .or(user().and(warp::patch()).and(call()).and(document()).then(users::update)).unify()
        .or(user().and(warp::delete()).and(call()).then(users::delete)).unify()
        .or(user().map(drop).untuple_one().and(other("DELETE, GET, PATCH"))).unify()
        .map(named("/user/<id>")).boxed();
    let password = || path!("user" / Target / "password");
    let password = password().and(warp::post()).and(call()).and(document()).then(users::set_password)
        .or(password().map(drop).untuple_one().and(other("POST"))).unify()
        .map(named("/user/<id>/password")).boxed();
    let sessions = || path!("user" / Target / "sessions");
    let sessions = sessions().and(warp::delete()).and(call()).then(users::end_sessions)
        .or(sessions().map(drop).untuple_one().and(other("DELETE"))).unify()
        .map(named("/user/<id>/sessions")).boxed();
    let keys = || path!("keys");
    let keys = keys().and(warp::get()).and(call()).then(keys::list)
        .or(keys().and(warp::post()).and(call()).and(document()).then(keys::rotate)).unify()
        .or(keys().and(warp::delete()).and(call()).then(keys::prune)).unify()
        .or(keys().and(other("DELETE, GET, POST"))).unify()
        .map(named("/keys")).boxed();
    let published = path!("keys" / "public")
        .and(warp::get().and(call()).then(keys::published).or(other("GET")).unify())
        .map(named("/keys/public")).boxed();
    let import = path!("import")
        .and(warp::post().and(call()).and(document_of(moves::BODY_MAX)).then(moves::import)
            .or(warp::get().and(call()).then(moves::rules)).unify()
            .or(other("GET, POST")).unify())
        .map(named("/import")).boxed();
    let names = path!("names")
        .and(warp::delete().and(call()).and(query()).then(users::free_name).or(other("DELETE")).unify())
        .map(named("/names")).boxed();
    let export = path!("export")
        .and(warp::get().and(call()).and(query()).then(moves::export).or(other("GET")).unify())
        .map(named("/export")).boxed();

    let backup = path!("backup")
        .and(warp::get().and(call()).then(backup::stream).or(other("GET")).unify())
        .map(named("/backup")).boxed();
    let verify = path!("verify")
        .and(warp::get().and(call()).then(verify::show).or(other("GET")).unify())
        .map(named("/verify")).boxed();

    let server = path!("server")
        .and(warp::get().and(call()).then(server::show).or(other("GET")).unify())
        .map(named("/server")).boxed();

    users.or(user).unify()
        .or(password).unify()
        .or(sessions).unify()
        .or(keys).unify()
        .or(published).unify()
        .or(import).unify()
        .or(names).unify()
        .or(export).unify()
        .or(backup).unify()
        .or(verify).unify()
        .or(server).unify()
        .recover(unknown_path).unify()
        .boxed()
}
