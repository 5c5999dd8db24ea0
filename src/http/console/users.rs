//! Users, for commands.

use std::sync::Arc;

use super::super::answer::ApiError;
use super::super::request::Document;
use super::super::{Answer, App, register};
use crate::audit::Origin;
use crate::service::Actor;

pub(super) async fn create(origin: Arc<Origin>, app: Arc<App>, body: Result<Document, ApiError>) -> Answer {
    register::create_for(&origin, &app, &Actor::Console, body).await
}
