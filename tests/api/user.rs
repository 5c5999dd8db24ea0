//! `GET` and `DELETE /user/<id>` and `GET /user` for users without the role `admin`

use serde_json::json;

use crate::refusal::{Refusal, expect};
use crate::support::{TestServer, credentials};

const UNKNOWN_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

#[test]
fn users_read_themselves_by_id_and_as_me() {
    let server = TestServer::in_memory();
    let id = server.register("Zo\u{eb} 👩\u{200d}🚀", "correct horse");
    let tokens = server.log_in("Zo\u{eb} 👩\u{200d}🚀", "correct horse");
    let refreshed = server.refresh(&tokens);
    for token in [&tokens.access, &refreshed] {
        for path in ["/user/me".to_owned(), format!("/user/{id}")] {
            let reply = server.call("GET", &path, Some(token), None);
            expect(&reply, 200, &json!({"id": id, "username": "Zo\u{eb} 👩\u{200d}🚀"}), &path);
        }
    }
}

#[test]
fn users_do_not_learn_whether_another_id_exists() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let other = server.register("bert", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    for method in ["GET", "DELETE"] {
        for id in [&*other, UNKNOWN_ID] {
            let reply = server.call(method, &format!("/user/{id}"), Some(&tokens.access), None);
            Refusal::Forbidden.expect(&reply, &format!("{method} {id}"));
        }
    }
    server.log_in("bert", "correct horse");
}

#[test]
fn a_malformed_id_is_an_unknown_path() {
    let server = TestServer::in_memory();
    let id = server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    let bare = id.replace('-', "");
    let braced = format!("%7B{id}%7D");
    for id in
        ["1", "0", "-1", "anna", "ME", "me/me", "%00", &bare, &braced, &format!("urn:uuid:{UNKNOWN_ID}")]
    {
        for method in ["GET", "DELETE"] {
            let case = format!("{method} /user/{id}");
            let reply = server.call(method, &format!("/user/{id}"), Some(&tokens.access), None);
            Refusal::NotFound.expect(&reply, &case);
            Refusal::NotFound.expect(&server.call(method, &format!("/user/{id}"), None, None), &case);
        }
    }
}

#[test]
fn a_fresh_token_deletes_the_account() {
    let server = TestServer::in_memory();
    for (own, name) in [(false, "anna"), (true, "bert")] {
        let id = server.register(name, "correct horse");
        let tokens = server.log_in(name, "correct horse");
        let path = if own { format!("/user/{id}") } else { "/user/me".to_owned() };
        let reply = server.call("DELETE", &path, Some(&tokens.access), None);
        expect(&reply, 200, &json!({"message": "User deleted."}), &path);
        let reply = server.client().post("/login", &credentials(name, "correct horse"));
        Refusal::InvalidCredentials.expect(&reply, "the account is gone");
    }
}

#[test]
fn deleting_the_account_twice_is_refused_as_revoked() {
    let server = TestServer::in_memory();
    let id = server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    for path in ["/user/me".to_owned(), format!("/user/{id}")] {
        let _ = server.call("DELETE", &path, Some(&tokens.access), None);
        let reply = server.call("DELETE", &path, Some(&tokens.access), None);
        Refusal::Revoked.expect(&reply, &path);
    }
}

#[test]
fn exactly_one_of_racing_deletions_succeeds_and_the_name_stays_taken() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let (mut client, token) = (server.client(), tokens.access.clone());
            std::thread::spawn(move || client.call("DELETE", "/user/me", Some(&token), None))
        })
        .collect();
    let replies: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        Refusal::Revoked.expect(reply, "came second");
    }
    let reply = server.client().post("/register", &credentials("anna", "another horse"));
    Refusal::NameTaken.expect(&reply, "applications may still know it");
}

#[test]
fn users_cannot_list_users() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let tokens = server.log_in("anna", "correct horse");
    Refusal::Missing.expect(&server.call("GET", "/user", None, None), "no token");
    Refusal::Forbidden.expect(&server.call("GET", "/user", Some(&tokens.access), None), "a user's");
    Refusal::Invalid.expect(&server.call("GET", "/user", Some(&tokens.refresh), None), "a refresh token");
}
