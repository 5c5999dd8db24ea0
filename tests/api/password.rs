//! `POST /user/<id>/password`

use std::thread;

use serde_json::{Value, json};

use crate::admin::{with_admin, with_admin_on_disk};
use crate::end_sessions::{begin, expect_live, expect_revoked};
use crate::refusal::{Refusal, expect, expect_fields};
use crate::support::{Reply, TestServer, Tokens, credentials};

const OLD: &str = "correct horse";
const NEW: &str = "battery staple";
const UNKNOWN_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn changed() -> Value {
    json!({"message": "Password changed."})
}

/// The body of a change by the owner.
fn from_to(current: &str, new: &str) -> Value {
    json!({"current_password": current, "new_password": new})
}

fn to(new: &str) -> Value {
    json!({ "new_password": new })
}

fn ask(server: &TestServer, id: &str, token: &str, body: &Value) -> Reply {
    server.call("POST", &format!("/user/{id}/password"), Some(token), Some(body))
}

#[track_caller]
fn expect_password(server: &TestServer, name: &str, right: &str, wrong: &[&str]) {
    server.log_in(name, right);
    for wrong in wrong {
        let reply = server.client().post("/login", &credentials(name, wrong));
        Refusal::InvalidCredentials.expect(&reply, wrong);
    }
}

#[test]
fn a_change_replaces_the_password_and_ends_all_other_sessions() {
    let server = TestServer::start();
    let id = server.register("anna", OLD);
    server.register("bert", OLD);
    let berts = begin(&server, "bert");
    // The clock stands still, so all sessions begin in the same instant.
    let before = begin(&server, "anna");
    let this = begin(&server, "anna");
    let after = begin(&server, "anna");
    // The token need not be fresh: the current password is the proof.
    expect(&ask(&server, &id, &this.1, &from_to(OLD, NEW)), 200, &changed(), "not fresh");
    let mut server = server;
    for case in ["at once", "after a restart", "after two"] {
        expect_password(&server, "anna", NEW, &[OLD]);
        for (tokens, not_fresh) in [&before, &after] {
            expect_revoked(&server, tokens, not_fresh, case);
        }
        expect_live(&server, &this.0, &this.1, case);
        expect_live(&server, &berts.0, &berts.1, case);
        server = server.restart();
    }
    server.log_in("bert", OLD);
}

#[test]
fn a_session_begun_right_after_the_change_goes_on() {
    let server = TestServer::in_memory();
    server.register("anna", OLD);
    let this = begin(&server, "anna");
    expect(&ask(&server, "me", &this.0.access, &from_to(OLD, NEW)), 200, &changed(), "fresh, as me");
    let next = server.log_in("anna", NEW);
    expect_live(&server, &next, &next.access, "the next");
    expect_live(&server, &this.0, &this.1, "this one");
    // A spared session ends like any other.
    assert_eq!(server.call("POST", "/logout", Some(&this.0.refresh), None).status, 200);
    expect_revoked(&server, &this.0, &this.1, "logged out");
    expect_live(&server, &next, &next.access, "the next, still");
}

#[test]
fn a_change_from_another_session_ends_the_one_spared_before() {
    let server = TestServer::start();
    server.register("anna", OLD);
    let first = begin(&server, "anna");
    expect(&ask(&server, "me", &first.0.access, &from_to(OLD, NEW)), 200, &changed(), "first");
    // Again from the same session, which is now of an earlier generation.
    expect(&ask(&server, "me", &first.1, &from_to(NEW, "third time lucky")), 200, &changed(), "second");
    expect_live(&server, &first.0, &first.1, "it still goes on");
    let second = server.log_in("anna", "third time lucky");
    expect(&ask(&server, "me", &second.access, &from_to("third time lucky", OLD)), 200, &changed(), "third");
    let mut server = server;
    for case in ["at once", "after a restart"] {
        expect_revoked(&server, &first.0, &first.1, case);
        expect_live(&server, &second, &second.access, case);
        expect_password(&server, "anna", OLD, &[NEW, "third time lucky"]);
        server = server.restart();
    }
}

#[test]
fn setting_the_same_password_again_ends_the_other_sessions_too() {
    let server = TestServer::in_memory();
    server.register("anna", OLD);
    let (this, other) = (begin(&server, "anna"), begin(&server, "anna"));
    expect(&ask(&server, "me", &this.0.access, &from_to(OLD, OLD)), 200, &changed(), "the same");
    expect_live(&server, &this.0, &this.1, "this one");
    expect_revoked(&server, &other.0, &other.1, "the other");
}

