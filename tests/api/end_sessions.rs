//! `DELETE /user/<id>/sessions`

use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::{with_admin, with_admin_on_disk};
use crate::refusal::{Refusal, expect};
use crate::support::{Reply, TestServer, Tokens};

const PASSWORD: &str = "correct horse";
const UNKNOWN_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Asserts that every token of the session works; `not_fresh` is an access token from a refresh.
#[track_caller]
pub(crate) fn expect_live(server: &TestServer, tokens: &Tokens, not_fresh: &str, case: &str) {
    for token in [&*tokens.access, not_fresh] {
        let reply = server.call("GET", "/user/me", Some(token), None);
        assert_eq!(reply.status, 200, "{case}: {reply:?}");
    }
    server.refresh(tokens);
}

/// Asserts that every token of the session is refused as revoked, at every endpoint that takes its kind.
#[track_caller]
pub(crate) fn expect_revoked(server: &TestServer, tokens: &Tokens, not_fresh: &str, case: &str) {
    for token in [&*tokens.access, not_fresh] {
        for path in ["/user/me", "/session"] {
            Refusal::Revoked.expect(&server.call("GET", path, Some(token), None), case);
        }
        Refusal::Revoked.expect(&server.call("POST", "/logout", Some(token), None), case);
        Refusal::Revoked.expect(&server.call("DELETE", "/user/me/sessions", Some(token), None), case);
    }
    for path in ["/refresh", "/logout"] {
        Refusal::Revoked.expect(&server.call("POST", path, Some(&tokens.refresh), None), case);
    }
}

/// Begins a session; the second value is an access token that is not fresh.
pub(crate) fn begin(server: &TestServer, name: &str) -> (Tokens, String) {
    let tokens = server.log_in(name, PASSWORD);
    let not_fresh = server.refresh(&tokens);
    (tokens, not_fresh)
}

fn all_ended() -> Value {
    json!({"message": "All sessions ended."})
}

fn end_all(server: &TestServer, id: &str, token: &str) -> Reply {
    server.call("DELETE", &format!("/user/{id}/sessions"), Some(token), None)
}

#[test]
fn all_sessions_end_in_the_second_they_began_and_the_next_login_works() {
    let server = TestServer::in_memory();
    let id = server.register("anna", PASSWORD);
    // The clock stands still, so their times do not tell these sessions apart.
    for path_id in ["me", &id] {
        let sessions: Vec<_> = (0..3).map(|_| begin(&server, "anna")).collect();
        expect(&end_all(&server, path_id, &sessions[1].0.access), 200, &all_ended(), path_id);
        let next = begin(&server, "anna");
        for (tokens, not_fresh) in &sessions {
            expect_revoked(&server, tokens, not_fresh, path_id);
        }
        expect_live(&server, &next.0, &next.1, path_id);
    }
}

#[test]
fn revoked_sessions_stay_revoked_after_restarts_and_later_ones_go_on() {
    let server = TestServer::start();
    server.register("anna", PASSWORD);
    let ended: Vec<_> = (0..2).map(|_| begin(&server, "anna")).collect();
    expect(&end_all(&server, "me", &ended[0].0.access), 200, &all_ended(), "end");
    let next = begin(&server, "anna");
    let mut server = server;
    for round in ["first restart", "second restart"] {
        server = server.restart();
        for (tokens, not_fresh) in &ended {
            expect_revoked(&server, tokens, not_fresh, round);
        }
        expect_live(&server, &next.0, &next.1, round);
        // A new session is not taken for a revoked one.
        let again = begin(&server, "anna");
        expect_live(&server, &again.0, &again.1, round);
    }
}

#[test]
fn a_session_spared_by_a_password_change_ends_with_all_others() {
    let server = TestServer::in_memory();
    server.register("anna", PASSWORD);
    let (spared, not_fresh) = begin(&server, "anna");
    let body = json!({"current_password": PASSWORD, "new_password": "another horse"});
    let reply = server.call("POST", "/user/me/password", Some(&spared.access), Some(&body));
    assert_eq!(reply.status, 200, "{reply:?}");
    expect_live(&server, &spared, &not_fresh, "spared");
    let next = server.log_in("anna", "another horse");
    expect(&end_all(&server, "me", &next.access), 200, &all_ended(), "end");
    expect_revoked(&server, &spared, &not_fresh, "ended");
}

