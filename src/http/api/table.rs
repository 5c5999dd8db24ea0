//! How a table of routes is read: each path stands once, its methods beside their handlers.
//!
//! From a row follow `HEAD` where `GET` is, `Allow`, 204 for `OPTIONS`, 405 for other methods, and the route's name.

use std::convert::Infallible;

use http::Method;
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

use super::Answer;
use super::answer::{self, Route};
use super::error::ApiError;

/// The API's table: what the document says of its routes, and a function that makes their filter, given the
/// document that is served.
///
/// Each route is boxed: unboxed, the types of the filters grow into each other until the compiler takes minutes.
macro_rules! routes {
    (
        |$document:ident|
        $path:tt { $($methods:tt)+ }
        $($more_path:tt { $($more_methods:tt)+ })*
    ) => {{
        const PARTS: &[Part] = &[
            (route_name!($path), operations!($($methods)+)),
            $((route_name!($more_path), operations!($($more_methods)+)),)*
        ];
        (PARTS, |$document| {
            route!($path { $($methods)+ }).boxed()
                $(.or(route!($more_path { $($more_methods)+ }).boxed()).unify())*
                .recover(unknown_path).unify()
                .boxed()
        })
    }};
}

/// One row: what a request brings, and the handler that takes it. `ANY` stands for all methods, `OPTIONS` included.
macro_rules! route {
    ($path:tt { ANY $input:expr => $($handler:ident)::+, }) => {
        path_filter!($path).and($input).then($($handler)::+).map(named(route_name!($path)))
    };
    ($path:tt {
        $first:ident $first_input:expr => $($first_handler:ident)::+,
        $($method:ident $input:expr => $($handler:ident)::+,)*
    }) => {
        path_filter!($path).and(method!($first)).and($first_input).then($($first_handler)::+)
            $(.or(path_filter!($path).and(method!($method)).and($input).then($($handler)::+)).unify())*
            .or(path_filter!(unread $path).and(other(allowed!($first $($method)*)))).unify()
            .map(named(route_name!($path)))
    };
}

/// The document's part about a row.
macro_rules! operations {
    ($($method:ident $input:expr => $($handler:ident)::+,)+) => {
        || {
            #[derive(utoipa::OpenApi)]
            #[openapi(paths($($($handler)::+),+))]
            struct Operations;
            <Operations as utoipa::OpenApi>::openapi()
        }
    };
}

/// The filter of a path, which takes out its parameters, or leaves them `unread`.
macro_rules! path_filter {
    (@segment {$name:ident: $type:ty}) => { warp::path::param::<$type>() };
    (@segment $text:literal) => { warp::path($text) };
    (@unread {$name:ident: $type:ty}) => { warp::path::param::<$type>().map(drop).untuple_one() };
    (@unread $text:literal) => { warp::path($text) };
    (unread ($($segment:tt)/ *)) => {
        warp::any()$(.and(path_filter!(@unread $segment)))*.and(warp::path::end())
    };
    (($($segment:tt)/ *)) => {
        warp::any()$(.and(path_filter!(@segment $segment)))*.and(warp::path::end())
    };
}

/// The route's name in the access log and the metrics: the path with its parameters in angle brackets.
macro_rules! route_name {
    (@segment {$name:ident: $type:ty}) => { concat!("/<", stringify!($name), ">") };
    (@segment $text:literal) => { concat!("/", $text) };
    (()) => { "/" };
    (($($segment:tt)/ +)) => { concat!($(route_name!(@segment $segment)),+) };
}

macro_rules! method {
    (DELETE) => {
        warp::delete()
    };
    (GET) => {
        warp::get().or(warp::head()).unify()
    };
    (PATCH) => {
        warp::patch()
    };
    (POST) => {
        warp::post()
    };
}

/// The value of `Allow`, in alphabetical order, however the row is ordered.
macro_rules! allowed {
    ($($method:ident)+) => {
        concat!(
            $(allowed!(@DELETE $method),)+ $(allowed!(@GET $method),)+ "OPTIONS",
            $(allowed!(@PATCH $method),)+ $(allowed!(@POST $method),)+
        )
    };
    (@DELETE DELETE) => { "DELETE, " };
    (@GET GET) => { "GET, HEAD, " };
    (@PATCH PATCH) => { ", PATCH" };
    (@POST POST) => { ", POST" };
    (@$place:ident $method:ident) => { "" };
}

pub(in crate::http) use {allowed, method, operations, path_filter, route, route_name, routes};

/// A known path, asked with a method that it has no handler for.
pub(in crate::http) fn other(
    allow: &'static str,
) -> impl Filter<Extract = (Answer,), Error = Infallible> + Copy {
    warp::method().map(move |method| match method {
        Method::OPTIONS => Ok(answer::options(allow)),
        _ => Err(ApiError::WrongMethod { allow }),
    })
}

/// Shapes what a handler answers and names the route for the access log.
pub(in crate::http) fn named(route: &'static str) -> impl Fn(Answer) -> Response + Clone {
    move |answer| {
        let mut response = answer.into_response();
        response.extensions_mut().insert(Route(route));
        response
    }
}

pub(in crate::http) async fn unknown_path(_: Rejection) -> Result<Response, Infallible> {
    Ok(ApiError::UnknownPath.into_response())
}
