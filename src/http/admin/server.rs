//! Where the server is reached, for a command that does not know its flags.

use std::sync::Arc;

use serde_json::json;

use super::super::answer;
use super::super::{Answer, App};
use crate::audit::Origin;

pub(super) async fn show(_origin: Arc<Origin>, app: Arc<App>) -> Answer {
    Ok(answer::ok(&json!({ "listen": app.address.get().map(ToString::to_string) })))
}
