//! What answers look like: the only place that gives status codes and error bodies.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, ETAG, LINK, LOCATION, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;
use warp::Reply;
use warp::reply::Response;

use super::etag::Tag;
use crate::domain::user::User;
use crate::logging;
use crate::service::{Refusal, Unavailable};
use crate::throttle::ThrottledBy;
use crate::token::TokenRefusal;

const REMOTE_USER: HeaderName = HeaderName::from_static("remote-user");
const REMOTE_USER_ID: HeaderName = HeaderName::from_static("remote-user-id");
const REMOTE_ROLE: HeaderName = HeaderName::from_static("remote-role");

/// The route's name for the access log: the path with its parameters in angle brackets, never the path itself.
#[derive(Clone, Copy)]
pub(super) struct Route(pub(super) &'static str);

/// What is wrong with a body's fields: texts by field.
pub(super) type FieldErrors = BTreeMap<Cow<'static, str>, Vec<String>>;

/// What was done, in words.
#[derive(Serialize, ToSchema)]
pub(super) struct Message {
    message: &'static str,
}

/// Why something was not done.
#[derive(Serialize, ToSchema)]
pub(super) struct Error {
    /// The status once more.
    code: u16,
    /// More about it, where there is more to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    message: Option<Cow<'static, str>>,
    /// What the status is called.
    status: &'static str,
}

/// Why a token was not accepted: in `message` or in `description`, as the original's clients know it.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenError {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<&'static str>,
    error: TokenErrorCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message: Option<&'static str>,
}

/// For programs.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenErrorCode {
    AuthorizationRequired,
    InvalidToken,
    TokenExpired,
    TokenRevoked,
    FreshTokenRequired,
}

/// What is wrong with what was sent: all of it at once.
#[derive(Serialize, ToSchema)]
pub(super) struct InputError {
    /// The status once more.
    code: u16,
    errors: Problems,
    /// What the status is called.
    status: &'static str,
}

/// By where it was sent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Problems {
    /// In the body.
    Json(JsonProblems),
    /// In the query, by parameter.
    #[schema(value_type = BTreeMap<String, Vec<String>>)]
    Query(FieldErrors),
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum JsonProblems {
    /// It cannot be read.
    Body(Vec<&'static str>),
    /// By field; `_schema` where it is no object.
    #[schema(value_type = BTreeMap<String, Vec<String>>)]
    Fields(FieldErrors),
}

/// The body of any refusal.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum RefusalBody {
    Error(Error),
    Token(TokenError),
    Input(InputError),
}

