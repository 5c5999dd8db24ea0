//! `GET /.well-known/paseto-keys`: the public keys, for services that check access tokens by themselves.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use http::HeaderMap;
use http::header::IF_NONE_MATCH;
use serde_json::json;
use warp::reply::Response;

use super::App;
use super::answer::{self, ApiError};

pub(super) async fn published(app: Arc<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    let keys = app.service.published_keys();
    let body = json!({ "keys": keys });
    let mut hasher = DefaultHasher::new();
    body.to_string().hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok());
    let is_known = known.flat_map(|tags| tags.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
    });
    Ok(if is_known { answer::not_modified(&tag) } else { answer::cacheable(&body, &tag) })
}
