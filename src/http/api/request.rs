//! What handlers take from a request: who asks, their token, their JSON.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::{Stream, StreamExt, pin_mut};
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use warp::{Filter, Rejection};
use zeroize::Zeroizing;

use super::super::front::connection::Activity;
use super::error::ApiError;
use super::json::{Json, Object};
use super::refusal_body::FieldErrors;
use crate::audit::Origin;

/// The most bytes a body may have: names and passwords at their longest, escaped, fit several times.
pub(super) const BODY_MAX: usize = 16 * 1024;

/// How many bytes of a body that is too large are read and dropped before the answer. A client that has sent
/// them hears 413; one that is told earlier may see its connection reset instead.
const OVERFLOW_MAX: usize = 1024 * 1024;

/// How long a body may take to arrive: with 5 s for the head and some 3 s of hashing, a request stays within
/// the 15 s that the front allows it.
const BODY_TIMEOUT: Duration = Duration::from_secs(7);

/// Who asks: put there by the front.
pub(super) fn origin() -> impl Filter<Extract = (Arc<Origin>,), Error = Rejection> + Copy {
    warp::ext::get::<Arc<Origin>>()
}

/// An `Authorization` header, if there is one. Of several, the front has made one that nothing verifies.
pub(super) struct Bearer(Option<HeaderValue>);

/// Takes the token along, unread.
pub(super) fn bearer() -> impl Filter<Extract = (Bearer,), Error = Infallible> + Copy {
    warp::header::value(AUTHORIZATION.as_str())
        .map(|value| Bearer(Some(value)))
        .or(warp::any().map(|| Bearer(None)))
        .unify()
}

impl Bearer {
    /// The token's text; nothing where there is none or the scheme is another. Bytes that are no text make a
    /// token that nothing verifies.
    pub(super) fn token(&self) -> Option<&str> {
        let value = self.0.as_ref()?.as_bytes();
        let (scheme, token) = value.split_at_checked(7)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return None;
        }
        match token.trim_ascii() {
            [] => None,
            token => Some(std::str::from_utf8(token).unwrap_or_default()),
        }
    }
}

/// The fields of a JSON object, taken out one by one. Errors are collected, so that one answer
/// tells all of them.
pub(super) struct RequestBody {
    fields: Map<String, Value>,
    errors: FieldErrors,
}

/// Reads the body as a JSON object.
pub(super) fn json_body() -> impl Filter<Extract = (Result<RequestBody, ApiError>,), Error = Rejection> + Copy
{
    warp::header::headers_cloned().and(body()).map(|headers: HeaderMap, body: Body| {
        let body = body?; // read first, so that the client can hear the answer
        if !headers.get_all(CONTENT_TYPE).iter().all(is_json) {
            return Err(ApiError::NotDeclaredJson);
        }
        if !headers.get_all(CONTENT_ENCODING).iter().all(is_identity) {
            return Err(ApiError::Encoded);
        }
        RequestBody::parse(&body)
    })
}

/// Reads an unexpected body and drops it: a connection that is closed with bytes unread may be reset
/// before its answer arrives.
pub(super) fn no_body() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    body().map(drop).untuple_one()
}

/// The parameters of a query, in order.
pub(super) type Query = Vec<(String, String)>;

/// Reads the query.
pub(super) fn query() -> impl Filter<Extract = (Query,), Error = Infallible> + Copy {
    warp::query::<Query>().or(warp::any().map(Query::new)).unify()
}

/// Takes the query along, unread; the empty text where there is none.
pub(super) fn raw_query() -> impl Filter<Extract = (String,), Error = Infallible> + Copy {
    warp::query::raw().or(warp::any().map(String::new)).unify()
}

type Body = Result<Zeroizing<Vec<u8>>, ApiError>;

/// Reads the body as a whole. The connection may be closed to make room meanwhile.
fn body() -> impl Filter<Extract = (Body,), Error = Rejection> + Copy {
    warp::ext::get::<Arc<Activity>>().and(warp::header::headers_cloned()).and(warp::body::stream()).then(
        move |activity: Arc<Activity>, headers: HeaderMap, body| async move {
            if is_hopeless(&headers) {
                return Err(ApiError::TooLarge { max: BODY_MAX });
            }
            activity.body_awaited();
            let body = tokio::time::timeout(BODY_TIMEOUT, collect(body, BODY_MAX)).await;
            if activity.body_complete() {
                body.unwrap_or(Err(ApiError::BodyTooSlow))
            } else {
                Err(ApiError::BodyTooSlow)
            }
        },
    )
}

