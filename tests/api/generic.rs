//! Rules of every path: methods, headers, the connection.

use serde_json::{Value, json};

use crate::refusal::{Refusal, expect};
use crate::support::{Reply, TestServer, credentials};

const UNKNOWN_USER: &str = "/user/01890a5d-ac96-774b-bcce-b302099a8057";

/// Every path, and its methods as `Allow` names them.
pub(crate) const PATHS: [(&str, &str); 17] = [
    ("/register", "OPTIONS, POST"),
    ("/login", "OPTIONS, POST"),
    ("/refresh", "OPTIONS, POST"),
    ("/logout", "OPTIONS, POST"),
    ("/user", "GET, HEAD, OPTIONS, POST"),
    ("/user/me", "DELETE, GET, HEAD, OPTIONS, PATCH"),
    (UNKNOWN_USER, "DELETE, GET, HEAD, OPTIONS, PATCH"),
    ("/user/me/password", "OPTIONS, POST"),
    ("/user/me/sessions", "DELETE, OPTIONS"),
    ("/session", "GET, HEAD, OPTIONS"),
    ("/.well-known/paseto-keys", "GET, HEAD, OPTIONS"),
    ("/healthz", "GET, HEAD, OPTIONS"),
    ("/readyz", "GET, HEAD, OPTIONS"),
    ("/", "GET, HEAD, OPTIONS"),
    ("/openapi.json", "GET, HEAD, OPTIONS"),
    ("/swagger-ui", "GET, HEAD, OPTIONS"),
    ("/swagger-ui/start.js", "GET, HEAD, OPTIONS"),
];

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FROBNICATE"];

#[test]
fn another_method_gets_405_with_the_methods_of_the_path() {
    let server = TestServer::in_memory();
    let mut client = server.client();
    for (path, allow) in PATHS {
        for method in METHODS.into_iter().filter(|method| !allow.split(", ").any(|known| known == *method)) {
            let case = format!("{method} {path}");
            let reply = client.send(method, path, &[], None);
            assert_eq!(reply.header("allow"), Some(allow), "{case}");
            if method == "HEAD" {
                assert_eq!(reply.status, 405, "{case}");
            } else {
                expect(&reply, 405, &json!({"code": 405, "status": "Method Not Allowed"}), &case);
            }
        }
    }
}

#[test]
fn options_answers_the_methods_of_the_path_and_nothing_else() {
    let server = TestServer::in_memory();
    let mut client = server.client();
    for (path, allow) in PATHS {
        let reply = client.send("OPTIONS", path, &[], None);
        assert_eq!(reply.status, 204, "{path}");
        assert_eq!(reply.header("allow"), Some(allow), "{path}");
        assert!(reply.header("x-request-id").is_some(), "{path}");
        assert_eq!(reply.header("content-type"), None, "{path}");
    }
}

#[test]
fn an_unknown_path_is_not_found_by_any_method() {
    let server = TestServer::in_memory();
    let mut client = server.client();
    for path in
        ["//", "/nothing", "/users", "/register/me", "/login/x", "/user/me/tokens", "/Login", "/revoked"]
    {
        for method in METHODS {
            let case = format!("{method} {path}");
            let reply = client.send(method, path, &[], None);
            if method == "HEAD" {
                assert_eq!(reply.status, 404, "{case}");
            } else {
                Refusal::NotFound.expect(&reply, &case);
            }
        }
    }
}

#[test]
fn a_query_changes_nothing() {
    let server = TestServer::in_memory();
    let reply = server.client().post("/register?a=b", &credentials("anna", "correct horse"));
    assert_eq!(reply.status, 201);
    assert_eq!(server.call("GET", "/healthz?", None, None).status, 200);
    Refusal::Missing.expect(&server.call("GET", "/user/me?token=x", None, None), "a query");
}

#[test]
fn head_answers_the_headers_of_get_and_no_body() {
    let server = TestServer::in_memory();
    let id = server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    let bearer = format!("Bearer {}", tokens.access);
    let own = format!("/user/{id}");
    let mut client = server.client();
    for path in [
        "/user/me",
        &own,
        UNKNOWN_USER,
        "/user",
        "/healthz",
        "/readyz",
        "/nothing",
        "/",
        "/openapi.json",
        "/swagger-ui",
        "/swagger-ui/swagger-ui-bundle.js",
    ] {
        for authorization in [None, Some(bearer.as_str()), Some("Bearer garbage")] {
            let mut headers = vec![("X-Request-Id", "same")];
            headers.extend(authorization.map(|value| ("Authorization", value)));
            let get = client.send("GET", path, &headers, None);
            let head = client.send("HEAD", path, &headers, None);
            assert_eq!(head.status, get.status, "{path}");
            assert_eq!(without_date(head.headers), without_date(get.headers), "{path}");
            assert!(head.body.is_empty());
        }
    }
}

fn without_date(headers: Vec<(String, String)>) -> Vec<(String, String)> {
    headers.into_iter().filter(|(name, _)| name != "date").collect()
}

/// One answer of every kind that a fresh server gives.
pub(crate) fn one_of_each(server: &TestServer, headers: &[(&str, &str)]) -> Vec<(u16, Reply)> {
    let mut client = server.client();
    let mut send = |status, method, path, more: &[(&str, &str)], body: &str| {
        let headers: Vec<_> = headers.iter().chain(more).copied().collect();
        let body = Some(body.as_bytes()).filter(|body| !body.is_empty());
        (status, client.send(method, path, &headers, body))
    };
    let anna = credentials("anna", "correct horse").to_string();
    let large = " ".repeat(20_000);
    vec![
        send(201, "POST", "/register", &[], &anna),
        send(200, "POST", "/login", &[], &anna),
        send(200, "GET", "/healthz", &[], ""),
        send(200, "GET", "/readyz", &[], ""),
        send(204, "OPTIONS", "/login", &[], ""),
        send(303, "GET", "/", &[("Accept", "text/html")], ""),
        send(308, "GET", "/swagger-ui/", &[], ""),
        send(400, "POST", "/login", &[], "{"),
        send(401, "GET", "/user/me", &[], ""),
        send(404, "GET", "/nothing", &[], ""),
        send(405, "GET", "/login", &[], ""),
        send(409, "POST", "/register", &[], &anna),
        send(413, "POST", "/login", &[], &large),
        send(415, "POST", "/login", &[("Content-Type", "text/plain")], &anna),
        send(422, "POST", "/login", &[], ""),
    ]
}

