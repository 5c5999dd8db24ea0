//! Something else answers on `control.sock`: whoever owns the data directory can put it there, and root runs commands.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::process::Pid;
use serde_json::{Value, json};

use crate::support::admin_socket::{receive, send};
use crate::support::{gatelet, temporary};
use crate::{PASSWORD, watched};

/// Colours, another title, a cleared screen, what turns text around or hides.
const EVIL: &str = "\u{1b}[31m\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\r\n\u{8}\u{202e}\u{200b}\u{7f}";

/// Every command that asks the socket.
const COMMANDS: [&[&str]; 19] = [
    &["user", "list"],
    &["user", "list", "--json"],
    &["user", "show", "anna"],
    &["user", "show", "anna", "--json"],
    &["user", "add", "anna"],
    &["user", "set-role", "anna", "admin"],
    &["user", "disable", "anna"],
    &["user", "set-password", "anna"],
    &["user", "end-sessions", "anna"],
    &["user", "delete", "anna", "--yes"],
    &["key", "list"],
    &["key", "list", "--json"],
    &["key", "rotate"],
    &["key", "prune"],
    &["key", "export", "--public"],
    &["verify"],
    &["export", "-"],
    &["backup", "-"],
    &["import", "--apply"],
];

/// Answers every request on the socket of `dir` with what `answer` makes of its name and content, for as long as the test.
fn serve(dir: &Path, answer: impl Fn(&str, &Value, &mut UnixStream) + Send + Sync + 'static) {
    let listener = UnixListener::bind(dir.join("control.sock")).unwrap();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), Arc::clone(&answer));
            thread::spawn(move || {
                let Ok(request) = receive(&mut stream) else { return }; // a look whether a server is there
                let request: Value = serde_json::from_slice(&request).unwrap();
                let (name, content) = request.as_object().unwrap().iter().next().unwrap();
                answer(name, content, &mut stream);
            });
        }
    });
}

fn reply(stream: &mut UnixStream, answer: &str) {
    let _ = send(stream, answer.as_bytes()); // it may have heard enough
}

/// Runs a command. Answers its exit code and all that it says.
fn run(dir: &Path, args: &[&str]) -> (i32, String) {
    let mut command = gatelet();
    command.args(args).arg("--data-dir").arg(dir);
    command.env("CLICOLOR_FORCE", "1"); // as on a terminal: elsewhere escape sequences are taken out of what is printed
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let input = if args[0] == "import" {
        "anna,$2b$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu\n".to_owned()
    } else {
        format!("{PASSWORD}\n")
    };
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()); // most do not read it
    let output = watched(Pid::from_child(&child), || child.wait_with_output().unwrap());
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // What tables look like on a terminal.
    let said =
        ["\u{1b}[1m", "\u{1b}[2m", "\u{1b}[0m"].iter().fold(said, |said, style| said.replace(style, ""));
    (output.status.code().unwrap(), said)
}

/// The command has said what is wrong, and nothing that could speak to a terminal.
#[track_caller]
fn expect_harmless(args: &[&str], said: &str) {
    let harmful = |c: char| (c.is_control() && c != '\n') || (!c.is_ascii() && EVIL.contains(c));
    if args[0] != "backup" {
        assert!(!said.contains(harmful), "{args:?}: {said:?}");
    }
    assert!(!said.contains("panicked"), "{args:?}: {said:?}");
}

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn user() -> Value {
    json!({
        "id": ID, "username": format!("anna{EVIL}"), "role": "user", "disabled": false,
        "created_at": "2026-01-01T00:00:00Z", "password_scheme": EVIL,
    })
}

/// What a server would answer, with evil in each of its texts.
fn evil_shape(name: &str, content: &Value) -> Value {
    let kid = format!("k4.pid.{}", "A".repeat(44));
    let mut key = json!({"kid": kid, "state": "active", "not_after": null});
    match name {
        "list_keys" | "rotate_keys" => {
            key["use"] = "access tokens".into();
            json!({"keys": [key, key]})
        }
        "published_keys" => {
            key["public_key"] = EVIL.into();
            json!({"keys": [key, key]})
        }
        "prune_keys" => json!({"removed": [kid, kid]}),
        "verify" => json!({"checks": [{"check": EVIL, "verdict": "wrong", "found": EVIL}]}),
        "import_rule" => json!("folded"),
        "import" => json!([EVIL]),
        "export" => json!({
            "users": [{"username": format!("anna{EVIL}"), "password_hash": EVIL, "role": "user", "disabled": false}],
            "next": null, "total": 1,
        }),
        "list_users" if content["after"].is_null() => json!([user()]),
        "list_users" => json!([]),
        "delete_user" | "backup" => Value::Null,
        _ => user(),
    }
}

