//! `POST /register`, and `POST /user` for administrators

use std::sync::Arc;

use http::HeaderValue;
use http::header::LOCATION;
use serde_json::json;
use warp::reply::Response;

use super::answer::{self, ApiError};
use super::request::{Bearer, Document};
use super::{App, fields};
use crate::audit::Origin;
use crate::password::{Password, Policy};
use crate::service::Actor;
use crate::user::{Role, UserId, Username};

pub(super) async fn create(
    origin: Arc<Origin>,
    app: Arc<App>,
    body: Result<Document, ApiError>,
) -> Result<Response, ApiError> {
    app.service.demand_open_registration()?;
    let mut body = body?;
    let user = new_user(&mut body, &app.policy);
    let (name, password) = body.finish(user)?;
    let id = app.service.register(&origin, name, password).await?;
    Ok(created(id))
}

pub(super) async fn create_by_admin(
    origin: Arc<Origin>,
    app: Arc<App>,
    bearer: Bearer,
    body: Result<Document, ApiError>,
) -> Result<Response, ApiError> {
    let actor = Actor::Caller(app.service.authenticate(&origin, bearer.token()).await?);
    create_for(&origin, &app, &actor, body).await
}

/// Creates a user of any role for somebody who may.
pub(super) async fn create_for(
    origin: &Arc<Origin>,
    app: &App,
    actor: &Actor,
    body: Result<Document, ApiError>,
) -> Result<Response, ApiError> {
    let admin = app.service.fresh_admin(origin, actor)?;
    let mut body = body?;
    let user = new_user(&mut body, &app.policy);
    let role = fields::role(&mut body).unwrap_or(Role::User);
    let (name, password) = body.finish(user)?;
    let id = app.service.create_user(origin, admin, name, password, role).await?;
    Ok(created(id))
}

fn new_user(body: &mut Document, policy: &Policy) -> Option<(Username, Password)> {
    let name = fields::username(body);
    let password = fields::new_password(body, "password", policy, name.as_ref());
    name.zip(password)
}

fn created(id: UserId) -> Response {
    let mut response = answer::created(&json!({ "message": "User created successfully." }));
    if let Ok(location) = HeaderValue::try_from(format!("/user/{id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}
