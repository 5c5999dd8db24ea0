//! `GET /swagger-ui`: the API page. All of it is inside the binary, and nothing that it does leaves this server.
//! `GET /` leads browsers there.

use std::str::FromStr;

use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, REFERRER_POLICY, VARY};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use warp::path::FullPath;

use super::Answer;
use super::answer::{self, with};
use super::etag::Tag;
use super::openapi::refusals::NotFound;

/// Nothing from elsewhere: own scripts and styles, requests to this server, pictures that are part of the style
/// sheet. No page can frame it, and it sends no form anywhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Asked about each time, so that a new version is there at once; unchanged files are not sent again.
const CACHE_CONTROL: &str = "no-cache";

/// The page's path as people type it.
pub(in crate::http) const WITH_SLASH: &str = "/swagger-ui/";

const PAGE: &str = include_str!("index.html");

/// A file of the page.
#[derive(Clone, Copy)]
pub(super) enum Asset {
    Style,
    Bundle,
    Start,
}

/// A name that no file has.
pub(super) struct UnknownAsset;

impl FromStr for Asset {
    type Err = UnknownAsset;

    fn from_str(name: &str) -> Result<Self, UnknownAsset> {
        match name {
            "swagger-ui.css" => Ok(Self::Style),
            "swagger-ui-bundle.js" => Ok(Self::Bundle),
            "start.js" => Ok(Self::Start),
            _ => Err(UnknownAsset),
        }
    }
}

/// What this server is, and where to go on.
#[derive(Serialize, ToSchema)]
pub(super) struct Index {
    #[schema(example = "gatelet")]
    name: &'static str,
    #[schema(example = "0.2.0")]
    version: &'static str,
    #[schema(inline)]
    links: Links,
}

/// Relative to where this was asked for: a proxy may have all of it below a path of its own.
#[derive(Serialize, ToSchema)]
struct Links {
    openapi: &'static str,
    swagger_ui: &'static str,
    health: &'static str,
}

/// What is here?
///
/// Browsers are led to the API page.
#[utoipa::path(
    get, path = "", operation_id = "get_index", tag = "server",
    params(("Accept" = Option<String>, Header, description = "`text/html` for the API page")),
    responses(
        (status = 200, description = "Name, version and where to go on.", body = Index,
            headers(("Vary" = String))),
        (status = 303, description = "To the API page, for clients that accept HTML.",
            headers(("Location" = String), ("Vary" = String))),
    ),
)]
pub(super) async fn index(headers: HeaderMap) -> Answer {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let response = if accepted.any(|accept| accept.contains("text/html")) {
        answer::redirect(StatusCode::SEE_OTHER, "swagger-ui")
    } else {
        answer::ok(&Index {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            links: Links { openapi: "openapi.json", swagger_ui: "swagger-ui", health: "healthz" },
        })
    };
    Ok(with(response, VARY, "Accept"))
}

/// This page
#[utoipa::path(
    get, path = "", operation_id = "get_api_page", tag = "server",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of the cached copy")),
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/html",
            headers(("ETag" = String), ("Cache-Control" = String), ("Content-Security-Policy" = String))),
        (status = 304, description = "It is that of the tag.",
            headers(("ETag" = String), ("Cache-Control" = String))),
        (status = 308, description = "With a slash at the end: to where there is none.",
            headers(("Location" = String))),
    ),
)]
pub(super) async fn page(path: FullPath, headers: HeaderMap) -> Answer {
    if path.as_str() == WITH_SLASH {
        // The page's links are relative to where it has no slash.
        return Ok(answer::redirect(StatusCode::PERMANENT_REDIRECT, "../swagger-ui"));
    }
    let page = answer::cacheable(&headers, &Tag::of(PAGE.as_bytes()), CACHE_CONTROL, || {
        answer::file("text/html; charset=utf-8", PAGE.as_bytes())
    });
    let page = with(page, CONTENT_SECURITY_POLICY, POLICY);
    Ok(with(page, REFERRER_POLICY, "no-referrer"))
}

/// A file of the API page
#[utoipa::path(
    get, path = "", operation_id = "get_api_page_file", tag = "server",
    params(
        ("file" = String, Path, description = "Its name",
            pattern = r"^(swagger-ui\.css|swagger-ui-bundle\.js|start\.js)$"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the cached copy"),
    ),
    responses(
        (status = 200, description = "The file.", content((String = "text/css"), (String = "text/javascript")),
            headers(("ETag" = String), ("Cache-Control" = String), ("Content-Encoding" = Option<String>))),
        (status = 304, description = "It is that of the tag.",
            headers(("ETag" = String), ("Cache-Control" = String))),
        NotFound,
    ),
)]
pub(super) async fn asset(asset: Asset, headers: HeaderMap) -> Answer {
    const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
    // As packed by build.rs: every browser unpacks it, and no other client needs it.
    let (content_type, bytes, is_packed): (_, &[u8], _) = match asset {
        Asset::Style => {
            ("text/css; charset=utf-8", include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz")), true)
        }
        Asset::Bundle => {
            (JAVASCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz")), true)
        }
        Asset::Start => (JAVASCRIPT, include_bytes!("start.js"), false),
    };
    let response =
        answer::cacheable(&headers, &Tag::of(bytes), CACHE_CONTROL, || answer::file(content_type, bytes));
    Ok(if is_packed { with(response, CONTENT_ENCODING, "gzip") } else { response })
}
