//! The refusals of the document: made of the very refusals that handlers give, which makes the examples exact.

use std::collections::BTreeMap;
use std::time::Duration;

use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{Object, OneOfBuilder, Schema, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::super::error::{ApiError, RefusalAnswer};
use super::super::refusal_body::{Error, FieldErrors, InputError, RefusalBody, TokenError};
use super::super::request::BODY_MAX;
use crate::domain::clock::{ClockBehind, Timestamp};
use crate::service::{Fault, Refusal, Unavailable};
use crate::throttle::{Throttled, ThrottledBy};
use crate::token::TokenRefusal;

/// Refusals that operations share: each is a component of the document, and a type to name it by in `responses(…)`.
macro_rules! refusals {
    ($($name:ident: $description:literal, $errors:expr;)+) => {
        $(
            #[doc = $description]
            pub(in crate::http::api) struct $name;

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    let status = $errors.map(|error: ApiError| RefusalAnswer::from(error).status)[0];
                    [(status.as_str().to_owned(), Ref::from_response_name(stringify!($name)).into())].into()
                }
            }
        )+

        /// All of them, as components.
        pub(super) fn shared() -> [(&'static str, Response); [$(stringify!($name)),+].len()] {
            [$((stringify!($name), described($description, $errors))),+]
        }
    };
}

refusals! {
    AccessTokenRefused: "There is no access token, or it is not accepted.",
        [MISSING, INVALID, EXPIRED, REVOKED].map(token);
    FreshTokenRefused: "There is no access token, or it is not accepted, or it is not fresh.",
        [MISSING, INVALID, EXPIRED, REVOKED, NOT_FRESH].map(token);
    AnyTokenRefused: "There is no token, or it is not accepted.",
        [MISSING, INVALID, EXPIRED, REVOKED].map(token);
    WrongCredentials: "No user has this name and this password.",
        [refused(Refusal::InvalidCredentials)];
    TokenOrPasswordRefused: "The token is not accepted; or the current password is wrong; or, where an administrator \
        sets another's, the token is not fresh.",
        [
            token(MISSING), token(INVALID), token(EXPIRED), token(REVOKED), token(NOT_FRESH),
            refused(Refusal::InvalidCredentials),
        ];
    Forbidden: "The token is good, but not for this.",
        [refused(Refusal::Forbidden)];
    RegistrationClosed: "Administrators alone create users here (`--registration closed`).",
        [refused(Refusal::RegistrationClosed)];
    NotLetPass: "The user is no administrator, where one is demanded; or the server cannot decide just now.",
        [
            ApiError::RefusedToProxy(Refusal::Forbidden),
            ApiError::UnknownDemand,
            ApiError::RefusedToProxy(Refusal::Unavailable(Unavailable::StoreFailed)),
        ];
    NotFound: "There is no such user (only administrators are told), or the path names nothing.",
        [refused(Refusal::NotFound)];
    NameTaken: "Another user has this name in some spelling, or had it in the last 30 days.",
        [refused(Refusal::NameTaken)];
    LastAdmin: "No enabled administrator would be left.",
        [refused(Refusal::LastAdmin)];
    NotJson: "The body is not JSON.",
        [ApiError::NotJson];
    BodyTooSlow: "The body did not arrive in time.",
        [ApiError::BodyTooSlow];
    TooLarge: "The body is too large.",
        [ApiError::TooLarge { max: BODY_MAX }];
    NotDeclaredJson: "The body is declared as something other than JSON, or as compressed.",
        [ApiError::NotDeclaredJson, ApiError::Encoded];
    FieldsRefused: "Fields are missing, wrong or unknown: all of them at once.",
        [ApiError::Fields(problems([
            ("username", "Missing data for required field."),
            ("colour", "Unknown field."),
        ]))];
    QueryRefused: "Parameters are wrong: all of them at once.",
        [ApiError::Query(problems([("limit", "Not a valid integer.")]))];
    TooManyLogins: "Too many failed logins to this account or from this network.",
        [throttled(ThrottledBy::Account)];
    TooManyRegistrations: "Too many registrations from this network.",
        [throttled(ThrottledBy::Registrations)];
    Failed: "Something went wrong here. The log says what.",
        [refused(Refusal::Internal(Fault::new(String::new())))];
    Unserved: "Not now.",
        [
            Unavailable::Busy,
            Unavailable::DiskFull,
            Unavailable::Clock(ClockBehind { system: SOME_TIME, mark: SOME_TIME }),
            Unavailable::StoreFailed,
            Unavailable::Page,
            Unavailable::Stopping,
        ]
        .map(|reason| refused(Refusal::Unavailable(reason)));
}

