//! Which web pages of other origins may read answers (CORS), after the Fetch standard.
//!
//! Applied to finished answers: a preflight is an `OPTIONS` whose 204 gets its permission added. So what is
//! no 204 with `Allow` permits nothing: above all `/verify`, where `OPTIONS` is a question like any other and a
//! preflight answered in passing would let requests past a proxy. (warp's filter answers before the routes, and 403
//! to other origins.) Requests of any origin are served; pages of unlisted origins cannot read the answers.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use warp::reply::Response;

/// What pages may send beyond what any page may: every header. Tracing adds some of its own to each request of a page
/// (`traceparent`, `baggage`, `sentry-trace` and many others), which would fail for one that is not permitted. No header
/// opens anything but `Authorization`, which `*` does not stand for; the others are for browsers that do not know `*`.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, if-none-match, x-request-id, traceparent, tracestate, baggage, sentry-trace, *",
);

/// What pages may read beyond what any page may.
const EXPOSED_HEADERS: HeaderValue =
    HeaderValue::from_static("ETag, Link, Location, Retry-After, WWW-Authenticate, X-Request-Id");

/// How long a browser may remember a preflight, in seconds: two hours, the most that Chromium does.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The origins whose pages may read answers. Written with commas between:
/// `https://example.org,http://localhost:3000`; the empty text for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorsOrigins(Vec<HeaderValue>);

/// Why an entry is no origin that could be listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOrigin {
    /// `*` or `null` would allow any page.
    #[error("`{0}` could be anybody: list origins one by one")]
    Anybody(String),
    /// The scheme, the host or a separator is missing.
    #[error("`{0}` is no origin (https://example.org, http://localhost:3000)")]
    Malformed(String),
    /// The host ends in a number and is no IPv4 address in full: browsers complete such addresses.
    #[error("`{0}`: an IPv4 address has four decimal numbers (http://127.0.0.1:3000)")]
    ShortAddress(String),
    /// An address in a form that browsers do not send.
    #[error("`{given}`: browsers call this origin `{usual}`")]
    Unusual {
        /// The setting's text.
        given: String,
        /// The form that browsers send.
        usual: String,
    },
}

/// The part of a request that its answer's headers depend on.
pub(super) struct Asked {
    /// The page's origin, if it is listed.
    origin: Option<HeaderValue>,
    is_preflight: bool,
}

impl CorsOrigins {
    /// Looks at a request; nothing where no origin is listed.
    pub(super) fn asked(&self, method: &Method, headers: &HeaderMap) -> Option<Asked> {
        if self.0.is_empty() {
            return None;
        }
        let origin = headers.get(ORIGIN).filter(|origin| self.0.contains(origin));
        Some(Asked {
            origin: origin.cloned(),
            is_preflight: *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD),
        })
    }
}

