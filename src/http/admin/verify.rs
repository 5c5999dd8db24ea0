//! How store and keys are, for a command.

use std::sync::Arc;

use serde_json::json;

use super::super::answer;
use super::super::{Answer, App};
use crate::audit::Origin;
use crate::service::Console;

pub(super) async fn show(_: Arc<Origin>, app: Arc<App>) -> Answer {
    Ok(answer::ok(&json!({ "checks": app.service.upkeep.check(Console).await? })))
}
