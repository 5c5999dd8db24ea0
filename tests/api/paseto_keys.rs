//! `GET /.well-known/paseto-keys`: the keys with which other services check access tokens.

use std::fs;
use std::time::Duration;

use pasetors::keys::AsymmetricPublicKey;
use pasetors::paserk::{FormatAsPaserk, Id};
use pasetors::token::UntrustedToken;
use pasetors::version4::{PublicToken, V4};
use serde_json::{Value, json};

use crate::mint::flip_bit;
use crate::support::admin_socket::rotate_keys;
use crate::support::{Client, Reply, TestServer, request, start};

const PATH: &str = "/.well-known/paseto-keys";
const PASSWORD: &str = "correct horse";

/// A server that has answered once: its admin socket listens, too.
fn server(args: &[&str]) -> TestServer {
    answering(TestServer::in_memory_with(args))
}

fn answering(server: TestServer) -> TestServer {
    assert_eq!(server.call("GET", "/healthz", None, None).status, 200);
    server
}

fn published(server: &TestServer) -> Reply {
    let reply = server.call("GET", PATH, None, None);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("public, max-age=60"));
    reply
}

fn tag(reply: &Reply) -> String {
    reply.header("etag").unwrap().to_owned()
}

/// Rotates the keys, as the command does.
fn rotate(server: &TestServer) {
    server.admin_socket(&rotate_keys()).unwrap();
}

/// One request with an `If-None-Match` header for each of `tags`. After a 304, a second request on the connection proves
/// that no body was sent.
fn ask_if_none_match(client: &mut Client, method: &str, tags: &[&str]) -> Reply {
    let headers: Vec<_> = tags.iter().map(|tags| ("If-None-Match", *tags)).collect();
    client.send_raw(&request(method, PATH, &headers, None)).unwrap();
    // Read the head alone, even if it declares a body.
    let reply = client.receive(true).unwrap();
    if reply.status == 304 {
        assert_eq!(client.call("GET", "/healthz", None, None).json(), json!({"status": "alive"}));
    }
    reply
}

/// The claims of a token, verified as another service does: by the published key set alone.
fn verify(set: &Value, token: &str) -> Option<Value> {
    let token = UntrustedToken::<pasetors::token::Public, V4>::try_from(token).ok()?;
    let footer: Value = serde_json::from_slice(token.untrusted_footer()).ok()?;
    let key = set["keys"].as_array().unwrap().iter().find(|key| key["kid"] == footer["kid"])?;
    let public = AsymmetricPublicKey::<V4>::try_from(key["public_key"].as_str().unwrap()).unwrap();
    let verified = PublicToken::verify(&public, &token, None, None).ok()?;
    Some(serde_json::from_str(verified.payload()).unwrap())
}

#[test]
fn a_new_server_publishes_its_one_signing_key() {
    let server = server(&[]);
    let reply = published(&server);
    let body = reply.json();
    let (kid, paserk) = (&body["keys"][0]["kid"], &body["keys"][0]["public_key"]);
    let expected = json!({"kid": kid, "public_key": paserk, "state": "active", "not_after": null});
    assert_eq!(body, json!({ "keys": [expected] }));

    // The id is the PASERK id of the key, and the name of its file.
    let public = AsymmetricPublicKey::<V4>::try_from(paserk.as_str().unwrap()).unwrap();
    let mut id = String::new();
    Id::from(&public).fmt(&mut id).unwrap();
    assert_eq!(kid, &id);
    assert!(server.data_dir().join("keys").join(id).exists());
    assert!(reply.header("x-request-id").is_some());
}

