//! How store and keys are, for a command.

use std::sync::Arc;

use serde_json::json;

use super::super::answer;
use super::super::{Answer, App};
use crate::audit::Origin;
use crate::service::Actor;

pub(super) async fn show(origin: Arc<Origin>, app: Arc<App>) -> Answer {
    let admin = app.service.fresh_admin(&origin, &Actor::Console)?;
    Ok(answer::ok(&json!({ "checks": app.service.check(admin).await? })))
}
