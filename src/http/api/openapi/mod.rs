//! `GET /openapi.json`: the API as OpenAPI 3.1, made from the handlers, the types that they answer with and the
//! refusals themselves.

pub(super) mod refusals;
mod schemas;

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use utoipa::openapi::schema::ComponentsBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Server};

use super::Answer;
use super::answer;
use super::etag::Tag;
use super::fields::NewPassword;
use super::refusal_body::{Error, InputError, JsonProblems, Problems, TokenError, TokenErrorCode};
use crate::password::Policy;

/// What the document says about all of it.
const ABOUT: &str = "\
Register, log in, and send the access token along: `Authorization: Bearer <access token>`. Here: *Authorize*, \
`access_token`.

Every body is JSON. Every answer has an `X-Request-Id`, your own where you send one. `HEAD` works where `GET` does, \
`OPTIONS` answers what may be asked; another method is refused with 405 and `Allow`. A request without one valid `Host` is \
refused with 400.";

/// A route's name, and what the document says of its handlers. They leave `path` empty: the table of routes has it.
pub(super) type Part = (&'static str, fn() -> OpenApi);

/// Everything but the routes.
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
    // Beside this document, wherever a proxy has put both: else text typed on the API page could go to another
    // application of the same origin.
    let servers = [Server::new(".")];
    OpenApiBuilder::new().info(info).servers(Some(servers)).components(Some(components)).build()
}

/// Adds the rules of all bodies ([`super::request::RequestBody`]): unknown fields are refused, and an
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

/// The document, made when it is first asked for: most servers never are, and it takes megabytes and a millisecond.
pub(super) struct ApiDocument(LazyLock<Finished, Box<dyn FnOnce() -> Finished + Send>>);

struct Finished {
    text: Bytes,
    tag: Tag,
}

impl ApiDocument {
    /// The document of these routes for a server where new passwords must be as `policy` says.
    pub(super) fn new(parts: &'static [Part], policy: Policy) -> Self {
        Self(LazyLock::new(Box::new(move || finish(parts, policy))))
    }
}

fn finish(parts: &[Part], policy: Policy) -> Finished {
    let mut document = frame();
    for (route, operations) in parts {
        let mut part = operations();
        let operations = part.paths.paths.into_values().next().unwrap_or_default();
        part.paths.paths = [(route.replace('<', "{").replace('>', "}"), operations)].into();
        document.merge(part);
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

/// This document
#[utoipa::path(
    get, path = "", operation_id = "get_document", tag = "server",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of the cached copy")),
    responses(
        (status = 200, description = "OpenAPI 3.1.", body = Value, content_type = "application/json",
            headers(("ETag" = String), ("Cache-Control" = String))),
        (status = 304, description = "It is that of the tag.",
            headers(("ETag" = String), ("Cache-Control" = String))),
    ),
)]
pub(super) async fn show(document: Arc<ApiDocument>, headers: HeaderMap) -> Answer {
    let Finished { text, tag } = &*document.0;
    Ok(answer::cacheable(&headers, tag, "no-cache", || answer::json_text(StatusCode::OK, text.clone())))
}
