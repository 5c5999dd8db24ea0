//! The access log: one line a request.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use http::Method;
use log::kv::Value;

use crate::audit::Origin;
use crate::logging::{self, Kind, chosen};
use crate::metrics::Requests;

/// The log target of the access log: one line a request.
const ACCESS: &str = "gatelet::access";

/// The route of a request that met none, or whose client was gone before that was known.
pub(super) const NO_ROUTE: &str = "-";

/// Counts a request and writes its line to the access log when it is dropped: also where the client has hung up, or was
/// closed, before there was an answer.
pub(super) struct AccessLine<'a> {
    pub(super) requests: Option<&'a Requests>,
    pub(super) origin: Arc<Origin>,
    pub(super) method: Method,
    pub(super) started: Instant,
    /// Route and status.
    pub(super) answered: Option<(&'static str, u16)>,
}

impl Drop for AccessLine<'_> {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let (route, status) = self.answered.unzip();
        let route = route.unwrap_or(NO_ROUTE);
        if let Some(requests) = self.requests {
            requests.count(self.method.as_str(), route, status, took);
        }
        if !log::log_enabled!(target: ACCESS, log::Level::Info) {
            return;
        }
        let origin = &self.origin;
        let method = chosen(self.method.as_str());
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let user = origin.user();
        let user: Option<&dyn Display> = user.as_ref().map(|user| user as &dyn Display);
        let (client, request) = (origin.address(), &origin.request_id);
        let answer: &dyn Display = status.as_ref().map_or(&"unanswered", |status| status);
        let what = format_args!("{method} {route} {answer}");
        let whose = user.unwrap_or(&"-");
        let text = format_args!("{what} duration_us={micros} user={whose} client={client} request={request}");
        let fields = [
            ("method", Value::from(&*method)),
            ("route", route.into()),
            ("status", status.map_or_else(Value::null, Value::from)),
            ("duration_us", micros.into()),
            ("user", user.map_or_else(Value::null, Value::from_dyn_display)),
            ("client", Value::from_display(&client)),
            ("request", Value::from(request.as_str())),
        ];
        logging::inform(Kind::Access, ACCESS, text, &what, &fields);
    }
}