/// What a refusal looks like.
pub(super) struct RefusalAnswer {
    pub(super) status: StatusCode,
    pub(super) body: RefusalBody,
    /// The one header that says more.
    pub(super) header: Option<(HeaderName, Cow<'static, str>)>,
}

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
    /// The body is compressed, or coded otherwise.
    Encoded,
    /// The transfer is coded otherwise than in chunks.
    TransferEncoded,
    BodyTooSlow,
    /// There is not one `Host`, or it is none.
    BadHost,
    /// The target is neither a path nor a URL by http.
    BadTarget,
    /// For another host, where only this machine's own names are served.
    OtherHost,
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
pub(super) fn text(content_type: &'static str, text: String) -> Response {
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

/// An answer that anybody may keep as long as `cache_control` says; or just that what the client has kept is still so.
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
pub(super) fn with(mut response: Response, name: HeaderName, value: impl ToString) -> Response {
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

impl ApiError {
    /// Tells the log what the client is not told, or what whoever runs the proxy should hear.
    fn tell(&self) {
        match self {
            Self::Refused(Refusal::Internal(fault)) => log::error!("a request failed: {fault}"),
            Self::RefusedToProxy(Refusal::Internal(fault)) => {
                log::error!("a proxy asked /verify, and nobody may pass: {fault}");
            }
            Self::RefusedToProxy(Refusal::Unavailable(reason)) => {
                log::warn!("a proxy asked /verify, and nobody may pass: {reason}");
            }
            Self::UnknownDemand => logging::warn_of_request(
                module_path!(),
                format_args!("a proxy asked /verify, and nobody may pass: {UNKNOWN_DEMAND}"),
            ),
            _ => {}
        }
    }
}

const UNKNOWN_DEMAND: &str = "A parameter is unknown or malformed; there are fresh=1 and role=admin.";

impl From<ApiError> for RefusalAnswer {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Refused(refusal) => refused(&refusal),
            ApiError::RefusedToProxy(refusal) => refused_to_proxy(&refusal),
            ApiError::UnknownDemand => said(StatusCode::FORBIDDEN, UNKNOWN_DEMAND),
            ApiError::NotJson => {
                let problem = JsonProblems::Body(vec!["Invalid JSON body."]);
                invalid(StatusCode::BAD_REQUEST, Problems::Json(problem))
            }
            ApiError::Fields(errors) => {
                invalid(StatusCode::UNPROCESSABLE_ENTITY, Problems::Json(JsonProblems::Fields(errors)))
            }
            ApiError::Query(errors) => invalid(StatusCode::UNPROCESSABLE_ENTITY, Problems::Query(errors)),
            ApiError::TooLarge { max } => generic(
                StatusCode::PAYLOAD_TOO_LARGE,
                Some(format!("A body may have {max} bytes at the most.").into()),
            ),
            ApiError::NotDeclaredJson => said(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body must be JSON (Content-Type: application/json).",
            ),
            ApiError::Encoded => said(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body must not be compressed (no Content-Encoding).",
            )
            .and(ACCEPT_ENCODING, "identity".into()),
            ApiError::TransferEncoded => {
                said(StatusCode::NOT_IMPLEMENTED, "The only Transfer-Encoding is chunked.").closing()
            }
            ApiError::BodyTooSlow => said(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time."),
            ApiError::BadHost => {
                said(StatusCode::BAD_REQUEST, "A request needs one Host, and a valid one.").closing()
            }
            ApiError::BadTarget => {
                said(StatusCode::BAD_REQUEST, "The target must be a path, or a URL with a host and no user.")
                    .closing()
            }
            ApiError::OtherHost => said(
                StatusCode::MISDIRECTED_REQUEST,
                "With --dev, Host must name this machine: localhost, 127.0.0.1 or [::1] (--dev-anywhere allows others).",
            ),
            ApiError::UnknownPath => generic(StatusCode::NOT_FOUND, None),
            ApiError::WrongMethod { allow } => {
                generic(StatusCode::METHOD_NOT_ALLOWED, None).and(ALLOW, allow.into())
            }
        }
    }
}

impl RefusalAnswer {
    /// Where a request begins and ends may be in doubt as well: nothing more is read on its connection.
    fn closing(self) -> Self {
        self.and(CONNECTION, "close".into())
    }

    fn and(self, name: HeaderName, value: Cow<'static, str>) -> Self {
        Self { header: Some((name, value)), ..self }
    }
}

/// What everything is answered with that has no body of its own.
fn generic(status: StatusCode, message: Option<Cow<'static, str>>) -> RefusalAnswer {
    let reason = status.canonical_reason().unwrap_or_default();
    let body = RefusalBody::Error(Error { code: status.as_u16(), status: reason, message });
    RefusalAnswer { status, body, header: None }
}

fn said(status: StatusCode, message: &'static str) -> RefusalAnswer {
    generic(status, Some(message.into()))
}

fn invalid(status: StatusCode, errors: Problems) -> RefusalAnswer {
    let reason = status.canonical_reason().unwrap_or_default();
    let body = RefusalBody::Input(InputError { code: status.as_u16(), status: reason, errors });
    RefusalAnswer { status, body, header: None }
}

fn refused(refusal: &Refusal) -> RefusalAnswer {
    match refusal {
        Refusal::NameTaken => said(StatusCode::CONFLICT, "A user with that username already exists."),
        Refusal::InvalidCredentials => {
            said(StatusCode::UNAUTHORIZED, "Invalid credentials").and(WWW_AUTHENTICATE, "Bearer".into())
        }
        Refusal::Token(refusal) => refused_token(*refusal),
        Refusal::Forbidden => generic(StatusCode::FORBIDDEN, None),
        Refusal::NotFound => generic(StatusCode::NOT_FOUND, None),
        Refusal::RegistrationClosed => said(StatusCode::FORBIDDEN, "Registration is closed."),
        Refusal::LastAdmin => {
            said(StatusCode::CONFLICT, "The last administrator cannot be demoted, disabled or deleted.")
        }
        Refusal::Throttled(throttled) => {
            let text = match throttled.by {
                ThrottledBy::Account | ThrottledBy::Network => "Too many failed logins.",
                ThrottledBy::Registrations => "Too many registrations.",
            };
            let seconds = throttled.retry_after.as_secs().to_string();
            said(StatusCode::TOO_MANY_REQUESTS, text).and(RETRY_AFTER, seconds.into())
        }
        Refusal::Unavailable(reason) => {
            generic(StatusCode::SERVICE_UNAVAILABLE, Some(reason.to_string().into()))
                .and(RETRY_AFTER, retry_after(*reason).into())
        }
        Refusal::Internal(_) => generic(StatusCode::INTERNAL_SERVER_ERROR, None),
    }
}

/// Proxies know 401 and 403, and take other answers for failures or worse. So what keeps us from deciding is a 403
/// with the reason and when to come back: 401 would make clients throw good tokens away.
fn refused_to_proxy(refusal: &Refusal) -> RefusalAnswer {
    match refusal {
        Refusal::Token(_) | Refusal::Forbidden => refused(refusal),
        Refusal::Unavailable(reason) => generic(StatusCode::FORBIDDEN, Some(reason.to_string().into()))
            .and(RETRY_AFTER, retry_after(*reason).into()),
        // Nobody is answered the others who shows an access token.
        Refusal::Internal(_)
        | Refusal::NameTaken
        | Refusal::InvalidCredentials
        | Refusal::NotFound
        | Refusal::RegistrationClosed
        | Refusal::LastAdmin
        | Refusal::Throttled(_) => generic(StatusCode::FORBIDDEN, None),
    }
}

fn refused_token(refusal: TokenRefusal) -> RefusalAnswer {
    const INVALID: &str = r#"Bearer error="invalid_token""#;
    const NOT_FRESH: &str = r#"Bearer error="insufficient_user_authentication""#; // RFC 9470
    let described = |error, text| TokenError { error, message: None, description: Some(text) };
    let said = |error, text| TokenError { error, message: Some(text), description: None };
    let (body, challenge) = match refusal {
        TokenRefusal::Missing => (
            described(TokenErrorCode::AuthorizationRequired, "Request does not contain an access token."),
            "Bearer",
        ),
        TokenRefusal::Invalid => {
            (said(TokenErrorCode::InvalidToken, "Signature verification failed."), INVALID)
        }
        TokenRefusal::Expired => (said(TokenErrorCode::TokenExpired, "The token has expired."), INVALID),
        TokenRefusal::Revoked => {
            (described(TokenErrorCode::TokenRevoked, "The token has been revoked"), INVALID)
        }
        TokenRefusal::NotFresh => {
            (described(TokenErrorCode::FreshTokenRequired, "The token is not fresh."), NOT_FRESH)
        }
    };
    let header = Some((WWW_AUTHENTICATE, challenge.into()));
    RefusalAnswer { status: StatusCode::UNAUTHORIZED, body: RefusalBody::Token(body), header }
}

/// Seconds after which trying again makes sense.
fn retry_after(reason: Unavailable) -> &'static str {
    match reason {
        // The queue is two seconds long.
        Unavailable::Busy => "2",
        // A supervisor starts the next process within seconds.
        Unavailable::StoreFailed | Unavailable::Stopping => "5",
        // A disk that stumbles once reads it the next time.
        Unavailable::Page => "5",
        // Somebody has to do something first.
        Unavailable::DiskFull | Unavailable::Clock(_) | Unavailable::KeyFiles => "60",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::clock::{ClockBehind, Timestamp};
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
            (Refusal::Unavailable(Unavailable::Page), 403, Some("5")),
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
            (
                Refusal::Throttled(Throttled { by: ThrottledBy::Account, retry_after: Duration::ZERO }),
                403,
                None,
            ),
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
