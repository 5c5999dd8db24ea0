//! A clock that advances, stands still, goes back or ran ahead.

use std::sync::Arc;
use std::time::Duration;

use gatelet::domain::clock::{Clock, Timestamp};
use gatelet::domain::session::SessionId;
use serde_json::json;

use crate::mint::read_unverified;
use crate::refusal::{Refusal, expect};
use crate::support::{TestServer, Tokens, credentials, start};

const PASSWORD: &str = "correct horse";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn clock_at(moment: Timestamp) -> Arc<Clock> {
    Arc::new(Clock::manual(moment))
}

#[track_caller]
fn expect_served(server: &TestServer, tokens: &Tokens, case: &str) {
    let reply = server.call("GET", "/user/me", Some(&tokens.access), None);
    assert_eq!(reply.status, 200, "{case}: {reply:?}");
    server.refresh(tokens);
    expect(&server.call("GET", "/readyz", None, None), 200, &json!({"status": "ready"}), case);
}

/// Every request that needs the time gets a 503 with `Retry-After`; the process stays alive.
#[track_caller]
fn expect_behind(server: &TestServer, id: &str, tokens: &Tokens, case: &str) {
    let (anna, carla) = (credentials("anna", PASSWORD), credentials("carla", PASSWORD));
    let own = format!("/user/{id}");
    for (method, path, token, body) in [
        ("POST", "/register", None, Some(&carla)),
        ("POST", "/login", None, Some(&anna)),
        ("POST", "/refresh", Some(&tokens.refresh), None),
        ("POST", "/logout", Some(&tokens.refresh), None),
        ("POST", "/logout", Some(&tokens.access), None),
        ("GET", "/user/me", Some(&tokens.access), None),
        ("GET", &own, Some(&tokens.access), None),
        ("DELETE", "/user/me", Some(&tokens.access), None),
        ("DELETE", &own, Some(&tokens.access), None),
        ("GET", "/user", Some(&tokens.access), None),
        ("GET", "/readyz", None, None),
    ] {
        let reply = server.call(method, path, token.map(String::as_str), body);
        Refusal::ClockBehind.expect(&reply, &format!("{case}: {method} {path}"));
    }
    expect(&server.call("GET", "/healthz", None, None), 200, &json!({"status": "alive"}), case);
}

#[test]
fn a_token_is_accepted_until_five_seconds_after_its_expiry() {
    let server = TestServer::start_with(&["--access-ttl", "15m", "--refresh-ttl", "1h"]);
    server.register("anna", PASSWORD);
    let tokens = server.log_in("anna", PASSWORD);
    for (method, path, token, lifetime) in [
        ("GET", "/user/me", &tokens.access, secs(15 * 60)),
        ("POST", "/refresh", &tokens.refresh, secs(3600)),
    ] {
        let end = start().after(lifetime);
        for accepted in [Duration::ZERO, secs(4), Duration::from_millis(4_999)] {
            server.clock.set(end.after(accepted));
            assert_eq!(server.call(method, path, Some(token), None).status, 200, "{path} {accepted:?}");
        }
        for refused in [secs(5), secs(6), secs(60)] {
            server.clock.set(end.after(refused));
            let reply = server.call(method, path, Some(token), None);
            Refusal::Expired.expect(&reply, &format!("{path} {refused:?}"));
        }
    }
}

#[test]
fn after_a_small_step_back_the_time_stands_still() {
    let server = TestServer::start();
    server.register("anna", PASSWORD);
    server.clock.set(start().after(secs(100)));
    let tokens = server.log_in("anna", PASSWORD);
    server.clock.set(start().after(secs(40)));
    expect_served(&server, &tokens, "a minute back");
    let later = server.log_in("anna", PASSWORD);
    assert_eq!(read_unverified(&later.access)["iat"], start().after(secs(100)).to_string());
    expect_served(&server, &later, "a token made meanwhile");
}

#[test]
fn while_the_clock_is_far_behind_all_that_needs_the_time_gets_503() {
    let server = TestServer::start();
    let id = server.register("anna", PASSWORD);
    let tokens = server.log_in("anna", PASSWORD);
    let mut right = start();
    for back in [Duration::from_millis(60_001), DAY, secs(start().unix_secs() - 7)] {
        let behind = right.before(back);
        server.clock.set(behind);
        expect_behind(&server, &id, &tokens, &behind.to_string());
        server.clock.set(right.before(secs(60)));
        expect_served(&server, &tokens, "nearly right");
        right = right.after(secs(1));
        server.clock.set(right);
        expect_served(&server, &tokens, "right again");
    }
    let reply = server.client().post("/login", &credentials("carla", PASSWORD));
    Refusal::InvalidCredentials.expect(&reply, "refused registrations left nothing behind");
}

