//! `--cors-origins`: pages of listed origins may read answers, those of others may not.

use serde_json::{Value, json};

use crate::generic::{PATHS, one_of_each};
use crate::refusal::Refusal;
use crate::support::{Reply, TestServer, credentials};

const PASSWORD: &str = "correct horse";
const LISTED: &str = "https://example.org";
const LIST: [&str; 2] = ["--cors-origins", "https://example.org, http://localhost:3000"];

/// Origins that are not listed, some of them similar to listed ones.
const FOREIGN: [&str; 12] = [
    "https://evil.example",
    "http://example.org",
    "https://example.org:443",
    "https://example.org:8443",
    "https://www.example.org",
    "https://example.org.evil.example",
    "https://evilexample.org",
    "https://EXAMPLE.org",
    "https://example.org/",
    "https://example.org, http://localhost:3000",
    "http://localhost",
    "null",
];

/// The headers that CORS knows, in alphabetical order.
fn cors_headers(reply: &Reply) -> Vec<(&str, &str)> {
    let headers = reply.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut found: Vec<_> = headers.filter(|(name, _)| name.starts_with("access-control-")).collect();
    found.sort_unstable();
    found
}

/// The CORS headers that let a page of the origin read an answer.
fn readable(origin: &str) -> [(&str, &str); 2] {
    [
        ("access-control-allow-origin", origin),
        (
            "access-control-expose-headers",
            "ETag, Link, Location, Retry-After, WWW-Authenticate, X-Request-Id",
        ),
    ]
}

fn varies_by_origin(reply: &Reply) -> bool {
    reply.header("vary").is_some_and(|vary| vary.split(", ").any(|header| header == "Origin"))
}

/// The headers of a preflight: a browser asks before it sends requests that not every page may send.
fn preflight(origin: &str) -> [(&str, &str); 3] {
    [
        ("Origin", origin),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type"),
    ]
}

#[test]
fn without_the_setting_no_answer_has_a_cors_header() {
    let server = TestServer::in_memory();
    for (status, reply) in one_of_each(&server, &preflight(LISTED)) {
        assert_eq!(reply.status, status, "{reply:?}");
        assert_eq!(cors_headers(&reply), [], "{status}");
        assert!(!varies_by_origin(&reply), "{status}");
    }
    for (path, allow) in PATHS {
        let reply = server.client().send("OPTIONS", path, &preflight(LISTED), None);
        assert_eq!((reply.status, reply.header("allow")), (204, Some(allow)), "{path}");
        assert_eq!(cors_headers(&reply), [], "{path}");
    }
}

#[test]
fn pages_of_listed_origins_can_read_every_answer() {
    for origin in [LISTED, "http://localhost:3000"] {
        let server = TestServer::in_memory_with(&LIST);
        for (status, reply) in one_of_each(&server, &[("Origin", origin)]) {
            assert_eq!(reply.status, status, "{reply:?}");
            assert_eq!(cors_headers(&reply), readable(origin), "{status}");
            assert!(varies_by_origin(&reply), "{status}");
        }
    }
}

#[test]
fn pages_of_other_origins_are_served_but_cannot_read_the_answers() {
    for origin in FOREIGN {
        let server = TestServer::in_memory_with(&LIST);
        for (status, reply) in one_of_each(&server, &[("Origin", origin)]) {
            assert_eq!(reply.status, status, "{origin}: {reply:?}");
            assert_eq!(cors_headers(&reply), [], "{origin}: {status}");
            assert!(varies_by_origin(&reply), "{origin}: {status}");
        }
    }
}

#[test]
fn a_request_without_origin_gets_only_vary() {
    let server = TestServer::in_memory_with(&LIST);
    for (status, reply) in one_of_each(&server, &[]) {
        assert_eq!(reply.status, status, "{reply:?}");
        assert_eq!(cors_headers(&reply), [], "{status}");
        assert!(varies_by_origin(&reply), "{status}");
    }
}

#[test]
fn a_preflight_gets_the_methods_of_its_path() {
    let server = TestServer::in_memory_with(&LIST);
    let mut client = server.client();
    for (path, allow) in PATHS {
        let reply = client.send("OPTIONS", path, &preflight(LISTED), None);
        assert_eq!((reply.status, reply.header("allow")), (204, Some(allow)), "{path}");
        let permission = [
            (
                "access-control-allow-headers",
                "authorization, content-type, if-none-match, x-request-id, traceparent, tracestate, baggage, \
                 sentry-trace, *",
            ),
            ("access-control-allow-methods", allow),
            ("access-control-allow-origin", LISTED),
            ("access-control-max-age", "7200"),
        ];
        assert_eq!(cors_headers(&reply), permission, "{path}");
        assert!(varies_by_origin(&reply), "{path}");
        for origin in FOREIGN {
            let reply = client.send("OPTIONS", path, &preflight(origin), None);
            assert_eq!((reply.status, reply.header("allow")), (204, Some(allow)), "{path} {origin}");
            assert_eq!(cors_headers(&reply), [], "{path} {origin}");
        }
    }
}

