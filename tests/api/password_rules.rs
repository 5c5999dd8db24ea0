//! Which passwords are allowed, and when two are the same.

use serde_json::json;

use crate::refusal::{Refusal, expect_fields};
use crate::support::{Reply, TestServer, credentials};

fn log_in(server: &TestServer, name: &str, password: &str) -> Reply {
    server.client().post("/login", &credentials(name, password))
}

#[test]
fn a_password_has_at_least_eight_characters_of_any_length_in_bytes() {
    let server = TestServer::in_memory();
    for (name, character) in [("anna", "y"), ("bert", "ä"), ("carla", "🐎"), ("dora", " ")] {
        let reply = server.client().post("/register", &credentials(name, &character.repeat(7)));
        expect_fields(&reply, &json!({"password": ["Shorter than minimum length 8."]}), character);
        server.register(name, &character.repeat(8));
        server.log_in(name, &character.repeat(8));
    }
}

#[test]
fn a_password_has_at_most_1024_bytes() {
    let server = TestServer::in_memory();
    let errors = json!({"password": ["Longer than maximum length 1024."]});
    for password in ["x".repeat(1025), "ä".repeat(513), "🐎".repeat(257), "x".repeat(5000)] {
        let reply = server.client().post("/register", &credentials("anna", &password));
        expect_fields(&reply, &errors, &format!("{} bytes", password.len()));
    }
    for (name, password) in [("anna", "x".repeat(1024)), ("bert", "ä".repeat(512))] {
        server.register(name, &password);
        server.log_in(name, &password);
    }
}

#[test]
fn the_length_of_a_password_counts_after_normalisation() {
    let server = TestServer::in_memory();
    let reply = server.client().post("/register", &credentials("anna", &"e\u{301}".repeat(7)));
    expect_fields(&reply, &json!({"password": ["Shorter than minimum length 8."]}), "seven composed");
    server.register("anna", &"e\u{301}".repeat(512));
    server.log_in("anna", &"é".repeat(512));
}

#[test]
fn a_password_is_never_truncated() {
    let server = TestServer::in_memory();
    let long = "x".repeat(1023);
    server.register("anna", &format!("{long}y"));
    for wrong in [format!("{long}z"), long.clone(), format!("{long}yy"), "x".repeat(72)] {
        let case = format!("{} bytes", wrong.len());
        Refusal::InvalidCredentials.expect(&log_in(&server, "anna", &wrong), &case);
    }
    server.log_in("anna", &format!("{long}y"));
}

#[test]
fn nul_is_an_ordinary_character() {
    let server = TestServer::in_memory();
    server.register("anna", "correct\0horse");
    for wrong in ["correct", "correct\0", "correct\0house", "correcthorse", "correct horse"] {
        Refusal::InvalidCredentials.expect(&log_in(&server, "anna", wrong), &format!("{wrong:?}"));
    }
    server.log_in("anna", "correct\0horse");
}

/// HMAC, and so scrypt, pads short keys with NUL.
#[test]
fn nul_at_the_end_makes_another_password() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    server.register("bert", "correct horse\0");
    server.register("carla", "\0\0\0\0\0\0\0\0");
    for (name, wrong) in [
        ("anna", "correct horse\0"),
        ("bert", "correct horse"),
        ("bert", "correct horse\0\0"),
        ("carla", ""),
        ("carla", "\0\0\0\0\0\0\0"),
    ] {
        Refusal::InvalidCredentials.expect(&log_in(&server, name, wrong), &format!("{name}, {wrong:?}"));
    }
    server.log_in("bert", "correct horse\0");
    server.log_in("carla", "\0\0\0\0\0\0\0\0");
}

#[test]
fn unicode_spellings_of_one_password_are_the_same() {
    let server = TestServer::in_memory();
    server.register("anna", "Zoe\u{308} und Ada");
    server.log_in("anna", "Zo\u{eb} und Ada");
    let reply = log_in(&server, "anna", "Zoe und Ada");
    Refusal::InvalidCredentials.expect(&reply, "without the diaeresis");
}

#[test]
fn spaces_and_case_matter() {
    let server = TestServer::in_memory();
    server.register("anna", " Correct horse ");
    for wrong in ["Correct horse", " correct horse ", " Correct horse", "Correct horse "] {
        Refusal::InvalidCredentials.expect(&log_in(&server, "anna", wrong), wrong);
    }
    server.log_in("anna", " Correct horse ");
}

#[test]
fn length_limits_do_not_apply_at_login() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    for name in ["anna", "nobody", "", "a\0b", &"x".repeat(129)] {
        for password in ["", "x", &"x".repeat(1025), &"x".repeat(5000)] {
            let case = format!("{name:?}, {} bytes", password.len());
            Refusal::InvalidCredentials.expect(&log_in(&server, name, password), &case);
        }
    }
}

#[test]
fn the_minimum_length_is_a_setting_for_new_passwords_only() {
    let server = TestServer::start();
    server.register("anna", "eight888");
    let clock = std::sync::Arc::clone(&server.clock);
    let server = server.restart_with(&["--password-min-length", "12"], clock).unwrap();
    let reply = server.client().post("/register", &credentials("bert", "eleven11111"));
    expect_fields(&reply, &json!({"password": ["Shorter than minimum length 12."]}), "eleven");
    server.register("bert", "twelve222222");
    server.log_in("anna", "eight888");
}