#[test]
fn an_expired_token_stays_expired_when_the_clock_goes_back() {
    let server = TestServer::start();
    server.register("anna", PASSWORD);
    let tokens = server.log_in("anna", PASSWORD);
    server.advance(secs(15 * 60 + 5));
    let me = || server.call("GET", "/user/me", Some(&tokens.access), None);
    Refusal::Expired.expect(&me(), "expired");
    server.clock.set(start().after(secs(14 * 60 + 30)));
    Refusal::Expired.expect(&me(), "a little back");
    server.clock.set(start().after(secs(60)));
    Refusal::ClockBehind.expect(&me(), "clearly back");
    server.clock.set(start().after(secs(15 * 60 + 6)));
    Refusal::Expired.expect(&me(), "right again");
}

#[test]
fn a_clock_in_1970_is_rejected_after_a_restart_too() {
    let server = TestServer::start();
    let id = server.register("anna", PASSWORD);
    let tokens = server.log_in("anna", PASSWORD);
    server.advance(secs(600));
    expect_served(&server, &tokens, "before");
    let mut server = server;
    for _ in 0..2 {
        server = server.restart_with(&[], clock_at(Timestamp::from_unix_secs(7))).unwrap();
        expect_behind(&server, &id, &tokens, "woken in 1970");
    }
    server.clock.set(start().after(secs(601)));
    expect_served(&server, &tokens, "set by a time server");
}

#[test]
fn an_expired_token_is_refused_after_a_restart_with_a_clock_behind() {
    let server = TestServer::start();
    server.register("anna", PASSWORD);
    let tokens = server.log_in("anna", PASSWORD);
    server.advance(secs(3600));
    let reply = server.call("GET", "/user/me", Some(&tokens.access), None);
    Refusal::Expired.expect(&reply, "expired");
    let server = server.restart_with(&[], clock_at(start().after(secs(1)))).unwrap();
    let reply = server.call("GET", "/user/me", Some(&tokens.access), None);
    Refusal::ClockBehind.expect(&reply, "an hour back");
}

#[test]
fn only_accept_clock_sets_the_clock_mark_back() {
    let server = TestServer::start();
    let id = server.register("anna", PASSWORD);
    let tokens = server.log_in("anna", PASSWORD);
    server.advance(60 * DAY);
    let reply = server.call("GET", "/user/me", Some(&tokens.access), None);
    Refusal::Expired.expect(&reply, "ahead");
    let server = server.restart_with(&[], clock_at(start().after(secs(60)))).unwrap();
    expect_behind(&server, &id, &tokens, "right, but not believed");
    let server = server.restart_with(&["--accept-clock"], clock_at(start().after(secs(60)))).unwrap();
    expect_served(&server, &tokens, "accepted");
    expect_served(&server, &server.log_in("anna", PASSWORD), "a new session");
    let server = server.restart_with(&[], clock_at(start().after(secs(120)))).unwrap();
    expect_served(&server, &tokens, "believed from now on");
    let server = server.restart_with(&[], clock_at(Timestamp::from_unix_secs(7))).unwrap();
    expect_behind(&server, &id, &tokens, "the flag counted once");
}

#[test]
fn a_start_with_a_clock_ahead_is_remembered_at_once() {
    let server = TestServer::start();
    let id = server.register("anna", PASSWORD);
    let tokens = server.log_in("anna", PASSWORD);
    let server = server.restart_with(&[], clock_at(start().after(60 * DAY))).unwrap();
    assert_eq!(server.call("GET", "/readyz", None, None).status, 200);
    let server = server.restart_with(&[], clock_at(start().after(secs(60)))).unwrap();
    expect_behind(&server, &id, &tokens, "right, but not believed");
}

#[test]
fn a_token_expired_by_the_right_clock_stays_expired_after_accept_clock() {
    let server = TestServer::start();
    server.register("anna", PASSWORD);
    let tokens = server.log_in("anna", PASSWORD);
    server.advance(60 * DAY);
    assert_eq!(server.call("GET", "/readyz", None, None).status, 200);
    let server = server.restart_with(&["--accept-clock"], clock_at(start().after(secs(3600)))).unwrap();
    let reply = server.call("GET", "/user/me", Some(&tokens.access), None);
    Refusal::Expired.expect(&reply, "after an hour");
    server.refresh(&tokens);
}

#[test]
fn accept_clock_with_a_right_clock_changes_nothing() {
    let server = TestServer::start();
    server.register("anna", PASSWORD);
    let (ended, live) = (server.log_in("anna", PASSWORD), server.log_in("anna", PASSWORD));
    assert_eq!(server.call("POST", "/logout", Some(&ended.access), None).status, 200);
    let server = server.restart_with(&["--accept-clock"], clock_at(start().after(secs(60)))).unwrap();
    expect_served(&server, &live, "live");
    let reply = server.call("GET", "/user/me", Some(&ended.access), None);
    Refusal::Revoked.expect(&reply, "ended");
}

