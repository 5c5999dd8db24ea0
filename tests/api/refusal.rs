//! The contract's refusals, each spelt out once.

use serde_json::{Value, json};

use crate::support::Reply;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Missing,
    Invalid,
    Expired,
    Revoked,
    NotFresh,
    InvalidCredentials,
    NameTaken,
    Forbidden,
    NotFound,
    NotJson,
    ClockBehind,
    Busy,
}

struct Spelling {
    status: u16,
    body: Value,
    challenge: Option<&'static str>,
    retry_after: Option<&'static str>,
}

impl Refusal {
    fn spelling(self) -> Spelling {
        const BEARER: &str = "Bearer";
        const INVALID_TOKEN: &str = r#"Bearer error="invalid_token""#;
        const STEP_UP: &str = r#"Bearer error="insufficient_user_authentication""#;
        let (status, body, challenge, retry_after) = match self {
            Self::Missing => (
                401,
                json!({"description": "Request does not contain an access token.", "error": "authorization_required"}),
                Some(BEARER),
                None,
            ),
            Self::Invalid => (
                401,
                json!({"message": "Signature verification failed.", "error": "invalid_token"}),
                Some(INVALID_TOKEN),
                None,
            ),
            Self::Expired => (
                401,
                json!({"message": "The token has expired.", "error": "token_expired"}),
                Some(INVALID_TOKEN),
                None,
            ),
            Self::Revoked => (
                401,
                json!({"description": "The token has been revoked", "error": "token_revoked"}),
                Some(INVALID_TOKEN),
                None,
            ),
            Self::NotFresh => (
                401,
                json!({"description": "The token is not fresh.", "error": "fresh_token_required"}),
                Some(STEP_UP),
                None,
            ),
            Self::InvalidCredentials => (
                401,
                json!({"code": 401, "message": "Invalid credentials", "status": "Unauthorized"}),
                Some(BEARER),
                None,
            ),
            Self::NameTaken => (
                409,
                json!({"code": 409, "message": "A user with that username already exists.", "status": "Conflict"}),
                None,
                None,
            ),
            Self::Forbidden => (403, json!({"code": 403, "status": "Forbidden"}), None, None),
            Self::NotFound => (404, json!({"code": 404, "status": "Not Found"}), None, None),
            Self::NotJson => (
                400,
                json!({"code": 400, "errors": {"json": ["Invalid JSON body."]}, "status": "Bad Request"}),
                None,
                None,
            ),
            Self::ClockBehind => (
                503,
                json!({"code": 503, "message": "The system clock is behind.", "status": "Service Unavailable"}),
                None,
                Some("60"),
            ),
            Self::Busy => (
                503,
                json!({"code": 503, "message": "Too many logins at once.", "status": "Service Unavailable"}),
                None,
                Some("2"),
            ),
        };
        Spelling { status, body, challenge, retry_after }
    }

    /// Compares a whole answer with this refusal. `case` identifies it in a failure.
    #[track_caller]
    pub(crate) fn expect(self, reply: &Reply, case: &str) {
        let expected = self.spelling();
        assert_eq!(reply.status, expected.status, "{case}: {self:?}: {reply:?}");
        assert_eq!(reply.json(), expected.body, "{case}: {self:?}");
        assert_eq!(reply.header("www-authenticate"), expected.challenge, "{case}: {self:?}");
        assert_eq!(reply.header("retry-after"), expected.retry_after, "{case}: {self:?}");
        expect_plain(reply, case);
    }
}

/// Compares a whole answer that holds no token and is no refusal of the table.
#[track_caller]
pub(crate) fn expect(reply: &Reply, status: u16, body: &Value, case: &str) {
    assert_eq!(reply.status, status, "{case}: {reply:?}");
    assert_eq!(reply.json(), *body, "{case}");
    assert_eq!(reply.header("www-authenticate"), None, "{case}");
    assert_eq!(reply.header("retry-after"), None, "{case}");
    expect_plain(reply, case);
}

/// Compares a whole 422.
#[track_caller]
pub(crate) fn expect_fields(reply: &Reply, errors: &Value, case: &str) {
    let body = json!({"code": 422, "errors": {"json": errors}, "status": "Unprocessable Entity"});
    expect(reply, 422, &body, case);
}

#[track_caller]
fn expect_plain(reply: &Reply, case: &str) {
    assert_eq!(reply.header("content-type"), Some("application/json"), "{case}");
    assert_eq!(reply.header("cache-control"), None, "{case}: no token, so nothing to hide");
    assert!(reply.header("x-request-id").is_some(), "{case}");
}
