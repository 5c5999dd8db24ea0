//! The edge: routes, what requests and answers look like, and the front that speaks HTTP/1.1.
//!
//! The only folder that names `warp` and `hyper`. A handler parses, calls the service and shapes the answer;
//! what a refusal looks like is decided in `answer`.

pub mod admin;
mod answer;
mod api_page;
mod bodies;
mod connection;
mod cors;
mod etag;
mod fields;
mod forwarded;
mod front;
mod health;
mod json;
mod keys;
mod login;
mod logout;
mod metrics;
mod openapi;
mod password;
mod refresh;
mod register;
mod request;
mod session;
mod target;
mod user;
mod verify;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use http::Method;
use warp::filters::BoxedFilter;
use warp::filters::header::headers_cloned;
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection, path};

use crate::metrics::Counters;
use crate::password::Policy;
use crate::service::Service;
use answer::{ApiError, Route};
use api_page::Asset;
pub use cors::CorsOrigins;
pub use forwarded::TrustedProxies;
pub use front::{Front, Limits};
pub use metrics::MetricsPage;
use openapi::{ApiDocument, Documented, Served, operations};
use request::{bearer, document, no_document, origin, query, raw_query};
pub use target::Hosts;
use user::Target;

/// What handlers need besides the request.
pub struct App {
    /// What they call.
    pub service: Service,
    /// What a new password must be.
    pub policy: Policy,
    /// Questions to `/verify` that could not be decided, by `reason`.
    pub undecided: Counters,
    /// Where the front listens, once it does.
    pub address: OnceLock<SocketAddr>,
}

impl App {
    /// Nothing has been asked yet.
    pub fn new(service: Service, policy: Policy) -> Self {
        Self {
            service,
            policy,
            undecided: Counters::new("reason", &verify::UNDECIDED),
            address: OnceLock::new(),
        }
    }
}

type Answer = Result<Response, ApiError>;

/// What a front serves.
pub struct Routes {
    filter: BoxedFilter<(Response,)>,
    /// As in the access log.
    names: Vec<&'static str>,
}

