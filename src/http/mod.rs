//! The edge: everything that listens.
//!
//! The only folder that names `warp` and `hyper`. `front` accepts connections and checks requests before any route sees
//! them; `api` has the routes: a handler parses, calls the service and shapes the answer; `admin` is the admin socket.

pub mod admin;
mod api;
mod front;
mod metrics;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::metrics::Counters;
use crate::password::Policy;
use crate::service::Service;
use api::error::ApiError;
#[cfg(fuzzing)]
pub use api::fuzzing;
pub use api::routes;
use api::table::{allowed, method, named, other, path_filter, route, route_name, unknown_path};
use api::verify;
pub(crate) use api::wire;
pub use front::cors::CorsOrigins;
pub use front::forwarded::TrustedProxies;
pub use front::target::Hosts;
pub use front::{Front, Limits};
pub use metrics::MetricsPage;

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

/// What Prometheus is served.
pub fn metrics_routes(page: Arc<MetricsPage>) -> Routes {
    let page = warp::any().map(move || Arc::clone(&page));
    let metrics = route!(("metrics") { GET page => metrics::show, });
    Routes { filter: metrics.recover(unknown_path).unify().boxed(), names: vec![route_name!(("metrics"))] }
}
