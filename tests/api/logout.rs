//! `POST /logout`

use std::time::Duration;

use serde_json::json;

use crate::refusal::{Refusal, expect};
use crate::support::{Reply, TestServer, Tokens};

fn log_out(server: &TestServer, token: &str) -> Reply {
    server.call("POST", "/logout", Some(token), None)
}

#[track_caller]
fn expect_revoked(server: &TestServer, tokens: &Tokens, refreshed: &str, case: &str) {
    for access in [&*tokens.access, refreshed] {
        Refusal::Revoked.expect(&server.call("GET", "/user/me", Some(access), None), case);
    }
    Refusal::Revoked.expect(&server.call("POST", "/refresh", Some(&tokens.refresh), None), case);
    for token in [&*tokens.access, refreshed, &*tokens.refresh] {
        Refusal::Revoked.expect(&log_out(server, token), case);
    }
}

#[test]
fn any_token_of_a_session_ends_all_of_it() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    for (case, choose) in [
        ("by the fresh token", (|tokens, _| tokens.access.clone()) as fn(&Tokens, &str) -> String),
        ("by the refresh token", |tokens, _| tokens.refresh.clone()),
        ("by a refreshed token", |_, refreshed| refreshed.to_owned()),
    ] {
        let tokens = server.log_in("anna", "correct horse");
        let refreshed = server.refresh(&tokens);
        let reply = log_out(&server, &choose(&tokens, &refreshed));
        expect(&reply, 200, &json!({"message": "Sucessfully logout"}), case);
        expect_revoked(&server, &tokens, &refreshed, case);
    }
}

#[test]
fn a_token_in_the_verification_cache_is_refused_after_the_logout() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    let mut client = server.client();
    for _ in 0..3 {
        assert_eq!(client.call("GET", "/user/me", Some(&tokens.access), None).status, 200);
    }
    assert_eq!(client.call("POST", "/logout", Some(&tokens.access), None).status, 200);
    let reply = client.call("GET", "/user/me", Some(&tokens.access), None);
    Refusal::Revoked.expect(&reply, "cached as verified");
}

#[test]
fn other_sessions_of_the_user_and_of_others_go_on() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    server.register("bert", "correct horse");
    let ended = server.log_in("anna", "correct horse");
    let others = [server.log_in("anna", "correct horse"), server.log_in("bert", "correct horse")];
    assert_eq!(log_out(&server, &ended.refresh).status, 200);
    for tokens in &others {
        assert_eq!(server.call("GET", "/user/me", Some(&tokens.access), None).status, 200);
        let refreshed = server.refresh(tokens);
        assert_eq!(server.call("GET", "/user/me", Some(&refreshed), None).status, 200);
    }
    Refusal::Revoked.expect(&log_out(&server, &ended.access), "the revoked session");
}

#[test]
fn a_user_who_has_logged_out_can_log_in_again() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let first = server.log_in("anna", "correct horse");
    assert_eq!(log_out(&server, &first.access).status, 200);
    let second = server.log_in("anna", "correct horse");
    assert_eq!(server.call("GET", "/user/me", Some(&second.access), None).status, 200);
    let reply = server.call("GET", "/user/me", Some(&first.access), None);
    Refusal::Revoked.expect(&reply, "the first session");
}

#[test]
fn racing_logouts_of_one_session_are_answered_done_or_revoked() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    let racers: Vec<_> = (0..8)
        .map(|racer| {
            let mut client = server.client();
            let token = if racer % 2 == 0 { tokens.access.clone() } else { tokens.refresh.clone() };
            std::thread::spawn(move || client.call("POST", "/logout", Some(&token), None))
        })
        .collect();
    let replies: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
    assert!(replies.iter().any(|reply| reply.status == 200));
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        Refusal::Revoked.expect(reply, "came second");
    }
}

#[test]
fn a_logout_with_an_expired_token_is_refused_and_ends_the_session() {
    for (flags, case, choose) in [
        (
            ["--access-ttl", "15m", "--refresh-ttl", "30d"],
            "the access token",
            (|tokens| (tokens.access.clone(), tokens.refresh.clone())) as fn(&Tokens) -> (String, String),
        ),
        (["--access-ttl", "30d", "--refresh-ttl", "15m"], "the refresh token", |tokens| {
            (tokens.refresh.clone(), tokens.access.clone())
        }),
    ] {
        let server = TestServer::in_memory_with(&flags);
        server.register("anna", "correct horse");
        let tokens = server.log_in("anna", "correct horse");
        let other = server.log_in("anna", "correct horse");
        let (expired, living) = choose(&tokens);
        server.advance(Duration::from_secs(16 * 60));
        let is_live = || {
            let (method, path) =
                if living == tokens.refresh { ("POST", "/refresh") } else { ("GET", "/user/me") };
            server.call(method, path, Some(&living), None)
        };
        for (method, path) in [("GET", "/user/me"), ("POST", "/refresh")] {
            assert_eq!(server.call(method, path, Some(&expired), None).status, 401, "{case}");
        }
        assert_eq!(is_live().status, 200, "{case} ends the session only at /logout");

        for again in ["", ", again"] {
            Refusal::Expired.expect(&log_out(&server, &expired), &format!("{case}{again}"));
            Refusal::Revoked.expect(&is_live(), &format!("after {case}{again}"));
        }
        let reply = log_out(&server, if living == tokens.refresh { &other.refresh } else { &other.access });
        assert_eq!(reply.status, 200, "another session went on");
    }
}

#[test]
fn an_expired_token_of_a_deleted_user_is_expired() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    let fresh = server.log_in("anna", "correct horse");
    assert_eq!(server.call("DELETE", "/user/me", Some(&fresh.access), None).status, 200);
    server.advance(Duration::from_secs(16 * 60));
    Refusal::Expired.expect(&log_out(&server, &tokens.access), "deleted");
    Refusal::Revoked.expect(&log_out(&server, &tokens.refresh), "deleted");
}
