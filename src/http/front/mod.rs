//! The listener: accepts connections, speaks HTTP/1.1 and stops gracefully, within limits that no client can stretch.

mod access_log;
pub(in crate::http) mod connection;
mod connections;
pub(in crate::http) mod cors;
pub(in crate::http) mod forwarded;
mod request_id;
pub(in crate::http) mod target;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, CONNECTION, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use warp::reply::{Reply as _, Response};

use super::Routes;
use super::api::answer::Route;
use crate::audit::Origin;
use crate::metrics::Requests;
use access_log::{AccessLine, NO_ROUTE};
use connection::{Activity, Watched};
use connections::Connections;
use cors::CorsOrigins;
use forwarded::{Clients, TrustedProxies};
use request_id::{REQUEST_ID, request_id};
use target::Hosts;

/// Most headers of a request. Browsers behind proxies send about thirty.
const HEADERS_MAX: usize = 64;

/// Most bytes of a request's head. A token has some 400.
const HEAD_MAX: usize = 16 * 1024;

/// How long requests under way may take once the server is to stop; supervisors allow ten seconds or more.
const DRAIN: Duration = Duration::from_secs(8);

/// How long to wait when the system has no more sockets to give.
const OUT_OF_SOCKETS: Duration = Duration::from_millis(50);

/// How often to look for a place while no connection can make room.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What the front allows.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Connections held open at the same time.
    pub max_connections: usize,
    /// Proxies whose word about the client's address is taken.
    pub trusted_proxies: TrustedProxies,
    /// Origins whose pages may read answers.
    pub cors_origins: CorsOrigins,
    /// Which hosts requests may be for.
    pub hosts: Hosts,
}

/// Serves routes on a listener.
pub struct Front {
    routes: Routes,
    connections: Arc<Connections>,
    clients: Clients,
    limits: Limits,
    requests: Option<Requests>,
}

impl Front {
    /// A front for `routes`.
    pub fn new(routes: Routes, limits: Limits) -> Self {
        let clients = Clients::new(limits.trusted_proxies.clone());
        Self { routes, connections: Arc::default(), clients, limits, requests: None }
    }

    /// Counts requests from now on.
    pub fn count_requests(&mut self) -> Requests {
        self.requests.get_or_insert_with(|| Requests::new(&self.routes.names)).clone()
    }

    /// Tells how many connections are open.
    pub fn open_connections(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let connections = Arc::clone(&self.connections);
        move || connections.lock().len()
    }

    /// Serves until `stop` is done, then finishes the requests under way, for eight seconds at the most.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let service = warp::service(self.routes.filter.clone());
        let front = Arc::new(self);
        let (stopping, watch) = watch::channel(false);
        let accept = |stream, peer| front.accept(stream, peer, service.clone(), watch.clone());

