//! `POST /login`

use std::sync::Arc;

use serde_json::json;
use warp::reply::Response;

use super::App;
use super::answer::{self, ApiError};
use super::request::Document;
use crate::audit::Origin;
use crate::password::Password;

pub(super) async fn create(
    origin: Arc<Origin>,
    app: Arc<App>,
    body: Result<Document, ApiError>,
) -> Result<Response, ApiError> {
    let mut body = body?;
    let (name, password) = (body.text("username"), body.text("password"));
    let (name, password) = body.finish(name.zip(password))?;
    let session = app.service.log_in(&origin, &name, Password::typed(&password)).await?;
    let tokens = json!({ "access_token": session.access, "refresh_token": session.refresh });
    Ok(answer::tokens(&tokens))
}
