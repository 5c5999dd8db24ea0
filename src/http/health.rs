//! `GET /healthz`: the process is alive. `GET /readyz`: reads and durable writes would work now.

use std::sync::Arc;

use serde_json::json;
use warp::reply::Response;

use super::App;
use super::answer::{self, ApiError};

pub(super) async fn alive() -> Result<Response, ApiError> {
    Ok(answer::ok(&json!({ "status": "alive" })))
}

pub(super) async fn ready(app: Arc<App>) -> Result<Response, ApiError> {
    app.service.ready().await?;
    Ok(answer::ok(&json!({ "status": "ready" })))
}
