//! `/user` and `/user/<id>` for administrators

use std::time::Duration;

use serde_json::json;

use crate::mint::read_unverified;
use crate::refusal::{Refusal, expect};
use crate::support::{TestServer, credentials};

const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// A server with the administrator `root`, whose password is `correct horse`, and their id.
fn with_admin() -> (TestServer, String) {
    let server = TestServer::start();
    let id = server.add_admin("root", "correct horse");
    (server, id)
}

#[test]
fn an_administrators_tokens_say_so_and_a_users_say_that() {
    let (server, _) = with_admin();
    server.register("anna", "correct horse");
    for (name, role) in [("root", "admin"), ("anna", "user")] {
        let tokens = server.log_in(name, "correct horse");
        for token in [&tokens.access, &server.refresh(&tokens)] {
            assert_eq!(read_unverified(token)["role"], role, "{name}");
        }
    }
}

#[test]
fn an_administrator_reads_everybody_with_any_access_token() {
    let (server, root) = with_admin();
    let anna = server.register("anna", "correct horse");
    let tokens = server.log_in("root", "correct horse");
    for token in [&tokens.access, &server.refresh(&tokens)] {
        for (path, id, name) in [
            ("/user/me".to_owned(), &root, "root"),
            (format!("/user/{root}"), &root, "root"),
            (format!("/user/{anna}"), &anna, "anna"),
        ] {
            let reply = server.call("GET", &path, Some(token), None);
            expect(&reply, 200, &json!({"id": id, "username": name}), &path);
        }
        let reply = server.call("GET", &format!("/user/{NOBODY}"), Some(token), None);
        Refusal::NotFound.expect(&reply, "an id that nobody has");
    }
}

#[test]
fn an_administrator_lists_everybody_in_order_of_registration() {
    let (server, root) = with_admin();
    let mut expected = vec![json!({"id": root, "username": "root"})];
    for name in ["zoe", "anna", "名前"] {
        expected.push(json!({"id": server.register(name, "correct horse"), "username": name}));
        server.advance(Duration::from_secs(1));
    }
    let tokens = server.log_in("root", "correct horse");
    for token in [&tokens.access, &server.refresh(&tokens)] {
        expect(&server.call("GET", "/user", Some(token), None), 200, &json!(expected), "list");
    }
}

#[test]
fn an_administrator_deletes_others_with_a_fresh_token_only() {
    let (server, _) = with_admin();
    let anna = server.register("anna", "correct horse");
    let annas = server.log_in("anna", "correct horse");
    let roots = server.log_in("root", "correct horse");
    let refreshed = server.refresh(&roots);
    for id in [&*anna, NOBODY] {
        let reply = server.call("DELETE", &format!("/user/{id}"), Some(&refreshed), None);
        Refusal::NotFresh.expect(&reply, id);
    }
    assert_eq!(server.call("GET", "/user/me", Some(&annas.access), None).status, 200);

    let place = format!("/user/{anna}");
    let reply = server.call("DELETE", &place, Some(&roots.access), None);
    expect(&reply, 200, &json!({"message": "User deleted."}), "fresh");
    for method in ["GET", "DELETE"] {
        Refusal::NotFound.expect(&server.call(method, &place, Some(&roots.access), None), method);
    }
    let reply = server.call("GET", "/user/me", Some(&annas.access), None);
    Refusal::Revoked.expect(&reply, "the deleted user's token");
    let reply = server.client().post("/login", &credentials("anna", "correct horse"));
    Refusal::InvalidCredentials.expect(&reply, "the deleted user");
}

#[test]
fn an_administrator_who_is_deleted_is_one_no_longer() {
    let (server, _) = with_admin();
    let anna = server.register("anna", "correct horse");
    let tokens = server.log_in("root", "correct horse");
    assert_eq!(server.call("DELETE", "/user/me", Some(&tokens.access), None).status, 200);
    for path in ["/user".to_owned(), format!("/user/{anna}")] {
        Refusal::Revoked.expect(&server.call("GET", &path, Some(&tokens.access), None), &path);
    }
    server.register("root", "correct horse");
    let tokens = server.log_in("root", "correct horse");
    let reply = server.call("GET", "/user", Some(&tokens.access), None);
    Refusal::Forbidden.expect(&reply, "whoever takes the name next");
}
