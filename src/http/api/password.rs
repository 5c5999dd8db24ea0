//! `POST /user/<id>/password`: by the owner, with the current password as the proof; by an administrator without.

use std::sync::Arc;

use warp::reply::Response;

use super::App;
use super::answer::{self, Message};
use super::bodies::{Body as _, OthersPassword, OwnPassword, PasswordChange};
use super::error::ApiError;
use super::fields::Rules;
use super::openapi::refusals::{Body, Failures, TokenOrPasswordRefused, TooManyLogins, UserOutOfReach};
use super::request::{Bearer, RequestBody};
use super::user::Target;
use crate::audit::Origin;
use crate::password::Password;
use crate::service::Actor;

/// Set a password
///
/// Users change their own by giving the current one; all their other sessions end. Administrators set another's with
/// a fresh token; all sessions of that user end, and the limit to their failed logins is lifted.
#[utoipa::path(
    post, path = "", operation_id = "change_password", tag = "users",
    params(("id" = inline(Target), Path, description = "Of the user, or `me`")),
    security(("access_token" = [])), request_body = PasswordChange,
    responses(
        (status = 200, description = "The new password is set.", body = Message,
            example = json!({ "message": "Password changed." })),
        TokenOrPasswordRefused, UserOutOfReach, Body, TooManyLogins, Failures,
    ),
)]
pub(super) async fn change(
    target: Target,
    origin: Arc<Origin>,
    app: Arc<App>,
    bearer: Bearer,
    body: Result<RequestBody, ApiError>,
) -> Result<Response, ApiError> {
    let caller = app.service.sessions.authenticate(&origin, bearer.token()).await?;
    match target.id().filter(|id| *id != caller.user.id) {
        None => {
            let rules = Rules::of(&app).with_name(&caller.user.name);
            let OwnPassword { current_password, new_password } = OwnPassword::read(body?, rules)?;
            let current = Password::typed(&current_password);
            app.service.accounts.change_password(&origin, &caller, current, new_password.0).await?;
        }
        Some(id) => {
            let actor = Actor::Caller(caller);
            let admin = app.service.accounts.fresh_admin(&origin, &actor)?;
            let user = app.service.accounts.show(&actor.into(), Some(id)).await?;
            let rules = Rules::of(&app).with_name(&user.name);
            let OthersPassword { new_password } = OthersPassword::read(body?, rules)?;
            app.service.accounts.reset_password(&origin, admin, user.id, new_password.0).await?;
        }
    }
    Ok(answer::message("Password changed."))
}