#[test]
fn a_retiring_key_has_the_time_until_which_it_is_needed() {
    let server = server(&["--access-ttl", "20m"]);
    let old = published(&server).json()["keys"][0].clone();
    server.advance(Duration::from_secs(100));
    rotate(&server);
    let keys = published(&server).json()["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 2);
    assert_eq!((&keys[0]["state"], &keys[0]["not_after"]), (&json!("active"), &Value::Null));
    assert_ne!(keys[0]["kid"], old["kid"]);
    assert_ne!(keys[0]["public_key"], old["public_key"]);

    let not_after = &keys[1]["not_after"];
    let mut expected = old;
    expected["state"] = "retiring".into();
    expected["not_after"] = not_after.clone();
    assert_eq!(keys[1], expected);
    // After the leeway of the last token, and at most five minutes after its expiry. These texts sort by time.
    let last = start().after(Duration::from_secs(100 + 20 * 60));
    let earliest = last.after(Duration::from_secs(5)).to_string();
    let latest = last.after(Duration::from_secs(300)).to_string();
    let not_after = not_after.as_str().unwrap().to_owned();
    assert!(earliest <= not_after && not_after <= latest, "{earliest} {not_after} {latest}");
}

#[test]
fn the_active_key_comes_first_and_retired_ones_newest_first() {
    let server = server(&[]);
    let mut newest_first = vec![published(&server).json()["keys"][0]["kid"].clone()];
    for _ in 0..4 {
        server.advance(Duration::from_secs(1)); // keys retired in one second have no order
        rotate(&server);
        newest_first.insert(0, published(&server).json()["keys"][0]["kid"].clone());
    }
    let keys = published(&server).json()["keys"].as_array().unwrap().clone();
    assert_eq!(keys.iter().map(|key| key["kid"].clone()).collect::<Vec<_>>(), newest_first);
    let active: Vec<_> = keys.iter().map(|key| key["state"] == "active").collect();
    assert_eq!(active, [true, false, false, false, false]);
}

#[test]
fn a_request_with_the_current_etag_gets_304_without_a_body() {
    let server = server(&[]);
    let reply = published(&server);
    let tag = tag(&reply);
    let mut client = server.client();
    let (weak, list) = (format!("W/{tag}"), format!("\"x\", {tag},\"y\""));
    let weak_list = format!("W/\"x\" , W/{tag}");
    let spaced = format!("  {tag}  ");
    for tags in [&[&*tag][..], &[&weak], &[&list], &[&weak_list], &["*"], &[&spaced], &["\"x\"", &tag]] {
        for method in ["GET", "HEAD"] {
            let case = format!("{method} {tags:?}");
            let reply = ask_if_none_match(&mut client, method, tags);
            assert_eq!(reply.status, 304, "{case}");
            assert_eq!(reply.header("etag"), Some(&*tag), "{case}");
            assert_eq!(reply.header("cache-control"), Some("public, max-age=60"), "{case}");
            assert_eq!(reply.header("content-type"), None, "{case}");
            assert_eq!(reply.header("content-length"), None, "{case}: that of the 200, or none");
            assert_eq!(reply.header("transfer-encoding"), None, "{case}");
            assert!(reply.header("x-request-id").is_some(), "{case}");
        }
    }
}

#[test]
fn a_request_with_another_etag_gets_the_keys() {
    let server = server(&[]);
    let current = published(&server);
    let tag = tag(&current);
    let inner = tag.trim_matches('"');
    assert_eq!(format!("\"{inner}\""), tag, "a strong tag");
    for other in ["", "\"\"", "\"x\"", inner, &format!("\"{inner}x\""), &format!("w/{tag}"), "W/*"] {
        let reply = server.client().send("GET", PATH, &[("If-None-Match", other)], None);
        assert_eq!((reply.status, &reply.body), (200, &current.body), "{other}");
        assert_eq!(reply.header("etag"), Some(&*tag), "{other}");
    }
}

#[test]
fn the_etag_changes_only_with_the_keys() {
    let server = answering(TestServer::start_with(&["--access-ttl", "10m"]));
    let first = tag(&published(&server));
    server.advance(Duration::from_secs(60));
    let server = server.restart();
    assert_eq!(tag(&published(&server)), first, "the same keys after a restart");

    rotate(&server);
    let second = tag(&published(&server));
    assert_ne!(second, first);
    let reply = ask_if_none_match(&mut server.client(), "GET", &[&first]);
    assert_eq!((reply.status, reply.header("etag")), (200, Some(&*second)));

    server.advance(Duration::from_secs(3600));
    let body = server.admin_socket(&json!({ "prune_keys": {} })).unwrap();
    assert_eq!(body["removed"].as_array().unwrap().len(), 1, "{body}");
    let third = published(&server);
    assert!(tag(&third) != second && tag(&third) != first);
    assert_eq!(third.json()["keys"].as_array().unwrap().len(), 1);
}

#[test]
fn other_methods_and_paths_are_answered_as_everywhere() {
    let server = server(&[]);
    let mut client = server.client();
    let id = [("X-Request-Id", "same")];
    let get = client.send("GET", PATH, &id, None);
    let head = client.send("HEAD", PATH, &id, None);
    let without_date =
        |reply: &Reply| reply.headers.iter().filter(|(name, _)| name != "date").cloned().collect::<Vec<_>>();
    assert_eq!((head.status, without_date(&head)), (200, without_date(&get)));
    assert_eq!(client.call("OPTIONS", PATH, None, None).header("allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(client.call("OPTIONS", PATH, None, None).status, 204);
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let reply = client.call(method, PATH, None, None);
        assert_eq!(reply.header("allow"), Some("GET, HEAD, OPTIONS"), "{method}");
        crate::refusal::expect(&reply, 405, &json!({"code": 405, "status": "Method Not Allowed"}), method);
    }
    for path in ["/.well-known", "/.well-known/", "/.well-known/paseto-keys/x", "/.well-known/jwks.json"] {
        assert_eq!(client.call("GET", path, None, None).status, 404, "{path}");
    }
}

#[test]
fn a_token_is_neither_needed_nor_checked() {
    let server = server(&[]);
    let keys = published(&server);
    for token in ["garbage", ""] {
        let reply = server.call("GET", PATH, Some(token), None);
        assert_eq!((reply.status, reply.body), (200, keys.body.clone()), "{token:?}");
    }
}

#[test]
fn access_tokens_verify_by_the_published_keys_across_rotations() {
    let server = server(&[]);
    let id = server.register("anna", PASSWORD);
    let first = server.log_in("anna", PASSWORD);
    let before = published(&server).json();
    rotate(&server);
    let second = server.log_in("anna", PASSWORD);
    let refreshed = server.refresh(&first);
    let after = published(&server).json();
    for token in [&first.access, &second.access, &refreshed] {
        let claims = verify(&after, token).unwrap();
        assert_eq!((&claims["sub"], &claims["typ"]), (&json!(id), &json!("access")));
    }
    // The key set of before the rotation verifies the older tokens only.
    assert!(verify(&before, &first.access).is_some());
    assert!(verify(&before, &second.access).is_none() && verify(&before, &refreshed).is_none());
}

#[test]
fn forged_foreign_and_refresh_tokens_do_not_verify() {
    let (server, other) = (server(&[]), server(&[]));
    for server in [&server, &other] {
        server.register("anna", PASSWORD);
    }
    let (mine, theirs) = (server.log_in("anna", PASSWORD), other.log_in("anna", PASSWORD));
    let set = published(&server).json();
    assert!(verify(&set, &mine.access).is_some());
    assert!(verify(&set, &theirs.access).is_none(), "another server's");
    assert!(verify(&set, &mine.refresh).is_none(), "a refresh token");
    let end = mine.access.rfind('.').unwrap();
    for position in ["v4.public.".len(), 100, end - 2] {
        let forged = flip_bit(&mine.access, position, 2).unwrap();
        assert!(verify(&set, &forged).is_none(), "changed at {position}");
    }
}

#[test]
fn only_the_public_half_of_keys_is_published() {
    let server = server(&[]);
    rotate(&server);
    let text = String::from_utf8(published(&server).body).unwrap();
    let files: Vec<_> = fs::read_dir(server.data_dir().join("keys")).unwrap().collect();
    assert_eq!(files.len(), 4);
    for file in files {
        let secret = fs::read_to_string(file.unwrap().path()).unwrap();
        let (_, material) = secret.trim_end().rsplit_once('.').unwrap();
        // A secret PASERK holds the seed first and then the public key.
        assert!(!text.contains(&material[..40]), "{text}");
    }
    assert!(!text.contains("k4.lid.") && !text.contains("k4.local.") && !text.contains("k4.secret."));
}