/// Refusals that come together.
macro_rules! groups {
    ($($name:ident: $description:literal, $($part:ident)+;)+) => {$(
        #[doc = $description]
        pub(in crate::http::api) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$($part::responses()),+].into_iter().flatten().collect()
            }
        }
    )+};
}

groups! {
    Body: "What may be wrong with a body.", NotJson BodyTooSlow TooLarge NotDeclaredJson FieldsRefused;
    UserOutOfReach: "The path names another user, or no user.", Forbidden NotFound;
    Failures: "What may go wrong anywhere.", Failed Unserved;
}

const MISSING: TokenRefusal = TokenRefusal::Missing;
const INVALID: TokenRefusal = TokenRefusal::Invalid;
const EXPIRED: TokenRefusal = TokenRefusal::Expired;
const REVOKED: TokenRefusal = TokenRefusal::Revoked;
const NOT_FRESH: TokenRefusal = TokenRefusal::NotFresh;

/// No answer says which.
const SOME_TIME: Timestamp = Timestamp::from_unix_secs(0);

fn refused(refusal: Refusal) -> ApiError {
    ApiError::Refused(refusal)
}

fn token(refusal: TokenRefusal) -> ApiError {
    refused(Refusal::Token(refusal))
}

fn throttled(by: ThrottledBy) -> ApiError {
    refused(Refusal::Throttled(Throttled { by, retry_after: Duration::from_secs(60) }))
}

fn problems<const N: usize>(problems: [(&'static str, &str); N]) -> FieldErrors {
    problems.map(|(field, text)| (field.into(), vec![text.to_owned()])).into()
}

/// Answers as a handler would give them, as examples.
fn described<const N: usize>(description: &str, errors: [ApiError; N]) -> Response {
    let mut schemas = Vec::new();
    let mut examples = Vec::new();
    let mut headers: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for RefusalAnswer { body, header, .. } in errors.map(RefusalAnswer::from) {
        let schema = Ref::from_schema_name(match body {
            RefusalBody::Error(_) => Error::name(),
            RefusalBody::Token(_) => TokenError::name(),
            RefusalBody::Input(_) => InputError::name(),
        });
        if !schemas.contains(&schema) {
            schemas.push(schema);
        }
        let body = serde_json::to_value(body).unwrap_or_default(); // its keys are texts
        let name = ["error", "message", "status"].iter().find_map(|field| body[field].as_str());
        let example = ExampleBuilder::new().value(Some(body.clone())).build();
        examples.push((name.unwrap_or_default().to_owned(), example));
        if let Some((name, value)) = header {
            let values = headers.entry(name.to_string()).or_default();
            let value = format!("`{value}`");
            if !values.contains(&value) {
                values.push(value);
            }
        }
    }
    let content = ContentBuilder::new().examples_from_iter(examples);
    let content = match <[Ref; 1]>::try_from(schemas) {
        Ok([schema]) => content.schema(Some(schema)),
        Err(schemas) => {
            let one_of_them = schemas.into_iter().fold(OneOfBuilder::new(), OneOfBuilder::item);
            content.schema(Some(Schema::OneOf(one_of_them.build())))
        }
    };
    let response =
        ResponseBuilder::new().description(description).content("application/json", content.build());
    let response = headers.into_iter().fold(response, |response, (name, values)| {
        let schema = Object::with_type(Type::String);
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(values.join(" or ")));
        response.header(name, header.build())
    });
    response.build()
}
