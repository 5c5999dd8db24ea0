//! `POST /refresh`

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use warp::reply::Response;

use super::App;
use super::answer;
use super::error::ApiError;
use super::openapi::refusals::{AnyTokenRefused, Failures};
use super::request::Bearer;
use crate::audit::Origin;
use crate::token::Token;

/// A further access token.
#[derive(Serialize, ToSchema)]
pub(super) struct RefreshedTokens {
    /// Not fresh: good for everything but destroying and giving power.
    #[schema(value_type = String, example = "v4.public.…", pattern = r"^v4\.public\.")]
    access_token: Token,
    /// Where refresh tokens rotate: to be used instead of the one that was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false, required = false, pattern = r"^v4\.local\.")]
    refresh_token: Option<Token>,
}

/// Get a further access token
///
/// It is not *fresh*: it reads, but what destroys or gives power takes one from a login.
#[utoipa::path(
    post, path = "", operation_id = "refresh", tag = "sessions", security(("refresh_token" = [])),
    responses(
        (status = 200, description = "An access token of the same session.", body = RefreshedTokens,
            headers(("Cache-Control" = String, description = "`no-store`")),
            links(
                ("get_user" = (operation_id = "get_user",
                    parameters(
                        ("path.id" = "me"),
                        ("header.Authorization" = "Bearer {$response.body#/access_token}"),
                    ))),
                ("log_out" = (operation_id = "log_out",
                    parameters(("header.Authorization" = "Bearer {$response.body#/access_token}")))),
            ),
            example = json!({ "access_token": "v4.public.…" })),
        AnyTokenRefused, Failures,
    ),
)]
pub(super) async fn create(origin: Arc<Origin>, app: Arc<App>, bearer: Bearer) -> Result<Response, ApiError> {
    let renewed = app.service.sessions.refresh(&origin, bearer.token()).await?;
    Ok(answer::tokens(&RefreshedTokens { access_token: renewed.access, refresh_token: renewed.refresh }))
}
