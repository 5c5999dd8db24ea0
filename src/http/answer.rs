//! What answers look like: the only place that gives status codes and error bodies.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, LINK, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use serde_json::json;
use warp::Reply;
use warp::reply::Response;

use crate::service::{Refusal, Unavailable};
use crate::throttle::By;
use crate::token::TokenRefusal;
use crate::user::User;

const REMOTE_USER: HeaderName = HeaderName::from_static("remote-user");
const REMOTE_USER_ID: HeaderName = HeaderName::from_static("remote-user-id");
const REMOTE_ROLE: HeaderName = HeaderName::from_static("remote-role");

/// The route's name for the access log: the path with its parameters in angle brackets, never the path itself.
#[derive(Clone, Copy)]
pub(super) struct Route(pub(super) &'static str);

/// What is wrong with a body's fields: texts by field.
pub(super) type FieldErrors = BTreeMap<Cow<'static, str>, Vec<String>>;

/// Every answer that is not a success.
#[derive(Debug)]
pub(super) enum ApiError {
    Refused(Refusal),
    /// The same towards a proxy that asks whether to let a request pass.
    RefusedToProxy(Refusal),
    UnknownDemand,
    NotJson,
    Fields(FieldErrors),
    Query(FieldErrors),
    TooLarge {
        max: usize,
    },
    NotDeclaredJson,
    BodyTooSlow,
    UnknownPath,
    WrongMethod {
        allow: &'static str,
    },
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// 200 with a body.
pub(super) fn ok<T: Serialize>(body: &T) -> Response {
    json(StatusCode::OK, body)
}

/// 201 with a body.
pub(super) fn created<T: Serialize>(body: &T) -> Response {
    json(StatusCode::CREATED, body)
}

fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let Ok(body) = serde_json::to_vec(body) else {
        log::error!("an answer could not be written as JSON");
        return bare(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 200 with a text of this type.
pub(super) fn text(content_type: &'static str, text: String) -> Response {
    with(Response::new(text.into()), CONTENT_TYPE, content_type)
}

/// `{"message": …}` with 200.
pub(super) fn message(text: &'static str) -> Response {
    ok(&json!({ "message": text }))
}

/// An answer that holds tokens: nothing on the way may keep it.
pub(super) fn tokens<T: Serialize>(body: &T) -> Response {
    with(ok(body), CACHE_CONTROL, "no-store")
}

/// Lets a request pass a proxy, and says whose it is: in headers that the proxy hands on.
pub(super) fn verified(user: &User) -> Response {
    /// What is not visible ASCII is percent-encoded, and so is the percent sign: decoding gives the name back, and
    /// no two names are encoded alike.
    const NAME: &AsciiSet = &CONTROLS.add(b' ').add(b'%');
    let name = utf8_percent_encode(user.name.as_str(), NAME);
    let response = with(bare(StatusCode::OK), REMOTE_USER, name);
    let response = with(response, REMOTE_USER_ID, user.id);
    let response = with(response, REMOTE_ROLE, user.role);
    with(response, CACHE_CONTROL, "no-store")
}

/// No content, but what may be asked for.
pub(super) fn options(allow: &'static str) -> Response {
    with(bare(StatusCode::NO_CONTENT), ALLOW, allow)
}

/// What anybody may keep for a while, and ask about again by its tag.
pub(super) fn cacheable<T: Serialize>(body: &T, tag: &str) -> Response {
    tagged(ok(body), tag)
}

/// What was kept is still so.
pub(super) fn not_modified(tag: &str) -> Response {
    tagged(bare(StatusCode::NOT_MODIFIED), tag)
}

fn tagged(response: Response, tag: &str) -> Response {
    // Short, so that a revoked key is not trusted for long; whoever meets an unknown key asks again anyway.
    with(with(response, CACHE_CONTROL, "public, max-age=60"), ETAG, tag)
}

/// One page of a list, and where the next one is (RFC 8288).
pub(super) fn with_next(page: Response, next: &str) -> Response {
    with(page, LINK, format!("<{next}>; rel=\"next\""))
}

/// The same answer with one header more.
fn with(mut response: Response, name: HeaderName, value: impl ToString) -> Response {
    // Whatever comes here is visible ASCII.
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

/// The body for everything that has none of its own.
fn generic(status: StatusCode, message: Option<&str>) -> Response {
    let mut body = json!({
        "code": status.as_u16(),
        "status": status.canonical_reason().unwrap_or_default(),
    });
    if let Some(message) = message {
        body["message"] = message.into();
    }
    json(status, &body)
}

fn invalid(status: StatusCode, errors: serde_json::Value) -> Response {
    json(
        status,
        &json!({
            "code": status.as_u16(),
            "errors": errors,
            "status": status.canonical_reason().unwrap_or_default(),
        }),
    )
}

impl Reply for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(refusal) => refused(&refusal),
            Self::RefusedToProxy(refusal) => refused_to_proxy(&refusal),
            Self::UnknownDemand => {
                const TEXT: &str = "A parameter is unknown or malformed; there are fresh=1 and role=admin.";
                log::warn!("a proxy asked /verify, and nobody may pass: {TEXT}");
                generic(StatusCode::FORBIDDEN, Some(TEXT))
            }
            Self::NotJson => invalid(StatusCode::BAD_REQUEST, json!({ "json": ["Invalid JSON body."] })),
            Self::Fields(errors) => invalid(StatusCode::UNPROCESSABLE_ENTITY, json!({ "json": errors })),
            Self::Query(errors) => invalid(StatusCode::UNPROCESSABLE_ENTITY, json!({ "query": errors })),
            Self::TooLarge { max } => generic(
                StatusCode::PAYLOAD_TOO_LARGE,
                Some(&format!("A body may have {max} bytes at the most.")),
            ),
            Self::NotDeclaredJson => generic(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                Some("The body must be JSON (Content-Type: application/json)."),
            ),
            Self::BodyTooSlow => {
                generic(StatusCode::REQUEST_TIMEOUT, Some("The body did not arrive in time."))
            }
            Self::UnknownPath => generic(StatusCode::NOT_FOUND, None),
            Self::WrongMethod { allow } => with(generic(StatusCode::METHOD_NOT_ALLOWED, None), ALLOW, allow),
        }
    }
}

fn refused(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::NameTaken => {
            generic(StatusCode::CONFLICT, Some("A user with that username already exists."))
        }
        Refusal::InvalidCredentials => {
            with(generic(StatusCode::UNAUTHORIZED, Some("Invalid credentials")), WWW_AUTHENTICATE, "Bearer")
        }
        Refusal::Token(refusal) => refused_token(*refusal),
        Refusal::Forbidden => generic(StatusCode::FORBIDDEN, None),
        Refusal::NotFound => generic(StatusCode::NOT_FOUND, None),
        Refusal::RegistrationClosed => generic(StatusCode::FORBIDDEN, Some("Registration is closed.")),
        Refusal::LastAdmin => generic(
            StatusCode::CONFLICT,
            Some("The last administrator cannot be demoted, disabled or deleted."),
        ),
        Refusal::Throttled(throttled) => {
            let text = match throttled.by {
                By::Account | By::Network => "Too many failed logins.",
                By::Registrations => "Too many registrations.",
            };
            let answer = generic(StatusCode::TOO_MANY_REQUESTS, Some(text));
            with(answer, RETRY_AFTER, throttled.retry_after.as_secs())
        }
        Refusal::Unavailable(reason) => with(
            generic(StatusCode::SERVICE_UNAVAILABLE, Some(&reason.to_string())),
            RETRY_AFTER,
            retry_after(*reason),
        ),
        Refusal::Internal(fault) => {
            log::error!("a request failed: {fault}");
            generic(StatusCode::INTERNAL_SERVER_ERROR, None)
        }
    }
}

/// Proxies know 401 and 403, and take other answers for failures or worse. So what keeps us from deciding is a 403
/// with the reason and when to come back: 401 would make clients throw good tokens away.
fn refused_to_proxy(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::Token(_) | Refusal::Forbidden => refused(refusal),
        Refusal::Unavailable(reason) => {
            log::warn!("a proxy asked /verify, and nobody may pass: {reason}");
            let answer = generic(StatusCode::FORBIDDEN, Some(&reason.to_string()));
            with(answer, RETRY_AFTER, retry_after(*reason))
        }
        Refusal::Internal(fault) => {
            log::error!("a proxy asked /verify, and nobody may pass: {fault}");
            generic(StatusCode::FORBIDDEN, None)
        }
        // Nobody is answered so who shows an access token.
        Refusal::NameTaken
        | Refusal::InvalidCredentials
        | Refusal::NotFound
        | Refusal::RegistrationClosed
        | Refusal::LastAdmin
        | Refusal::Throttled(_) => generic(StatusCode::FORBIDDEN, None),
    }
}

