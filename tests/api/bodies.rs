//! Request bodies: declared type, size, JSON.

use serde_json::json;

use crate::refusal::{Refusal, expect, expect_fields};
use crate::support::{TestServer, credentials, request};

const PATHS: [&str; 2] = ["/register", "/login"];

/// The most bytes a body may have.
const MOST: usize = 16 * 1024;

#[test]
fn a_body_that_is_not_json_is_refused() {
    let server = TestServer::in_memory();
    for path in PATHS {
        for body in [
            &b"{"[..],
            b"nonsense",
            b"{\"username\":\"anna\",\"password\":\"correct horse\"",
            b"{\"username\":\"anna\",\"password\":\"correct horse\"}}",
            b"{\"username\":\"anna\",\"password\":\"correct horse\",}",
            b"{'username':'anna','password':'correct horse'}",
            b"{\"username\":\"\xff\xfe\",\"password\":\"correct horse\"}",
            b"{\"username\":\"\\ud800\",\"password\":\"correct horse\"}",
            b"{\"username\":\"an\nna\",\"password\":\"correct horse\"}",
            b"\xef\xbb\xbf{}",
            b"username=anna&password=correct+horse",
            b" ",
            b"\0",
            b"NaN",
        ] {
            let reply = server.client().send("POST", path, &[], Some(body));
            Refusal::NotJson.expect(&reply, &String::from_utf8_lossy(body));
        }
    }
}

#[test]
fn deeply_nested_json_is_refused_and_harmless() {
    let server = TestServer::in_memory();
    for path in PATHS {
        let reply = server.client().send("POST", path, &[], Some("[".repeat(MOST).as_bytes()));
        Refusal::NotJson.expect(&reply, path);
    }
}

#[test]
fn json_other_than_an_object_is_refused() {
    let server = TestServer::in_memory();
    for path in PATHS {
        for body in ["[]", "null", "true", "7", "\"anna\"", "[{\"username\":\"anna\"}]"] {
            let reply = server.client().send("POST", path, &[], Some(body.as_bytes()));
            expect_fields(&reply, &json!({"_schema": ["Invalid input type."]}), body);
        }
    }
}

#[test]
fn an_empty_body_counts_as_an_empty_object() {
    let server = TestServer::in_memory();
    let missing = json!(["Missing data for required field."]);
    let errors = json!({"username": missing, "password": missing});
    for path in PATHS {
        for body in [None, Some(&b""[..]), Some(b"{}"), Some(b" { } ")] {
            for headers in [&[][..], &[("Content-Type", "application/json")]] {
                let reply = server.client().send("POST", path, headers, body);
                expect_fields(&reply, &errors, path);
            }
        }
    }
}

#[test]
fn a_compressed_body_is_refused() {
    let server = TestServer::in_memory();
    let body = credentials("anna", "correct horse").to_string();
    for coding in ["gzip", "br", "identity, gzip", "x"] {
        let headers = [("Content-Encoding", coding), ("Content-Type", "application/json")];
        let reply = server.client().send("POST", "/register", &headers, Some(body.as_bytes()));
        assert_eq!(reply.status, 415, "{coding}: {reply:?}");
        assert_eq!(reply.header("accept-encoding"), Some("identity"), "{coding}");
    }
    let as_it_is = [("Content-Encoding", "identity")];
    let reply = server.client().send("POST", "/register", &as_it_is, Some(body.as_bytes()));
    assert_eq!(reply.status, 201, "{reply:?}");
}

#[test]
fn json_is_read_with_and_without_its_content_type() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let body = credentials("anna", "correct horse").to_string();
    for content_type in [
        None,
        Some("application/json"),
        Some("Application/JSON"),
        Some("application/json;charset=utf-8"),
        Some("application/json ; charset=UTF-8"),
        Some("application/vnd.example+json"),
    ] {
        let headers: Vec<_> = content_type.map(|value| ("Content-Type", value)).into_iter().collect();
        let reply = server.client().send("POST", "/login", &headers, Some(body.as_bytes()));
        assert_eq!(reply.status, 200, "{content_type:?}: {reply:?}");
    }
}

#[test]
fn json_declared_as_another_type_is_refused() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let body = credentials("anna", "correct horse").to_string();
    let message = "The body must be JSON (Content-Type: application/json).";
    for path in PATHS {
        for content_type in [
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonp",
            "application/octet-stream",
            "json",
            "*/*",
        ] {
            let headers = [("Content-Type", content_type)];
            let reply = server.client().send("POST", path, &headers, Some(body.as_bytes()));
            let expected = json!({"code": 415, "message": message, "status": "Unsupported Media Type"});
            expect(&reply, 415, &expected, content_type);
        }
    }
}