#[test]
fn texts_from_the_socket_reach_no_terminal_but_escaped() {
    let dir = temporary();
    serve(dir.path(), |name, content, stream| {
        reply(stream, &json!({"Ok": evil_shape(name, content)}).to_string());
    });
    for args in COMMANDS {
        let (_, said) = run(dir.path(), args);
        expect_harmless(args, &said);
        if args.starts_with(&["user", "list"]) {
            assert!(said.contains(r"\u001b") || said.contains(r"\u{1b}"), "{args:?}: {said}");
        }
    }
}

#[test]
fn refusals_from_the_socket_reach_no_terminal_but_escaped() {
    for refusal in [
        json!({"input": EVIL}),
        json!({"unavailable": EVIL.repeat(20_000)}),
        json!({"input": {EVIL: EVIL}}),
        json!({EVIL: EVIL}),
        json!(EVIL),
        json!("not_found"),
        json!("failed"),
        json!("not_understood"),
        json!(null),
    ] {
        let dir = temporary();
        let answer = json!({"Err": refusal}).to_string();
        serve(dir.path(), move |_, _, stream| reply(stream, &answer));
        for args in COMMANDS {
            let (code, said) = run(dir.path(), args);
            assert_ne!(code, 0, "{refusal:.80} {args:?}: {said}");
            expect_harmless(args, &said);
            assert!(said.len() < 20_000, "{refusal:.80} {args:?}: {} bytes", said.len());
        }
    }
}

#[test]
fn an_answer_that_no_server_gives_is_an_error_and_not_an_empty_list() {
    for body in [
        r#"{"Ok":{}}"#,
        r#"{"Ok":[]}"#,
        r#"{"Ok":7}"#,
        r#"{"Ok":"x"}"#,
        r#"{"Ok":[7]}"#,
        r#"{"Ok":[null]}"#,
        r#"{"Ok":[{}]}"#,
        r#"{"Ok":{"keys":7}}"#,
        r#"{"Ok":{"checks":{}}}"#,
        r#"{"Ok":{"users":"x"}}"#,
        r#"{"Ok":[{"id":"../keys","username":"anna","role":"user","disabled":false,"created_at":"x"}]}"#,
        r#"{"Ok":{"keys":[]},"more":1}"#,
        "null",
        "{}",
        "[]",
        "x",
        "",
    ] {
        let dir = temporary();
        serve(dir.path(), move |_, _, stream| reply(stream, body));
        for args in COMMANDS {
            let (code, said) = run(dir.path(), args);
            // No users: what a list of none looks like.
            if body == r#"{"Ok":[]}"# && args.starts_with(&["user", "list"]) {
                continue;
            }
            assert_ne!(code, 0, "{body} {args:?}: {said}");
            expect_harmless(args, &said);
        }
    }
}

/// Otherwise an answer could hide that a change was made.
#[test]
fn fields_of_a_later_version_are_ignored() {
    let dir = temporary();
    serve(dir.path(), |_, _, stream| reply(stream, r#"{"Ok":{"keys":[],"more":1}}"#));
    for args in [["key", "list"], ["key", "rotate"]] {
        let (code, said) = run(dir.path(), &args);
        assert_eq!(code, 0, "{args:?}: {said}");
    }
}

#[test]
fn a_list_that_does_not_go_on_comes_to_an_end() {
    let dir = temporary();
    serve(dir.path(), |name, _, stream| {
        let export = json!({"users": [], "next": ID, "total": 1});
        let page = if name == "export" { export } else { json!([user()]) };
        reply(stream, &json!({"Ok": page}).to_string());
    });
    for args in [&["user", "list"][..], &["user", "list", "--json"], &["export", "-"]] {
        let (code, said) = run(dir.path(), args);
        assert_eq!(code, 1, "{args:?}: {said}");
        assert!(said.contains("does not understand"), "{args:?}: {said}");
    }
}

/// Sends the same again and again until the other side has had enough. Answers how many bytes went out.
fn pour(stream: &mut UnixStream, part: &[u8]) -> usize {
    let mut sent = 0;
    while sent < 600 << 20 {
        match stream.write(part) {
            Ok(length) => sent += length,
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
                    "{error}"
                );
                break;
            }
        }
    }
    sent
}

