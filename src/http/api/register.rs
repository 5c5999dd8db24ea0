//! `POST /register`, and `POST /user` for administrators

use std::sync::Arc;

use warp::reply::Response;

use super::App;
use super::answer::{self, Message};
use super::bodies::{Body as _, NewUser, NewUserOfRole};
use super::error::ApiError;
use super::fields::Rules;
use super::openapi::refusals::{
    Body, Failures, Forbidden, FreshTokenRefused, NameTaken, RegistrationClosed, TooManyRegistrations,
};
use super::request::{Bearer, RequestBody};
use crate::audit::Origin;
use crate::domain::user::{Role, UserId};
use crate::service::Actor;

/// Register
#[utoipa::path(
    post, path = "", operation_id = "register", tag = "users", request_body = NewUser,
    responses(
        (status = 201, description = "There is a new user.", body = Message,
            headers(("Location" = String, description = "`/user/<id>`")),
            links(("log_in" = (operation_id = "log_in", request_body = "$request.body"))),
            example = json!({ "message": "User created successfully." })),
        RegistrationClosed, NameTaken, Body, TooManyRegistrations, Failures,
    ),
)]
pub(super) async fn create(
    origin: Arc<Origin>,
    app: Arc<App>,
    body: Result<RequestBody, ApiError>,
) -> Result<Response, ApiError> {
    app.service.accounts.demand_open_registration()?;
    let NewUser { username, password } = NewUser::read(body?, Rules::of(&app))?;
    let id = app.service.accounts.register(&origin, username.0, password.0).await?;
    Ok(created(id))
}

/// Create a user
///
/// For administrators, with a fresh token.
#[utoipa::path(
    post, path = "", operation_id = "create_user", tag = "users", request_body = NewUserOfRole,
    security(("access_token" = [])),
    responses(
        (status = 201, description = "There is a new user.", body = Message,
            headers(("Location" = String, description = "`/user/<id>`")),
            example = json!({ "message": "User created successfully." })),
        FreshTokenRefused, Forbidden, NameTaken, Body, Failures,
    ),
)]
pub(super) async fn create_by_admin(
    origin: Arc<Origin>,
    app: Arc<App>,
    bearer: Bearer,
    body: Result<RequestBody, ApiError>,
) -> Result<Response, ApiError> {
    let actor = Actor::Caller(app.service.sessions.authenticate(&origin, bearer.token()).await?);
    let admin = app.service.accounts.fresh_admin(&origin, &actor)?;
    let NewUserOfRole { username, password, role } = NewUserOfRole::read(body?, Rules::of(&app))?;
    let role = role.unwrap_or(Role::User);
    let id = app.service.accounts.create(&origin, admin, username.0, password.0, role).await?;
    Ok(created(id))
}

fn created(id: UserId) -> Response {
    answer::created("User created successfully.", &format!("/user/{id}"))
}