#[test]
fn sessions_of_other_users_go_on() {
    let (server, root) = with_admin();
    server.register("anna", PASSWORD);
    server.register("bert", PASSWORD);
    let annas = begin(&server, "anna");
    let others = [begin(&server, "bert"), begin(&server, "root")];
    expect(&end_all(&server, "me", &annas.0.access), 200, &all_ended(), "anna's");
    for (tokens, not_fresh) in &others {
        expect_live(&server, tokens, not_fresh, "another user's");
    }
    expect(&end_all(&server, &root, &others[1].0.access), 200, &all_ended(), "the administrator's own");
    expect_revoked(&server, &others[1].0, &others[1].1, "the administrator's own");
    expect_live(&server, &others[0].0, &others[0].1, "a user's");
}

#[test]
fn it_needs_a_fresh_token_and_a_refusal_ends_nothing() {
    let (server, _) = with_admin();
    let anna = server.register("anna", PASSWORD);
    let (tokens, not_fresh) = begin(&server, "anna");
    let (_, roots_not_fresh) = begin(&server, "root");
    for id in ["me", &anna] {
        let path = format!("/user/{id}/sessions");
        Refusal::NotFresh.expect(&end_all(&server, id, &not_fresh), id);
        Refusal::Invalid.expect(&end_all(&server, id, &tokens.refresh), id);
        Refusal::Missing.expect(&server.call("DELETE", &path, None, None), id);
    }
    for id in [&*anna, UNKNOWN_ID] {
        Refusal::NotFresh.expect(&end_all(&server, id, &roots_not_fresh), id);
    }
    expect_live(&server, &tokens, &not_fresh, "after refusals");
}

#[test]
fn a_fresh_token_works_until_it_expires() {
    let server = TestServer::in_memory_with(&["--access-ttl", "15m"]);
    server.register("anna", PASSWORD);
    let (tokens, not_fresh) = begin(&server, "anna");
    server.advance(Duration::from_secs(14 * 60));
    expect(&end_all(&server, "me", &tokens.access), 200, &all_ended(), "fourteen minutes later");
    expect_revoked(&server, &tokens, &not_fresh, "ended");
}

#[test]
fn users_cannot_end_others_sessions_or_learn_which_ids_exist() {
    let (server, root) = with_admin();
    let bert = server.register("bert", PASSWORD);
    server.register("anna", PASSWORD);
    let (tokens, not_fresh) = begin(&server, "anna");
    let others = [begin(&server, "bert"), begin(&server, "root")];
    for id in [&*bert, &root, UNKNOWN_ID] {
        for token in [&tokens.access, &not_fresh] {
            Refusal::Forbidden.expect(&end_all(&server, id, token), id);
        }
    }
    for (tokens, not_fresh) in &others {
        expect_live(&server, tokens, not_fresh, "after refusals");
    }
}

#[test]
fn an_administrator_ends_the_sessions_of_others_and_keeps_their_own() {
    let (server, _) = with_admin_on_disk(&[]);
    let anna = server.register("anna", PASSWORD);
    let ended: Vec<_> = (0..2).map(|_| begin(&server, "anna")).collect();
    let (roots, roots_not_fresh) = begin(&server, "root");
    expect(&end_all(&server, &anna, &roots.access), 200, &all_ended(), "by an administrator");
    let next = begin(&server, "anna");
    let mut server = server;
    for case in ["at once", "after a restart"] {
        for (tokens, not_fresh) in &ended {
            expect_revoked(&server, tokens, not_fresh, case);
        }
        expect_live(&server, &next.0, &next.1, case);
        expect_live(&server, &roots, &roots_not_fresh, case);
        server = server.restart();
    }
    Refusal::NotFound.expect(&end_all(&server, UNKNOWN_ID, &roots.access), "unknown id");
    // A user without a session gets the same answer.
    let bert = server.register("bert", PASSWORD);
    expect(&end_all(&server, &bert, &roots.access), 200, &all_ended(), "no session");
}

#[test]
fn a_token_of_a_revoked_session_cannot_end_the_others() {
    let server = TestServer::in_memory();
    let id = server.register("anna", PASSWORD);
    let (other, other_not_fresh) = begin(&server, "anna");
    let tokens = server.log_in("anna", PASSWORD);
    assert_eq!(server.call("POST", "/logout", Some(&tokens.access), None).status, 200);
    for path_id in ["me", &id] {
        Refusal::Revoked.expect(&end_all(&server, path_id, &tokens.access), path_id);
    }
    expect_live(&server, &other, &other_not_fresh, "after the refusal");
}