#[test]
fn only_options_with_a_requested_method_is_a_preflight() {
    let server = TestServer::in_memory_with(&LIST);
    let reply = server.client().send("OPTIONS", "/login", &[("Origin", LISTED)], None);
    assert_eq!((reply.status, cors_headers(&reply)), (204, readable(LISTED).to_vec()));
    let reply = server.client().send("GET", "/healthz", &preflight(LISTED), None);
    assert_eq!((reply.status, cors_headers(&reply)), (200, readable(LISTED).to_vec()));
}

#[test]
fn a_preflight_for_an_unknown_path_permits_nothing() {
    let server = TestServer::in_memory_with(&LIST);
    let reply = server.client().send("OPTIONS", "/nothing", &preflight(LISTED), None);
    assert_eq!(reply.status, 404);
    assert_eq!(cors_headers(&reply), [("access-control-allow-origin", LISTED)]);
}

#[test]
fn a_preflight_does_not_pass_verify() {
    let server = TestServer::in_memory_with(&LIST);
    for query in ["", "?fresh=1", "?role=admin"] {
        for origin in [LISTED, "https://evil.example"] {
            let reply = server.client().send("OPTIONS", &format!("/verify{query}"), &preflight(origin), None);
            assert_eq!(reply.status, 401, "{origin} {query}: {reply:?}");
            Refusal::Missing.expect(&reply, origin);
            let listed = [("access-control-allow-origin", LISTED)];
            assert_eq!(cors_headers(&reply), if origin == LISTED { &listed[..] } else { &[] }, "{origin}");
        }
    }
}

#[test]
fn browser_credentials_are_never_allowed() {
    let server = TestServer::in_memory_with(&LIST);
    for (path, _) in PATHS {
        for method in ["OPTIONS", "GET", "POST"] {
            let reply = server.client().send(method, path, &preflight(LISTED), None);
            assert_eq!(reply.header("access-control-allow-credentials"), None, "{method} {path}");
            assert_eq!(reply.header("set-cookie"), None, "{method} {path}");
        }
    }
}

#[test]
fn requests_without_preflight_are_served_but_pages_cannot_read_the_answers() {
    let server = TestServer::in_memory_with(&LIST);
    let anna = credentials("anna", PASSWORD).to_string();
    let send = |path: &str, content_type: Option<&str>| {
        let mut headers = vec![("Origin", "https://evil.example"), ("Sec-Fetch-Mode", "no-cors")];
        headers.extend(content_type.map(|value| ("Content-Type", value)));
        server.client().send("POST", path, &headers, Some(anna.as_bytes()))
    };
    // The types that browsers let any page declare without a preflight.
    for declared in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        for path in ["/register", "/login"] {
            let reply = send(path, Some(declared));
            assert_eq!(reply.status, 415, "{declared} {path}");
            assert_eq!(cors_headers(&reply), [], "{declared} {path}");
        }
    }
    for (path, status) in [("/register", 201), ("/login", 200)] {
        let reply = send(path, None);
        assert_eq!(reply.status, status, "{path}");
        assert_eq!(cors_headers(&reply), [], "{path}");
        assert_eq!(reply.header("set-cookie"), None, "{path}");
    }
}

#[test]
fn a_listed_page_reads_the_next_link_of_a_list_and_the_etag_of_the_keys() {
    let (server, _) = crate::admin::with_admin_and(&LIST);
    server.register("anna", PASSWORD);
    let root = format!("Bearer {}", server.log_in("root", PASSWORD).access);
    let headers = [("Origin", LISTED), ("Authorization", root.as_str())];
    let reply = server.client().send("GET", "/user?limit=1", &headers, None);
    assert!(reply.header("link").is_some());
    assert_eq!(cors_headers(&reply), readable(LISTED));
    let body: Value = reply.json();
    assert_eq!(body[0]["username"], json!("root"));
    let reply = server.client().send("GET", "/.well-known/paseto-keys", &headers[..1], None);
    let tag = reply.header("etag").unwrap().to_owned();
    let headers = [headers[0], ("If-None-Match", tag.as_str())];
    let reply = server.client().send("GET", "/.well-known/paseto-keys", &headers, None);
    assert_eq!((reply.status, cors_headers(&reply)), (304, readable(LISTED).to_vec()));
    assert_eq!(reply.header("vary"), Some("Origin"));
}
