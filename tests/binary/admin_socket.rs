//! The admin socket in the data directory, by which commands reach a running server.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::support::admin_socket::{ask, receive, rotate_keys, send};
use crate::support::{Process, Random, gatelet, request, temporary};
use crate::{WATCHDOG, get, log_in, register, run, stop_well};

fn socket(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

/// A server that has answered: its admin socket listens.
fn start(dir: &Path) -> Process {
    let server = Process::start(dir, &[]);
    assert_eq!(get(&server, "/healthz", "").status, 200);
    server
}

fn key_list(dir: &Path) -> Output {
    run(gatelet().args(["key", "list", "--data-dir"]).arg(dir))
}

/// The admin socket answers, and so does the server.
fn expect_well(server: &Process, dir: &Path, case: &str) {
    let output = key_list(dir);
    assert_eq!(output.status.code(), Some(0), "{case}: {output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 3, "{case}: {output:?}");
    assert_eq!(get(server, "/readyz", "").status, 200, "{case}");
}

fn connect(dir: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket(dir)).unwrap();
    stream.set_read_timeout(Some(WATCHDOG)).unwrap();
    stream.set_write_timeout(Some(WATCHDOG)).unwrap();
    stream
}

/// The server has refused the request, and says only that it does not know such a one.
#[track_caller]
fn expect_not_understood(dir: &Path, request: &str) {
    let mut stream = connect(dir);
    send(&mut stream, request.as_bytes()).unwrap();
    let answer = String::from_utf8(receive(&mut stream).unwrap()).unwrap();
    assert_eq!(answer, r#"{"Err":"not_understood"}"#, "{request:.200}");
}

fn keys(dir: &Path) -> Value {
    ask(dir, &json!({ "list_keys": {} })).unwrap().unwrap()
}

#[test]
fn the_socket_is_for_its_owner_alone_in_a_directory_for_its_owner_alone() {
    let dir = temporary();
    let data = dir.path().join("data");
    let server = start(&data);
    let meta = fs::metadata(socket(&data)).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(meta.uid(), fs::metadata(&data).unwrap().uid());
    stop_well(server);
}

#[test]
fn the_socket_goes_with_its_server() {
    let dir = temporary();
    for _ in 0..2 {
        let server = start(dir.path());
        assert!(socket(dir.path()).exists());
        stop_well(server);
        assert!(!socket(dir.path()).exists());
    }
}

#[test]
fn a_socket_left_by_a_kill_stops_neither_commands_nor_the_next_server() {
    let dir = temporary();
    start(dir.path()).kill();
    assert!(socket(dir.path()).exists(), "nobody could take it away");
    for _ in 0..2 {
        let output = key_list(dir.path());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let server = start(dir.path());
    expect_well(&server, dir.path(), "after a kill");
    let log = stop_well(server);
    assert!(!log.contains("cannot reach this server"), "{log}");
    assert!(!socket(dir.path()).exists());
}

#[test]
fn whoever_is_refused_the_directory_leaves_the_socket_of_its_server_alone() {
    let dir = temporary();
    let server = start(dir.path());
    crate::does_not_start(dir.path(), 73);
    expect_well(&server, dir.path(), "after a second start");
    stop_well(server);
}

#[test]
fn garbage_does_no_harm() {
    let dir = temporary();
    let server = start(dir.path());
    let mut random = Random::begin("garbage_does_no_harm");
    let before = keys(dir.path());
    let noise: Vec<u8> = (0..100_000).map(|_| random.number().to_be_bytes()[0]).collect();
    let message = |message: &[u8]| {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&length, message].concat()
    };
    let good = message(rotate_keys().to_string().as_bytes());
    for (what, bytes) in [
        ("noise", noise),
        ("zeros", vec![0; 70_000]),
        ("a length that no message has", vec![0xff; 4]),
        ("more than any message", message(&vec![b' '; 3_000_000])),
        ("half a length", vec![0, 0]),
        ("half a message", good[..good.len() - 1].to_vec()),
        ("no JSON", message(b"{")),
        ("no text", message(b"\xff\xfe")),
        ("deep JSON", message(&[b'['; 16_000])),
        ("HTTP", request("GET", "/keys", &[], None)),
        ("nothing", Vec::new()),
    ] {
        let mut stream = connect(dir.path());
        let _ = stream.write_all(&bytes); // it may have heard enough
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        expect_well(&server, dir.path(), what);
    }
    assert_eq!(keys(dir.path()), before);
    let log = stop_well(server);
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn slow_clients_block_nobody_and_do_not_delay_the_end() {
    let dir = temporary();
    let server = start(dir.path());
    let slow: Vec<_> = (0..100)
        .map(|number: usize| {
            let mut stream = connect(dir.path());
            let sent: &[u8] = match number % 4 {
                0 => b"",
                1 => b"\0\0",
                2 => b"\0\0\0\x10{",
                _ => b"\0\0\0\x10{\"list_keys\":{}}", // and never reads the answer
            };
            stream.write_all(sent).unwrap();
            stream
        })
        .collect();
    expect_well(&server, dir.path(), "with slow clients");
    stop_well(server); // fails if it waits for them
    assert!(!socket(dir.path()).exists());
    drop(slow);
}

#[test]
fn a_request_that_the_server_does_not_know_is_not_understood_and_changes_nothing() {
    let dir = temporary();
    let server = start(dir.path());
    let before = keys(dir.path());
    for request in [
        "",
        "null",
        "{}",
        "[]",
        r#""rotate_keys""#,
        r#"{"rotate_keys":null}"#,
        r#"{"rotate_keys":{}}"#,
        r#"{"rotate_keys":{"revoke":"yes"}}"#,
        r#"{"rotate_keys":{"revoke":1}}"#,
        r#"{"rotate_keys":{"revoke":null}}"#,
        r#"{"rotate_keys":{"revoke":true,"more":1}}"#,
        r#"{"rotate_keys":{"revoke":true,"revoke":true}}"#,
        r#"{"rotate_keys":{"revoke":true},"prune_keys":{}}"#,
        r#"{"frobnicate":{}}"#,
        r#"{"find_user":{"id":"me"}}"#,
        r#"{"export":{"after":"x"}}"#,
    ] {
        expect_not_understood(dir.path(), request);
    }
    let long = "x".repeat(64 * 1024);
    let refused = ask(dir.path(), &json!({ "free_name": { "username": long } })).unwrap().unwrap_err();
    assert_eq!(refused, json!({ "input": "the request is too large" }));
    assert_eq!(keys(dir.path()), before);
    stop_well(server);
}

#[test]
fn what_the_admin_socket_knows_the_network_does_not() {
    let dir = temporary();
    let server = start(dir.path());
    register(&server, "anna");
    let tokens = log_in(&server, "anna");
    let mut client = server.client();
    for (method, path) in [
        ("GET", "/keys"),
        ("POST", "/keys"),
        ("DELETE", "/keys"),
        ("GET", "/keys/public"),
        ("POST", "/import"),
        ("GET", "/export"),
    ] {
        for token in [None, Some(tokens.access.as_str())] {
            assert_eq!(client.call(method, path, token, None).status, 404, "{method} {path}");
        }
    }
    let body = crate::support::credentials("bert", "correct horse");
    assert_eq!(client.call("POST", "/user", None, Some(&body)).status, 401);
    assert_eq!(client.call("POST", "/user", Some(&tokens.access), Some(&body)).status, 403);
    stop_well(server);
}

#[test]
fn an_import_that_is_asked_for_wrongly_does_not_happen() {
    let dir = temporary();
    let server = start(dir.path());
    let user = |name: &str, hash: &str| json!({"username": name, "password_hash": hash, "role": "user", "disabled": false});
    let good = user("anna", "$2b$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu");
    let import = |users: Value| json!({"import": {"apply": true, "users": users}});
    let mut more = good.clone();
    more["id"] = 7.into();
    for users in
        [json!(null), json!({}), json!(["anna"]), json!([more]), json!([good, user("bert\u{1b}", "x")])]
    {
        expect_not_understood(dir.path(), &import(users).to_string());
    }
    for users in [
        json!([good, user("", "$2b$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu")]),
        json!([good, user("bert", "correct horse")]),
    ] {
        let refusal = ask(dir.path(), &import(users)).unwrap().unwrap_err();
        assert!(refusal["input"].as_str().unwrap().starts_with("users: "), "{refusal}");
    }
    let many = import(json!(vec![&good; 10_000]));
    assert!(many.to_string().len() > 1 << 20);
    assert_eq!(ask(dir.path(), &many).and_then(Result::ok), None, "it may be cut off before it is answered");
    assert_eq!(
        ask(dir.path(), &json!({ "export": {} })),
        Some(Ok(json!({"total": 0, "users": [], "next": null})))
    );
    stop_well(server);
}

#[test]
fn a_path_that_is_too_long_for_a_socket_hinders_neither_the_server_nor_commands() {
    let dir = temporary();
    let data = dir.path().join("d".repeat(60)).join("e".repeat(60));
    assert!(socket(&data).as_os_str().len() > 107, "all that the system takes");
    let server = start(&data);
    assert!(socket(&data).exists());
    expect_well(&server, &data, "a long path");
    let log = stop_well(server);
    assert!(!log.contains("cannot reach this server"), "{log}");
    assert!(!socket(&data).exists());
    let output = key_list(&data);
    assert_eq!(output.status.code(), Some(0), "while it is stopped: {output:?}");
}

#[test]
fn a_directory_in_the_sockets_place_stays_and_the_server_serves() {
    let dir = temporary();
    fs::create_dir(socket(dir.path())).unwrap();
    let server = start(dir.path());
    assert_eq!(get(&server, "/readyz", "").status, 200);
    let log = stop_well(server);
    assert!(log.contains("cannot reach this server"), "{log}");
    assert!(socket(dir.path()).is_dir());
}

#[test]
fn a_data_directory_that_is_a_file_is_called_one() {
    let dir = temporary();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for args in [&["user", "list"][..], &["verify"], &["export", "-"]] {
        let output = run(gatelet().args(args).arg("--data-dir").arg(&file));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(73), "{args:?}: {said}");
        assert!(said.contains("not a directory"), "{args:?}: {said}");
    }
}

/// The socket must be there by the time somebody can know of the server.
#[test]
fn a_command_straight_after_the_ready_line_reaches_the_server() {
    let dir = temporary();
    for round in 0..20 {
        let server = Process::start(dir.path(), &["--log", "off"]);
        let connected = UnixStream::connect(socket(dir.path()));
        assert!(connected.is_ok(), "round {round}: {connected:?}");
        server.kill();
        fs::remove_file(socket(dir.path())).unwrap();
    }
}
