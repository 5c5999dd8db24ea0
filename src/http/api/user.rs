//! `GET`, `PATCH` and `DELETE /user/<id>`, `GET /user`

use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};
use warp::reply::Response;

use super::App;
use super::answer::{self, Message};
use super::bodies::{Body as _, UserUpdate};
use super::error::ApiError;
use super::fields::Rules;
use super::openapi::refusals::{
    AccessTokenRefused, Body, Failures, Forbidden, FreshTokenRefused, LastAdmin, QueryRefused, UserOutOfReach,
};
use super::refusal_body::FieldErrors;
use super::request::{Bearer, Query, RequestBody};
use crate::audit::Origin;
use crate::domain::clock::Timestamp;
use crate::domain::user::{MalformedId, Role, User, UserId};
use crate::service::{Actor, Visitor};
use crate::store::UserChange;

/// The most users in one answer: some 150 KiB.
const PAGE_MAX: usize = 1000;

/// The user that a path names.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// `me`: the token's user.
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

impl PartialSchema for Target {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^(me|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$"))
            .examples(["me"])
            .into()
    }
}

impl ToSchema for Target {}

impl Target {
    pub(super) fn id(self) -> Option<UserId> {
        match self {
            Self::Caller => None,
            Self::User(id) => Some(id),
        }
    }
}

/// What a user is to everybody who may see them.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct UserBody<'a> {
    #[schema(value_type = String, format = "uuid")]
    id: UserId,
    #[schema(example = "anna")]
    username: &'a str,
}

impl<'a> From<&'a User> for UserBody<'a> {
    fn from(user: &'a User) -> Self {
        Self { id: user.id, username: user.name.as_str() }
    }
}

/// What a user is to administrators.
#[derive(Serialize, ToSchema)]
#[schema(as = UserInFull)]
pub(super) struct AdminsUserBody<'a> {
    #[serde(flatten)]
    user: UserBody<'a>,
    role: Role,
    /// Whether they are kept from logging in.
    disabled: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl<'a> From<&'a User> for AdminsUserBody<'a> {
    fn from(user: &'a User) -> Self {
        Self { user: user.into(), role: user.role, disabled: user.disabled, created_at: user.created_at }
    }
}

/// Authenticates a request for a user. Under `--dev`, a request by id needs no token.
async fn admit(app: &App, origin: &Origin, bearer: &Bearer, target: Target) -> Result<Visitor, ApiError> {
    Ok(match target {
        Target::Caller => {
            Actor::Caller(app.service.sessions.authenticate(origin, bearer.token()).await?).into()
        }
        Target::User(_) => app.service.sessions.admit(origin, bearer.token()).await?,
    })
}

/// Show a user
///
/// To that user and to administrators.
#[utoipa::path(
    get, path = "", operation_id = "get_user", tag = "users",
    params(("id" = inline(Target), Path, description = "Of the user, or `me`")),
    security(("access_token" = [])),
    responses(
        (status = 200, description = "The user.", body = UserBody<'_>),
        AccessTokenRefused, UserOutOfReach, Failures,
    ),
)]
pub(super) async fn show(
    target: Target,
    origin: Arc<Origin>,
    app: Arc<App>,
    bearer: Bearer,
) -> Result<Response, ApiError> {
    let visitor = admit(&app, &origin, &bearer, target).await?;
    let user = app.service.accounts.show(&visitor, target.id()).await?;
    Ok(answer::ok(&UserBody::from(&user)))
}

/// Change a user's role, disable or enable them
///
/// For administrators, with a fresh token. Enabling also lifts the limit to failed logins.
#[utoipa::path(
    patch, path = "", operation_id = "update_user", tag = "users",
    params(("id" = inline(Target), Path, description = "Of the user, or `me`")),
    security(("access_token" = [])), request_body = UserUpdate,
    responses(
        (status = 200, description = "The user as they are now.", body = AdminsUserBody<'_>),
        FreshTokenRefused, UserOutOfReach, LastAdmin, Body, Failures,
    ),
)]
pub(super) async fn update(
    target: Target,
    origin: Arc<Origin>,
    app: Arc<App>,
    bearer: Bearer,
    body: Result<RequestBody, ApiError>,
) -> Result<Response, ApiError> {
    let actor = Actor::Caller(app.service.sessions.authenticate(&origin, bearer.token()).await?);
    let admin = app.service.accounts.fresh_admin(&origin, &actor)?;
    let UserUpdate { role, disabled } = UserUpdate::read(body?, Rules::of(&app))?;
    let change = UserChange { role, disabled };
    let user = app.service.accounts.update(&origin, admin, target.id(), change).await?;
    Ok(answer::ok(&AdminsUserBody::from(&user)))
}

