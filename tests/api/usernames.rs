//! Which names are allowed, and when two are the same.

use serde_json::json;

use crate::refusal::{Refusal, expect_fields};
use crate::support::admin_socket::add_user;
use crate::support::{TestServer, credentials};

const PASSWORD: &str = "correct horse";

#[test]
fn unicode_spellings_of_one_name_are_one_user() {
    let (composed, decomposed) = ("Zo\u{eb}", "Zoe\u{308}");
    let server = TestServer::in_memory();
    let id = server.register(decomposed, PASSWORD);
    let reply = server.client().post("/register", &credentials(composed, PASSWORD));
    Refusal::NameTaken.expect(&reply, "composed");
    for name in [composed, decomposed] {
        let tokens = server.log_in(name, PASSWORD);
        let shown = server.call("GET", "/user/me", Some(&tokens.access), None);
        assert_eq!(shown.json(), json!({"id": id, "username": composed}), "{name:?}");
    }
}

/// [`SPELLINGS`] has the names that only the rule of the first version tells apart.
const NAMES: [&str; 20] = [
    "anna",
    "an na",
    "Ånna",
    "名前",
    "田中 Tanaka",
    "Ольга",
    "مريم",
    "שרה",
    "👩\u{200d}🚀",
    "👩",
    "❤\u{fe0f}",
    "1\u{fe0f}\u{20e3}",
    "ﬁ",
    "a/b",
    "\"",
    "\\",
    "<b>",
    "'; DROP TABLE users;--",
    "me",
    "...a",
];

/// Spellings of `anna` under the fold: invisible characters, outer white space and case do not count.
const SPELLINGS: [&str; 7] =
    ["Anna", "ANNA", "anna ", " anna", "\u{a0}anna\u{3000}", "ａｎｎａ", "an\u{200b}na"];

#[track_caller]
fn expect_user(server: &TestServer, typed: &str, id: &str, name: &str) {
    let tokens = server.log_in(typed, PASSWORD);
    let shown = server.call("GET", "/user/me", Some(&tokens.access), None);
    assert_eq!(shown.json(), json!({"id": id, "username": name}), "{typed:?}");
}

#[test]
fn names_may_be_in_any_script_and_are_shown_as_typed() {
    let server = TestServer::in_memory();
    let ids: Vec<_> = NAMES.iter().map(|name| server.register(name, PASSWORD)).collect();
    for (name, id) in NAMES.iter().zip(&ids) {
        expect_user(&server, name, id, name);
    }
    let reply = server.client().post("/login", &credentials("anne", PASSWORD));
    Refusal::InvalidCredentials.expect(&reply, "an unknown name");
}

#[test]
fn all_spellings_of_a_name_belong_to_one_user() {
    let server = TestServer::start();
    let id = server.register("anna", PASSWORD);
    server.register("anna maria", PASSWORD);
    for spelling in SPELLINGS {
        expect_user(&server, spelling, &id, "anna");
    }
    for spelling in ["Anna", "ANNA", "ａｎｎａ", "Anna  Maria", "anna\u{a0}maria"] {
        let reply = server.client().post("/register", &credentials(spelling, PASSWORD));
        Refusal::NameTaken.expect(&reply, spelling);
    }
    let kept = server.restart();
    for spelling in SPELLINGS {
        expect_user(&kept, spelling, &id, "anna");
    }
}

