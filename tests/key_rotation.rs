//! A hundred key rotations while clients log in, refresh and check tokens: no request fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // an error fails the test

mod support;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use support::{Client, Process, Tokens, admin_socket, credentials, temporary};

const ROTATIONS: usize = 100;
const CLIENTS: usize = 6;
const PASSWORD: &str = "correct horse";

/// No access log.
const QUIET: [&str; 2] = ["--log", "info,gatelet::access=warn,gatelet::audit=warn"];

fn keys(dir: &Path) -> Value {
    admin_socket::ask(dir, &json!({ "list_keys": {} })).unwrap().unwrap()
}

fn rotate(dir: &Path) -> Value {
    admin_socket::ask(dir, &admin_socket::rotate_keys()).unwrap().unwrap()
}

/// Keys by their ids: keys retired within one second have no stable order.
fn by_id(body: &Value) -> BTreeMap<&str, &Value> {
    body["keys"].as_array().unwrap().iter().map(|key| (key["kid"].as_str().unwrap(), key)).collect()
}

fn register(client: &mut Client, name: &str) {
    let reply = client.post("/register", &credentials(name, PASSWORD));
    assert_eq!(reply.status, 201, "{reply:?}");
}

fn log_in(client: &mut Client, name: &str) -> Tokens {
    Tokens::from_reply(&client.post("/login", &credentials(name, PASSWORD)))
}

fn refresh(client: &mut Client, tokens: &Tokens) -> String {
    let reply = client.call("POST", "/refresh", Some(&tokens.refresh), None);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["access_token"].as_str().unwrap().to_owned()
}

fn check(client: &mut Client, access: &str, name: &str) {
    let reply = client.call("GET", "/user/me", Some(access), None);
    assert_eq!((reply.status, &reply.json()["username"]), (200, &json!(name)), "{reply:?}");
}

/// All tokens of one client.
#[derive(Default)]
struct Given {
    sessions: Vec<Tokens>,
    refreshed: Vec<String>,
}

impl Given {
    /// Asserts that every token verifies, at every endpoint that takes its kind.
    fn assert_good(&self, client: &mut Client, name: &str) {
        for access in &self.refreshed {
            check(client, access, name);
        }
        for tokens in &self.sessions {
            check(client, &tokens.access, name);
            let access = refresh(client, tokens);
            check(client, &access, name);
        }
    }
}

/// Logs in, refreshes and checks old and new tokens until `over`. Counts the requests.
fn live(client: &mut Client, name: &str, over: &AtomicBool, requests: &AtomicUsize) -> Given {
    let mut given = Given::default();
    while !over.load(Ordering::Relaxed) {
        let tokens = log_in(client, name);
        check(client, &tokens.access, name);
        given.refreshed.push(refresh(client, &tokens));
        given.sessions.push(tokens);
        // The first token, the latest, and one in between.
        let all = given.sessions.len();
        for at in [0, all / 2, all - 1] {
            check(client, &given.sessions[at].access, name);
            check(client, &given.refreshed[at], name);
            let access = refresh(client, &given.sessions[at]);
            check(client, &access, name);
        }
        requests.fetch_add(15, Ordering::Relaxed);
    }
    given
}

#[test]
fn during_a_hundred_rotations_no_token_is_refused_and_no_request_fails() {
    let dir = temporary();
    let server = Process::start(dir.path(), &QUIET);
    let mut client = server.client();
    let names: Vec<_> = (0..CLIENTS).map(|number| format!("client {number}")).collect();
    for name in &names {
        register(&mut client, name);
    }
    let before = log_in(&mut client, &names[0]);

    let (over, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    let given: Vec<Given> = thread::scope(|scope| {
        let clients: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(|| live(&mut server.client(), name, &over, &requests)))
            .collect();
        let mut asked = 0;
        for rotation in 1..=ROTATIONS {
            // Requests are served between any two rotations, unless a client has failed.
            while requests.load(Ordering::Relaxed) == asked
                && !clients.iter().any(|client| client.is_finished())
            {
                thread::yield_now();
            }
            asked = requests.load(Ordering::Relaxed);
            let keys = rotate(dir.path());
            assert_eq!(keys["keys"].as_array().unwrap().len(), 2 * (rotation + 1));
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });

    let sessions: usize = given.iter().map(|given| given.sessions.len()).sum();
    println!("{ROTATIONS} rotations, {sessions} sessions, {} requests", requests.load(Ordering::Relaxed));
    let used: HashSet<_> = given
        .iter()
        .flat_map(|given| &given.sessions)
        .map(|tokens| tokens.access.rsplit('.').next().unwrap().to_owned())
        .collect();
    assert!(used.len() > ROTATIONS / 4, "the rotations hardly met the load: {} keys", used.len());

    let expected = keys(dir.path());
    let assert_all_good = |server: &Process| {
        let mut client = server.client();
        check(&mut client, &before.access, &names[0]);
        refresh(&mut client, &before);
        for (given, name) in given.iter().zip(&names) {
            given.assert_good(&mut client, name);
        }
        let now = keys(dir.path());
        assert!(by_id(&now) == by_id(&expected), "{now}\n{expected}");
        assert_eq!(fs::read_dir(dir.path().join("keys")).unwrap().count(), 2 * (ROTATIONS + 1));
    };
    assert_all_good(&server);
    assert_eq!(server.stop().code(), 0);
    let server = Process::start(dir.path(), &QUIET);
    assert_all_good(&server);
    server.kill();
    assert_all_good(&Process::start(dir.path(), &QUIET));
}

#[test]
fn racing_rotations_all_take_effect() {
    const RACERS: usize = 8;
    const EACH: usize = 5;
    let dir = temporary();
    let server = Process::start(dir.path(), &QUIET);
    let mut client = server.client();
    register(&mut client, "anna");
    let tokens = log_in(&mut client, "anna");
    thread::scope(|scope| {
        for _ in 0..RACERS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    rotate(dir.path());
                }
            });
        }
    });
    let published = client.call("GET", "/.well-known/paseto-keys", None, None).json();
    let keys = published["keys"].as_array().unwrap();
    assert_eq!(keys.len(), RACERS * EACH + 1);
    assert_eq!(keys.iter().filter(|key| key["state"] == "active").count(), 1);
    check(&mut client, &tokens.access, "anna");
    assert_eq!(server.stop().code(), 0);
    let server = Process::start(dir.path(), &QUIET);
    let after = server.client().call("GET", "/.well-known/paseto-keys", None, None).json();
    assert!(by_id(&after) == by_id(&published), "{after}\n{published}");
    assert_eq!(after["keys"][0], published["keys"][0], "the active one");
    check(&mut server.client(), &tokens.access, "anna");
}
