//! The ring in use, its caches, and refresh tokens that stay with the ring that verified them.

use std::ops::Deref;
use std::sync::Arc;

use quick_cache::sync::Cache;

use super::key_ring::KeyRing;
use super::verified::{Access, Refresh};
use crate::domain::session::TokenId;

/// Size of the cache of verified access tokens, about half a kilobyte each. Enough for thousands of users
/// active within one token lifetime; a miss costs one signature check.
const REMEMBERED: usize = 4096;

/// Size of the cache of [`super::Tokens::next_refresh`], about half a kilobyte each. A token is asked for again
/// within seconds if at all, and each costs a write, which limits how many there can be in that time.
const SUCCESSORS: usize = 1024;

/// A ring with its caches. A request keeps the pair it began with: nothing verified with a dropped key
/// reaches a later cache.
pub(super) struct InUse {
    pub(super) ring: Arc<KeyRing>,
    pub(super) cache: Arc<TokenCache>,
}

pub(super) struct TokenCache {
    /// Verified access tokens by their exact text. Holds only immutable facts; an entry is not used beyond
    /// the token's expiry, and unused ones are evicted.
    pub(super) verified: Cache<Box<str>, Access>,
    /// Refresh tokens by id, so that repeated requests get the same text.
    pub(super) successors: Cache<TokenId, String>,
}

impl TokenCache {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { verified: Cache::new(REMEMBERED), successors: Cache::new(SUCCESSORS) })
    }
}

/// A verified refresh token. Its successors are made with the ring that verified it: if the keys are revoked
/// meanwhile, the successors are refused too.
pub struct VerifiedRefresh {
    pub(super) token: Refresh,
    pub(super) in_use: Arc<InUse>,
}

impl Deref for VerifiedRefresh {
    type Target = Refresh;

    fn deref(&self) -> &Refresh {
        &self.token
    }
}