        let mut stop = pin!(stop);
        let mut next = None;
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = front.next_connection(&listener, &mut next) => {}
            }
            if let Some((stream, peer)) = next.take() {
                accept(stream, peer);
            }
        }
        // Those who got in line before us may have sent their request already.
        if let Some((stream, peer)) = next.take() {
            accept(stream, peer);
        }
        // Asked of the system itself: the runtime may not have heard of the last ones.
        if let Ok(listener) = listener.into_std() {
            while let Ok((stream, peer)) = listener.accept() {
                if stream.set_nonblocking(true).is_ok()
                    && let Ok(stream) = TcpStream::from_std(stream)
                {
                    accept(stream, peer);
                }
            }
        }
        let _ = stopping.send(true);
        if tokio::time::timeout(DRAIN, front.connections.none_left()).await.is_err() {
            log::warn!("gave up on {} connections that did not end in time", front.connections.lock().len());
        }
    }

    /// The next connection, accepted when there is room for it. Where there is none, the connection that has
    /// been waiting longest for its client makes room: half-open ones go, those with a request under way stay.
    async fn next_connection(&self, listener: &TcpListener, next: &mut Option<(TcpStream, SocketAddr)>) {
        loop {
            match listener.accept().await {
                Ok(accepted) => {
                    *next = Some(accepted); // kept also if this future is dropped
                    while self.connections.lock().len() >= self.limits.max_connections
                        && !self.connections.evict_longest_waiting()
                    {
                        let ended = self.connections.ended.notified();
                        let _ = tokio::time::timeout(LOOK_AGAIN, ended).await;
                    }
                    return;
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    log::warn!("cannot accept connections just now: {error}");
                    tokio::time::sleep(OUT_OF_SOCKETS).await;
                }
            }
        }
    }

    fn accept<S>(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        service: S,
        mut stopping: watch::Receiver<bool>,
    ) where
        S: tower_service::Service<Request<Incoming>, Response = Response, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
    {
        if let Err(error) = stream.set_nodelay(true) {
            log::debug!("TCP_NODELAY: {error}");
        }
        let activity = Arc::new(Activity::begin());
        let connection = {
            let (front, activity) = (Arc::clone(self), Arc::clone(&activity));
            let stream = TokioIo::new(Watched::new(stream, Arc::clone(&activity)));
            http1::Builder::new().max_headers(HEADERS_MAX).max_buf_size(HEAD_MAX).serve_connection(
                stream,
                service_fn(move |request| {
                    let (front, activity) = (Arc::clone(&front), Arc::clone(&activity));
                    let service = service.clone();
                    async move {
                        if !activity.request_begins() {
                            return Err(Evicted);
                        }
                        let mut response = front.answer(peer, &activity, request, service).await;
                        if activity.is_stopping() {
                            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                        }
                        activity.request_ends();
                        Ok(response)
                    }
                }),
            )
        };
        let connections = Arc::clone(&self.connections);
        let place = connections.enter(Arc::clone(&activity));
        let id = place.id;
        let task = tokio::spawn(async move {
            let _place = place;
            let mut driven = pin!(activity.drive(connection));
            tokio::select! {
                biased;
                () = &mut driven => return,
                _ = stopping.wait_for(|&stopping| stopping) => activity.stop(),
            }
            driven.await;
        });
        self.connections.attach(id, task.abort_handle());
    }

    async fn answer<S>(
        &self,
        peer: SocketAddr,
        activity: &Arc<Activity>,
        mut request: Request<Incoming>,
        mut service: S,
    ) -> Response
    where
        S: tower_service::Service<Request<Incoming>, Response = Response, Error = Infallible>,
    {
        let client = self.clients.address(peer.ip(), request.headers());
        let origin = Arc::new(Origin::new(client, request_id(request.headers())));
        let mut line = AccessLine {
            requests: self.requests.as_ref(),
            origin: Arc::clone(&origin),
            method: request.method().clone(),
            started: Instant::now(),
            answered: None,
        };
        let cross_origin = self.limits.cors_origins.asked(request.method(), request.headers());
        request.extensions_mut().insert(Arc::clone(&origin));
        request.extensions_mut().insert(Arc::clone(activity));
        // Of several tokens, a proxy may have read another one than we: they become one that nothing verifies.
        if request.headers().get_all(AUTHORIZATION).iter().nth(1).is_some() {
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer several"));
        }
        let mut response = match target::check(&request, self.limits.hosts) {
            Ok(()) => match service.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            Err(refusal) => refusal.into_response(),
        };
        if let Some(asked) = cross_origin {
            asked.permit(&mut response);
        }
        if let Ok(id) = HeaderValue::try_from(&origin.request_id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        // Browsers take an answer for its declared type alone.
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let route = response.extensions().get().map_or(NO_ROUTE, |Route(name)| name);
        line.answered = Some((route, response.status().as_u16()));
        response
    }
}

/// The connection was closed to make room.
#[derive(Debug, thiserror::Error)]
#[error("closed to make room")]
struct Evicted;

/// Whether an error of `accept` is that connection's own affair.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
