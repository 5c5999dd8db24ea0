//! The API: its routes, what they read and what they answer. JSON, and bearer tokens.

pub(in crate::http) mod answer;
pub(in crate::http) mod api_page;
mod bodies;
pub(in crate::http) mod error;
mod etag;
mod fields;
#[cfg(fuzzing)]
pub mod fuzzing;
mod health;
mod json;
mod keys;
mod login;
mod logout;
mod openapi;
mod password;
mod refresh;
mod refusal_body;
mod register;
mod request;
mod session;
pub(in crate::http) mod table;
mod user;
pub(in crate::http) mod verify;
pub(crate) mod wire;

use std::sync::Arc;

use warp::filters::header::headers_cloned;
use warp::{Filter, path};

use super::{Answer, App, Routes};
use api_page::Asset;
use openapi::{ApiDocument, Part};
use request::{bearer, json_body, no_body, origin, query, raw_query};
use table::{
    allowed, method, named, operations, other, path_filter, route, route_name, routes, unknown_path,
};
use user::Target;

/// The API, in the order in which paths and methods are compared: the token check comes first, as the most frequent.
pub fn routes(app: Arc<App>) -> Routes {
    let policy = app.policy;
    let app = warp::any().map(move || Arc::clone(&app));
    let call = || origin().and(app.clone());
    let with_token = || call().and(bearer());

    let (parts, filter) = routes! { |api|
        ("user" / {id: Target}) {
            GET with_token() => user::show,
            DELETE with_token().and(no_body()) => user::delete,
            PATCH with_token().and(json_body()) => user::update,
        }
        ("verify") { ANY with_token().and(raw_query()).and(no_body()) => verify::decide, }
        ("session") { GET with_token() => session::show, }
        ("refresh") { POST with_token().and(no_body()) => refresh::create, }
        ("login") { POST call().and(json_body()) => login::create, }
        ("logout") { POST with_token().and(no_body()) => logout::create, }
        ("register") { POST call().and(json_body()) => register::create, }
        ("user") {
            GET with_token().and(query()) => user::list,
            POST with_token().and(json_body()) => register::create_by_admin,
        }
        ("user" / {id: Target} / "password") { POST with_token().and(json_body()) => password::change, }
        ("user" / {id: Target} / "sessions") { DELETE with_token().and(no_body()) => session::end_all, }
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
