//! `POST /register`, and `POST /user` for administrators

use std::sync::Arc;

use warp::reply::Response;

use super::answer::{self, ApiError, Message};
use super::bodies::{NewUser, NewUserOfRole};
use super::openapi::refusals::{
    Body, Failures, Forbidden, FreshTokenRefused, NameTaken, RegistrationClosed, TooManyRegistrations,
};
use super::request::{Bearer, Document};
use super::{App, fields};
use crate::audit::Origin;
use crate::domain::user::{NewName, Role, UserId};
use crate::password::Password;
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
    body: Result<Document, ApiError>,
) -> Result<Response, ApiError> {
    app.service.accounts.demand_open_registration()?;
    let mut body = body?;
    let user = new_user(&mut body, &app);
    let (name, password) = body.finish(user)?;
    let id = app.service.accounts.register(&origin, name, password).await?;
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
    body: Result<Document, ApiError>,
) -> Result<Response, ApiError> {
    let actor = Actor::Caller(app.service.sessions.authenticate(&origin, bearer.token()).await?);
    create_for(&origin, &app, &actor, body).await
}

/// Creates a user of any role for somebody who may.
pub(super) async fn create_for(
    origin: &Arc<Origin>,
    app: &App,
    actor: &Actor,
    body: Result<Document, ApiError>,
) -> Result<Response, ApiError> {
    let admin = app.service.accounts.fresh_admin(origin, actor)?;
    let mut body = body?;
    let user = new_user(&mut body, app);
    let role = fields::role(&mut body).unwrap_or(Role::User);
    let (name, password) = body.finish(user)?;
    let id = app.service.accounts.create(origin, admin, name, password, role).await?;
    Ok(created(id))
}

fn new_user(body: &mut Document, app: &App) -> Option<(NewName, Password)> {
    let name = fields::username(body, app.service.accounts.usernames());
    let password = fields::new_password(body, "password", &app.policy, name.as_deref());
    name.zip(password)
}

fn created(id: UserId) -> Response {
    answer::created("User created successfully.", &format!("/user/{id}"))
}
