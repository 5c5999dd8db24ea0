//! What a name may be, and when two are the same.

use serde_json::json;

use crate::refusal::{Refusal, expect_fields};
use crate::support::{TestServer, credentials};

const PASSWORD: &str = "correct horse";

#[test]
fn two_spellings_of_one_name_in_unicode_are_one_user() {
    let (composed, decomposed) = ("Zo\u{eb}", "Zoe\u{308}");
    let server = TestServer::start();
    let id = server.register(decomposed, PASSWORD);
    let reply = server.client().post("/register", &credentials(composed, PASSWORD));
    Refusal::NameTaken.expect(&reply, "composed");
    for name in [composed, decomposed] {
        let tokens = server.log_in(name, PASSWORD);
        let shown = server.call("GET", "/user/me", Some(&tokens.access), None);
        assert_eq!(shown.json(), json!({"id": id, "username": composed}), "{name:?}");
    }
}

#[test]
fn names_are_free_in_script_and_compared_exactly() {
    let server = TestServer::start();
    let names = [
        "anna",
        "Anna",
        "ANNA",
        " anna",
        "anna ",
        "an na",
        " ",
        "Ånna",
        "名前",
        "Ольга",
        "مريم",
        "שרה",
        "👩\u{200d}🚀",
        "👩",
        "ﬁ",
        "fi",
        "a/b",
        "\"",
        "\\",
        "<b>",
        "'; DROP TABLE users;--",
        "me",
    ];
    let ids: Vec<_> = names.iter().map(|name| server.register(name, PASSWORD)).collect();
    for (name, id) in names.iter().zip(&ids) {
        let tokens = server.log_in(name, PASSWORD);
        let shown = server.call("GET", "/user/me", Some(&tokens.access), None);
        assert_eq!(shown.json(), json!({"id": id, "username": name}), "{name:?}");
    }
    let reply = server.client().post("/login", &credentials("aNNA", PASSWORD));
    Refusal::InvalidCredentials.expect(&reply, "a spelling that nobody has");
}

#[test]
fn a_name_has_128_characters_at_most_however_many_bytes_they_are() {
    let server = TestServer::start();
    for character in ["x", "ä", "名", "🚀"] {
        server.register(&character.repeat(128), PASSWORD);
        server.log_in(&character.repeat(128), PASSWORD);
        let reply = server.client().post("/register", &credentials(&character.repeat(129), PASSWORD));
        let errors = json!({"username": ["Longer than maximum length 128."]});
        expect_fields(&reply, &errors, character);
    }
}

#[test]
fn the_length_of_a_name_counts_after_normalisation() {
    let server = TestServer::start();
    server.register(&"e\u{308}".repeat(128), PASSWORD);
    let reply = server.client().post("/register", &credentials(&"ë".repeat(129), PASSWORD));
    expect_fields(&reply, &json!({"username": ["Longer than maximum length 128."]}), "129 composed");
}

#[test]
fn control_characters_make_no_name() {
    let server = TestServer::start();
    let errors = json!({"username": ["Not a valid string."]});
    for character in ["\0", "\t", "\n", "\r", "\u{1b}", "\u{7f}", "\u{85}", "\u{9f}"] {
        for name in [character.to_owned(), format!("an{character}na"), format!("anna{character}")] {
            let reply = server.client().post("/register", &credentials(&name, PASSWORD));
            expect_fields(&reply, &errors, &format!("{name:?}"));
        }
    }
}
