//! Requests by route, method and status. Counting takes no lock and formats no label: each token check counts here.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;

use super::Histogram;

/// Methods with a label of their own. Clients choose other methods freely, so they share one.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];

/// The route of requests for unknown paths.
const NO_ROUTE: &str = "-";

/// Statuses told apart in each class. The registered ones end in 00 to 31 (except 451 and 511); any other counts as
/// its class's first, as clients treat it (RFC 9110, 15).
const IN_A_CLASS: u16 = 32;

/// Classes of statuses. The first is for requests whose client was gone before the answer.
const CLASSES: u16 = 6;

/// Counts requests. Clones count together.
#[derive(Clone, Debug)]
pub struct Requests(Arc<[Route]>);

#[derive(Debug)]
struct Route {
    name: &'static str,
    durations: Histogram,
    /// By method, made at its first request; then by status.
    answers: [OnceLock<Box<[AtomicU64]>>; METHODS.len()],
}

impl Requests {
    /// A table for these routes.
    pub fn new(routes: &[&'static str]) -> Self {
        let route = |name| Route { name, durations: Histogram::of_durations(), answers: Default::default() };
        Self(routes.iter().copied().chain([NO_ROUTE]).map(route).collect())
    }

    /// Counts a request and its duration. `status` is `None` if it was not answered.
    pub fn count(&self, method: &str, route: &str, status: Option<u16>, took: Duration) {
        let Some(route) = self.0.iter().find(|known| known.name == route).or(self.0.last()) else {
            return; // there always is a last
        };
        let method = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        let answers = route.answers[method]
            .get_or_init(|| (0..IN_A_CLASS * CLASSES).map(|_| AtomicU64::new(0)).collect());
        answers[place(status)].fetch_add(1, Ordering::Relaxed);
        route.durations.took(took);
    }
}

/// The place of a status in its table.
fn place(status: Option<u16>) -> usize {
    let Some(status) = status else { return 0 };
    let class = (status / 100).clamp(1, CLASSES - 1);
    let rest = Some(status % 100).filter(|rest| *rest < IN_A_CLASS).unwrap_or(0);
    usize::from(class * IN_A_CLASS + rest)
}

/// The status at a place, as a label.
fn status(place: usize) -> String {
    match place {
        0 => "unanswered".to_owned(),
        place => (place / usize::from(IN_A_CLASS) * 100 + place % usize::from(IN_A_CLASS)).to_string(),
    }
}

impl Collector for Requests {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests by method, route and status.";
        let mut total =
            to.encode_descriptor("gatelet_http_requests_total", help, None, MetricType::Counter)?;
        for route in &*self.0 {
            for (method, answers) in METHODS.iter().zip(&route.answers) {
                let counts = answers.get().into_iter().flatten().map(|count| count.load(Ordering::Relaxed));
                for (place, count) in counts.enumerate().filter(|(_, count)| *count > 0) {
                    let status = status(place);
                    let labels = [("method", *method), ("route", route.name), ("status", status.as_str())];
                    total.encode_family(&labels)?.encode_gauge(&count)?; // see `Counter`
                }
            }
        }
        let (name, help) = ("gatelet_http_request_duration_seconds", "How long requests took, by route.");
        let mut durations = to.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for route in &*self.0 {
            route.durations.encode(durations.encode_family(&[("route", route.name)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_counted_as_itself_or_as_its_classs_first() {
        for code in [200, 201, 204, 304, 400, 401, 404, 405, 408, 409, 413, 415, 422, 429, 431, 500, 503] {
            assert_eq!(status(place(Some(code))), code.to_string());
        }
        for (code, counted) in [(299, "200"), (451, "400"), (599, "500"), (999, "500"), (0, "100")] {
            assert_eq!(status(place(Some(code))), counted);
        }
        assert_eq!(status(place(None)), "unanswered");
    }
}
