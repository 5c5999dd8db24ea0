//! Users, for commands: as in the public API, and found by name, too.

use std::sync::Arc;

use serde::Serialize;

use super::super::answer::{self, ApiError};
use super::super::request::{Document, Query};
use super::super::user::{self, AdminsUserBody, Target};
use super::super::{Answer, App, password, register, session};
use crate::audit::Origin;
use crate::domain::user::{User, Username};
use crate::service::{Actor, Console, Visitor};

/// What a user is to whoever can reach the data directory.
#[derive(Serialize)]
struct ConsolesUserBody<'a> {
    #[serde(flatten)]
    user: AdminsUserBody<'a>,
    /// How their password is hashed.
    password_scheme: String,
}

impl<'a> ConsolesUserBody<'a> {
    async fn of(user: &'a User, app: &App) -> Result<Self, ApiError> {
        let password_scheme = app.service.accounts.password_scheme(Console, user).await?;
        Ok(Self { user: user.into(), password_scheme })
    }
}

pub(super) async fn create(origin: Arc<Origin>, app: Arc<App>, body: Result<Document, ApiError>) -> Answer {
    register::create_for(&origin, &app, &Actor::Console, body).await
}

/// All users, or the one of the name that the query gives.
pub(super) async fn list(_: Arc<Origin>, app: Arc<App>, query: Query) -> Answer {
    let Some((_, name)) = query.iter().find(|(field, _)| field == "username") else {
        return user::list_for(&app, &Visitor::Known(Actor::Console), query).await;
    };
    let found = match name.parse() {
        Ok(name) => app.service.accounts.find(Console, &name).await?,
        Err(_) => None, // nobody has a name that is none
    };
    Ok(match &found {
        Some(user) => answer::ok(&[ConsolesUserBody::of(user, &app).await?]),
        None => answer::ok::<[(); 0]>(&[]),
    })
}

pub(super) async fn show(target: Target, _: Arc<Origin>, app: Arc<App>) -> Answer {
    let user = app.service.accounts.show(&Actor::Console.into(), target.id()).await?;
    Ok(answer::ok(&ConsolesUserBody::of(&user, &app).await?))
}

pub(super) async fn update(
    target: Target,
    origin: Arc<Origin>,
    app: Arc<App>,
    body: Result<Document, ApiError>,
) -> Answer {
    user::update_for(&origin, &app, &Actor::Console, target, body).await
}

pub(super) async fn delete(target: Target, origin: Arc<Origin>, app: Arc<App>) -> Answer {
    user::delete_for(&origin, &app, &Actor::Console.into(), target).await
}

pub(super) async fn set_password(
    target: Target,
    origin: Arc<Origin>,
    app: Arc<App>,
    body: Result<Document, ApiError>,
) -> Answer {
    password::reset_for(&origin, &app, Actor::Console, target.id(), body).await
}

pub(super) async fn end_sessions(target: Target, origin: Arc<Origin>, app: Arc<App>) -> Answer {
    session::end_all_for(&origin, &app, &Actor::Console, target).await
}

/// Frees the name that the query gives, if a deleted user had it.
pub(super) async fn free_name(origin: Arc<Origin>, app: Arc<App>, query: Query) -> Answer {
    let name = query.iter().find(|(field, _)| field == "username").and_then(|(_, name)| name.parse().ok());
    let freed = match name {
        Some(name) => app.service.accounts.free_name(&origin, Console, name).await?,
        None => Vec::new(), // nobody had a name that is none
    };
    let freed: Vec<_> = freed.iter().map(Username::as_str).collect();
    Ok(answer::ok(&serde_json::json!({ "freed": freed })))
}
