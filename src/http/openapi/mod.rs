//! `GET /openapi.json`: the API as OpenAPI 3.1, made from the handlers, the types that they answer with and the
//! refusals themselves.

pub(super) mod refusals;

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use utoipa::openapi::schema::ComponentsBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Server};
use warp::reply::Response;

use super::answer::{self, Error, InputError, JsonProblems, Problems, TokenError, TokenErrorCode};
use super::bodies::NewPassword;
use super::etag::Tag;
use super::{Answer, named};
use crate::password::Policy;

/// What the document says about all of it.
const ABOUT: &str = "\
Register, log in, and send the access token along: `Authorization: Bearer <access token>`. Here: *Authorize*, \
`access_token`.

Every body is JSON. Every answer has an `X-Request-Id`, your own where you send one. `HEAD` works where `GET` does, \
`OPTIONS` answers what may be asked; another method is refused with 405 and `Allow`. A request without one valid `Host` is \
refused with 400.";

/// The part of the document about these handlers, which share a path.
macro_rules! operations {
    ($($handlers:tt)+) => {
        || {
            #[derive(utoipa::OpenApi)]
            #[openapi(paths($($handlers)+))]
            struct Operations;
            <Operations as utoipa::OpenApi>::openapi()
        }
    };
}
pub(super) use operations;

/// An answer of a route that the document shows: the only way to make one is [`ApiDocument::show`], and all routes
/// of the network's side must answer so.
pub(super) struct Documented(Response);

impl Documented {
    pub(super) fn into_response(self) -> Response {
        self.0
    }
}

/// What the document is made of.
#[derive(Default)]
pub(super) struct ApiDocument {
    parts: Vec<Part>,
}

/// A route's name, and what the document says of it.
type Part = (&'static str, fn() -> OpenApi);

impl ApiDocument {
    /// Shows what a route does, and shapes and names what it answers.
    pub(super) fn show(
        &mut self,
        route: &'static str,
        operations: fn() -> OpenApi,
    ) -> impl Fn(Answer) -> Documented + Clone + use<> {
        self.parts.push((route, operations));
        let shape = named(route);
        move |answer| Documented(shape(answer))
    }

    /// The names of all routes so far.
    pub(super) fn routes(&self) -> Vec<&'static str> {
        self.parts.iter().map(|(route, _)| *route).collect()
    }

    /// The document for a server where new passwords must be as `policy` says.
    fn finish(self, policy: Policy) -> Finished {
        let mut document = Self::frame();
        for (_, part) in self.parts {
            document.merge(part());
        }
        let mut document = serde_json::to_value(document).unwrap_or_default(); // its keys are texts
        complete_bodies(&mut document);
        if let Some(password) = document.pointer_mut(&format!("/components/schemas/{}", NewPassword::NAME)) {
            password["minLength"] = policy.min_chars.into();
        }
        let text = document.to_string();
        let tag = Tag::of(text.as_bytes());
        Finished { text: text.into(), tag }
    }

    /// What is not about a route.
    fn frame() -> OpenApi {
        let info = InfoBuilder::new()
            .title("Gatelet")
            .version(env!("CARGO_PKG_VERSION"))
            .description(Some(ABOUT))
            .license(Some(LicenseBuilder::new().name("MIT").identifier(Some("MIT")).build()))
            .build();
        let bearer = |format: &str, description: &str| {
            let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format(format);
            SecurityScheme::Http(scheme.description(Some(description)).build())
        };
        let components = ComponentsBuilder::new()
            .security_scheme(
                "access_token",
                bearer(
                    "PASETO v4.public",
                    "From `/login`, which makes it *fresh*, or from `/refresh`. Lives for minutes.",
                ),
            )
            .security_scheme(
                "refresh_token",
                bearer("PASETO v4.local", "From `/login`, for `/refresh` and `/logout`. Lives for weeks."),
            )
            .responses_from_iter(refusals::shared())
            .schema_from::<Error>()
            .schema_from::<TokenError>()
            .schema_from::<TokenErrorCode>()
            .schema_from::<InputError>()
            .schema_from::<Problems>()
            .schema_from::<JsonProblems>()
            .build();
        // Beside this document, wherever a proxy has put both: else what is typed on the API page could go to another
        // application of the same origin.
        let servers = [Server::new(".")];
        OpenApiBuilder::new().info(info).servers(Some(servers)).components(Some(components)).build()
    }
}

/// Adds what is true of all bodies ([`super::request::Document`]): fields that nobody asked for are refused, and an
/// empty body counts as `{}`, so that it may be left out where no field is required.
fn complete_bodies(document: &mut Value) {
    let mut components = document["components"].take();
    let paths = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    let operations = paths.filter_map(Value::as_object_mut).flat_map(|methods| methods.values_mut());
    for body in operations.filter_map(|operation| operation.get_mut("requestBody")) {
        let reference = body["content"]["application/json"]["schema"]["$ref"].as_str().unwrap_or_default();
        if let Some(schema) = components.pointer_mut(reference.trim_start_matches("#/components")) {
            schema["additionalProperties"] = false.into();
            body["required"] = schema.get("required").is_some().into();
        }
    }
    document["components"] = components;
}

/// The document, made when somebody asks for it first: most servers are never asked, and it takes megabytes and a
/// millisecond.
pub(super) struct Served(LazyLock<Finished, Box<dyn FnOnce() -> Finished + Send>>);

struct Finished {
    text: Bytes,
    tag: Tag,
}

impl Served {
    pub(super) fn new(document: ApiDocument, policy: Policy) -> Self {
        Self(LazyLock::new(Box::new(move || document.finish(policy))))
    }
}

/// This document
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "get_document", tag = "server",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of what is at hand")),
    responses(
        (status = 200, description = "OpenAPI 3.1.", body = Value, content_type = "application/json",
            headers(("ETag" = String), ("Cache-Control" = String))),
        (status = 304, description = "It is that of the tag.",
            headers(("ETag" = String), ("Cache-Control" = String))),
    ),
)]
pub(super) async fn show(document: Arc<Served>, headers: HeaderMap) -> Answer {
    let Finished { text, tag } = &*document.0;
    Ok(answer::cacheable(&headers, tag, "no-cache", || answer::json_text(StatusCode::OK, text.clone())))
}
