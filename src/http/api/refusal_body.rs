//! The bodies of refusals.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// The errors of a body, by field.
pub(in crate::http) type FieldErrors = BTreeMap<Cow<'static, str>, Vec<String>>;

/// Why something was not done.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Error {
    /// The status once more.
    pub(super) code: u16,
    /// More about it, where there is more to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    pub(super) message: Option<Cow<'static, str>>,
    /// What the status is called.
    pub(super) status: &'static str,
}

/// Why a token was not accepted: in `message` or in `description`, as the original's clients know it.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct TokenError {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) description: Option<&'static str>,
    pub(super) error: TokenErrorCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) message: Option<&'static str>,
}

/// For programs.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::http) enum TokenErrorCode {
    AuthorizationRequired,
    InvalidToken,
    TokenExpired,
    TokenRevoked,
    FreshTokenRequired,
}

/// Every error in the input at once.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct InputError {
    /// The status once more.
    pub(super) code: u16,
    pub(super) errors: Problems,
    /// What the status is called.
    pub(super) status: &'static str,
}

/// By where it was sent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::http) enum Problems {
    /// In the body.
    Json(JsonProblems),
    /// In the query, by parameter.
    #[schema(value_type = BTreeMap<String, Vec<String>>)]
    Query(FieldErrors),
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum JsonProblems {
    /// It cannot be read.
    Body(Vec<&'static str>),
    /// By field; `_schema` where it is no object.
    #[schema(value_type = BTreeMap<String, Vec<String>>)]
    Fields(FieldErrors),
}

/// The body of any refusal.
#[derive(Serialize)]
#[serde(untagged)]
pub(in crate::http) enum RefusalBody {
    Error(Error),
    Token(TokenError),
    Input(InputError),
}
