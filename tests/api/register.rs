//! `POST /register`

use serde_json::json;

use crate::support::{TestServer, credentials};

#[test]
fn a_new_user_is_created_and_their_place_is_named() {
    let server = TestServer::start();
    let reply = server.client().post("/register", &credentials("anna", "correct horse"));
    assert_eq!(reply.status, 201);
    assert_eq!(reply.json(), json!({"message": "User created successfully."}));
    let id = reply.header("location").unwrap().strip_prefix("/user/").unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
}

#[test]
fn a_user_is_there_after_a_restart() {
    let server = TestServer::start();
    server.register("anna", "correct horse");
    let server = server.restart();
    server.log_in("anna", "correct horse");
}
