//! `POST /refresh`

use std::sync::Arc;

use serde_json::json;
use warp::reply::Response;

use super::App;
use super::answer::{self, ApiError};
use super::request::Bearer;
use crate::audit::Origin;

pub(super) async fn create(origin: Arc<Origin>, app: Arc<App>, bearer: Bearer) -> Result<Response, ApiError> {
    let refreshed = app.service.refresh(&origin, bearer.token()).await?;
    let token = json!({ "access_token": refreshed.access });
    Ok(answer::about(answer::token(&token), refreshed.user))
}
