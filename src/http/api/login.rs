//! `POST /login`

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use warp::reply::Response;

use super::App;
use super::answer;
use super::bodies::{Body as _, Credentials};
use super::error::ApiError;
use super::fields::Rules;
use super::openapi::refusals::{Body, Failures, TooManyLogins, WrongCredentials};
use super::request::RequestBody;
use crate::audit::Origin;
use crate::password::Password;
use crate::token::Token;

/// The first tokens of a session.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenPair {
    /// Fresh: good for everything.
    #[schema(value_type = String, example = "v4.public.…", pattern = r"^v4\.public\.")]
    access_token: Token,
    /// For further access tokens.
    #[schema(value_type = String, example = "v4.local.…", pattern = r"^v4\.local\.")]
    refresh_token: Token,
}

/// Log in
///
/// Begins a session. A wrong password, an unknown name and a disabled user are answered alike.
#[utoipa::path(
    post, path = "", operation_id = "log_in", tag = "sessions", request_body = Credentials,
    responses(
        (status = 200, description = "The tokens of a new session.", body = TokenPair,
            headers(("Cache-Control" = String, description = "`no-store`")),
            links(
                ("get_user" = (operation_id = "get_user",
                    parameters(
                        ("path.id" = "me"),
                        ("header.Authorization" = "Bearer {$response.body#/access_token}"),
                    ))),
                ("get_session" = (operation_id = "get_session",
                    parameters(("header.Authorization" = "Bearer {$response.body#/access_token}")))),
                ("refresh" = (operation_id = "refresh",
                    parameters(("header.Authorization" = "Bearer {$response.body#/refresh_token}")))),
                ("log_out" = (operation_id = "log_out",
                    parameters(("header.Authorization" = "Bearer {$response.body#/access_token}")))),
                ("delete_user" = (operation_id = "delete_user",
                    parameters(
                        ("path.id" = "me"),
                        ("header.Authorization" = "Bearer {$response.body#/access_token}"),
                    ))),
            )),
        WrongCredentials, Body, TooManyLogins, Failures,
    ),
)]
pub(super) async fn create(
    origin: Arc<Origin>,
    app: Arc<App>,
    body: Result<RequestBody, ApiError>,
) -> Result<Response, ApiError> {
    let Credentials { username, password } = Credentials::read(body?, Rules::of(&app))?;
    let session = app.service.sessions.log_in(&origin, &username, Password::typed(&password)).await?;
    Ok(answer::tokens(&TokenPair { access_token: session.access, refresh_token: session.refresh }))
}