#[test]
fn the_current_password_matches_in_any_unicode_spelling() {
    let server = TestServer::in_memory();
    server.register("anna", "Zo\u{eb} und Ada");
    let tokens = server.log_in("anna", "Zo\u{eb} und Ada");
    let body = from_to("Zoe\u{308} und Ada", "Ada und Zoe\u{308}");
    expect(&ask(&server, "me", &tokens.access, &body), 200, &changed(), "decomposed");
    server.log_in("anna", "Ada und Zo\u{eb}");
}

#[test]
fn a_wrong_current_password_is_answered_like_a_wrong_login() {
    let server = TestServer::in_memory();
    let id = server.register("anna", OLD);
    let this = begin(&server, "anna");
    let other = begin(&server, "anna");
    let login = reply_without_date(&server, "/login", None, &credentials("anna", "wrong horse!"));
    for id in ["me", &id] {
        for token in [&this.0.access, &this.1] {
            for wrong in ["wrong horse!", "", NEW, &"x".repeat(5000), "correct hors", "correct horsee"] {
                let path = format!("/user/{id}/password");
                let reply = reply_without_date(&server, &path, Some(token), &from_to(wrong, NEW));
                Refusal::InvalidCredentials.expect(&reply, wrong);
                assert_eq!(reply, login, "{wrong}");
            }
        }
    }
    expect_password(&server, "anna", OLD, &[NEW]);
    for (tokens, not_fresh) in [&this, &other] {
        expect_live(&server, tokens, not_fresh, "after refusals");
    }
}

/// The whole answer except its `Date`.
fn reply_without_date(server: &TestServer, path: &str, token: Option<&str>, body: &Value) -> Reply {
    let authorization = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("X-Request-Id", "same"), ("Content-Type", "application/json")];
    headers.extend(authorization.iter().map(|value| ("Authorization", value.as_str())));
    let mut reply = server.client().send("POST", path, &headers, Some(body.to_string().as_bytes()));
    reply.headers.retain(|(name, _)| name != "date");
    reply
}

#[test]
fn a_change_by_the_owner_reports_all_wrong_fields_at_once() {
    let server = TestServer::in_memory();
    let id = server.register("annabella", OLD);
    let (tokens, not_fresh) = begin(&server, "annabella");
    let missing = json!(["Missing data for required field."]);
    let is_null = json!(["Field may not be null."]);
    let no_string = json!(["Not a valid string."]);
    let unknown = json!(["Unknown field."]);
    let both = |errors: &Value| json!({"current_password": errors, "new_password": errors});
    for (body, errors) in [
        (json!({}), both(&missing)),
        (to(NEW), json!({"current_password": missing})),
        (json!({"current_password": OLD}), json!({"new_password": missing})),
        (json!({"current_password": null, "new_password": null}), both(&is_null)),
        (json!({"current_password": 7, "new_password": [NEW]}), both(&no_string)),
        (from_to(OLD, "seven77"), json!({"new_password": ["Shorter than minimum length 8."]})),
        (from_to(OLD, &"ä".repeat(513)), json!({"new_password": ["Longer than maximum length 1024."]})),
        (from_to(OLD, "Password1"), json!({"new_password": ["This password is too common."]})),
        (from_to(OLD, "2026 GATELET!"), json!({"new_password": ["This password is too common."]})),
        (from_to(OLD, "AnnaBella"), json!({"new_password": ["This password is too close to the username."]})),
        // Fields are checked before the current password.
        (from_to("wrong horse!", "short"), json!({"new_password": ["Shorter than minimum length 8."]})),
        (
            json!({"current_password": OLD, "new_password": NEW, "id": id, "password": NEW}),
            json!({"id": unknown, "password": unknown}),
        ),
        (
            json!({"current_password": false, "new_password": "short", "username": "annabella"}),
            json!({
                "current_password": no_string,
                "new_password": ["Shorter than minimum length 8."],
                "username": unknown,
            }),
        ),
    ] {
        for id in ["me", &id] {
            expect_fields(&ask(&server, id, &tokens.access, &body), &errors, &body.to_string());
        }
    }
    let reply = ask(&server, "me", &tokens.access, &json!([]));
    expect_fields(&reply, &json!({"_schema": ["Invalid input type."]}), "a list");
    let authorization = format!("Bearer {}", tokens.access);
    let headers = [("Authorization", authorization.as_str())];
    let reply = server.client().send("POST", "/user/me/password", &headers, Some(b"{"));
    Refusal::NotJson.expect(&reply, "half a body");
    let reply = server.client().send("POST", "/user/me/password", &headers, None);
    expect_fields(&reply, &both(&missing), "no body");
    expect_password(&server, "annabella", OLD, &[NEW]);
    expect_live(&server, &tokens, &not_fresh, "after refusals");
}

