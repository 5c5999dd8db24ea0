//! What a request is for, read in one way only: its host (RFC 9112, section 3.2), the form of its path and of its body.
//!
//! Paths are compared byte by byte. Nothing is decoded, resolved or cut off, so that a proxy's rules for a path are
//! about the same requests here: `/login/`, `//login`, `/./login`, `/%6cogin` and `/login;x` are all unknown.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{HOST, TRANSFER_ENCODING};
use http::uri::Scheme;
use http::{Request, Version};

use super::super::api::api_page;
use super::super::api::error::ApiError;

/// Which hosts requests may be for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hosts {
    /// All: which tokens are good does not depend on it.
    #[default]
    Any,
    /// Names and addresses of this machine itself. A page may have its own name lead here (DNS rebinding), and is of one
    /// origin with the server then; what its browser sends as `Host` still is that name.
    Loopback,
}

/// Refuses what others may take for a request for something else.
pub(in crate::http) fn check<B>(request: &Request<B>, hosts: Hosts) -> Result<(), ApiError> {
    let mut lines = request.headers().get_all(HOST).iter();
    let host = match (lines.next(), lines.next()) {
        (None, _) if request.version() < Version::HTTP_11 => None,
        (Some(line), None) => Some(line.to_str().ok().filter(|host| is_host(host)).ok_or(ApiError::BadHost)?),
        (None, _) | (Some(_), Some(_)) => return Err(ApiError::BadHost),
    };
    let uri = request.uri();
    let host = match (uri.scheme(), uri.authority()) {
        (None, None) => host,
        // An absolute URL goes before the header (section 3.2.2).
        (Some(scheme), Some(named)) if is_http(scheme) && is_host(named.as_str()) => Some(named.as_str()),
        _ => return Err(ApiError::BadTarget),
    };
    // Where a body ends is told by chunks alone (RFC 9112, section 6.1).
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let is_chunked = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !is_chunked || codings.next().is_some() {
        return Err(ApiError::TransferEncoded);
    }
    if hosts == Hosts::Loopback && host.is_some_and(|host| !is_loopback(host)) {
        return Err(ApiError::OtherHost);
    }
    check_path(uri.path())
}

/// Refuses a slash at the end, which warp would not look at.
pub(in crate::http) fn check_path(path: &str) -> Result<(), ApiError> {
    match path {
        "/" | api_page::WITH_SLASH => Ok(()),
        path if path.ends_with('/') => Err(ApiError::UnknownPath),
        _ => Ok(()),
    }
}

fn is_http(scheme: &Scheme) -> bool {
    *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS
}

/// `host [":" port]` of RFC 3986, section 3.2.2, where a host may be empty; without the comma, which only a list of two
/// has.
fn is_host(text: &str) -> bool {
    let (host, port) = split(text);
    let is_port = port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let is_name = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(&byte))
    };
    is_port
        && match bracketed(host) {
            Some(address) => address.is_some(),
            None => is_name(host),
        }
}

/// Host, and port if there is one.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.rfind(':') {
        Some(colon) if !text[colon..].contains(']') => (&text[..colon], Some(&text[colon + 1..])),
        _ => (text, None),
    }
}

/// The address in brackets, if it is one; a zone behind `%` is not looked at.
fn bracketed(host: &str) -> Option<Option<Ipv6Addr>> {
    let inner = host.strip_prefix('[')?;
    let address =
        inner.strip_suffix(']').map(|inner| inner.split_once('%').map_or(inner, |(address, _)| address));
    Some(address.and_then(|address| address.parse().ok()))
}

/// `localhost` and what is below it (RFC 6761, section 6.3), and loopback addresses. The empty host names no other machine.
fn is_loopback(host: &str) -> bool {
    let (host, _) = split(host);
    let address = match bracketed(host) {
        Some(address) => address.map(IpAddr::V6),
        None => host.parse().ok(),
    };
    if let Some(address) = address {
        return address.to_canonical().is_loopback();
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name.is_empty() || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_what_is_none() {
        for host in [
            "",
            ":80",
            "a",
            "a:",
            "a:80",
            "example.org",
            "EXAMPLE.org.",
            "gate_let",
            "127.0.0.1:5000",
            "[::1]",
            "[::1]:80",
            "[fe80::1%eth0]:80",
            "[::ffff:127.0.0.1]",
            "xn--bcher-kva.example",
            "a%20b",
            "0x7f.1",
        ] {
            assert!(is_host(host), "{host}");
        }
        for host in [
            "a b", "a,b", "a, b", "a@b", "a/b", "a\\b", "a:x", "a:80:80", "a:-1", "::1", "[::1", "::1]",
            "[::1]x", "[x]", "[::1]:x", "a?b", "a#b", "a\"", "<a>", "http://a", "ä",
        ] {
            assert!(!is_host(host), "{host}");
        }
    }

    #[test]
    fn only_this_machines_own_names_are_loopback() {
        for host in [
            "localhost",
            "LocalHost:5000",
            "localhost.",
            "a.localhost",
            "127.0.0.1",
            "127.0.0.1:5000",
            "127.1.2.3",
            "[::1]:5000",
            "[::ffff:127.0.0.1]",
            "",
            ":5000",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "example.org",
            "localhost.example.org",
            "notlocalhost",
            "127.0.0.1.example.org",
            "0.0.0.0",
            "192.0.2.1",
            "[::]",
            "[fe80::1]",
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "localhost..",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
