//! `GET /healthz`: the process is alive. `GET /readyz`: reads and durable writes would work now.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use warp::reply::Response;

use super::App;
use super::answer;
use super::error::ApiError;
use super::openapi::refusals::Failures;
use crate::domain::clock::Timestamp;
use crate::service::BackupState;

/// How the server is.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    status: &'static str,
}

/// Whether the server is of use.
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    status: &'static str,
    /// Only where automatic backups are set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    backup: Option<BackupHealth>,
}

/// How automatic backups are doing.
#[derive(Serialize, ToSchema)]
pub(super) struct BackupHealth {
    /// When the newest one was begun.
    #[schema(value_type = Option<String>, format = DateTime)]
    last: Option<Timestamp>,
    /// Why there is none that is newer.
    error: Option<String>,
}

/// Is the process alive?
#[utoipa::path(
    get, path = "", operation_id = "get_health", tag = "server",
    responses(
        (status = 200, description = "It is.", body = Health, example = json!({ "status": "alive" })),
        Failures,
    ),
)]
pub(super) async fn alive() -> Result<Response, ApiError> {
    Ok(answer::ok(&Health { status: "alive" }))
}

/// Would reads and durable writes work now?
#[utoipa::path(
    get, path = "", operation_id = "get_readiness", tag = "server",
    responses(
        (status = 200, description = "They would.", body = Readiness, example = json!({ "status": "ready" })),
        Failures,
    ),
)]
pub(super) async fn ready(app: Arc<App>) -> Result<Response, ApiError> {
    app.service.upkeep.ready().await?;
    // Failing backups do not make a server unready; monitoring sees them here.
    let backup = app.service.backups.state().map(|BackupState { last, error }| BackupHealth { last, error });
    Ok(answer::ok(&Readiness { status: "ready", backup }))
}
