//! `GET /metrics`, on a listener of its own

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use warp::reply::Response;

use super::App;
use super::api::answer;
use super::api::error::ApiError;
use crate::metrics::{CONTENT_TYPE, Connections, Metrics};
use crate::service::{Fault, Refusal};

/// What Prometheus reads.
pub struct MetricsPage {
    app: Arc<App>,
    metrics: Metrics,
    connections: Box<dyn Fn() -> Connections + Send + Sync>,
    /// One after the other: asking takes a look at the disk, which may hang.
    turn: Arc<Mutex<()>>,
}

impl MetricsPage {
    /// A page of these metrics, and of how `app` and its connections stand when it is asked for.
    pub fn new(
        app: Arc<App>,
        metrics: Metrics,
        connections: impl Fn() -> Connections + Send + Sync + 'static,
    ) -> Self {
        Self { app, metrics, connections: Box::new(connections), turn: Arc::default() }
    }
}

pub(super) async fn show(page: Arc<MetricsPage>) -> Result<Response, ApiError> {
    let turn = Arc::clone(&page.turn).lock_owned().await;
    let text = spawn_blocking(move || {
        let _turn = turn;
        page.metrics.page((page.connections)(), page.app.service.upkeep.readings())
    });
    let text = text.await.map_err(|error| Refusal::Internal(Fault::new(format!("metrics: {error}"))))?;
    Ok(answer::text(CONTENT_TYPE, text))
}
