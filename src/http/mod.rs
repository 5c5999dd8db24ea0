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
mod table;
mod target;
mod user;
mod verify;
pub(crate) mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use warp::filters::BoxedFilter;
use warp::filters::header::headers_cloned;
use warp::reply::Response;
use warp::{Filter, path};

use crate::metrics::Counters;
use crate::password::Policy;
use crate::service::Service;
use answer::ApiError;
use api_page::Asset;
pub use cors::CorsOrigins;
pub use forwarded::TrustedProxies;
pub use front::{Front, Limits};
pub use metrics::MetricsPage;
use openapi::{ApiDocument, Part};
use request::{bearer, document, no_document, origin, query, raw_query};
use table::{
    allowed, method, named, operations, other, path_filter, route, route_name, routes, unknown_path,
};
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

/// The API, in the order in which paths and methods are compared: the token check comes first, as the most frequent.
pub fn routes(app: Arc<App>) -> Routes {
    let policy = app.policy;
    let app = warp::any().map(move || Arc::clone(&app));
    let call = || origin().and(app.clone());
    let with_token = || call().and(bearer());

    let (parts, filter) = routes! { |api|
        ("user" / {id: Target}) {
            GET with_token() => user::show,
            DELETE with_token().and(no_document()) => user::delete,
            PATCH with_token().and(document()) => user::update,
        }
        ("verify") { ANY with_token().and(raw_query()).and(no_document()) => verify::decide, }
        ("session") { GET with_token() => session::show, }
        ("refresh") { POST with_token().and(no_document()) => refresh::create, }
        ("login") { POST call().and(document()) => login::create, }
        ("logout") { POST with_token().and(no_document()) => logout::create, }
        ("register") { POST call().and(document()) => register::create, }
        ("user") {
            GET with_token().and(query()) => user::list,
            POST with_token().and(document()) => register::create_by_admin,
        }
        ("user" / {id: Target} / "password") { POST with_token().and(document()) => password::change, }
        ("user" / {id: Target} / "sessions") { DELETE with_token().and(no_document()) => session::end_all, }
        (".well-known" / "paseto-keys") { GET app.clone().and(headers_cloned()) => keys::published, }
        ("healthz") { GET warp::any() => health::alive, }
        ("readyz") { GET app.clone() => health::ready, }
        () { GET headers_cloned() => api_page::index, }
        ("swagger-ui") { GET path::full().and(headers_cloned()) => api_page::page, }
        ("swagger-ui" / {file: Asset}) { GET headers_cloned() => api_page::asset, }
        ("openapi.json") {
            GET warp::any().map(move || Arc::clone(&api)).and(headers_cloned()) => openapi::show,
        }
    };
    let api = Arc::new(ApiDocument::new(parts, policy));
    Routes { filter: filter(api), names: parts.iter().map(|(name, _)| *name).collect() }
}

/// What Prometheus is served.
pub fn metrics_routes(page: Arc<MetricsPage>) -> Routes {
    let page = warp::any().map(move || Arc::clone(&page));
    let metrics = route!(("metrics") { GET page => metrics::show, });
    Routes { filter: metrics.recover(unknown_path).unify().boxed(), names: vec![route_name!(("metrics"))] }
}
