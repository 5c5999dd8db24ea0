//! No secret reaches the log, whatever the filter.

use std::fs;
use std::path::Path;

use crate::support::{Process, Reply, credentials, request, temporary};
use crate::{log_in, post, register, stop_well};

const FIRST: &str = "tr0ub4dor-and-3";
const WRONG: &str = "hunter2-hunter2";
/// People type passwords into the field above.
const AS_NAME: &str = "my-p4ssw0rd-as-a-name";

/// A secret in every spelling that a log might use.
fn spellings(secret: &[u8]) -> Vec<String> {
    let decimal = secret.iter().map(u8::to_string).collect::<Vec<_>>();
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![
        String::from_utf8_lossy(secret).into_owned(),
        decimal.join(", "),
        decimal.join(",\n    "),
        hex.to_uppercase(),
        hex,
    ]
}

fn tokens_in(reply: &Reply) -> Vec<String> {
    let body = reply.json();
    let token = |name| body.get(name)?.as_str().map(str::to_owned);
    ["access_token", "refresh_token"].into_iter().filter_map(token).collect()
}

fn key_material(dir: &Path) -> Vec<String> {
    let keys = fs::read_dir(dir.join("keys")).unwrap().map(|entry| entry.unwrap().path());
    // Behind `k4.secret.` and `k4.local.`, which may be named.
    keys.map(|path| fs::read_to_string(path).unwrap().trim().rsplit('.').next().unwrap().to_owned()).collect()
}

/// A whole life with mistakes; answers the secrets used and the log.
fn life(args: &[&str]) -> (Vec<String>, String) {
    let dir = temporary();
    let server = Process::start(dir.path(), args);
    let mut secrets = vec![FIRST.to_owned(), WRONG.to_owned(), AS_NAME.to_owned()];
    let say =
        |path: &str, name: &str, password: &str| server.client().post(path, &credentials(name, password));
    assert_eq!(say("/register", "anna", FIRST).status, 201);
    assert_eq!(say("/register", "anna", FIRST).status, 409);
    assert_eq!(say("/register", "bert", "hunt3r").status, 422);
    secrets.push("hunt3r".into());
    assert_eq!(say("/login", "anna", WRONG).status, 401);
    assert_eq!(say("/login", AS_NAME, WRONG).status, 401);
    let login = say("/login", "anna", FIRST);
    let tokens = tokens_in(&login);
    let (access, refresh) = (tokens[0].clone(), tokens[1].clone());
    let other = tokens_in(&say("/login", "anna", FIRST));
    let refreshed = tokens_in(&post(&server, "/refresh", &refresh));
    assert_eq!(server.client().call("GET", "/user/me", Some(&refresh), None).status, 401);
    assert_eq!(server.client().call("GET", "/user/me", Some(&access), None).status, 200);
    assert_eq!(server.client().call("DELETE", "/user/me", Some(&refreshed[0]), None).status, 401);
    assert_eq!(post(&server, "/logout", &access).status, 200);
    assert_eq!(post(&server, "/refresh", &refresh).status, 401);

    // In places where they do not belong.
    let path = format!("/user/{}", other[0]);
    let query = format!("/user/me?access_token={}", other[0]);
    let unknown = format!("{{\"username\":\"anna\",\"password\":\"{FIRST}\",\"{WRONG}\":1}}");
    let broken = format!("{{\"username\":\"anna\",\"password\":\"{FIRST}\"");
    let headers = format!("Basic {WRONG}");
    for text in [
        request("GET", &path, &[], None),
        request("GET", &query, &[], None),
        request("GET", "/user/me", &[("Authorization", &headers)], None),
        request("GET", "/user/me", &[("X-Request-Id", &other[0])], None),
        request("GET", "/user/me", &[("Cookie", &other[1]), ("User-Agent", &other[0])], None),
        request("POST", "/login", &[], Some(unknown.as_bytes())),
        request("POST", "/login", &[], Some(broken.as_bytes())),
        request("POST", &format!("/{FIRST}"), &[("Content-Type", WRONG)], Some(b"{}")),
    ] {
        let mut client = server.client();
        client.send_raw(&text).unwrap();
        client.receive(false).unwrap();
    }
    let mut client = server.client();
    client.send_raw(format!("{FIRST} {WRONG}\r\nAuthorization Bearer {access}\r\n\r\n").as_bytes()).unwrap();
    let _ = client.receive(false);
    let reply = server.client().call("DELETE", "/user/me", Some(&other[0]), None);
    assert_eq!(reply.status, 200, "{reply:?}");

    secrets.extend([tokens, other, refreshed].concat());
    secrets.extend(key_material(dir.path()));
    let first = stop_well(server);

    // Once more, with hashes to renew and a log to read through.
    let server = Process::start(dir.path(), args);
    register(&server, "carl");
    server.kill();
    let server = Process::start(dir.path(), &[args, &["--scrypt", "ln=2,r=8,p=1"]].concat());
    let tokens = log_in(&server, "carl");
    secrets.extend([tokens.access, tokens.refresh, crate::PASSWORD.to_owned()]);
    (secrets, first + &stop_well(server))
}

fn assert_holds_none(args: &[&str]) {
    let (secrets, log) = life(args);
    assert!(log.contains("gatelet::audit"), "{log}");
    let mut found = Vec::new();
    for secret in secrets.iter().map(String::as_str).chain(["$scrypt$"]) {
        // Of a token a part that only it has: the end of its signature.
        let longest = secret.split('.').max_by_key(|part| part.len()).unwrap();
        let part = &longest.as_bytes()[longest.len() - longest.len().min(60)..];
        for spelling in spellings(part) {
            let line = log.lines().find(|line| line.contains(&spelling));
            found.extend(line.map(|line| format!("{secret:?} as {spelling:?} in {line:.300}")));
        }
    }
    assert!(found.is_empty(), "{args:?} shows:\n{}", found.join("\n"));
}

#[test]
fn no_secret_is_logged_by_default() {
    assert_holds_none(&["--log", "info"]);
}

#[test]
fn no_secret_is_logged_at_any_level() {
    assert_holds_none(&["--log", "trace"]);
}

#[test]
fn no_secret_is_logged_even_when_somebody_asks_the_store_engine_to_talk() {
    assert_holds_none(&["--log", "info,sled=trace"]);
}

#[test]
fn no_secret_is_logged_even_when_somebody_asks_a_part_of_the_store_engine_to_talk() {
    assert_holds_none(&["--log", "info,sled::tree=trace,sled::pagecache=trace,sled::transaction=trace"]);
}

#[test]
fn no_secret_is_logged_as_json() {
    assert_holds_none(&["--log", "trace", "--log-format", "json"]);
}