fn refused_token(refusal: TokenRefusal) -> Response {
    const INVALID: &str = r#"Bearer error="invalid_token""#;
    const NOT_FRESH: &str = r#"Bearer error="insufficient_user_authentication""#; // RFC 9470
    let (body, challenge) = match refusal {
        TokenRefusal::Missing => (
            json!({
                "description": "Request does not contain an access token.",
                "error": "authorization_required",
            }),
            "Bearer",
        ),
        TokenRefusal::Invalid => {
            (json!({ "message": "Signature verification failed.", "error": "invalid_token" }), INVALID)
        }
        TokenRefusal::Expired => {
            (json!({ "message": "The token has expired.", "error": "token_expired" }), INVALID)
        }
        TokenRefusal::Revoked => {
            (json!({ "description": "The token has been revoked", "error": "token_revoked" }), INVALID)
        }
        TokenRefusal::NotFresh => {
            (json!({ "description": "The token is not fresh.", "error": "fresh_token_required" }), NOT_FRESH)
        }
    };
    with(json(StatusCode::UNAUTHORIZED, &body), WWW_AUTHENTICATE, challenge)
}

/// Seconds after which trying again makes sense.
fn retry_after(reason: Unavailable) -> &'static str {
    match reason {
        // The queue is two seconds long.
        Unavailable::Busy => "2",
        // A supervisor starts the next process within seconds.
        Unavailable::StoreFailed | Unavailable::Stopping => "5",
        // Somebody has to do something first.
        Unavailable::DiskFull | Unavailable::Clock(_) => "60",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{ClockBehind, Timestamp};
    use crate::store::StoreError;
    use crate::throttle::Throttled;

    #[test]
    fn a_proxy_is_told_401_or_403_whatever_keeps_us_from_deciding() {
        let behind = Timestamp::from_unix_secs(0);
        for (refusal, status, retry_after) in [
            (Refusal::Token(TokenRefusal::Missing), 401, None),
            (Refusal::Token(TokenRefusal::Invalid), 401, None),
            (Refusal::Token(TokenRefusal::Expired), 401, None),
            (Refusal::Token(TokenRefusal::Revoked), 401, None),
            (Refusal::Token(TokenRefusal::NotFresh), 401, None),
            (Refusal::Forbidden, 403, None),
            (Refusal::Unavailable(Unavailable::Busy), 403, Some("2")),
            (Refusal::Unavailable(Unavailable::StoreFailed), 403, Some("5")),
            (Refusal::Unavailable(Unavailable::Stopping), 403, Some("5")),
            (Refusal::Unavailable(Unavailable::DiskFull), 403, Some("60")),
            (
                Refusal::Unavailable(Unavailable::Clock(ClockBehind { system: behind, mark: behind })),
                403,
                Some("60"),
            ),
            (Refusal::from(StoreError::Unreadable), 403, None),
            (Refusal::NameTaken, 403, None),
            (Refusal::InvalidCredentials, 403, None),
            (Refusal::NotFound, 403, None),
            (Refusal::RegistrationClosed, 403, None),
            (Refusal::LastAdmin, 403, None),
            (Refusal::Throttled(Throttled { by: By::Account, retry_after: Duration::ZERO }), 403, None),
        ] {
            let case = format!("{refusal:?}");
            let response = ApiError::RefusedToProxy(refusal).into_response();
            assert_eq!(response.status(), status, "{case}");
            let challenged = response.headers().contains_key(WWW_AUTHENTICATE);
            assert_eq!(challenged, status == 401, "{case}");
            let header = response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(header, retry_after, "{case}");
        }
        assert_eq!(ApiError::UnknownDemand.into_response().status(), 403);
    }
}
