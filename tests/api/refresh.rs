//! `POST /refresh`

use std::time::Duration;

use serde_json::json;

use crate::mint::read_unverified;
use crate::refusal::Refusal;
use crate::support::{TestServer, credentials};

#[test]
fn a_refresh_answers_one_access_token_and_no_store() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    let reply = server.call("POST", "/refresh", Some(&tokens.refresh), None);
    assert_eq!(reply.status, 200, "{reply:?}");
    let body = reply.json();
    assert_eq!(body, json!({"access_token": body["access_token"]}));
    assert!(body["access_token"].as_str().unwrap().starts_with("v4.public."));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
}

#[test]
fn a_refreshed_token_reads_the_account_but_cannot_delete_it() {
    let server = TestServer::in_memory();
    let id = server.register("anna", "correct horse");
    let access = server.refresh(&server.log_in("anna", "correct horse"));
    let shown = server.call("GET", "/user/me", Some(&access), None);
    assert_eq!(shown.json(), json!({"id": id, "username": "anna"}));
    let reply = server.call("DELETE", "/user/me", Some(&access), None);
    Refusal::NotFresh.expect(&reply, "refreshed");
    server.log_in("anna", "correct horse");
}

#[test]
fn a_refresh_token_gives_a_new_access_token_each_time() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    let mut given = vec![tokens.access.clone()];
    for _ in 0..5 {
        let access = server.refresh(&tokens);
        assert!(!given.contains(&access));
        given.push(access);
    }
    for access in &given {
        assert_eq!(server.call("GET", "/user/me", Some(access), None).status, 200, "earlier ones go on");
    }
}

#[test]
fn a_session_is_refreshed_until_the_refresh_token_expires() {
    let server = TestServer::in_memory_with(&["--access-ttl", "1m", "--refresh-ttl", "1h"]);
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    for _ in 0..59 {
        server.advance(Duration::from_secs(60));
        let access = server.refresh(&tokens);
        assert_eq!(server.call("GET", "/user/me", Some(&access), None).status, 200);
    }
    server.advance(Duration::from_secs(65));
    let reply = server.call("POST", "/refresh", Some(&tokens.refresh), None);
    Refusal::Expired.expect(&reply, "after an hour");
}

#[test]
fn no_access_token_outlives_its_session() {
    let server = TestServer::in_memory_with(&["--access-ttl", "15m", "--refresh-ttl", "1h"]);
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    server.advance(Duration::from_secs(3590));
    let access = server.refresh(&tokens);
    assert_eq!(
        read_unverified(&access)["exp"],
        read_unverified(&tokens.access)["iat"].as_str().unwrap().replace("T00", "T01")
    );
    server.advance(Duration::from_secs(14));
    assert_eq!(server.call("GET", "/user/me", Some(&access), None).status, 200, "within the leeway");
    server.advance(Duration::from_secs(1));
    let reply = server.call("GET", "/user/me", Some(&access), None);
    Refusal::Expired.expect(&reply, "the session is over");
}

#[test]
fn an_access_token_may_have_a_longer_lifetime_than_the_refresh_token() {
    let server = TestServer::in_memory_with(&["--access-ttl", "1h", "--refresh-ttl", "10m"]);
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    server.advance(Duration::from_secs(59 * 60));
    assert_eq!(server.call("GET", "/user/me", Some(&tokens.access), None).status, 200);
    let reply = server.call("POST", "/refresh", Some(&tokens.refresh), None);
    Refusal::Expired.expect(&reply, "the refresh token");
    server.advance(Duration::from_secs(65));
    let reply = server.call("GET", "/user/me", Some(&tokens.access), None);
    Refusal::Expired.expect(&reply, "the access token");
}

#[test]
fn a_body_is_neither_needed_nor_read() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    let body = credentials("bert", "nonsense");
    let reply = server.call("POST", "/refresh", Some(&tokens.refresh), Some(&body));
    assert_eq!(reply.status, 200, "{reply:?}");
}