/// All routes. Path first, then method: a known path with another method answers 405 with `Allow`, and
/// `OPTIONS` 204; what is left is an unknown path. Each route is boxed: unboxed, their types grow into each other
/// until the compiler takes minutes. Each is shown in the document, or does not compile.
#[rustfmt::skip] // one line a method
pub fn routes(app: Arc<App>) -> Routes {
    let policy = app.policy;
    let app = warp::any().map(move || Arc::clone(&app));
    let mut api = ApiDocument::default();
    let call = || origin().and(app.clone());
    let get = || warp::get().or(warp::head()).unify();

    let user = || path!("user" / Target);
    let user = user().and(get()).and(call()).and(bearer()).then(user::show)
        .or(user().and(warp::delete()).and(call()).and(bearer()).and(no_document()).then(user::delete)).unify()
        .or(user().and(warp::patch()).and(call()).and(bearer()).and(document()).then(user::update)).unify()
        .or(user().map(drop).untuple_one().and(other("DELETE, GET, HEAD, OPTIONS, PATCH"))).unify()
        .map(api.show("/user/<id>", operations!(user::show, user::update, user::delete))).boxed();
    let password = || path!("user" / Target / "password");
    let password = password().and(warp::post()).and(call()).and(bearer()).and(document()).then(password::change)
        .or(password().map(drop).untuple_one().and(other("OPTIONS, POST"))).unify()
        .map(api.show("/user/<id>/password", operations!(password::change))).boxed();
    let sessions = || path!("user" / Target / "sessions");
    let sessions = sessions().and(warp::delete()).and(call()).and(bearer()).and(no_document()).then(session::end_all)
        .or(sessions().map(drop).untuple_one().and(other("DELETE, OPTIONS"))).unify()
        .map(api.show("/user/<id>/sessions", operations!(session::end_all))).boxed();
    let users = || path!("user");
    let users = users().and(get()).and(call()).and(bearer()).and(query()).then(user::list)
        .or(users().and(warp::post()).and(call()).and(bearer()).and(document()).then(register::create_by_admin)).unify()
        .or(users().and(other("GET, HEAD, OPTIONS, POST"))).unify()
        .map(api.show("/user", operations!(user::list, register::create_by_admin))).boxed();
    let session = path!("session")
        .and(get().and(call()).and(bearer()).then(session::show).or(other("GET, HEAD, OPTIONS")).unify())
        .map(api.show("/session", operations!(session::show))).boxed();
    let verify = path!("verify")
        .and(call()).and(bearer()).and(raw_query()).and(no_document()).then(verify::decide)
        .map(api.show("/verify", operations!(verify::decide))).boxed();
    let register = path!("register")
        .and(warp::post().and(call()).and(document()).then(register::create).or(other("OPTIONS, POST")).unify())
        .map(api.show("/register", operations!(register::create))).boxed();
    let login = path!("login")
        .and(warp::post().and(call()).and(document()).then(login::create).or(other("OPTIONS, POST")).unify())
        .map(api.show("/login", operations!(login::create))).boxed();
    let refresh = path!("refresh")
        .and(warp::post().and(call()).and(bearer()).and(no_document()).then(refresh::create).or(other("OPTIONS, POST")).unify())
        .map(api.show("/refresh", operations!(refresh::create))).boxed();
    let logout = path!("logout")
        .and(warp::post().and(call()).and(bearer()).and(no_document()).then(logout::create).or(other("OPTIONS, POST")).unify())
        .map(api.show("/logout", operations!(logout::create))).boxed();
    let keys = path!(".well-known" / "paseto-keys")
        .and(get().and(app.clone()).and(headers_cloned()).then(keys::published).or(other("GET, HEAD, OPTIONS")).unify())
        .map(api.show("/.well-known/paseto-keys", operations!(keys::published))).boxed();
    let healthz = path!("healthz")
        .and(get().then(health::alive).or(other("GET, HEAD, OPTIONS")).unify())
        .map(api.show("/healthz", operations!(health::alive))).boxed();
    let readyz = path!("readyz")
        .and(get().and(app.clone()).then(health::ready).or(other("GET, HEAD, OPTIONS")).unify())
        .map(api.show("/readyz", operations!(health::ready))).boxed();
    let index = warp::path::end()
        .and(get().and(headers_cloned()).then(api_page::index).or(other("GET, HEAD, OPTIONS")).unify())
        .map(api.show("/", operations!(api_page::index))).boxed();
    let page = path!("swagger-ui")
        .and(get().and(path::full()).and(headers_cloned()).then(api_page::page).or(other("GET, HEAD, OPTIONS")).unify())
        .map(api.show("/swagger-ui", operations!(api_page::page))).boxed();
    let asset = || path!("swagger-ui" / Asset);
    let asset = asset().and(get()).and(headers_cloned()).then(api_page::asset)
        .or(asset().map(drop).untuple_one().and(other("GET, HEAD, OPTIONS"))).unify()
        .map(api.show("/swagger-ui/<file>", operations!(api_page::asset))).boxed();
    let shape = api.show("/openapi.json", operations!(openapi::show));
    let names = api.routes();
    let api = Arc::new(Served::new(api, policy));
    let api = path!("openapi.json")
        .and(get().map(move || Arc::clone(&api)).and(headers_cloned()).then(openapi::show).or(other("GET, HEAD, OPTIONS")).unify())
        .map(shape).boxed();

    // The token check comes first: it is what is asked most.
    let filter = user.or(verify).unify()
        .or(session).unify()
        .or(refresh).unify()
        .or(login).unify()
        .or(logout).unify()
        .or(register).unify()
        .or(users).unify()
        .or(password).unify()
        .or(sessions).unify()
        .or(keys).unify()
        .or(healthz).unify()
        .or(readyz).unify()
        .or(index).unify()
        .or(page).unify()
        .or(asset).unify()
        .or(api).unify()
        .map(Documented::into_response)
        .recover(unknown_path).unify()
        .boxed();
    Routes { filter, names }
}

/// What Prometheus is served.
pub fn metrics_routes(page: Arc<MetricsPage>) -> Routes {
    let page = warp::any().map(move || Arc::clone(&page));
    let metrics = path!("metrics")
        .and(
            warp::get()
                .or(warp::head())
                .unify()
                .and(page)
                .then(metrics::show)
                .or(other("GET, HEAD, OPTIONS"))
                .unify(),
        )
        .map(named("/metrics"));
    Routes { filter: metrics.recover(unknown_path).unify().boxed(), names: vec!["/metrics"] }
}

/// A known path, asked with a method that it has no handler for.
fn other(allow: &'static str) -> impl Filter<Extract = (Answer,), Error = Infallible> + Copy {
    warp::method().map(move |method| match method {
        Method::OPTIONS => Ok(answer::options(allow)),
        _ => Err(ApiError::WrongMethod { allow }),
    })
}

/// Shapes what a handler answers and names the route for the access log.
fn named(route: &'static str) -> impl Fn(Answer) -> Response + Clone {
    move |answer| {
        let mut response = answer.into_response();
        response.extensions_mut().insert(Route(route));
        response
    }
}

async fn unknown_path(_: Rejection) -> Result<Response, Infallible> {
    Ok(ApiError::UnknownPath.into_response())
}
