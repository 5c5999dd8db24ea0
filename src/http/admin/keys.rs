//! The keys of tokens, for commands.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::answer::{self, ApiError};
use super::super::request::Document;
use super::super::{Answer, App, fields};
use crate::audit::Origin;
use crate::domain::key::{KeyKind, KeyRecord};
use crate::service::Console;

pub(super) async fn list(_: Arc<Origin>, app: Arc<App>) -> Answer {
    Ok(answer::ok(&body_of(&app.service.keys.list(Console))))
}

pub(super) async fn published(_: Arc<Origin>, app: Arc<App>) -> Answer {
    Ok(answer::ok(&json!({ "keys": app.service.keys.published() })))
}

pub(super) async fn rotate(origin: Arc<Origin>, app: Arc<App>, body: Result<Document, ApiError>) -> Answer {
    let mut body = body?;
    let revoke = fields::flag(&mut body, "revoke").unwrap_or(false);
    let revoke = body.finish(Some(revoke))?;
    let keys = app.service.keys.rotate(&origin, Console, revoke).await?;
    Ok(answer::ok(&body_of(&keys)))
}

pub(super) async fn prune(origin: Arc<Origin>, app: Arc<App>) -> Answer {
    let removed = app.service.keys.prune(&origin, Console).await?;
    Ok(answer::ok(&json!({ "removed": removed })))
}

fn body_of(keys: &[KeyRecord]) -> Value {
    let describe = |key: &KeyRecord| {
        json!({
            "kid": key.id,
            "use": match key.id.kind() {
                KeyKind::Signing => "access tokens",
                KeyKind::Encrypting => "refresh tokens",
            },
            "state": key.state(),
            "not_after": key.not_after,
        })
    };
    json!({ "keys": keys.iter().map(describe).collect::<Vec<_>>() })
}
