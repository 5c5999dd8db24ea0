//! `POST /refresh`

use std::sync::Arc;

use serde_json::json;
use warp::reply::Response;

use super::App;
use super::answer::{self, ApiError};
use super::request::Bearer;
use crate::audit::Origin;

pub(super) async fn create(origin: Arc<Origin>, app: Arc<App>, bearer: Bearer) -> Result<Response, ApiError> {
    let renewed = app.service.refresh(&origin, bearer.token()).await?;
    let mut body = json!({ "access_token": renewed.access });
    if let Some(refresh) = renewed.refresh {
        body["refresh_token"] = json!(refresh);
    }
    Ok(answer::tokens(&body))
}
