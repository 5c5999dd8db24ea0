//! `/verify`, by any method: may a proxy let a request pass (nginx's `auth_request`, Traefik's ForwardAuth, Caddy's
//! `forward_auth`)?
//!
//! Answers 200, 401 or 403 and nothing else; malformed and oversized heads are refused before. `OPTIONS` is answered like
//! any other method, because a proxy may hand on the method that it was asked with. An unknown parameter refuses.

use std::sync::Arc;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};
use warp::reply::Response;

use super::App;
use super::answer;
use super::error::ApiError;
use super::openapi::refusals::{FreshTokenRefused, NotLetPass};
use super::request::Bearer;
use crate::audit::Origin;
use crate::domain::user::Role;
use crate::service::{Demands, Refusal};

const OUTAGE: &str = "outage";
const UNKNOWN_DEMAND: &str = "unknown_demand";

/// Why a question may stay undecided, as the metrics call it. To the proxy, it is a 403 like any other.
pub(in crate::http) const UNDECIDED: [&str; 2] = [OUTAGE, UNKNOWN_DEMAND];

/// A parameter that has one value, spelt exactly so.
macro_rules! demand {
    ($name:ident, $value:literal, $about:literal) => {
        #[doc = $about]
        pub(super) struct $name;

        impl $name {
            const VALUE: &str = $value;
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([$value]));
                schema.description(Some($about)).into()
            }
        }

        impl ToSchema for $name {}
    };
}

demand!(Freshness, "1", "What a proxy may demand of a token.");
demand!(AdminRole, "admin", "What a proxy may demand of a user.");

/// May this request pass?
///
/// For proxies, about requests of others. Every method is answered alike, `OPTIONS` included.
#[utoipa::path(
    get, path = "", operation_id = "verify", tag = "sessions", security(("access_token" = [])),
    params(
        ("fresh" = inline(Option<Freshness>), Query, description = "Only with a fresh token"),
        ("role" = inline(Option<AdminRole>), Query, description = "Only an administrator"),
    ),
    responses(
        (status = 200, description = "It may; whose it is stands in the headers.", headers(
            ("Remote-User" = String, description = "The name, percent-encoded where it is not visible ASCII"),
            ("Remote-User-Id" = String), ("Remote-Role" = Role), ("Cache-Control" = String),
        )),
        FreshTokenRefused, NotLetPass,
    ),
)]
pub(super) async fn decide(
    origin: Arc<Origin>,
    app: Arc<App>,
    bearer: Bearer,
    query: String,
) -> Result<Response, ApiError> {
    // Before the token: a mistake in the proxy's configuration shows at the first request.
    let Some(demands) = demands(&query) else {
        app.undecided.count(UNKNOWN_DEMAND);
        return Err(ApiError::UnknownDemand);
    };
    let passed = app.service.sessions.let_pass(&origin, bearer.token(), demands).await;
    if let Err(Refusal::Unavailable(_) | Refusal::Internal(_)) = passed {
        app.undecided.count(OUTAGE);
    }
    passed.map(|user| answer::verified(&user)).map_err(ApiError::RefusedToProxy)
}

/// What a query demands, spelt exactly so. `None` where it holds anything else: a misspelt demand must not count as
/// none.
fn demands(query: &str) -> Option<Demands> {
    let mut demands = Demands::default();
    if query.is_empty() {
        return Some(demands);
    }
    for parameter in query.split('&') {
        match parameter.split_once('=')? {
            ("fresh", Freshness::VALUE) => demands.fresh = true,
            ("role", AdminRole::VALUE) => demands.admin = true,
            _ => return None,
        }
    }
    Some(demands)
}
