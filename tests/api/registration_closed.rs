//! `--registration closed`

use std::sync::Arc;

use serde_json::{Value, json};

use crate::admin::with_admin_and;
use crate::refusal::{Refusal, expect};
use crate::support::admin_socket::add_user;
use crate::support::{TestServer, credentials};

const CLOSED: &[&str] = &["--registration", "closed"];
const PASSWORD: &str = "correct horse";

fn closed() -> Value {
    json!({"code": 403, "message": "Registration is closed.", "status": "Forbidden"})
}

#[test]
fn every_registration_is_refused() {
    let (server, _) = with_admin_and(CLOSED);
    let mut client = server.client();
    for body in [
        credentials("anna", PASSWORD),
        credentials("root", PASSWORD), // taken
        credentials("anna", "short"),
        json!({"username": "anna", "password": PASSWORD, "role": "admin"}),
        json!({}),
        json!([]),
        json!(null),
    ] {
        expect(&client.post("/register", &body), 403, &closed(), &body.to_string());
    }
    let too_large = vec![b' '; 16 * 1024 + 1];
    for (content_type, body) in [
        ("application/json", Some(&b"{\"username\":"[..])),
        ("application/json", Some(b"")),
        ("application/json", Some(&too_large)),
        ("application/json", None),
        ("text/plain", Some(b"hello")),
    ] {
        let reply = server.client().send("POST", "/register", &[("Content-Type", content_type)], body);
        expect(&reply, 403, &closed(), content_type);
    }
    let reply = server.client().post("/login", &credentials("anna", PASSWORD));
    Refusal::InvalidCredentials.expect(&reply, "no user was created");
}

#[test]
fn an_administrators_token_does_not_open_registration() {
    let (server, _) = with_admin_and(CLOSED);
    let tokens = server.log_in("root", PASSWORD);
    let body = credentials("anna", PASSWORD);
    let reply = server.call("POST", "/register", Some(&tokens.access), Some(&body));
    expect(&reply, 403, &closed(), "with an administrator's token");
}

#[test]
fn administrators_and_commands_create_users_who_log_in() {
    let (server, _) = with_admin_and(CLOSED);
    let tokens = server.log_in("root", PASSWORD);
    let reply = server.call("POST", "/user", Some(&tokens.access), Some(&credentials("anna", PASSWORD)));
    expect(&reply, 201, &json!({"message": "User created successfully."}), "by an administrator");
    let added = server.admin_socket(&add_user("bert", PASSWORD, "user")).unwrap();
    assert_eq!((&added["username"], &added["role"]), (&json!("bert"), &json!("user")));
    for name in ["anna", "bert"] {
        let tokens = server.log_in(name, PASSWORD);
        assert_eq!(server.call("GET", "/user/me", Some(&tokens.access), None).status, 200, "{name}");
    }
    let reply = server.call("POST", "/user", None, Some(&credentials("carla", PASSWORD)));
    Refusal::Missing.expect(&reply, "POST /user without a token");
}

#[test]
fn earlier_users_stay_and_registration_is_open_by_default() {
    let server = TestServer::start();
    server.register("anna", PASSWORD);
    let clock = Arc::clone(&server.clock);
    let server = server.restart_with(CLOSED, clock).unwrap();
    server.log_in("anna", PASSWORD);
    let reply = server.client().post("/register", &credentials("bert", PASSWORD));
    expect(&reply, 403, &closed(), "closed");
    let clock = Arc::clone(&server.clock);
    let server = server.restart_with(&["--registration", "open"], clock).unwrap();
    server.register("bert", PASSWORD);
}