#[test]
fn a_body_of_16_kib_is_read_and_one_of_a_byte_more_refused() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let body = credentials("anna", "correct horse").to_string();
    for (length, chunked) in [(MOST, false), (MOST, true)] {
        let reply = send(&server, "/login", &padded(&body, length), chunked);
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let too_large = json!({
        "code": 413,
        "message": "A body may have 16384 bytes at the most.",
        "status": "Payload Too Large",
    });
    for path in PATHS {
        for length in [MOST + 1, 100_000, 1_000_000] {
            for chunked in [false, true] {
                let reply = send(&server, path, &padded(&body, length), chunked);
                expect(&reply, 413, &too_large, &format!("{length} bytes to {path}, chunked: {chunked}"));
            }
        }
    }
}

fn padded(body: &str, length: usize) -> Vec<u8> {
    let mut bytes = body.as_bytes().to_vec();
    bytes.resize(length, b' ');
    bytes
}

fn send(server: &TestServer, path: &str, body: &[u8], chunked: bool) -> crate::support::Reply {
    let mut client = server.client();
    if !chunked {
        return client.send("POST", path, &[], Some(body));
    }
    let mut bytes = request("POST", path, &[("Transfer-Encoding", "chunked")], None);
    for chunk in body.chunks(1000) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    client.send_raw(&bytes).unwrap();
    client.receive(false).unwrap()
}

#[test]
fn a_chunked_body_is_read_whole() {
    let server = TestServer::in_memory();
    let body = padded(&credentials("anna", "correct horse").to_string(), 5000);
    assert_eq!(send(&server, "/register", &body, true).status, 201);
    assert_eq!(send(&server, "/login", &body, true).status, 200);
}

/// Some parsers take the first value, others the last: a proxy that inspects bodies would see another login than ours.
#[test]
fn a_field_given_twice_is_refused_along_with_all_other_errors() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let twice = json!(["Given more than once."]);
    for (body, errors) in [
        (r#"{"username":"anna","password":"correct horse","username":"anna"}"#, json!({"username": twice})),
        (r#"{"username":"bert","password":"correct horse","username":"anna"}"#, json!({"username": twice})),
        (r#"{"username":"anna","password":"x","pass\u0077ord":"correct horse"}"#, json!({"password": twice})),
        (
            r#"{"username":null,"username":"anna","username":7}"#,
            json!({
                "username": ["Given more than once.", "Field may not be null."],
                "password": ["Missing data for required field."],
            }),
        ),
        (
            r#"{"username":"anna","password":"correct horse","a":1,"a":1}"#,
            json!({
                "a": ["Given more than once.", "Unknown field."],
            }),
        ),
    ] {
        let reply = server.client().send("POST", "/login", &[], Some(body.as_bytes()));
        expect_fields(&reply, &errors, body);
    }
    let body = br#"{"username":"bert","password":"correct horse","username":"bert"}"#;
    let reply = server.client().send("POST", "/register", &[], Some(body));
    expect_fields(&reply, &json!({"username": twice}), "register");
    let reply = server.client().post("/login", &credentials("bert", "correct horse"));
    Refusal::InvalidCredentials.expect(&reply, "no user was created");
}

#[test]
fn of_two_content_types_both_must_be_json() {
    let server = TestServer::in_memory();
    server.register("anna", "correct horse");
    let body = credentials("anna", "correct horse").to_string();
    for (other, status) in [("application/json", 200), ("text/plain", 415)] {
        for types in [["application/json", other], [other, "application/json"]] {
            let headers = types.map(|value| ("Content-Type", value));
            let reply = server.client().send("POST", "/login", &headers, Some(body.as_bytes()));
            assert_eq!(reply.status, status, "{types:?}");
        }
    }
}

#[test]
fn escapes_and_plain_characters_are_the_same_text() {
    let server = TestServer::in_memory();
    server.register("Zo\u{eb} 🚀", "correct horse");
    let body = br#"{"username":"Zo\u00eb \ud83d\ude80","password":"c\u006frrect horse"}"#;
    assert_eq!(server.client().send("POST", "/login", &[], Some(body)).status, 200);
}
