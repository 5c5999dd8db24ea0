//! How changes are made: each runs to its end and writes its lines to the audit log.

use std::sync::Arc;

use crate::audit::{Audit, Event, Origin};
use crate::metrics::Events;

use super::{Fault, Refusal};

/// Runs changes and keeps the audit log. Clones count together.
#[derive(Clone, Default)]
pub(super) struct Changes(Audit);

impl Changes {
    /// What the audit log has counted.
    pub(super) fn events(&self) -> Events {
        self.0.events.clone()
    }

    pub(super) fn record(&self, origin: &Origin, event: Event<'_>) {
        self.0.record(origin, event);
    }

    /// Records a token that was refused, and passes the outcome on.
    pub(super) fn noted<T, E: Into<Refusal>>(
        &self,
        origin: &Origin,
        outcome: Result<T, E>,
    ) -> Result<T, Refusal> {
        let outcome = outcome.map_err(Into::into);
        if let Err(Refusal::Token(reason)) = &outcome {
            self.record(origin, Event::TokenRefused(*reason, origin.user()));
        }
        outcome
    }
}

/// The one way to make a change on request: it runs to its end even if the client hangs up. So all that belongs to the
/// change happens inside: its audit line, what it forgives, what it gives back, and the line of a token that turns out to
/// be revoked.
pub(super) async fn run<
    P: Clone,
    T: Send + 'static,
    F: Future<Output = Result<T, Refusal>> + Send + 'static,
>(
    changes: &Changes,
    part: &P,
    origin: &Arc<Origin>,
    change: impl FnOnce(P, Arc<Origin>) -> F,
) -> Result<T, Refusal> {
    let (changes, origin) = (changes.clone(), Arc::clone(origin));
    let change = change(part.clone(), Arc::clone(&origin));
    tokio::spawn(async move { changes.noted(&origin, change.await) })
        .await
        .unwrap_or_else(|error| Err(Refusal::Internal(Fault::new(format!("a change did not end: {error}")))))
}
