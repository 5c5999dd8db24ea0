//! Ids of requests.

use http::{HeaderMap, HeaderName};

use crate::random;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request's id, the same on every line that it leaves in the logs: its caller's, or a random one, which tells
/// strangers nothing of how much is going on.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    match given {
        Some(id) if is_request_id(id) => id.to_owned(),
        _ => random::id().unwrap_or_else(|_| "-".to_owned()), // no healthy system comes to this
    }
}

fn is_request_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_request_ids_are_taken_over() {
        for id in ["a", "A-b_c.9", &"x".repeat(64)] {
            assert!(is_request_id(id), "{id}");
        }
        for id in ["", "a b", "a\nb", "ä", "a/b", &"x".repeat(65)] {
            assert!(!is_request_id(id), "{id}");
        }
    }
}
