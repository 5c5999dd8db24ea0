//! The edge: routes, what requests and answers look like, and the front that speaks HTTP/1.1.
//!
//! The only folder that names `warp` and `hyper`. A handler parses, calls the service and shapes the answer;
//! what a refusal looks like is decided in `answer`.

mod answer;
mod connection;
mod front;
mod health;
mod login;
mod logout;
mod refresh;
mod register;
mod request;
mod user;

use std::convert::Infallible;
use std::sync::Arc;

use http::Method;
use warp::filters::BoxedFilter;
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection, path};

use crate::service::Service;
use answer::{ApiError, Route};
pub use front::{Front, Limits};
use request::{bearer, document, no_document, origin};
use user::Target;

/// What handlers need besides the request.
pub struct App {
    /// What they call.
    pub service: Service,
    /// The fewest characters of a new password.
    pub min_password_chars: usize,
}

type Answer = Result<Response, ApiError>;

/// All routes. Path first, then method: a known path with another method answers 405 with `Allow`, and
/// `OPTIONS` 204; what is left is an unknown path.
#[rustfmt::skip] // one line a method
fn routes(app: Arc<App>) -> BoxedFilter<(Response,)> {
    let app = warp::any().map(move || Arc::clone(&app));
    let call = || origin().and(app.clone());
    let get = || warp::get().or(warp::head()).unify();

    let user = || path!("user" / Target);
    let user = user().and(get()).and(call()).and(bearer()).then(user::show)
        .or(user().and(warp::delete()).and(call()).and(bearer()).and(no_document()).then(user::delete)).unify()
        .or(user().map(drop).untuple_one().and(other("DELETE, GET, HEAD, OPTIONS"))).unify()
        .map(named("/user/<id>"));
    let users = path!("user")
        .and(get().and(call()).and(bearer()).then(user::list).or(other("GET, HEAD, OPTIONS")).unify())
        .map(named("/user"));
    let register = path!("register")
        .and(warp::post().and(call()).and(document()).then(register::create).or(other("OPTIONS, POST")).unify())
        .map(named("/register"));
    let login = path!("login")
        .and(warp::post().and(call()).and(document()).then(login::create).or(other("OPTIONS, POST")).unify())
        .map(named("/login"));
    let refresh = path!("refresh")
        .and(warp::post().and(call()).and(bearer()).and(no_document()).then(refresh::create).or(other("OPTIONS, POST")).unify())
        .map(named("/refresh"));
    let logout = path!("logout")
        .and(warp::post().and(call()).and(bearer()).and(no_document()).then(logout::create).or(other("OPTIONS, POST")).unify())
        .map(named("/logout"));
    let healthz = path!("healthz")
        .and(get().then(health::alive).or(other("GET, HEAD, OPTIONS")).unify())
        .map(named("/healthz"));
    let readyz = path!("readyz")
        .and(get().and(app.clone()).then(health::ready).or(other("GET, HEAD, OPTIONS")).unify())
        .map(named("/readyz"));

    // The token check comes first: it is what is asked most.
    user.or(users).unify()
        .or(register).unify()
        .or(login).unify()
        .or(refresh).unify()
        .or(logout).unify()
        .or(healthz).unify()
        .or(readyz).unify()
        .recover(unknown_path).unify()
        .boxed()
}

/// A known path, asked with a method that it has no handler for.
fn other(allow: &'static str) -> impl Filter<Extract = (Answer,), Error = Infallible> + Copy {
    warp::method().map(move |method| match method {
        Method::OPTIONS => Ok(answer::options(allow)),
        _ => Err(ApiError::WrongMethod { allow }),
    })
}

/// Shapes what a handler answers and names the route for the access log.
fn named(route: &'static str) -> impl Fn(Answer) -> Response + Clone {
    move |answer| {
        let mut response = answer.into_response();
        response.extensions_mut().insert(Route(route));
        response
    }
}

async fn unknown_path(_: Rejection) -> Result<Response, Infallible> {
    Ok(ApiError::UnknownPath.into_response())
}
