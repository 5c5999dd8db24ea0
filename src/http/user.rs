//! `GET` and `DELETE /user/<id>`, `GET /user`

use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;
use warp::reply::Response;

use super::App;
use super::answer::{self, ApiError};
use super::request::Bearer;
use crate::audit::Origin;
use crate::user::{MalformedId, User, UserId};

/// The user that a path names.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// `me`: whoever asks.
    Caller,
    User(UserId),
}

impl FromStr for Target {
    type Err = MalformedId;

    fn from_str(segment: &str) -> Result<Self, MalformedId> {
        match segment {
            "me" => Ok(Self::Caller),
            id => id.parse().map(Self::User),
        }
    }
}

impl Target {
    fn id(self) -> Option<UserId> {
        match self {
            Self::Caller => None,
            Self::User(id) => Some(id),
        }
    }
}

#[derive(Serialize)]
struct UserBody<'a> {
    id: UserId,
    username: &'a str,
}

impl<'a> From<&'a User> for UserBody<'a> {
    fn from(user: &'a User) -> Self {
        Self { id: user.id, username: user.name.as_str() }
    }
}

pub(super) async fn show(
    target: Target,
    origin: Arc<Origin>,
    app: Arc<App>,
    bearer: Bearer,
) -> Result<Response, ApiError> {
    let user = app.service.show_user(&origin, bearer.token(), target.id()).await?;
    Ok(answer::ok(&UserBody::from(&user)))
}

pub(super) async fn delete(
    target: Target,
    origin: Arc<Origin>,
    app: Arc<App>,
    bearer: Bearer,
) -> Result<Response, ApiError> {
    app.service.delete_user(&origin, bearer.token(), target.id()).await?;
    Ok(answer::message("User deleted."))
}

pub(super) async fn list(origin: Arc<Origin>, app: Arc<App>, bearer: Bearer) -> Result<Response, ApiError> {
    let users = app.service.list_users(&origin, bearer.token()).await?;
    let users: Vec<_> = users.iter().map(UserBody::from).collect();
    Ok(answer::ok(&users))
}