#[test]
fn racing_registrations_of_one_name_in_many_spellings_make_one_user() {
    let server = TestServer::in_memory();
    let racers: Vec<_> = ["anna", "Anna", "aNna", "anNa", "annA", "ANna", "ANNA", "ａnna"]
        .into_iter()
        .map(|spelling| {
            let mut client = server.client();
            std::thread::spawn(move || client.post("/register", &credentials(spelling, PASSWORD)).status)
        })
        .collect();
    let mut statuses: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

#[test]
fn lookalike_names_are_refused_at_every_way_to_create_users() {
    let server = TestServer::in_memory();
    server.add_admin("root", PASSWORD);
    let root = server.log_in("root", PASSWORD);
    let errors = json!({"username": ["Invalid value."]});
    for name in [
        "anna ",
        " anna",
        "\u{a0}anna",
        "anna\u{3000}",
        "\u{430}nna",
        "αdmin",
        "µtorrent",
        "an\u{200b}na",
        "\u{202e}anna",
        "anna\u{feff}",
        "an\u{ad}na",
        "a\u{200d}b",
        "\u{3164}",
        "\u{2800}",
        "a\u{2028}b",
        ".",
        "..",
        "．．",
        "…",
        " ",
        "anna\u{378}",
        "👩\u{e0067}\u{e007f}",
    ] {
        let body = credentials(name, PASSWORD);
        expect_fields(&server.client().post("/register", &body), &errors, name);
        expect_fields(&server.call("POST", "/user", Some(&root.access), Some(&body)), &errors, name);
        let refused = server.admin_socket(&add_user(name, PASSWORD, "user")).unwrap_err();
        let why = refused["input"].as_str().unwrap();
        assert!(why.starts_with("username: Invalid value. The name "), "{name:?}: {why}");
        let reply = server.client().post("/login", &body);
        Refusal::InvalidCredentials.expect(&reply, "an unknown name, not an invalid request");
    }
}

#[test]
fn usernames_exact_keeps_the_rule_of_the_first_version() {
    let server = TestServer::start_with(&["--usernames", "exact"]);
    let names: Vec<_> =
        NAMES.into_iter().chain(SPELLINGS).chain(["fi", " ", "\u{430}nna", "\u{200b}", ".."]).collect();
    let ids: Vec<_> = names.iter().map(|name| server.register(name, PASSWORD)).collect();
    for (name, id) in names.iter().zip(&ids) {
        expect_user(&server, name, id, name);
        let reply = server.client().post("/register", &credentials(name, PASSWORD));
        Refusal::NameTaken.expect(&reply, name);
    }
    let reply = server.client().post("/login", &credentials("aNNA", PASSWORD));
    Refusal::InvalidCredentials.expect(&reply, "no user has this spelling");

    // From now on by fold: each user keeps their spelling, and another spelling that fits several users finds none.
    let clock = std::sync::Arc::new(gatelet::domain::clock::Clock::manual(server.clock.reading()));
    let server = server.restart_with(&[], clock).unwrap_or_else(|error| panic!("{error}"));
    for (name, id) in names.iter().zip(&ids) {
        expect_user(&server, name, id, name);
    }
    expect_user(&server, "ÅNNA", &ids[2], "Ånna");
    let reply = server.client().post("/login", &credentials("aNNA", PASSWORD));
    Refusal::InvalidCredentials.expect(&reply, "it fits several users");
    let reply = server.client().post("/register", &credentials("aNNA", PASSWORD));
    Refusal::NameTaken.expect(&reply, "several have it");
    let reply = server.client().post("/register", &credentials("ÅNNA", PASSWORD));
    Refusal::NameTaken.expect(&reply, "one has it");

    // Back to exact names.
    let clock = std::sync::Arc::new(gatelet::domain::clock::Clock::manual(server.clock.reading()));
    let server =
        server.restart_with(&["--usernames", "exact"], clock).unwrap_or_else(|error| panic!("{error}"));
    for (name, id) in names.iter().zip(&ids) {
        expect_user(&server, name, id, name);
    }
    server.register("aNNA", PASSWORD);
    server.register("ÅNNA", PASSWORD);
}

#[test]
fn all_spellings_of_a_name_share_the_account_limit() {
    let server = TestServer::in_memory_with(&["--account-limit", "5,1h", "--network-limit", "off"]);
    server.register("anna", PASSWORD);
    // Spellings of anna's name, and of a name without a user.
    for letters in ["anna", "nina"] {
        let guess =
            |spelling: &str| server.client().post("/login", &credentials(spelling, "a wrong one")).status;
        let spellings: Vec<_> = (0..8)
            .map(|n| {
                let case =
                    |(place, c): (usize, char)| if n >> place & 1 == 1 { c.to_ascii_uppercase() } else { c };
                letters.chars().enumerate().map(case).collect::<String>() + if n > 4 { " " } else { "" }
            })
            .collect();
        let statuses: Vec<_> = spellings.iter().map(|spelling| guess(spelling)).collect();
        assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429], "{spellings:?}");
    }
}

#[test]
fn a_deleted_users_name_stays_taken_for_thirty_days_unless_freed() {
    const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
    let register =
        |server: &TestServer, name: &str| server.client().post("/register", &credentials(name, PASSWORD));
    let server = TestServer::start_with(&["--account-limit", "off", "--network-limit", "off"]);
    for name in ["Anna", "bert"] {
        server.register(name, PASSWORD);
        let tokens = server.log_in(name, PASSWORD);
        assert_eq!(server.call("DELETE", "/user/me", Some(&tokens.access), None).status, 200);
    }
    server.advance(29 * DAY);
    let mut server = server.restart();
    for spelling in ["Anna", "ANNA", "anna"] {
        Refusal::NameTaken.expect(&register(&server, spelling), spelling);
        let reply = server.client().post("/login", &credentials(spelling, PASSWORD));
        Refusal::InvalidCredentials.expect(&reply, "no user has this name");
    }
    let free =
        |server: &TestServer, name: &str| server.admin_socket(&json!({ "free_name": { "username": name } }));
    assert_eq!(free(&server, "ANNA"), Ok(json!({ "freed": ["Anna"] })));
    assert_eq!(free(&server, "anna"), Ok(json!({ "freed": [] })));
    let id = server.register("anna", PASSWORD);
    assert_eq!(free(&server, "anna"), Ok(json!({ "freed": [] })), "a user has it");
    expect_user(&server, "Anna", &id, "anna");

    Refusal::NameTaken.expect(&register(&server, "Bert"), "the thirtieth day");
    server.advance(DAY);
    let id = server.register("Bert", PASSWORD);
    server = server.restart();
    expect_user(&server, "bert", &id, "Bert");
}

#[test]
fn a_name_has_at_most_128_characters_of_any_length_in_bytes() {
    let server = TestServer::in_memory();
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
    let server = TestServer::in_memory();
    server.register(&"e\u{308}".repeat(128), PASSWORD);
    let reply = server.client().post("/register", &credentials(&"ë".repeat(129), PASSWORD));
    expect_fields(&reply, &json!({"username": ["Longer than maximum length 128."]}), "129 composed");
}

#[test]
fn a_name_with_control_characters_is_refused() {
    let server = TestServer::in_memory();
    let errors = json!({"username": ["Not a valid string."]});
    for character in ["\0", "\t", "\n", "\r", "\u{1b}", "\u{7f}", "\u{85}", "\u{9f}"] {
        for name in [character.to_owned(), format!("an{character}na"), format!("anna{character}")] {
            let reply = server.client().post("/register", &credentials(&name, PASSWORD));
            expect_fields(&reply, &errors, &format!("{name:?}"));
        }
    }
}
