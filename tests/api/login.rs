//! `POST /login`

use std::sync::Arc;

use serde_json::json;

use crate::refusal::{Refusal, expect_fields};
use crate::support::{CHEAP, TestServer, credentials};
use gatelet::domain::user::Usernames;

#[test]
fn a_login_answers_two_tokens_and_no_store() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let reply = server.client().post("/login", &credentials("anna", "correct horse"));
    assert_eq!(reply.status, 200, "{reply:?}");
    let body = reply.json();
    let keys: Vec<_> = body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["access_token", "refresh_token"]);
    assert!(body["access_token"].as_str().unwrap().starts_with("v4.public."));
    assert!(body["refresh_token"].as_str().unwrap().starts_with("v4.local."));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("www-authenticate"), None);
}

#[test]
fn a_wrong_password_and_an_unknown_name_get_the_same_answer() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    for (name, password) in [
        ("anna", "wrong horse!"),
        ("anna", "correct hors"),
        ("anna", "correct horsee"),
        ("bert", "correct horse"),
        ("Hanna", "correct horse"),
    ] {
        let reply = server.client().post("/login", &credentials(name, password));
        Refusal::InvalidCredentials.expect(&reply, &format!("{name}, {password}"));
    }
}

#[test]
fn fields_are_checked_as_at_registration_except_for_length() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let missing = json!(["Missing data for required field."]);
    let is_null = json!(["Field may not be null."]);
    let no_string = json!(["Not a valid string."]);
    for (body, errors) in [
        (json!({}), json!({"username": missing, "password": missing})),
        (json!({"username": "anna"}), json!({"password": missing})),
        (json!({"username": null, "password": null}), json!({"username": is_null, "password": is_null})),
        (
            json!({"username": ["anna"], "password": 1.5}),
            json!({"username": no_string, "password": no_string}),
        ),
        (
            json!({"username": "anna", "password": "correct horse", "id": 1, "remember": true}),
            json!({"id": ["Unknown field."], "remember": ["Unknown field."]}),
        ),
        (
            json!({"password": false, "id": null}),
            json!({"username": missing, "password": no_string, "id": ["Unknown field."]}),
        ),
    ] {
        expect_fields(&server.client().post("/login", &body), &errors, &body.to_string());
    }
}

#[test]
fn every_login_begins_a_new_session() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let logins: Vec<_> = (0..3).map(|_| server.log_in("anna", "correct horse")).collect();
    let sid = |token: &str| crate::mint::read_unverified(token)["sid"].clone();
    let sids: std::collections::HashSet<String> =
        logins.iter().map(|tokens| sid(&tokens.access).to_string()).collect();
    assert_eq!(sids.len(), 3);
}

#[test]
fn a_hash_of_another_cost_is_accepted_and_renewed_at_login() {
    let server = TestServer::start_with(&["--scrypt", "ln=2,r=8,p=1"]);
    server.register("anna", "correct horse");
    let before = stored_hash_params(server, "anna");
    assert_eq!(before.1, "ln=2,r=8,p=1");

    let clock = Arc::clone(&before.0.clock);
    let server = before.0.restart_with(&["--scrypt", CHEAP], clock).unwrap();
    let reply = server.client().post("/login", &credentials("anna", "wrong horse!"));
    Refusal::InvalidCredentials.expect(&reply, "under the old hash");
    let (server, params) = stored_hash_params(server, "anna");
    assert_eq!(params, "ln=2,r=8,p=1", "a wrong password renews nothing");

    server.log_in("anna", "correct horse");
    let (server, params) = stored_hash_params(server, "anna");
    assert_eq!(params, CHEAP);
    server.log_in("anna", "correct horse");
    let reply = server.client().post("/login", &credentials("anna", "wrong horse!"));
    Refusal::InvalidCredentials.expect(&reply, "under the new hash");
}

/// The parameters of a user's hash as stored. Restarts the server.
fn stored_hash_params(server: TestServer, name: &str) -> (TestServer, String) {
    let mut params = String::new();
    let server = server.restart_after(async |store| {
        let (_, hash) = store.user_named(&name.parse().unwrap(), Usernames::Folded).await.unwrap().unwrap();
        params = hash.as_str().split('$').nth(2).unwrap().to_owned();
    });
    (server, params)
}
