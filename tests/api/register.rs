//! `POST /register`

use std::thread;

use serde_json::json;

use crate::refusal::{Refusal, expect, expect_fields};
use crate::support::{TestServer, credentials};

#[test]
fn a_registration_answers_201_with_the_users_location() {
    let server = TestServer::in_memory();
    let reply = server.client().post("/register", &credentials("anna", "correct horse"));
    expect(&reply, 201, &json!({"message": "User created successfully."}), "register");
    let id = reply.header("location").unwrap().strip_prefix("/user/").unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
    assert_eq!(id, uuid::Uuid::parse_str(id).unwrap().hyphenated().to_string());
}

#[test]
fn the_location_leads_to_the_new_user() {
    let server = TestServer::in_memory();
    let reply = server.client().post("/register", &credentials("anna", "correct horse"));
    let place = reply.header("location").unwrap();
    let tokens = server.log_in("anna", "correct horse");
    let shown = server.call("GET", place, Some(&tokens.access), None);
    let id = place.strip_prefix("/user/").unwrap();
    expect(&shown, 200, &json!({"id": id, "username": "anna"}), "show");
}

#[test]
fn a_user_survives_a_restart() {
    let server = TestServer::start();
    server.register("anna", "correct horse");
    let server = server.restart();
    server.log_in("anna", "correct horse");
}

#[test]
fn a_taken_name_is_refused_and_keeps_its_password() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    for password in ["correct horse", "another horse"] {
        let reply = server.client().post("/register", &credentials("anna", password));
        Refusal::NameTaken.expect(&reply, password);
    }
    server.log_in("anna", "correct horse");
    let reply = server.client().post("/login", &credentials("anna", "another horse"));
    Refusal::InvalidCredentials.expect(&reply, "the password of who came second");
}

#[test]
fn a_taken_name_is_refused_after_a_restart() {
    let server = TestServer::start();
    server.register("anna", "correct horse");
    let server = server.restart();
    let reply = server.client().post("/register", &credentials("anna", "correct horse"));
    Refusal::NameTaken.expect(&reply, "after a restart");
}

#[test]
fn exactly_one_of_racing_registrations_of_a_name_succeeds() {
    let server = TestServer::in_memory();
    for name in ["anna", "bert", "carla", "dora"] {
        let racers: Vec<_> = (0..16)
            .map(|racer| {
                let mut client = server.client();
                let body = credentials(name, &format!("password {racer:02}"));
                thread::spawn(move || (body.clone(), client.post("/register", &body)))
            })
            .collect();
        let (won, lost): (Vec<_>, Vec<_>) =
            racers.into_iter().map(|racer| racer.join().unwrap()).partition(|(_, reply)| reply.status == 201);
        assert_eq!(won.len(), 1, "{name}");
        for (_, reply) in &lost {
            Refusal::NameTaken.expect(reply, name);
        }
        assert_eq!(server.client().post("/login", &won[0].0).status, 200, "the winner's password counts");
        let others = lost.iter().map(|(body, _)| server.client().post("/login", body));
        for reply in others {
            Refusal::InvalidCredentials.expect(&reply, name);
        }
    }
}

#[test]
fn each_field_error_of_the_contract_is_answered() {
    let server = TestServer::in_memory();
    let mut client = server.client();
    let missing = json!(["Missing data for required field."]);
    let is_null = json!(["Field may not be null."]);
    let no_string = json!(["Not a valid string."]);
    let unknown = json!(["Unknown field."]);
    for (body, errors) in [
        (json!({}), json!({"username": missing, "password": missing})),
        (json!({"username": "anna"}), json!({"password": missing})),
        (json!({"password": "correct horse"}), json!({"username": missing})),
        (json!({"username": null, "password": null}), json!({"username": is_null, "password": is_null})),
        (json!({"username": 7, "password": true}), json!({"username": no_string, "password": no_string})),
        (json!({"username": [], "password": {}}), json!({"username": no_string, "password": no_string})),
        (
            json!({"username": "", "password": ""}),
            json!({
                "username": ["Shorter than minimum length 1."],
                "password": ["Shorter than minimum length 8."],
            }),
        ),
        (
            json!({"username": "x".repeat(129), "password": "x".repeat(1025)}),
            json!({
                "username": ["Longer than maximum length 128."],
                "password": ["Longer than maximum length 1024."],
            }),
        ),
        (
            json!({"username": "anna", "password": "correct horse", "id": 1, "role": "admin"}),
            json!({"id": unknown, "role": unknown}),
        ),
    ] {
        expect_fields(&client.post("/register", &body), &errors, &body.to_string());
    }
    let reply = client.post("/login", &credentials("anna", "correct horse"));
    Refusal::InvalidCredentials.expect(&reply, "no user was created");
}

#[test]
fn all_wrong_fields_are_reported_at_once() {
    let server = TestServer::in_memory();
    let body = json!({"username": "a\u{7}b", "password": "short", "id": 5, "email": "a@b.example"});
    expect_fields(
        &server.client().post("/register", &body),
        &json!({
            "username": ["Not a valid string."],
            "password": ["Shorter than minimum length 8."],
            "id": ["Unknown field."],
            "email": ["Unknown field."],
        }),
        "all four",
    );
}

#[test]
fn a_token_is_neither_needed_nor_checked() {
    let server = TestServer::in_memory();
    let body = credentials("anna", "correct horse");
    assert_eq!(server.call("POST", "/register", Some("garbage"), Some(&body)).status, 201);
}
