//! `POST /logout`

use std::sync::Arc;

use warp::reply::Response;

use super::App;
use super::answer::{self, ApiError};
use super::request::Bearer;
use crate::audit::Origin;

pub(super) async fn create(origin: Arc<Origin>, app: Arc<App>, bearer: Bearer) -> Result<Response, ApiError> {
    app.service.log_out(&origin, bearer.token()).await?;
    Ok(answer::message("Sucessfully logout")) // spelt as the original's clients know it
}
