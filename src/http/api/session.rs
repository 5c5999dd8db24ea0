//! `GET /session`: who am I, until when, how fresh. `DELETE /user/<id>/sessions`: log out everywhere.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use warp::reply::Response;

use super::App;
use super::answer::{self, Message};
use super::error::ApiError;
use super::openapi::refusals::{AccessTokenRefused, Failures, FreshTokenRefused, UserOutOfReach};
use super::request::Bearer;
use super::user::Target;
use crate::audit::Origin;
use crate::domain::clock::Timestamp;
use crate::domain::session::SessionId;
use crate::domain::user::{Role, UserId};
use crate::service::{Actor, Caller};

/// Whose session it is, and which.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionBody<'a> {
    #[schema(inline)]
    user: SessionUser<'a>,
    #[schema(inline)]
    session: Session,
}

#[derive(Serialize, ToSchema)]
struct SessionUser<'a> {
    #[schema(value_type = String, format = "uuid")]
    id: UserId,
    #[schema(example = "anna")]
    username: &'a str,
    role: Role,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
struct Session {
    #[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{40}$")]
    id: SessionId,
    /// When the password was last checked.
    #[schema(value_type = String, format = DateTime)]
    auth_time: Timestamp,
    /// Whether the token comes straight from a login.
    fresh: bool,
    /// When its last token will have expired.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Whose session is this?
#[utoipa::path(
    get, path = "", operation_id = "get_session", tag = "sessions", security(("access_token" = [])),
    responses(
        (status = 200, description = "User and session.", body = SessionBody<'_>),
        AccessTokenRefused, Failures,
    ),
)]
pub(super) async fn show(origin: Arc<Origin>, app: Arc<App>, bearer: Bearer) -> Result<Response, ApiError> {
    let Caller { user, access } = app.service.sessions.authenticate(&origin, bearer.token()).await?;
    Ok(answer::ok(&SessionBody {
        user: SessionUser {
            id: user.id,
            username: user.name.as_str(),
            role: user.role,
            created_at: user.created_at,
        },
        session: Session {
            id: access.session,
            auth_time: access.auth_time,
            fresh: access.fresh,
            expires_at: access.session.ends_at(),
        },
    }))
}

/// Log out everywhere
///
/// Ends all sessions of a user, this one included; with a fresh token.
#[utoipa::path(
    delete, path = "", operation_id = "end_sessions", tag = "sessions",
    params(("id" = inline(Target), Path, description = "Of the user, or `me`")),
    security(("access_token" = [])),
    responses(
        (status = 200, description = "They are over.", body = Message,
            example = json!({ "message": "All sessions ended." })),
        FreshTokenRefused, UserOutOfReach, Failures,
    ),
)]
pub(super) async fn end_all(
    target: Target,
    origin: Arc<Origin>,
    app: Arc<App>,
    bearer: Bearer,
) -> Result<Response, ApiError> {
    let actor = Actor::Caller(app.service.sessions.authenticate(&origin, bearer.token()).await?);
    app.service.sessions.end_all(&origin, &actor, target.id()).await?;
    Ok(answer::message("All sessions ended."))
}
