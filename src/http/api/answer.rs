//! Answers: bodies, headers and the status of those that are no refusals.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, LINK, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;
use warp::Reply;
use warp::reply::Response;

use super::error::{ApiError, RefusalAnswer};
use super::etag::Tag;
use crate::domain::user::User;

const REMOTE_USER: HeaderName = HeaderName::from_static("remote-user");
const REMOTE_USER_ID: HeaderName = HeaderName::from_static("remote-user-id");
const REMOTE_ROLE: HeaderName = HeaderName::from_static("remote-role");

/// The route's name for the access log: the path with its parameters in angle brackets, never the path itself.
#[derive(Clone, Copy)]
pub(in crate::http) struct Route(pub(in crate::http) &'static str);

/// The outcome as a sentence.
#[derive(Serialize, ToSchema)]
pub(super) struct Message {
    message: &'static str,
}

/// 200 with a body.
pub(in crate::http) fn ok<T: Serialize>(body: &T) -> Response {
    json(StatusCode::OK, body)
}

/// `{"message": …}` with 201, and where it is.
pub(super) fn created(text: &'static str, location: &str) -> Response {
    with(json(StatusCode::CREATED, &Message { message: text }), LOCATION, location)
}

fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => json_text(status, body),
        Err(error) => {
            log::error!("an answer could not be written as JSON: {error}");
            bare(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// A body that is JSON already.
pub(super) fn json_text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body.into().into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 200 with a text of this type.
pub(in crate::http) fn text(content_type: &'static str, text: String) -> Response {
    with(Response::new(text.into()), CONTENT_TYPE, content_type)
}

/// `{"message": …}` with 200.
pub(super) fn message(text: &'static str) -> Response {
    ok(&Message { message: text })
}

/// An answer that holds tokens: nothing on the way may keep it.
pub(super) fn tokens<T: Serialize>(body: &T) -> Response {
    with(ok(body), CACHE_CONTROL, "no-store")
}

/// Lets a request pass a proxy, and says whose it is: in headers that the proxy hands on.
pub(super) fn verified(user: &User) -> Response {
    /// All but visible ASCII is percent-encoded, and so is the percent sign: decoding gives the name back, and
    /// no two names are encoded alike.
    const NAME: &AsciiSet = &CONTROLS.add(b' ').add(b'%');
    let name = utf8_percent_encode(user.name.as_str(), NAME);
    let response = with(bare(StatusCode::OK), REMOTE_USER, name);
    let response = with(response, REMOTE_USER_ID, user.id);
    let response = with(response, REMOTE_ROLE, user.role);
    with(response, CACHE_CONTROL, "no-store")
}

/// No content, but what may be asked for.
pub(in crate::http) fn options(allow: &'static str) -> Response {
    with(bare(StatusCode::NO_CONTENT), ALLOW, allow)
}

/// An answer that any cache may keep as `cache_control` says, or 304 if the client already has it.
pub(super) fn cacheable(
    headers: &HeaderMap,
    tag: &Tag,
    cache_control: &'static str,
    response: impl FnOnce() -> Response,
) -> Response {
    let response = if tag.is_known(headers) { bare(StatusCode::NOT_MODIFIED) } else { response() };
    with(with(response, CACHE_CONTROL, cache_control), ETAG, tag)
}

/// Goes on elsewhere.
pub(super) fn redirect(status: StatusCode, location: &'static str) -> Response {
    with(bare(status), LOCATION, location)
}

/// A file that is part of the binary.
pub(super) fn file(content_type: &'static str, bytes: &'static [u8]) -> Response {
    with(Response::new(Bytes::from_static(bytes).into()), CONTENT_TYPE, content_type)
}

/// One page of a list, and where the next one is (RFC 8288).
pub(super) fn with_next(page: Response, next: &str) -> Response {
    with(page, LINK, format!("<{next}>; rel=\"next\""))
}

/// The same answer with one header more.
pub(in crate::http) fn with(mut response: Response, name: HeaderName, value: impl ToString) -> Response {
    // All values are visible ASCII.
    if let Ok(value) = HeaderValue::try_from(value.to_string()) {
        response.headers_mut().insert(name, value);
    }
    response
}

fn bare(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

impl Reply for ApiError {
    fn into_response(self) -> Response {
        self.tell();
        let RefusalAnswer { status, body, header } = self.into();
        let response = json(status, &body);
        match header {
            Some((name, value)) => with(response, name, value),
            None => response,
        }
    }
}