impl Asked {
    /// Adds what the browser must know to the answer.
    pub(super) fn permit(self, response: &mut Response) {
        let status = response.status();
        let headers = response.headers_mut();
        let others = headers.get(VARY).and_then(|others| others.to_str().ok());
        let vary = others.map(|others| HeaderValue::try_from(format!("{others}, Origin")));
        let only = HeaderValue::from_static("Origin");
        headers.insert(VARY, vary.and_then(Result::ok).unwrap_or(only));
        let Some(origin) = self.origin else {
            return;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if !self.is_preflight {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        } else if status == StatusCode::NO_CONTENT
            && let Some(methods) = headers.get(ALLOW).cloned()
        {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
            headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
    }
}

/// One entry of the setting. What browsers send is compared with it byte by byte, so it must be as they write it
/// (RFC 6454, section 6.2): in lower case, addresses in their one form, without the scheme's own port, and nothing
/// behind.
fn origin(entry: &str) -> Result<HeaderValue, BadOrigin> {
    let malformed = || BadOrigin::Malformed(entry.to_owned());
    if ["*", "null"].contains(&entry) {
        return Err(BadOrigin::Anybody(entry.to_owned()));
    }
    let uri: Uri = entry.parse().map_err(|_| malformed())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(malformed());
    };
    let host = authority.host();
    // Something may stand before the host (`name@`) or behind it that is no port.
    let port = match (scheme, authority.as_str().strip_prefix(host), authority.port_u16()) {
        ("http", _, Some(80)) | ("https", _, Some(443)) | (_, Some(""), None) => String::new(),
        (_, Some(_), Some(port)) => format!(":{port}"),
        (_, None, _) | (_, Some(_), None) => return Err(malformed()),
    };
    if host.is_empty() || host.contains('*') {
        return Err(malformed());
    }
    let host = match host.strip_prefix('[') {
        Some(rest) => {
            let address = rest.strip_suffix(']').and_then(|address| address.parse().ok());
            address.map(bracketed).ok_or_else(malformed)?
        }
        None if ends_in_a_number(host) && host.parse::<Ipv4Addr>().is_err() => {
            return Err(BadOrigin::ShortAddress(entry.to_owned()));
        }
        None => host.to_owned(),
    };
    let usual = format!("{scheme}://{host}{port}").to_ascii_lowercase();
    if entry != usual {
        return Err(BadOrigin::Unusual { given: entry.to_owned(), usual });
    }
    HeaderValue::try_from(usual).map_err(|_| malformed())
}

/// An address as the URL Standard serializes it: RFC 5952, but for IPv4 in IPv6, which is in hexadecimal as well.
fn bracketed(address: Ipv6Addr) -> String {
    match (address.to_ipv4_mapped(), address.segments()) {
        (Some(_), [.., high, low]) => format!("[::ffff:{high:x}:{low:x}]"),
        (None, _) => format!("[{address}]"),
    }
}

/// Whether browsers take a host for an IPv4 address (URL Standard, "ends in a number").
fn ends_in_a_number(host: &str) -> bool {
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next().unwrap_or_default();
    match last.strip_prefix("0x").or(last.strip_prefix("0X")) {
        Some(rest) => rest.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

impl FromStr for CorsOrigins {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        text.split(',').map(|entry| origin(entry.trim())).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_takes_origins_as_browsers_write_them() {
        for (text, origins) in [
            ("", &[][..]),
            (" ", &[]),
            ("https://example.org", &["https://example.org"]),
            (
                "http://localhost:3000, http://127.0.0.1:65535,http://[::1]:8080",
                &["http://localhost:3000", "http://127.0.0.1:65535", "http://[::1]:8080"],
            ),
            (
                "http://[2001:db8::1:0:0:1],http://[::ffff:7f00:1]",
                &["http://[2001:db8::1:0:0:1]", "http://[::ffff:7f00:1]"],
            ),
            ("https://1.a1.example.0b", &["https://1.a1.example.0b"]),
            ("https://xn--bcher-kva.example", &["https://xn--bcher-kva.example"]),
            ("capacitor://localhost", &["capacitor://localhost"]),
        ] {
            let origins: Vec<_> = origins.iter().map(|origin| HeaderValue::from_static(origin)).collect();
            assert_eq!(text.parse(), Ok(CorsOrigins(origins)), "{text}");
        }
    }

    #[test]
    fn what_no_browser_would_send_is_refused_and_named() {
        for (text, named) in [
            ("*", "`*` could be anybody"),
            ("null", "`null` could be anybody"),
            ("https://example.org,*", "`*`"),
            ("example.org", "`example.org` is no origin"),
            ("https://", "`https://` is no origin"),
            ("/app", "`/app` is no origin"),
            ("https://example.org,", "`` is no origin"),
            ("https://*.example.org", "`https://*.example.org` is no origin"),
            ("https://anna@example.org", "`https://anna@example.org` is no origin"),
            ("https://bücher.example", "`https://bücher.example` is no origin"),
            ("https://a.example https://b.example", "is no origin"),
            ("https://example.org:x", "is no origin"),
            ("https://example.org/", "call this origin `https://example.org`"),
            ("https://example.org/app?a=b", "call this origin `https://example.org`"),
            ("https://Example.ORG", "call this origin `https://example.org`"),
            ("HTTPS://example.org:8443", "call this origin `https://example.org:8443`"),
            ("https://example.org:443", "call this origin `https://example.org`"),
            ("http://example.org:80", "call this origin `http://example.org`"),
            ("http://example.org:", "is no origin"),
            ("http://example.org:65536", "is no origin"),
            ("http://[0:0:0:0:0:0:0:1]:3000", "call this origin `http://[::1]:3000`"),
            ("http://[2001:DB8::0001]", "call this origin `http://[2001:db8::1]`"),
            ("http://[::ffff:127.0.0.1]", "call this origin `http://[::ffff:7f00:1]`"),
            ("http://[::g]", "is no origin"),
            ("http://[127.0.0.1]", "is no origin"),
            ("http://127.1", "`http://127.1`: an IPv4 address has four decimal numbers"),
            ("http://2130706433:3000", "has four decimal numbers"),
            ("http://0x7f.0.0.1", "has four decimal numbers"),
            ("http://127.0.0.0X1", "has four decimal numbers"),
            ("http://127.0.0.01", "has four decimal numbers"),
            ("http://127.0.0.1.", "has four decimal numbers"),
            ("http://example.1", "has four decimal numbers"),
            ("http://example.org:080", "call this origin `http://example.org`"),
        ] {
            let error = text.parse::<CorsOrigins>().unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
