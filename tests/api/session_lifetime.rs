//! How long sessions last: restarts, deletions, the other sessions of the same user.

use std::time::Duration;

use gatelet::domain::session::SessionId;

use crate::mint::read_unverified;
use crate::refusal::Refusal;
use crate::support::{TestServer, Tokens};

const PASSWORD: &str = "correct horse";

#[track_caller]
fn expect_live(server: &TestServer, tokens: &Tokens, case: &str) {
    let reply = server.call("GET", "/user/me", Some(&tokens.access), None);
    assert_eq!(reply.status, 200, "{case}: {reply:?}");
    server.refresh(tokens);
}

#[track_caller]
fn expect_revoked(server: &TestServer, tokens: &Tokens, case: &str) {
    Refusal::Revoked.expect(&server.call("GET", "/user/me", Some(&tokens.access), None), case);
    Refusal::Revoked.expect(&server.call("POST", "/refresh", Some(&tokens.refresh), None), case);
    for token in [&tokens.access, &tokens.refresh] {
        Refusal::Revoked.expect(&server.call("POST", "/logout", Some(token), None), case);
    }
}

#[track_caller]
fn log_out(server: &TestServer, tokens: &Tokens) {
    let reply = server.call("POST", "/logout", Some(&tokens.refresh), None);
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[test]
fn a_session_goes_on_after_a_restart() {
    let server = TestServer::start();
    server.register("anna", PASSWORD);
    let tokens = server.log_in("anna", PASSWORD);
    let server = server.restart();
    expect_live(&server, &tokens, "after a restart");
    let reply = server.call("DELETE", "/user/me", Some(&tokens.access), None);
    assert_eq!(reply.status, 200, "a fresh token stays fresh");
}

#[test]
fn a_logged_out_session_stays_out_after_a_restart() {
    let server = TestServer::start();
    server.register("anna", PASSWORD);
    let (ended, other) = (server.log_in("anna", PASSWORD), server.log_in("anna", PASSWORD));
    let refreshed = server.refresh(&ended);
    log_out(&server, &ended);
    let mut server = server;
    for round in ["first", "second"] {
        server = server.restart();
        expect_revoked(&server, &ended, round);
        let reply = server.call("GET", "/user/me", Some(&refreshed), None);
        Refusal::Revoked.expect(&reply, round);
        expect_live(&server, &other, round);
    }
}

#[test]
fn a_logged_out_session_stays_out_until_its_tokens_have_expired() {
    let server = TestServer::start_with(&["--access-ttl", "10m", "--refresh-ttl", "1h"]);
    server.register("anna", PASSWORD);
    let ended = server.log_in("anna", PASSWORD);
    log_out(&server, &ended);
    let mut server = server;
    for _ in 0..6 {
        server.advance(Duration::from_secs(599));
        server = server.restart(); // background tasks run at the start
        let reply = server.call("POST", "/refresh", Some(&ended.refresh), None);
        Refusal::Revoked.expect(&reply, &server.clock.reading().to_string());
    }
    server.advance(Duration::from_secs(6 + 4));
    let server = server.restart();
    let reply = server.call("POST", "/refresh", Some(&ended.refresh), None);
    Refusal::Revoked.expect(&reply, "the last second of the leeway");
    server.advance(Duration::from_secs(1));
    let server = server.restart();
    let reply = server.call("POST", "/refresh", Some(&ended.refresh), None);
    Refusal::Expired.expect(&reply, "when it would have expired anyway");
}

#[test]
fn a_revocation_is_pruned_only_after_all_its_tokens_expired() {
    let server = TestServer::start_with(&["--refresh-ttl", "1h"]);
    server.register("anna", PASSWORD);
    let early = server.log_in("anna", PASSWORD);
    server.advance(Duration::from_secs(2));
    let late = server.log_in("anna", PASSWORD);
    log_out(&server, &early);
    log_out(&server, &late);
    server.advance(Duration::from_secs(3604));
    let session = |tokens: &Tokens| -> SessionId {
        read_unverified(&tokens.access)["sid"].as_str().unwrap().parse().unwrap()
    };
    let (early, late_session) = (session(&early), session(&late));
    let now = server.clock.reading();
    let server = server.restart_after(async |store| {
        // Prunes as the background task does, in case it has not run yet.
        store.prune_sessions(now.before(Duration::from_secs(5))).await.unwrap();
        assert!(!store.is_revoked(&early).await.unwrap(), "pruned");
        assert!(store.is_revoked(&late_session).await.unwrap(), "still within the leeway");
    });
    let reply = server.call("POST", "/refresh", Some(&late.refresh), None);
    Refusal::Revoked.expect(&reply, "within the leeway");
}

#[test]
fn deleting_a_user_ends_all_their_sessions_and_no_other() {
    let server = TestServer::start();
    server.register("anna", PASSWORD);
    server.register("bert", PASSWORD);
    let annas: Vec<_> = (0..3).map(|_| server.log_in("anna", PASSWORD)).collect();
    let berts = server.log_in("bert", PASSWORD);
    for tokens in &annas {
        expect_live(&server, tokens, "before");
    }
    assert_eq!(server.call("DELETE", "/user/me", Some(&annas[1].access), None).status, 200);
    let mut server = server;
    for case in ["after the deletion", "after a restart"] {
        for tokens in &annas {
            expect_revoked(&server, tokens, case);
        }
        expect_live(&server, &berts, case);
        server = server.restart();
    }
}

#[test]
fn the_next_user_of_a_freed_name_inherits_nothing() {
    let server = TestServer::start();
    let first = server.register("anna", PASSWORD);
    let old = server.log_in("anna", PASSWORD);
    assert_eq!(server.call("DELETE", "/user/me", Some(&old.access), None).status, 200);
    let freed = server.admin_socket(&serde_json::json!({ "free_name": { "username": "anna" } }));
    assert_eq!(freed, Ok(serde_json::json!({ "freed": ["anna"] })));
    let second = server.register("anna", "another horse");
    assert_ne!(first, second);
    let mut server = server;
    for case in ["at once", "after a restart"] {
        expect_revoked(&server, &old, case);
        let body = crate::support::credentials("anna", PASSWORD);
        Refusal::InvalidCredentials.expect(&server.client().post("/login", &body), case);
        let new = server.log_in("anna", "another horse");
        expect_live(&server, &new, case);
        let reply = server.call("GET", &format!("/user/{first}"), Some(&new.access), None);
        Refusal::Forbidden.expect(&reply, case);
        server = server.restart();
    }
}

#[test]
fn a_logged_out_session_of_a_deleted_user_is_revoked() {
    let server = TestServer::in_memory();
    server.register("anna", PASSWORD);
    let (ended, other) = (server.log_in("anna", PASSWORD), server.log_in("anna", PASSWORD));
    log_out(&server, &ended);
    let reply = server.call("DELETE", "/user/me", Some(&ended.access), None);
    Refusal::Revoked.expect(&reply, "a fresh token of an ended session");
    assert_eq!(server.call("DELETE", "/user/me", Some(&other.access), None).status, 200);
    expect_revoked(&server, &ended, "both");
}