#[test]
fn every_answer_repeats_its_callers_request_id() {
    let server = TestServer::in_memory();
    for (status, reply) in one_of_each(&server, &[("X-Request-Id", "A-b_c.9")]) {
        assert_eq!(reply.status, status, "{reply:?}");
        assert_eq!(reply.header("x-request-id"), Some("A-b_c.9"), "{status}");
    }
}

#[test]
fn every_answer_to_a_request_without_an_id_has_its_own() {
    let server = TestServer::in_memory();
    let mut seen = std::collections::HashSet::new();
    for (status, reply) in one_of_each(&server, &[]) {
        let id = reply.header("x-request-id").unwrap().to_owned();
        assert!(is_request_id(&id), "{id}");
        assert!(seen.insert(id), "{status}: an id twice");
    }
}

#[test]
fn only_a_harmless_request_id_is_repeated() {
    let server = TestServer::in_memory();
    let mut client = server.client();
    let longest = "x".repeat(64);
    for id in ["a", "0", "-", "trace.1_2-3", &longest] {
        let reply = client.send("GET", "/healthz", &[("X-Request-Id", id)], None);
        assert_eq!(reply.header("x-request-id"), Some(id));
    }
    for id in ["", "a b", "a;b", "a/b", "ä", "<script>", &"x".repeat(65)] {
        let reply = client.send("GET", "/healthz", &[("X-Request-Id", id)], None);
        let given = reply.header("x-request-id").unwrap();
        assert!(given != id && is_request_id(given), "{id:?}: {given:?}");
    }
}

fn is_request_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[test]
fn every_body_has_the_content_type_json() {
    let server = TestServer::in_memory();
    for (status, reply) in one_of_each(&server, &[]) {
        if [204, 303, 308].contains(&status) {
            assert_eq!((reply.header("content-type"), reply.body.len()), (None, 0));
        } else {
            assert_eq!(reply.header("content-type"), Some("application/json"), "{status}");
            let _: Value = reply.json();
        }
    }
}

#[test]
fn every_answer_says_nosniff() {
    let server = TestServer::in_memory();
    for (status, reply) in one_of_each(&server, &[]) {
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{status}");
    }
}

#[test]
fn only_answers_with_a_token_are_no_store() {
    let server = TestServer::in_memory();
    for (status, reply) in one_of_each(&server, &[]) {
        let holds_token = String::from_utf8_lossy(&reply.body).contains("_token\":\"v4.");
        let expected = holds_token.then_some("no-store");
        assert_eq!(reply.header("cache-control"), expected, "{status}");
    }
}

#[test]
fn every_kind_of_answer_keeps_the_connection() {
    // `one_of_each` uses one connection.
    let server = TestServer::in_memory();
    for (status, reply) in one_of_each(&server, &[]) {
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("connection"), None, "{status}");
    }
}

#[test]
fn the_bearer_scheme_ignores_case() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    let mut client = server.client();
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let authorization = format!("{scheme} {}", tokens.access);
        let reply = client.send("GET", "/user/me", &[("Authorization", &authorization)], None);
        assert_eq!(reply.status, 200, "{scheme}");
    }
    for name in ["authorization", "AUTHORIZATION"] {
        let reply = client.send("GET", "/user/me", &[(name, &format!("Bearer {}", tokens.access))], None);
        assert_eq!(reply.status, 200, "{name}");
    }
}

#[test]
fn another_scheme_than_bearer_is_a_missing_token() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let access = server.log_in("anna", "correct horse").access;
    let mut client = server.client();
    for authorization in [
        String::new(),
        access.clone(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer{access}"),
        format!("Bearer:{access}"),
        format!("Token {access}"),
        format!("Basic {access}"),
        format!("Bearers {access}"),
        format!("JWT {access}"),
    ] {
        let reply = client.send("GET", "/user/me", &[("Authorization", &authorization)], None);
        Refusal::Missing.expect(&reply, &authorization);
    }
    let reply = client.send("GET", &format!("/user/me?access_token={access}"), &[], None);
    Refusal::Missing.expect(&reply, "a token in the query");
    let reply = client.send("GET", "/user/me", &[("Cookie", &format!("access_token={access}"))], None);
    Refusal::Missing.expect(&reply, "a token in a cookie");
}

#[test]
fn two_authorization_headers_are_an_invalid_token() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let bearer = format!("Bearer {}", server.log_in("anna", "correct horse").access);
    let mut client = server.client();
    for (first, second) in [
        (bearer.as_str(), bearer.as_str()),
        (&bearer, "Bearer x"),
        ("Bearer x", &bearer),
        (&bearer, "Basic x"),
        ("Basic x", &bearer),
        (&bearer, ""),
        ("", &bearer),
    ] {
        for path in ["/user/me", "/session", "/verify"] {
            let headers = [("Authorization", first), ("authorization", second)];
            let case = format!("{path}: {:.8}, {:.8}", first, second);
            Refusal::Invalid.expect(&client.send("GET", path, &headers, None), &case);
        }
    }
}