#[test]
fn an_endless_answer_is_not_taken() {
    for head in [
        &[0x25, 0x80, 0, 0][..],    // as long as it is
        b"\0\x40\0\0",              // as long as an answer may be
        b"\0\0\0\x0b{\"Ok\":null}", // a good answer, and no end of parts
        b"HTTP/1.1 200 OK\r\nContent-Length: 629145600\r\n\r\n",
    ] {
        // Of spaces, a length is far too large.
        let part: &[u8] = &[b' '; 64 * 1024];
        let dir = temporary();
        let most = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&most);
        serve(dir.path(), move |_, _, stream| {
            let _ = stream.write_all(head);
            seen.fetch_max(pour(stream, part), Ordering::SeqCst);
        });
        for args in COMMANDS {
            let (code, said) = run(dir.path(), args);
            assert_ne!(code, 0, "{head:?} {args:?}: {said:.500}");
            expect_harmless(args, &said);
            assert!(said.len() < 10_000, "{head:?} {args:?}: {} bytes", said.len());
        }
        // What is kept, and what lies in buffers on the way.
        let most = most.load(Ordering::SeqCst);
        assert!(most < 16 << 20, "{head:?}: {most} bytes were taken");
    }
}

#[test]
fn an_answer_that_drips_is_waited_for_as_long_as_the_deadline_says() {
    for head in ["", "\0\x0f\0\0"] {
        let dir = temporary();
        serve(dir.path(), move |_, _, stream| {
            let _ = stream.write_all(head.as_bytes());
            // Of nothing at all, or of zeros, so that a length is one.
            while head.is_empty() || stream.write_all(b"\0").is_ok() {
                thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        let (code, said) = run(dir.path(), &["verify", "--deadline", "1s"]);
        assert_eq!(code, 75, "{said}");
        assert!(said.contains("not done within 1s"), "{said}");
    }
}

#[test]
#[ignore = "takes a minute"]
fn a_backup_that_drips_comes_to_an_end() {
    let dir = temporary();
    serve(dir.path(), |_, _, stream| {
        reply(stream, r#"{"Ok":null}"#);
        let _ = stream.write_all(b"\0\x0f\0\0");
        while stream.write_all(b"x").is_ok() {
            thread::sleep(std::time::Duration::from_millis(500));
        }
    });
    let mut command = gatelet();
    command.args(["backup", "-", "--data-dir"]).arg(dir.path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("did not answer within 1m"), "{output:?}");
}

#[test]
fn a_link_in_the_sockets_place_leads_nowhere() {
    let (dir, elsewhere) = (temporary(), temporary());
    serve(elsewhere.path(), |_, _, stream| reply(stream, r#"{"Ok":[]}"#));
    symlink(elsewhere.path().join("control.sock"), dir.path().join("control.sock")).unwrap();
    let (code, said) = run(dir.path(), &["user", "list"]);
    assert_eq!(code, 73, "{said}");
    assert!(said.contains("control.sock is a link"), "{said}");
    assert!(fs::symlink_metadata(dir.path().join("control.sock")).unwrap().is_symlink());
}

/// A server of 0.1.0, which speaks HTTP.
#[test]
fn a_server_of_another_version_is_to_be_restarted() {
    for (answer, what) in [
        (&b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"[..], "an earlier one"),
        (b"\0\0\0\x18{\"Err\":\"not_understood\"}", "one that does not know the request"),
        (b"\0\0\0\x0f{\"Err\":\"novel\"}", "one with further refusals"),
    ] {
        let dir = temporary();
        serve(dir.path(), move |_, _, stream| drop(stream.write_all(answer)));
        for args in COMMANDS {
            let (code, said) = run(dir.path(), args);
            assert_eq!(code, 1, "{what} {args:?}: {said}");
            assert!(said.contains("of another version, restart it"), "{what} {args:?}: {said}");
        }
    }
}

/// As a server of 0.1.0 does, which finds no HTTP in the first bytes.
#[test]
fn a_refusal_before_the_whole_request_was_read_is_heard() {
    let dir = temporary();
    let listener = UnixListener::bind(dir.path().join("control.sock")).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read_exact(&mut [0; 4]); // closed at once: a look whether a server is there
            reply(&mut stream, r#"{"Err":"not_understood"}"#);
        }
    });
    for _ in 0..20 {
        let (exit, said) = run(dir.path(), &["key", "list"]);
        assert_eq!(exit, 1, "{said}");
        assert!(said.contains("of another version, restart it"), "{said}");
    }
}
