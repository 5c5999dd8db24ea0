//! `GET /healthz`: the process is alive. `GET /readyz`: reads and durable writes would work now.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use warp::reply::Response;

use super::App;
use super::answer::{self, ApiError};
use super::openapi::refusals::Failures;

/// How the server is.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    status: &'static str,
}

/// Is the process alive?
#[utoipa::path(
    get, path = "/healthz", operation_id = "get_health", tag = "server",
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
    get, path = "/readyz", operation_id = "get_readiness", tag = "server",
    responses(
        (status = 200, description = "They would.", body = Health, example = json!({ "status": "ready" })),
        Failures,
    ),
)]
pub(super) async fn ready(app: Arc<App>) -> Result<Response, ApiError> {
    app.service.ready().await?;
    Ok(answer::ok(&Health { status: "ready" }))
}
