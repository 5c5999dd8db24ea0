//! The list of common passwords.

use std::sync::Arc;

use serde_json::json;

use crate::refusal::{Refusal, expect_fields};
use crate::support::{TestServer, credentials};

const TOO_COMMON: &str = "This password is too common.";
const TOO_CLOSE: &str = "This password is too close to the username.";

/// A username, a password refused for it, and the reason.
const REFUSED: &[(&str, &str, &str)] = &[
    ("anna", "password", TOO_COMMON),
    ("bert", "PassWord1", TOO_COMMON),
    ("carla", "12345678", TOO_COMMON),
    ("dora", "gatelet1", TOO_COMMON),
    ("emil", "Gatelet-2026", TOO_COMMON),
    ("frida", "GateletGatelet", TOO_COMMON),
    ("annabella", "annabella", TOO_CLOSE),
    ("bartholomew", "BartholoMew", TOO_CLOSE),
    ("Zoe\u{308} Zebra", "zo\u{eb} zebra", TOO_CLOSE),
    ("password", "password", TOO_COMMON),
];

#[test]
fn common_passwords_the_username_and_gatelet_are_refused() {
    let server = TestServer::in_memory();
    for (name, password, text) in REFUSED {
        let body = credentials(name, password);
        expect_fields(&server.client().post("/register", &body), &json!({"password": [text]}), password);
        Refusal::InvalidCredentials.expect(&server.client().post("/login", &body), password);
    }
}

#[test]
fn the_refusal_is_spelt_as_in_the_contract() {
    let server = TestServer::in_memory();
    let reply = server.client().post("/register", &credentials("anna", "password"));
    let body = r#"{"code":422,"errors":{"json":{"password":["This password is too common."]}},"status":"Unprocessable Entity"}"#;
    assert_eq!(String::from_utf8(reply.body).unwrap(), body);
}

#[test]
fn a_password_is_checked_even_if_the_name_is_wrong() {
    let server = TestServer::in_memory();
    let errors = json!({"username": ["Shorter than minimum length 1."], "password": [TOO_COMMON]});
    expect_fields(&server.client().post("/register", &credentials("", "password")), &errors, "both");
}

#[test]
fn passwords_need_no_mix_of_characters() {
    let server = TestServer::in_memory();
    for (name, password) in
        [("anna", "yyyyyyyy"), ("bert", "        "), ("carla", "annabella"), ("dora", "40961835")]
    {
        server.register(name, password);
        server.log_in(name, password);
    }
}

#[test]
fn without_the_list_and_under_dev_common_passwords_are_accepted() {
    for args in [&["--password-blocklist", "off"][..], &["--dev"]] {
        let server = TestServer::in_memory_with(args);
        for (name, password, _) in REFUSED {
            server.register(name, password);
            server.log_in(name, password);
        }
    }
}

#[test]
fn a_user_whose_password_is_common_already_can_log_in() {
    let server = TestServer::start_with(&["--password-blocklist", "off"]);
    server.register("anna", "password");
    let clock = Arc::clone(&server.clock);
    let server = server.restart_with(&[], clock).unwrap();
    server.log_in("anna", "password");
}
