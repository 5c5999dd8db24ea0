//! `--dev`: reading and deleting users without a token, as in the original, on the developer's own machine

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::refusal::{Refusal, expect, expect_fields};
use crate::support::{TestServer, credentials};
use crate::target::ask;

const UNKNOWN_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

#[test]
fn all_users_are_listed_in_order_of_registration_without_a_token() {
    let server = TestServer::in_memory_with(&["--dev"]);
    expect(&server.call("GET", "/user", None, None), 200, &json!([]), "no users yet");
    let mut expected = Vec::new();
    for name in ["zoe", "anna", "bert"] {
        expected.push(json!({"id": server.register(name, "x"), "username": name}));
        server.advance(Duration::from_secs(1));
    }
    for token in [None, Some("garbage")] {
        expect(&server.call("GET", "/user", token, None), 200, &json!(expected), "list");
    }
}

#[test]
fn any_user_is_read_and_deleted_without_a_token() {
    let server = TestServer::in_memory_with(&["--dev"]);
    let place = format!("/user/{}", server.register("anna", "x"));
    let tokens = server.log_in("anna", "x");
    let reply = server.call("GET", &place, None, None);
    expect(&reply, 200, &json!({"id": &place[6..], "username": "anna"}), "read");
    let reply = server.call("DELETE", &place, None, None);
    expect(&reply, 200, &json!({"message": "User deleted."}), "delete");
    for method in ["GET", "DELETE"] {
        Refusal::NotFound.expect(&server.call(method, &place, None, None), method);
        let reply = server.call(method, &format!("/user/{UNKNOWN_ID}"), None, None);
        Refusal::NotFound.expect(&reply, method);
    }
    expect(&server.call("GET", "/user", None, None), 200, &json!([]), "no users left");
    let reply = server.call("GET", "/user/me", Some(&tokens.access), None);
    Refusal::Revoked.expect(&reply, "the token of a deleted user");
}

#[test]
fn me_still_means_the_user_of_the_token() {
    let server = TestServer::in_memory_with(&["--dev"]);
    let id = server.register("anna", "x");
    let tokens = server.log_in("anna", "x");
    for method in ["GET", "DELETE"] {
        Refusal::Missing.expect(&server.call(method, "/user/me", None, None), method);
    }
    let reply = server.call("GET", "/user/me", Some(&tokens.access), None);
    expect(&reply, 200, &json!({"id": id, "username": "anna"}), "me");
    let reply = server.call("DELETE", "/user/me", Some(&server.refresh(&tokens)), None);
    Refusal::NotFresh.expect(&reply, "me, refreshed");
    assert_eq!(server.call("DELETE", "/user/me", Some(&tokens.access), None).status, 200);
}

#[test]
fn any_password_but_the_empty_one_is_accepted() {
    let server = TestServer::in_memory_with(&["--dev"]);
    for (name, password) in [("anna", "x"), ("bert", "\0"), ("carla", " "), ("dora", "🐎")] {
        server.register(name, password);
        server.log_in(name, password);
    }
    let reply = server.client().post("/register", &credentials("emil", ""));
    expect_fields(&reply, &json!({"password": ["Shorter than minimum length 1."]}), "empty");
}

#[test]
fn without_the_flag_tokens_and_password_rules_apply_again() {
    let server = TestServer::start_with(&["--dev"]);
    let anna = server.register("anna", "x");
    let bert = server.register("bert", "x");
    let clock = Arc::clone(&server.clock);
    let server = server.restart_with(&[], clock).unwrap();
    let tokens = server.log_in("anna", "x");
    for path in ["/user".to_owned(), format!("/user/{anna}"), format!("/user/{bert}")] {
        Refusal::Missing.expect(&server.call("GET", &path, None, None), &path);
    }
    Refusal::Missing.expect(&server.call("DELETE", &format!("/user/{bert}"), None, None), "delete");
    for path in ["/user".to_owned(), format!("/user/{bert}")] {
        Refusal::Forbidden.expect(&server.call("GET", &path, Some(&tokens.access), None), &path);
    }
    let reply = server.client().post("/register", &credentials("carla", "x"));
    expect_fields(&reply, &json!({"password": ["Shorter than minimum length 8."]}), "short");
}

/// A page whose host name resolves to this machine (DNS rebinding) shares the server's origin, and with `--dev` it needs
/// no token.
#[test]
fn dns_rebinding_is_refused_by_host() {
    let server = TestServer::in_memory_with(&["--dev"]);
    let place = format!("/user/{}", server.register("anna", "x"));
    let port = server.address.port();
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1", "0.0.0.0"] {
        for path in ["/user", &place, "/healthz", "/swagger-ui", "/nothing"] {
            for method in ["GET", "DELETE", "OPTIONS"] {
                let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
                let message = "With --dev, Host must name this machine: localhost, 127.0.0.1 or [::1] (--dev-anywhere \
                               allows others).";
                let body = json!({"code": 421, "message": message, "status": "Misdirected Request"});
                expect(&ask(&server, &request), 421, &body, &request);
            }
        }
        let request = format!("GET http://{host}/user HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(ask(&server, &request).status, 421, "{request}");
    }
    for host in ["localhost", "gatelet.localhost", "127.0.0.1", "127.0.0.2", "[::1]"] {
        let request = format!("GET {place} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
        assert_eq!(ask(&server, &request).status, 200, "{request}");
    }
    for args in [&["--dev", "--dev-anywhere"][..], &[]] {
        let server = TestServer::in_memory_with(args);
        let reply = ask(&server, "GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        assert_eq!(reply.status, 200, "{args:?}");
    }
}
