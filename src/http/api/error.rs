//! Refusals: which status, body and header each of them has.

use std::borrow::Cow;

use http::header::{ACCEPT_ENCODING, ALLOW, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, StatusCode};

use super::refusal_body::{
    Error, FieldErrors, InputError, JsonProblems, Problems, RefusalBody, TokenError, TokenErrorCode,
};
use crate::logging;
use crate::service::{Refusal, Unavailable};
use crate::throttle::ThrottledBy;
use crate::token::TokenRefusal;

/// What a refusal looks like.
pub(in crate::http) struct RefusalAnswer {
    pub(in crate::http) status: StatusCode,
    pub(in crate::http) body: RefusalBody,
    /// The one header that says more.
    pub(in crate::http) header: Option<(HeaderName, Cow<'static, str>)>,
}

/// Every answer that is not a success.
#[derive(Debug)]
pub(in crate::http) enum ApiError {
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

impl ApiError {
    /// Logs what the client is not told, and what the operator of a proxy needs to know.
    pub(super) fn tell(&self) {
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
        // Checking an access token never returns these.
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
        // A read error may be transient.
        Unavailable::Page => "5",
        // Lasts until an operator acts.
        Unavailable::DiskFull | Unavailable::Clock(_) | Unavailable::KeyFiles => "60",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use warp::Reply as _;

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