#[test]
fn users_cannot_change_others_passwords_or_learn_which_ids_exist() {
    let (server, root) = with_admin();
    let bert = server.register("bert", OLD);
    server.register("anna", OLD);
    let (tokens, not_fresh) = begin(&server, "anna");
    let berts = begin(&server, "bert");
    for id in [&*bert, &root, UNKNOWN_ID] {
        for token in [&tokens.access, &not_fresh] {
            // The right is checked before the body.
            for body in [from_to(OLD, NEW), to(NEW), json!({}), json!([]), to("short")] {
                Refusal::Forbidden.expect(&ask(&server, id, token, &body), &format!("{id}: {body}"));
            }
        }
    }
    expect_password(&server, "bert", OLD, &[NEW]);
    expect_live(&server, &berts.0, &berts.1, "another user's session");
}

#[test]
fn without_a_good_access_token_nothing_is_changed() {
    let (server, _) = with_admin();
    let id = server.register("anna", OLD);
    let ended = begin(&server, "anna");
    assert_eq!(server.call("POST", "/logout", Some(&ended.0.access), None).status, 200);
    let live = server.log_in("anna", OLD);
    for id in ["me", &id, UNKNOWN_ID] {
        for body in [from_to(OLD, NEW), to(NEW), json!({})] {
            let case = format!("{id}: {body}");
            let path = format!("/user/{id}/password");
            Refusal::Missing.expect(&server.call("POST", &path, None, Some(&body)), &case);
            Refusal::Invalid.expect(&ask(&server, id, &live.refresh, &body), &case);
            Refusal::Invalid.expect(&ask(&server, id, "garbage", &body), &case);
            for token in [&ended.0.access, &ended.1] {
                Refusal::Revoked.expect(&ask(&server, id, token, &body), &case);
            }
        }
    }
    expect_password(&server, "anna", OLD, &[NEW]);
}

#[test]
fn a_login_overtaken_by_a_change_gets_a_revoked_session() {
    // One hash at a time, expensive enough that logins overlap with the change.
    let server = TestServer::in_memory_with(&["--scrypt", "ln=9,r=8,p=1", "--hash-slots", "1"]);
    server.register("anna", OLD);
    let this = server.log_in("anna", OLD);
    let log_in_while_it_works = || {
        let mut gained = Vec::new();
        let mut client = server.client();
        loop {
            let reply = client.post("/login", &credentials("anna", OLD));
            match reply.status {
                200 => gained.push(Tokens::from_reply(&reply)),
                _ => {
                    Refusal::InvalidCredentials.expect(&reply, "the old password");
                    return gained;
                }
            }
        }
    };
    let gained = thread::scope(|scope| {
        let racers: Vec<_> = (0..4).map(|_| scope.spawn(log_in_while_it_works)).collect();
        expect(&ask(&server, "me", &this.access, &from_to(OLD, NEW)), 200, &changed(), "under load");
        racers.into_iter().flat_map(|racer| racer.join().unwrap()).collect::<Vec<_>>()
    });
    for tokens in &gained {
        expect_revoked(&server, tokens, &tokens.access, "a login with the old password");
    }
    expect_live(&server, &this, &this.access, "this one");
    expect_password(&server, "anna", NEW, &[OLD]);
}

#[test]
fn a_reset_by_an_administrator_ends_all_sessions_of_the_user() {
    let (server, _) = with_admin_on_disk(&[]);
    let anna = server.register("anna", OLD);
    let sessions = [begin(&server, "anna"), begin(&server, "anna")];
    let roots = begin(&server, "root");
    expect(&ask(&server, &anna, &roots.0.access, &to(NEW)), 200, &changed(), "reset");
    let next = server.log_in("anna", NEW);
    let mut server = server;
    for case in ["at once", "after a restart"] {
        expect_password(&server, "anna", NEW, &[OLD]);
        for (tokens, not_fresh) in &sessions {
            expect_revoked(&server, tokens, not_fresh, case);
        }
        expect_live(&server, &next, &next.access, case);
        expect_live(&server, &roots.0, &roots.1, case);
        server = server.restart();
    }
    expect_password(&server, "root", OLD, &[NEW]);
}

