//! The socket in the data directory, by which commands reach a running server.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Process, Random, gatelet, request, temporary};
use crate::{WATCHDOG, get, log_in, register, run, stop_well};

fn socket(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

/// A server that has answered: its console listens.
fn start(dir: &Path) -> Process {
    let server = Process::start(dir, &[]);
    assert_eq!(get(&server, "/healthz", "").status, 200);
    server
}

fn key_list(dir: &Path) -> Output {
    run(gatelet().args(["key", "list", "--data-dir"]).arg(dir))
}

/// The console answers, and so does the server.
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

/// One request with a JSON body. Answers status, `Allow` and body.
fn ask(dir: &Path, method: &str, path: &str, body: Option<&str>) -> (u16, Option<String>, Value) {
    let mut stream = connect(dir);
    let headers = [("Connection", "close"), ("Content-Type", "application/json")];
    stream.write_all(&request(method, path, &headers, body.map(str::as_bytes))).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("allow").then(|| value.to_owned())
    };
    (status, lines.find_map(header), serde_json::from_str(body).unwrap_or_default())
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
    let noise: Vec<u8> = (0..100_000).map(|_| random.number().to_be_bytes()[0]).collect();
    let long_head = [b"GET /keys HTTP/1.1\r\n".as_slice(), &b"x: y\r\n".repeat(100_000)].concat();
    let long_line = [b"GET /".as_slice(), &b"x".repeat(2_000_000)].concat();
    let no_such_method = request("FROBNICATE", "/keys", &[], None);
    let lying = b"POST /keys HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n{}".to_vec();
    let large = request("POST", "/keys", &[], Some(&vec![b' '; 3_000_000]));
    let half_body = b"POST /keys HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"revoke\":".to_vec();
    let chunks = b"POST /keys HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec();
    let h2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    for (what, bytes) in [
        ("noise", noise),
        ("zeros", vec![0; 70_000]),
        ("a long head", long_head),
        ("a long line", long_line),
        ("a method that there is not", no_such_method),
        ("a length that no body has", lying),
        ("a large body", large),
        ("half a body", half_body),
        ("broken chunks", chunks),
        ("HTTP/2", h2),
        ("nothing", Vec::new()),
    ] {
        let mut stream = connect(dir.path());
        let _ = stream.write_all(&bytes); // it may have heard enough
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        expect_well(&server, dir.path(), what);
    }
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
                1 => b"GET /keys HTT",
                2 => b"POST /keys HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
                _ => b"GET /keys HTTP/1.1\r\nHost: x\r\n\r\n", // and never reads the answer
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
fn what_the_console_does_not_know_is_refused_as_on_the_front() {
    let dir = temporary();
    let server = start(dir.path());
    for path in ["/", "/keys/private", "/keys/public/x", "/user/x", "/login", "/register", "/healthz"] {
        for method in ["GET", "POST", "DELETE"] {
            let (status, allow, body) = ask(dir.path(), method, path, None);
            assert_eq!((status, allow), (404, None), "{method} {path}");
            assert_eq!(body, json!({"code": 404, "status": "Not Found"}), "{method} {path}");
        }
    }
    for (path, allowed) in [
        ("/keys", "DELETE, GET, POST"),
        ("/keys/public", "GET"),
        ("/import", "GET, POST"),
        ("/names", "DELETE"),
        ("/export", "GET"),
        ("/user", "GET, POST"),
        ("/user/me", "DELETE, GET, PATCH"),
        ("/user/me/password", "POST"),
        ("/user/me/sessions", "DELETE"),
    ] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            if allowed.contains(method) {
                continue;
            }
            let (status, allow, body) = ask(dir.path(), method, path, None);
            assert_eq!((status, allow.as_deref()), (405, Some(allowed)), "{method} {path}");
            assert_eq!(body, json!({"code": 405, "status": "Method Not Allowed"}), "{method} {path}");
        }
    }
    stop_well(server);
}

#[test]
fn at_the_console_me_is_nobody() {
    let dir = temporary();
    let server = start(dir.path());
    for (method, path, body) in [
        ("GET", "/user/me", None),
        ("PATCH", "/user/me", Some(r#"{"role":"admin"}"#)),
        ("DELETE", "/user/me", None),
        ("POST", "/user/me/password", Some(r#"{"new_password":"a quiet pony"}"#)),
        ("DELETE", "/user/me/sessions", None),
    ] {
        assert_eq!(ask(dir.path(), method, path, body).0, 404, "{method} {path}");
    }
    stop_well(server);
}

#[test]
fn a_rotation_that_is_asked_for_wrongly_does_not_happen() {
    let dir = temporary();
    let server = start(dir.path());
    let (_, _, before) = ask(dir.path(), "GET", "/keys", None);
    for (body, status) in [
        ("{", 400),
        ("[]", 422),
        ("{\"revoke\":\"yes\"}", 422),
        ("{\"revoke\":1}", 422),
        ("{\"revoke\":null}", 422),
        ("{\"revoked\":true}", 422),
    ] {
        assert_eq!(ask(dir.path(), "POST", "/keys", Some(body)).0, status, "{body}");
    }
    assert_eq!(ask(dir.path(), "GET", "/keys", None), (200, None, before));
    stop_well(server);
}

#[test]
fn what_the_console_knows_the_network_does_not() {
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
    let mut more = good.clone();
    more["id"] = 7.into();
    for users in [
        json!(null),
        json!({}),
        json!(["anna"]),
        json!([good, user("", "$2b$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu")]),
        json!([good, user("bert", "correct horse")]),
        json!([more]),
    ] {
        let body = json!({"apply": true, "users": users}).to_string();
        assert_eq!(ask(dir.path(), "POST", "/import", Some(&body)).0, 422, "{body}");
    }
    let many = json!({"apply": true, "users": vec![&good; 10_000]}).to_string();
    let (status, _, body) = ask(dir.path(), "POST", "/import", Some(&many));
    assert_eq!((status, &body["message"]), (413, &json!("A body may have 1048576 bytes at the most.")));
    assert_eq!(ask(dir.path(), "GET", "/export?after=x", None).0, 422);
    assert_eq!(
        ask(dir.path(), "GET", "/export", None),
        (200, None, json!({"total": 0, "users": [], "next": null}))
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
