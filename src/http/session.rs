//! `GET /session`: who am I, until when, how fresh. `DELETE /user/<id>/sessions`: log out everywhere.

use std::sync::Arc;

use serde_json::json;
use warp::reply::Response;

use super::App;
use super::answer::{self, ApiError};
use super::request::Bearer;
use super::user::Target;
use crate::audit::Origin;
use crate::service::{Actor, Caller};

pub(super) async fn show(origin: Arc<Origin>, app: Arc<App>, bearer: Bearer) -> Result<Response, ApiError> {
    let Caller { user, access } = app.service.authenticate(&origin, bearer.token()).await?;
    Ok(answer::ok(&json!({
        "user": {
            "id": user.id,
            "username": user.name.as_str(),
            "role": user.role,
            "created_at": user.created_at,
        },
        "session": {
            "id": access.session,
            "auth_time": access.auth_time,
            "fresh": access.fresh,
            "expires_at": access.session.ends_at(),
        },
    })))
}

pub(super) async fn end_all(
    target: Target,
    origin: Arc<Origin>,
    app: Arc<App>,
    bearer: Bearer,
) -> Result<Response, ApiError> {
    let actor = Actor::Caller(app.service.authenticate(&origin, bearer.token()).await?);
    end_all_for(&origin, &app, &actor, target).await
}

/// Ends all sessions of a user for somebody who may.
pub(super) async fn end_all_for(
    origin: &Arc<Origin>,
    app: &App,
    actor: &Actor,
    target: Target,
) -> Result<Response, ApiError> {
    app.service.end_sessions(origin, actor, target.id()).await?;
    Ok(answer::message("All sessions ended."))
}
