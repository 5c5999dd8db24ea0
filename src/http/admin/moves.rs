//! Users who come from elsewhere and who go elsewhere, for commands.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::answer::{self, ApiError, FieldErrors};
use super::super::request::{Document, Query};
use super::super::{Answer, App, fields, wire};
use crate::audit::Origin;
use crate::domain::user::{MalformedId, Role, User, UserId};
use crate::password::PasswordHash;
use crate::service::{Console, Newcomer};

/// How many users are moved by one request: as many as share a sync of the store.
pub(crate) const MOVED_AT_ONCE: usize = 512;

/// The most bytes of an import: so many of the longest names and hashes are 0.9 MB.
pub(super) const BODY_MAX: usize = 1 << 20;

/// A user on the move.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Moved {
    username: String,
    password_hash: String,
    role: Role,
    disabled: bool,
}

impl Moved {
    fn newcomer(self) -> Result<Newcomer, String> {
        Ok(Newcomer {
            name: self
                .username
                .parse()
                .map_err(|error| format!("username: {}", wire::name_refused(error)))?,
            hash: PasswordHash::import(self.password_hash).map_err(|error| error.to_string())?,
            role: self.role,
            disabled: self.disabled,
        })
    }
}

/// The body of an import.
pub(crate) fn import_body<'a>(users: impl Iterator<Item = &'a Newcomer>, apply: bool) -> Value {
    let users =
        users.map(|Newcomer { name, hash, role, disabled }| moved(name.as_str(), hash, *role, *disabled));
    json!({ "apply": apply, "users": users.collect::<Vec<_>>() })
}

fn moved(name: &str, hash: &PasswordHash, role: Role, disabled: bool) -> Value {
    json!({ "username": name, "password_hash": hash.as_str(), "role": role, "disabled": disabled })
}

/// By what rule users will be imported.
pub(super) async fn rules(_: Arc<Origin>, app: Arc<App>) -> Answer {
    Ok(answer::ok(&json!({ "usernames": app.service.accounts.usernames() })))
}

pub(super) async fn import(origin: Arc<Origin>, app: Arc<App>, body: Result<Document, ApiError>) -> Answer {
    let mut body = body?;
    let apply = fields::flag(&mut body, "apply").unwrap_or(false);
    let users = newcomers(&mut body);
    let users = body.finish(users)?;
    let arrivals = app.service.accounts.import(&origin, Console, users, apply).await?;
    Ok(answer::ok(&json!({ "arrivals": arrivals })))
}

/// The command has looked at each user already; whatever is wrong here is refused with all the others.
fn newcomers(body: &mut Document) -> Option<Vec<Newcomer>> {
    let users: Result<Vec<Moved>, _> = serde_json::from_value(body.optional("users").unwrap_or_default());
    let newcomers = match users {
        Ok(users) => users.into_iter().map(Moved::newcomer).collect(),
        Err(_) => Err("Not a list of users.".to_owned()),
    };
    newcomers.map_err(|problem| body.refuse("users", problem)).ok()
}

pub(super) async fn export(origin: Arc<Origin>, app: Arc<App>, query: Query) -> Answer {
    let after = query.iter().find(|(field, _)| field == "after").map(|(_, id)| id.parse()).transpose();
    let after: Option<UserId> = after.map_err(|MalformedId| {
        ApiError::Query(FieldErrors::from([("after".into(), vec!["Not a valid UUID.".to_owned()])]))
    })?;
    let users = app.service.accounts.export(&origin, Console, after, MOVED_AT_ONCE).await?;
    // A full page may be followed by an empty one.
    let next = users.last().filter(|_| users.len() == MOVED_AT_ONCE).map(|(user, _)| user.id);
    let body =
        |(user, hash): &(User, PasswordHash)| moved(user.name.as_str(), hash, user.role, user.disabled);
    let users: Vec<_> = users.iter().map(body).collect();
    Ok(answer::ok(&json!({ "users": users, "next": next, "total": app.service.accounts.count() })))
}