#[test]
fn a_reset_ends_a_session_spared_by_a_change() {
    let (server, _) = with_admin();
    let anna = server.register("anna", OLD);
    let spared = begin(&server, "anna");
    expect(&ask(&server, "me", &spared.1, &from_to(OLD, NEW)), 200, &changed(), "change");
    let roots = server.log_in("root", OLD);
    expect(&ask(&server, &anna, &roots.access, &to(OLD)), 200, &changed(), "reset");
    expect_revoked(&server, &spared.0, &spared.1, "spared once");
}

#[test]
fn a_reset_needs_a_fresh_token_for_existing_and_unknown_users() {
    let (server, _) = with_admin();
    let anna = server.register("anna", OLD);
    let annas = begin(&server, "anna");
    let (roots, not_fresh) = begin(&server, "root");
    for id in [&*anna, UNKNOWN_ID] {
        for body in [to(NEW), json!({})] {
            Refusal::NotFresh.expect(&ask(&server, id, &not_fresh, &body), id);
        }
    }
    Refusal::NotFound.expect(&ask(&server, UNKNOWN_ID, &roots.access, &to(NEW)), "unknown id");
    expect_password(&server, "anna", OLD, &[NEW]);
    expect_live(&server, &annas.0, &annas.1, "after refusals");
}

#[test]
fn a_reset_reports_all_wrong_fields_at_once() {
    let (server, _) = with_admin();
    let anna = server.register("annabella", OLD);
    let roots = server.log_in("root", OLD);
    let missing = json!(["Missing data for required field."]);
    let unknown = json!(["Unknown field."]);
    for (body, errors) in [
        (json!({}), json!({"new_password": missing})),
        (json!({"new_password": null}), json!({"new_password": ["Field may not be null."]})),
        (json!({"new_password": 7}), json!({"new_password": ["Not a valid string."]})),
        (from_to(OLD, NEW), json!({"current_password": unknown})),
        (to("seven77"), json!({"new_password": ["Shorter than minimum length 8."]})),
        (to("password"), json!({"new_password": ["This password is too common."]})),
        // Compared with the name of the user, not of the administrator.
        (to("annabella"), json!({"new_password": ["This password is too close to the username."]})),
        (
            json!({"current_password": OLD, "new_password": "short", "disabled": true}),
            json!({
                "current_password": unknown,
                "new_password": ["Shorter than minimum length 8."],
                "disabled": unknown,
            }),
        ),
    ] {
        expect_fields(&ask(&server, &anna, &roots.access, &body), &errors, &body.to_string());
    }
    expect_password(&server, "annabella", OLD, &[NEW]);
}

#[test]
fn an_administrators_own_password_needs_the_current_one() {
    let (server, root) = with_admin();
    let (this, not_fresh) = begin(&server, "root");
    let other = begin(&server, "root");
    for id in ["me", &root] {
        let reply = ask(&server, id, &this.access, &to(NEW));
        expect_fields(&reply, &json!({"current_password": ["Missing data for required field."]}), id);
        let reply = ask(&server, id, &this.access, &from_to("wrong horse!", NEW));
        Refusal::InvalidCredentials.expect(&reply, id);
    }
    expect(&ask(&server, &root, &not_fresh, &from_to(OLD, NEW)), 200, &changed(), "not fresh");
    expect_live(&server, &this, &not_fresh, "this session");
    expect_revoked(&server, &other.0, &other.1, "the other session");
    expect_password(&server, "root", NEW, &[OLD]);
    assert_eq!(server.call("GET", "/user", Some(&this.access), None).status, 200, "still an administrator");
}

#[test]
fn a_reset_does_not_enable_a_disabled_user() {
    let (server, _) = with_admin();
    let anna = server.register("anna", OLD);
    let roots = server.log_in("root", OLD);
    let place = format!("/user/{anna}");
    let disable = |disabled: bool| {
        let body = json!({ "disabled": disabled });
        assert_eq!(server.call("PATCH", &place, Some(&roots.access), Some(&body)).status, 200);
    };
    disable(true);
    expect(&ask(&server, &anna, &roots.access, &to(NEW)), 200, &changed(), "reset");
    for password in [OLD, NEW] {
        let reply = server.client().post("/login", &credentials("anna", password));
        Refusal::InvalidCredentials.expect(&reply, password);
    }
    disable(false);
    expect_password(&server, "anna", NEW, &[OLD]);
}
