//! `GET /session`

use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::with_admin;
use crate::mint::read_unverified;
use crate::refusal::{Refusal, expect};
use crate::support::{TestServer, start};

const PASSWORD: &str = "correct horse";

#[test]
fn it_answers_user_role_login_time_freshness_and_end() {
    const DAYS_30: Duration = Duration::from_secs(30 * 24 * 3600);
    let (server, root) = with_admin();
    server.advance(Duration::from_millis(1500));
    let anna = server.register("anna", PASSWORD);
    for (name, id, role, created_at) in
        [("root", &root, "admin", start()), ("anna", &anna, "user", start().after(Duration::from_secs(1)))]
    {
        server.advance(Duration::from_millis(61_250));
        let login = server.clock.reading().whole_seconds();
        let tokens = server.log_in(name, PASSWORD);
        let body = |token: &str, fresh: bool| -> Value {
            json!({
                "user": {"id": id, "username": name, "role": role, "created_at": created_at.to_string()},
                "session": {
                    "id": read_unverified(token)["sid"],
                    "auth_time": login.to_string(),
                    "fresh": fresh,
                    "expires_at": login.after(DAYS_30).to_string(),
                },
            })
        };
        let shown = |token: &str| server.call("GET", "/session", Some(token), None);
        expect(&shown(&tokens.access), 200, &body(&tokens.access, true), name);
        // A refresh does not move the time of login.
        for _ in 0..2 {
            server.advance(Duration::from_secs(10 * 24 * 3600));
            let refreshed = server.refresh(&tokens);
            expect(&shown(&refreshed), 200, &body(&refreshed, false), name);
        }
    }
}

#[test]
fn times_are_written_as_in_the_contract() {
    let server = TestServer::in_memory();
    server.register("anna", PASSWORD);
    server.advance(Duration::from_secs(60));
    let tokens = server.log_in("anna", PASSWORD);
    let body = server.call("GET", "/session", Some(&tokens.access), None).json();
    assert_eq!(body["user"]["created_at"], "2026-01-01T00:00:00Z");
    assert_eq!(body["session"]["auth_time"], "2026-01-01T00:01:00Z");
    assert_eq!(body["session"]["expires_at"], "2026-01-31T00:01:00Z");
}

#[test]
fn a_session_ends_with_its_refresh_token_and_so_do_its_access_tokens() {
    let server = TestServer::in_memory_with(&["--refresh-ttl", "2h"]);
    server.register("anna", PASSWORD);
    let tokens = server.log_in("anna", PASSWORD);
    server.advance(Duration::from_secs(2 * 3600 - 60));
    let last = server.refresh(&tokens);
    let body = server.call("GET", "/session", Some(&last), None).json();
    assert_eq!(body["session"]["expires_at"], "2026-01-01T02:00:00Z");
    // The end plus the leeway.
    server.advance(Duration::from_secs(60 + 5));
    Refusal::Expired.expect(&server.call("GET", "/session", Some(&last), None), "access");
    Refusal::Expired.expect(&server.call("POST", "/refresh", Some(&tokens.refresh), None), "refresh");
}

#[test]
fn two_logins_are_two_sessions_and_a_refresh_keeps_its_session() {
    let server = TestServer::in_memory();
    server.register("anna", PASSWORD);
    let (first, second) = (server.log_in("anna", PASSWORD), server.log_in("anna", PASSWORD));
    let session =
        |token: &str| server.call("GET", "/session", Some(token), None).json()["session"]["id"].clone();
    assert_ne!(session(&first.access), session(&second.access));
    assert_eq!(session(&first.access), session(&server.refresh(&first)));
    assert_eq!(session(&second.access), session(&server.refresh(&second)));
}

#[test]
fn the_role_comes_from_the_store_not_the_token() {
    let (server, _) = with_admin();
    let anna = server.register("anna", PASSWORD);
    let (annas, roots) = (server.log_in("anna", PASSWORD), server.log_in("root", PASSWORD));
    for role in ["admin", "user"] {
        let change = json!({"role": role});
        let reply = server.call("PATCH", &format!("/user/{anna}"), Some(&roots.access), Some(&change));
        assert_eq!(reply.status, 200, "{reply:?}");
        let body = server.call("GET", "/session", Some(&annas.access), None).json();
        assert_eq!(body["user"]["role"], role);
    }
}

#[test]
fn anything_but_a_good_access_token_is_refused() {
    for args in [&[][..], &["--dev"]] {
        let server = TestServer::in_memory_with(args);
        server.register("anna", PASSWORD);
        let tokens = server.log_in("anna", PASSWORD);
        let shown = |token: Option<&str>| server.call("GET", "/session", token, None);
        Refusal::Missing.expect(&shown(None), "no token");
        Refusal::Invalid.expect(&shown(Some(&tokens.refresh)), "a refresh token");
        Refusal::Invalid.expect(&shown(Some("garbage")), "garbage");
        assert_eq!(server.call("POST", "/logout", Some(&tokens.access), None).status, 200);
        Refusal::Revoked.expect(&shown(Some(&tokens.access)), "logged out");
    }
}

#[test]
fn user_me_answers_only_id_and_name() {
    let (server, root) = with_admin();
    let anna = server.register("anna", PASSWORD);
    for (name, id) in [("root", &root), ("anna", &anna)] {
        let tokens = server.log_in(name, PASSWORD);
        for token in [&tokens.access, &server.refresh(&tokens)] {
            let reply = server.call("GET", "/user/me", Some(token), None);
            expect(&reply, 200, &json!({"id": id, "username": name}), name);
        }
    }
}