/// Stops `server`, whose clock has run ahead, and prunes the revocation of this session unless the background task has
/// done so already.
fn forget(server: TestServer, ended: &Tokens) -> TestServer {
    let session: SessionId = read_unverified(&ended.access)["sid"].as_str().unwrap().parse().unwrap();
    let ahead = server.clock.reading();
    assert_eq!(server.call("GET", "/readyz", None, None).status, 200, "the time is seen and stored");
    server.restart_after(async |store| {
        store.prune_sessions(ahead).await.unwrap();
        assert!(!store.is_revoked(&session).await.unwrap(), "pruned");
    })
}

#[test]
fn a_session_stays_logged_out_though_a_clock_ahead_pruned_its_revocation() {
    let server = TestServer::start();
    server.register("anna", PASSWORD);
    let ended = server.log_in("anna", PASSWORD);
    assert_eq!(server.call("POST", "/logout", Some(&ended.access), None).status, 200);
    server.advance(60 * DAY);
    let server = forget(server, &ended);
    let mut server = server.restart_with(&["--accept-clock"], clock_at(start().after(secs(60)))).unwrap();
    for case in ["accepted", "after another restart"] {
        let reply = server.call("GET", "/user/me", Some(&ended.access), None);
        Refusal::Revoked.expect(&reply, case);
        let reply = server.call("POST", "/refresh", Some(&ended.refresh), None);
        Refusal::Revoked.expect(&reply, case);
        expect_served(&server, &server.log_in("anna", PASSWORD), case);
        server = server.restart_with(&[], clock_at(start().after(secs(120)))).unwrap();
    }
}

#[test]
fn a_session_stays_logged_out_if_the_clock_is_set_back_in_two_steps() {
    let server = TestServer::start();
    server.register("anna", PASSWORD);
    let ended = server.log_in("anna", PASSWORD);
    assert_eq!(server.call("POST", "/logout", Some(&ended.access), None).status, 200);
    server.advance(60 * DAY);
    let server = forget(server, &ended);
    server.advance(30 * DAY);
    assert_eq!(server.call("GET", "/readyz", None, None).status, 200);
    // Still ahead of the time of the pruning, with nothing left to prune.
    let server = server.restart_with(&["--accept-clock"], clock_at(start().after(70 * DAY))).unwrap();
    let server = server.restart_with(&["--accept-clock"], clock_at(start().after(secs(60)))).unwrap();
    for (method, path, token) in [("GET", "/user/me", &ended.access), ("POST", "/refresh", &ended.refresh)] {
        Refusal::Revoked.expect(&server.call(method, path, Some(token), None), path);
    }
}

#[test]
fn a_login_in_the_second_of_accept_clock_holds() {
    let server = TestServer::start();
    server.register("anna", PASSWORD);
    let ended = server.log_in("anna", PASSWORD);
    assert_eq!(server.call("POST", "/logout", Some(&ended.access), None).status, 200);
    server.advance(60 * DAY);
    let server = forget(server, &ended);
    let moment = start().after(Duration::from_millis(60_700));
    let server = server.restart_with(&["--accept-clock"], clock_at(moment)).unwrap();
    server.advance(Duration::from_millis(200));
    let tokens = server.log_in("anna", PASSWORD);
    expect_served(&server, &tokens, "a login after the restart");
}

#[test]
fn a_session_revoked_in_the_future_stays_revoked_when_that_time_comes() {
    let server = TestServer::start_with(&["--refresh-ttl", "1h"]);
    server.register("anna", PASSWORD);
    server.advance(DAY);
    let ended = server.log_in("anna", PASSWORD);
    assert_eq!(server.call("POST", "/logout", Some(&ended.access), None).status, 200);
    server.advance(secs(2 * 3600));
    let server = forget(server, &ended);
    let args = ["--refresh-ttl", "1h", "--accept-clock"];
    let server = server.restart_with(&args, clock_at(start().after(secs(60)))).unwrap();
    let reply = server.call("GET", "/user/me", Some(&ended.access), None);
    Refusal::Invalid.expect(&reply, "not yet valid");
    server.clock.set(start().after(DAY + secs(60)));
    let reply = server.call("GET", "/user/me", Some(&ended.access), None);
    Refusal::Revoked.expect(&reply, "valid by the clock, but logged out");
    let reply = server.call("POST", "/refresh", Some(&ended.refresh), None);
    Refusal::Revoked.expect(&reply, "valid by the clock, but logged out");
    expect_served(&server, &server.log_in("anna", PASSWORD), "a new session");
}
