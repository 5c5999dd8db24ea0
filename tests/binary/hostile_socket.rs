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

/// Answers every request on the socket of `dir` with what `answer` makes of method and path, for as long as the test.
fn serve(dir: &Path, answer: impl Fn(&str, &mut UnixStream) + Send + Sync + 'static) {
    let listener = UnixListener::bind(dir.join("control.sock")).unwrap();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), Arc::clone(&answer));
            thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut byte) {
                        Ok(1) => head.push(byte[0]),
                        _ => return, // a look whether anybody is there
                    }
                }
                let head = String::from_utf8(head).unwrap();
                let asked = head.split(" HTTP/").next().unwrap();
                answer(asked, &mut stream);
            });
        }
    });
}

fn reply(stream: &mut UnixStream, status: &str, body: &str) {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes()); // it may have heard enough
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

/// What a server would answer, with evil in each of its texts.
fn evil_shape(asked: &str) -> Value {
    let user = json!({
        "id": "01890a5d-ac96-774b-bcce-b302099a8057", "username": format!("anna{EVIL}"), "role": "user",
        "disabled": false, "created_at": EVIL, "password_scheme": EVIL, EVIL: EVIL,
    });
    let key = json!({"kid": EVIL, "use": EVIL, "state": EVIL, "not_after": EVIL, "public_key": EVIL});
    match asked {
        "GET /keys" | "POST /keys" | "GET /keys/public" => json!({"keys": [key, key]}),
        "DELETE /keys" => json!({"removed": [EVIL, EVIL]}),
        "GET /verify" => json!({"checks": [{"check": EVIL, "verdict": "wrong", "found": EVIL}]}),
        "POST /import" => json!({"arrivals": [EVIL]}),
        asked if asked.starts_with("GET /export") => json!({
            "users": [{"username": format!("anna{EVIL}"), "password_hash": EVIL, "role": "user", "disabled": false}],
            "next": null, "total": 1,
        }),
        asked if asked.starts_with("GET /user?after=") => json!([]),
        asked if asked.starts_with("GET /user?") || asked == "GET /user" => json!([user]),
        asked if asked.starts_with("GET /user/") || asked.starts_with("PATCH /user/") => user,
        _ => json!({"message": EVIL}),
    }
}

#[test]
fn texts_from_the_socket_reach_no_terminal_but_escaped() {
    let dir = temporary();
    serve(dir.path(), |asked, stream| reply(stream, "200 OK", &evil_shape(asked).to_string()));
    for args in COMMANDS {
        let (_, said) = run(dir.path(), args);
        expect_harmless(args, &said);
        if args.get(1) == Some(&"list") {
            assert!(said.contains(r"\u001b") || said.contains(r"\u{1b}"), "{args:?}: {said}");
        }
    }
}

#[test]
fn refusals_from_the_socket_reach_no_terminal_but_escaped() {
    let fields = json!({"errors": {"json": {EVIL: [EVIL, EVIL], "username": [EVIL]}}, "message": EVIL});
    let long = json!({"message": EVIL.repeat(20_000)});
    let odd = json!({"errors": [EVIL], "message": {EVIL: EVIL}});
    for (status, body) in [
        ("422 Unprocessable Entity", fields.to_string()),
        ("404 Not Found", long.to_string()),
        ("409 \u{1b}[31m", odd.to_string()),
        ("500 Internal Server Error", EVIL.to_owned()),
        ("302 Found", String::new()),
    ] {
        let dir = temporary();
        serve(dir.path(), move |_, stream| reply(stream, status, &body));
        for args in COMMANDS {
            let (code, said) = run(dir.path(), args);
            assert_ne!(code, 0, "{status} {args:?}: {said}");
            expect_harmless(args, &said);
            assert!(said.len() < 20_000, "{status} {args:?}: {} bytes", said.len());
        }
    }
}

#[test]
fn an_answer_that_no_server_gives_is_an_error_and_not_an_empty_list() {
    for body in [
        "null",
        "{}",
        "[]",
        "7",
        "\"x\"",
        "[7]",
        "[null]",
        "[{}]",
        r#"{"keys":7}"#,
        r#"{"checks":{}}"#,
        r#"{"users":"x"}"#,
        r#"[{"id":"../keys","username":"anna","role":"user","disabled":false,"created_at":"x"}]"#,
        "x",
        "",
    ] {
        let dir = temporary();
        serve(dir.path(), move |_, stream| reply(stream, "200 OK", body));
        for args in COMMANDS {
            let (code, said) = run(dir.path(), args);
            // No users: what a list of none looks like.
            if body == "[]" && args.starts_with(&["user", "list"]) {
                continue;
            }
            assert_ne!(code, 0, "{body} {args:?}: {said}");
            expect_harmless(args, &said);
        }
    }
}

#[test]
fn a_list_that_does_not_go_on_comes_to_an_end() {
    let dir = temporary();
    serve(dir.path(), |asked, stream| {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let user =
            json!({"id": id, "username": "anna", "role": "user", "disabled": false, "created_at": "x"});
        let export = json!({"users": [], "next": id, "total": 1});
        let body = if asked.starts_with("GET /export") { export } else { json!([user]) };
        reply(stream, "200 OK", &body.to_string());
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
        "HTTP/1.1 200 OK\r\nContent-Length: 629145600\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 629145600\r\n\r\n",
        "HTTP/1.1 200 OK\r\n",         // headers without end
        "HTTP/1.1 200 OK\r\nX-Long: ", // one of them
    ] {
        let part: &[u8] = match head {
            "HTTP/1.1 200 OK\r\n" => b"X-More: of the same, and so on and on\r\n",
            _ => &[b' '; 64 * 1024],
        };
        let dir = temporary();
        let most = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&most);
        let part = part.repeat(64 * 1024 / part.len());
        serve(dir.path(), move |_, stream| {
            let _ = stream.write_all(head.as_bytes());
            seen.fetch_max(pour(stream, &part), Ordering::SeqCst);
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
    for head in ["HTTP/1.1 200 OK\r\nX-Slow: ", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"] {
        let dir = temporary();
        serve(dir.path(), move |_, stream| {
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(b" ").is_ok() {
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
    serve(dir.path(), |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
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
    serve(elsewhere.path(), |_, stream| reply(stream, "200 OK", "[]"));
    symlink(elsewhere.path().join("control.sock"), dir.path().join("control.sock")).unwrap();
    let (code, said) = run(dir.path(), &["user", "list"]);
    assert_eq!(code, 73, "{said}");
    assert!(said.contains("control.sock is a link"), "{said}");
    assert!(fs::symlink_metadata(dir.path().join("control.sock")).unwrap().is_symlink());
}
