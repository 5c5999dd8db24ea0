//! Clients that disconnect before the answer: a change takes effect with all its consequences, or not at all.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Random, TestServer, Tokens, credentials, request};

const PASSWORD: &str = "correct horse";
const NEW_PASSWORD: &str = "battery staple";
const ROUNDS: usize = 150;

/// A user whose account is throttled, and a session from before.
struct Victim {
    name: String,
    path: String,
    session: Tokens,
}

impl Victim {
    fn new(server: &TestServer, name: String) -> Self {
        let path = format!("/user/{}", server.register(&name, PASSWORD));
        let session = server.log_in(&name, PASSWORD);
        let guess = || server.client().post("/login", &credentials(&name, "wrong")).status == 429;
        assert!((0..10).any(|_| guess()), "guesses without a limit");
        Self { name, path, session }
    }
}

/// Sends requests of an administrator who disconnects at random moments between the request and the answer. Where
/// `was_made` finds the change, the account's limit must be lifted.
fn expect_lifted(
    method: &str,
    path: fn(&Victim) -> String,
    body: &Value,
    prepare: impl Fn(&TestServer, &Victim, &str),
    was_made: impl Fn(&TestServer, &Victim, &str) -> bool,
    password: &str,
) {
    let server = TestServer::in_memory_with(&["--account-limit", "2,1d", "--network-limit", "off"]);
    server.add_admin("root", PASSWORD);
    let root = server.log_in("root", PASSWORD).access;
    let authorization = format!("Bearer {root}");
    let headers = [("Authorization", &*authorization), ("Content-Type", "application/json")];
    let text = body.to_string();
    let mut random = Random::begin(method);
    let mut span = Duration::from_millis(2);
    let mut made = 0;
    for round in 0..ROUNDS {
        let victim = Victim::new(&server, format!("victim {round}"));
        prepare(&server, &victim, &root);
        let mut client = server.client();
        let began = Instant::now();
        client.send_raw(&request(method, &path(&victim), &headers, Some(text.as_bytes()))).unwrap();
        if round % 10 == 0 {
            assert_eq!(client.receive(false).unwrap().status, 200);
            span = (span + began.elapsed()) / 2;
        } else {
            let offset = span * u32::try_from(random.below(1_200)).unwrap() / 1_000;
            while began.elapsed() < offset {
                std::thread::yield_now();
            }
            client.socket().shutdown(Shutdown::Both).unwrap();
        }
        drop(client);
        server.settle();
        if was_made(&server, &victim, &root) {
            made += 1;
            let reply = server.client().post("/login", &credentials(&victim.name, password));
            assert_eq!(reply.status, 200, "round {round}: changed, but not lifted: {reply:?}");
        }
    }
    println!("{made} of {ROUNDS} changes were made");
    assert!(made > ROUNDS / 10, "too few changes to prove anything");
}

#[test]
fn a_reset_whose_client_disconnects_still_lifts_the_limit() {
    expect_lifted(
        "POST",
        |victim| format!("{}/password", victim.path),
        &json!({ "new_password": NEW_PASSWORD }),
        |_, _, _| {},
        |server, victim, _| server.call("GET", "/user/me", Some(&victim.session.access), None).status == 401,
        NEW_PASSWORD,
    );
}

#[test]
fn enabling_a_user_whose_client_disconnects_still_lifts_the_limit() {
    let set = |server: &TestServer, victim: &Victim, root: &str, body: &Value| {
        let reply = server.call("PATCH", &victim.path, Some(root), Some(body));
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["disabled"].as_bool().unwrap()
    };
    expect_lifted(
        "PATCH",
        |victim| victim.path.clone(),
        &json!({ "disabled": false }),
        |server, victim, root| assert!(set(server, victim, root, &json!({ "disabled": true }))),
        |server, victim, root| !set(server, victim, root, &json!({})),
        PASSWORD,
    );
}
