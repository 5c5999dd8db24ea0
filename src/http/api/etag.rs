//! Entity tags: what a client has kept need not be sent again (RFC 9110, sections 8.8.3 and 13.1.2).

use std::fmt;
use std::hash::{DefaultHasher, Hasher};

use http::HeaderMap;
use http::header::IF_NONE_MATCH;

/// Names these very bytes.
pub(super) struct Tag(String);

impl Tag {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        Self(format!("\"{:016x}\"", hasher.finish()))
    }

    /// Whether the client has said that it knows what this names.
    pub(super) fn is_known(&self, headers: &HeaderMap) -> bool {
        let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok());
        lists.flat_map(|tags| tags.split(',')).any(|known| {
            let known = known.trim();
            known == "*" || known.strip_prefix("W/").unwrap_or(known) == self.0
        })
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
