//! `POST /logout`

use std::sync::Arc;

use warp::reply::Response;

use super::App;
use super::answer::{self, Message};
use super::error::ApiError;
use super::openapi::refusals::{AnyTokenRefused, Failures};
use super::request::Bearer;
use crate::audit::Origin;

/// Log out
///
/// Ends the session: all its tokens are refused from then on, whichever of them was sent. An expired token is refused,
/// and ends its session all the same.
#[utoipa::path(
    post, path = "", operation_id = "log_out", tag = "sessions",
    security(("access_token" = []), ("refresh_token" = [])),
    responses(
        (status = 200, description = "The session is over.", body = Message,
            example = json!({ "message": "Sucessfully logout" })),
        AnyTokenRefused, Failures,
    ),
)]
pub(super) async fn create(origin: Arc<Origin>, app: Arc<App>, bearer: Bearer) -> Result<Response, ApiError> {
    app.service.sessions.log_out(&origin, bearer.token()).await?;
    Ok(answer::message("Sucessfully logout")) // spelt as the original's clients know it
}