/// Whether a body is declared as too large, and more than would be read and dropped; or its client waits to be asked for it.
fn is_hopeless(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let most = if headers.contains_key(EXPECT) { BODY_MAX } else { BODY_MAX + OVERFLOW_MAX };
    length.is_some_and(|length| length > most as u64)
}

fn is_json(content_type: &HeaderValue) -> bool {
    let Ok(text) = content_type.to_str() else {
        return false;
    };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.strip_prefix("application/") {
        Some(subtype) => subtype == "json" || subtype.ends_with("+json"),
        None => essence.is_empty(),
    }
}

/// Bytes as they are (RFC 9110, section 8.4.1).
fn is_identity(encoding: &HeaderValue) -> bool {
    encoding.as_bytes().trim_ascii().is_empty() || encoding.as_bytes().eq_ignore_ascii_case(b"identity")
}

/// The whole body, counted while it is read: what a client declares about its length is not relied on.
pub(super) async fn collect<B: Buf>(
    body: impl Stream<Item = Result<B, warp::Error>>,
    max: usize,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    pin_mut!(body);
    let mut bytes = Zeroizing::new(Vec::new());
    let mut total = 0;
    while let Some(chunk) = body.next().await {
        // Never grows after this, so that at least here no copy of a password is left behind.
        let room = max - bytes.len();
        bytes.reserve_exact(room);
        // The transfer broke off: the client will not read the answer.
        let mut chunk = chunk.map_err(|_| ApiError::NotJson)?;
        total += chunk.remaining();
        if total > max + OVERFLOW_MAX {
            break;
        }
        while total <= max && chunk.has_remaining() {
            let part = chunk.chunk();
            bytes.extend_from_slice(part);
            let taken = part.len();
            chunk.advance(taken);
        }
    }
    if total > max { Err(ApiError::TooLarge { max }) } else { Ok(bytes) }
}

impl RequestBody {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let Object { fields, repeated } = if bytes.is_empty() {
            Object::default()
        } else {
            match serde_json::from_slice(bytes) {
                Ok(Json::Object(object)) => object,
                Ok(Json::Other) => {
                    let text = vec!["Invalid input type.".to_owned()];
                    return Err(ApiError::Fields([("_schema".into(), text)].into()));
                }
                Err(_) => return Err(ApiError::NotJson),
            }
        };
        let mut read = Self { fields, errors: FieldErrors::new() };
        for field in repeated {
            read.errors.insert(Cow::Owned(field), vec!["Given more than once.".to_owned()]);
        }
        Ok(read)
    }

    /// A required text.
    pub(super) fn text(&mut self, field: &'static str) -> Option<Zeroizing<String>> {
        let problem = match self.fields.remove(field) {
            Some(Value::String(text)) => return Some(Zeroizing::new(text)),
            Some(Value::Null) => "Field may not be null.",
            Some(_) => "Not a valid string.",
            None => "Missing data for required field.",
        };
        self.refuse(field, problem.to_owned());
        None
    }

    /// The field's value, if the field is there.
    pub(super) fn optional(&mut self, field: &'static str) -> Option<Value> {
        self.fields.remove(field)
    }

    /// Records an error of a field.
    pub(super) fn refuse(&mut self, field: &'static str, problem: String) {
        self.errors.entry(Cow::Borrowed(field)).or_default().push(problem);
    }

    /// What was taken, or all errors: of the fields that were refused, and of every field that was not taken.
    pub(super) fn finish<T>(mut self, taken: Option<T>) -> Result<T, ApiError> {
        for unknown in self.fields.into_iter().map(|(field, _)| field) {
            let text = "Unknown field.".to_owned();
            self.errors.entry(Cow::Owned(unknown)).or_default().push(text);
        }
        match taken {
            Some(taken) if self.errors.is_empty() => Ok(taken),
            _ => Err(ApiError::Fields(self.errors)), // every missing field has its error
        }
    }
}
