//! `GET /.well-known/paseto-keys`: the public keys, for services that check access tokens by themselves.

use std::sync::Arc;

use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;
use warp::reply::Response;

use super::App;
use super::answer;
use super::error::ApiError;
use super::etag::Tag;
use super::openapi::refusals::Failures;
use crate::domain::clock::Timestamp;
use crate::domain::key::{KeyId, KeyState};
use crate::token::PublishedKey;

/// Short: a revoked key is trusted for so long. A service that meets an unknown key asks again at once.
const CACHE_CONTROL: &str = "public, max-age=60";

/// The key set: the key that makes tokens comes first.
#[derive(Serialize, ToSchema)]
pub(super) struct KeySet {
    keys: Vec<PublicKey>,
}

/// A public key, with which others check tokens offline.
#[derive(Serialize, ToSchema)]
#[schema(as = PublishedKey)]
struct PublicKey {
    /// The id that tokens carry in their footer.
    #[schema(value_type = String, pattern = r"^k4\.pid\.[A-Za-z0-9_-]{44}$")]
    kid: KeyId,
    /// When the last token made with it has expired.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    not_after: Option<Timestamp>,
    /// The key: `k4.public.…`.
    #[schema(pattern = r"^k4\.public\.[A-Za-z0-9_-]{43}$")]
    public_key: String,
    /// The key's stage.
    state: KeyState,
}

impl From<PublishedKey> for PublicKey {
    fn from(PublishedKey { id, not_after, paserk, state }: PublishedKey) -> Self {
        Self { kid: id, not_after, public_key: paserk, state }
    }
}

/// The public keys of access tokens
///
/// For services that check access tokens by themselves. Ask again when a token names a key that you do not know, once
/// a minute at most.
#[utoipa::path(
    get, path = "", operation_id = "get_public_keys", tag = "server",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of the cached copy")),
    responses(
        (status = 200, description = "The keys, good for a minute.", body = KeySet,
            headers(("ETag" = String), ("Cache-Control" = String))),
        (status = 304, description = "They are those of the tag.",
            headers(("ETag" = String), ("Cache-Control" = String))),
        Failures,
    ),
)]
pub(super) async fn published(app: Arc<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    let keys = KeySet { keys: app.service.keys.published().into_iter().map(Into::into).collect() };
    let tag = Tag::of(&serde_json::to_vec(&keys).unwrap_or_default()); // nothing that could not be answered either
    Ok(answer::cacheable(&headers, &tag, CACHE_CONTROL, || answer::ok(&keys)))
}