/// Delete a user
///
/// For that user and for administrators, with a fresh token. All their sessions end.
#[utoipa::path(
    delete, path = "", operation_id = "delete_user", tag = "users",
    params(("id" = inline(Target), Path, description = "Of the user, or `me`")),
    security(("access_token" = [])),
    responses(
        (status = 200, description = "The user is gone.", body = Message,
            example = json!({ "message": "User deleted." })),
        FreshTokenRefused, UserOutOfReach, LastAdmin, Failures,
    ),
)]
pub(super) async fn delete(
    target: Target,
    origin: Arc<Origin>,
    app: Arc<App>,
    bearer: Bearer,
) -> Result<Response, ApiError> {
    let visitor = admit(&app, &origin, &bearer, target).await?;
    app.service.accounts.delete(&origin, &visitor, target.id()).await?;
    Ok(answer::message("User deleted."))
}

/// List users
///
/// For administrators, in order of creation.
#[utoipa::path(
    get, path = "", operation_id = "list_users", tag = "users",
    params(
        ("limit" = Option<usize>, Query, description = "The most users to answer", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "The user after whom to begin", format = "uuid"),
    ),
    security(("access_token" = [])),
    responses(
        (status = 200, description = "Users.", body = Vec<AdminsUserBody<'_>>,
            headers(("Link" = String, description = "The next page, where there is one, as `rel=\"next\"`; relative to this one"))),
        AccessTokenRefused, Forbidden, QueryRefused, Failures,
    ),
)]
pub(super) async fn list(
    origin: Arc<Origin>,
    app: Arc<App>,
    bearer: Bearer,
    query: Query,
) -> Result<Response, ApiError> {
    let visitor = app.service.sessions.admit(&origin, bearer.token()).await?;
    let overview = visitor.overview()?;
    let Page { limit, after } = Page::parse(query)?;
    // One more tells whether there is a next page.
    let mut users = app.service.accounts.list(overview, after, limit + 1).await?;
    let has_more = users.len() > limit;
    users.truncate(limit);
    let next = users.last().filter(|_| has_more).map(|last| format!("user?limit={limit}&after={}", last.id));
    let response = match &visitor {
        // As the original did.
        Visitor::Anyone => answer::ok(&users.iter().map(UserBody::from).collect::<Vec<_>>()),
        Visitor::Known(_) => answer::ok(&users.iter().map(AdminsUserBody::from).collect::<Vec<_>>()),
    };
    Ok(match next {
        Some(next) => answer::with_next(response, &next),
        None => response,
    })
}

/// The part of a list that is asked for.
struct Page {
    limit: usize,
    after: Option<UserId>,
}

impl Page {
    fn parse(query: Query) -> Result<Self, ApiError> {
        let mut page = Self { limit: PAGE_MAX, after: None };
        let mut errors = FieldErrors::new();
        let mut refuse = |field: &'static str, text: String| {
            errors.insert(field.into(), vec![text]);
        };
        for (field, value) in query {
            match &*field {
                "limit" => match value.parse::<i128>().map(usize::try_from) {
                    Ok(Ok(limit)) if (1..=PAGE_MAX).contains(&limit) => page.limit = limit,
                    Ok(_) => refuse(
                        "limit",
                        format!("Must be greater than or equal to 1 and less than or equal to {PAGE_MAX}."),
                    ),
                    Err(_) => refuse("limit", "Not a valid integer.".to_owned()),
                },
                "after" => match value.parse() {
                    Ok(id) => page.after = Some(id),
                    Err(MalformedId) => refuse("after", "Not a valid UUID.".to_owned()),
                },
                _ => {} // unknown ones are ignored, as the original did
            }
        }
        if errors.is_empty() { Ok(page) } else { Err(ApiError::Query(errors)) }
    }
}
