//! What the log says: one line a request, one line an account event, and none that a client can forge.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{CHEAP, Client, Process, Reply, credentials, gatelet, request, serve, temporary};
use crate::{PASSWORD, get, log_in, post, register, run, stop_well};

/// The lines of a target, without what the logger puts in front.
fn lines<'a>(log: &'a str, target: &str) -> Vec<&'a str> {
    let mark = format!(" {target}] ");
    log.lines().filter_map(|line| Some(line.split_once(&mark)?.1)).collect()
}

fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let mark = format!(" {name}=");
    line.split_once(&mark).unwrap_or_else(|| panic!("no {name}: {line}")).1.split(' ').next().unwrap()
}

/// The line of one request.
fn line_of<'a>(log: &'a str, target: &str, id: &str) -> &'a str {
    let mut found = lines(log, target).into_iter().filter(|line| field(line, "request") == id);
    let line = found.next().unwrap_or_else(|| panic!("no line of {id} on {target}: {log}"));
    assert_eq!(found.next(), None, "a second line of {id} on {target}");
    line
}

fn request_id(reply: &Reply) -> String {
    reply.header("x-request-id").unwrap().to_owned()
}

#[test]
fn every_account_event_leaves_a_line_and_the_access_log_the_same_request_id() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    let call = |method: &str, path: &str, token: Option<&str>, body: Option<Value>| {
        server.client().call(method, path, token, body.as_ref())
    };
    let anna = |password: &str| Some(credentials("anna", password));
    let id = register(&server, "anna");
    let tokens = log_in(&server, "anna");
    let (ended, user) = (log_in(&server, "anna"), format!("/user/{id}"));

    let mut expected = Vec::new();
    let mut note = |reply: Reply, status: u16, event: &str, access: &str, known: bool| {
        assert_eq!(reply.status, status, "{reply:?}");
        expected.push((request_id(&reply), event.to_owned(), format!("{access} {status} "), known));
    };
    let reply = call("POST", "/register", None, Some(credentials("bert", PASSWORD)));
    note(reply, 201, "registered user=", "POST /register", true);
    note(call("POST", "/login", None, anna(PASSWORD)), 200, "login_ok user=", "POST /login", true);
    let reply = call("POST", "/login", None, anna("wrong horse"));
    note(reply, 401, "login_refused reason=wrong_password user=", "POST /login", true);
    let reply = call("POST", "/login", None, Some(credentials("nobody", PASSWORD)));
    note(reply, 401, "login_refused reason=unknown_user", "POST /login", false);
    let refreshed = post(&server, "/refresh", &tokens.refresh);
    let stale = refreshed.json()["access_token"].as_str().unwrap().to_owned();
    note(refreshed, 200, "refreshed user=", "POST /refresh", true);
    note(post(&server, "/logout", &ended.refresh), 200, "logged_out user=", "POST /logout", true);
    let refused = |reason: &str| format!("token_refused reason={reason}");
    note(call("GET", &user, None, None), 401, &refused("missing"), "GET /user/<id>", false);
    note(get(&server, &user, "v4.public.x"), 401, &refused("invalid"), "GET /user/<id>", false);
    note(get(&server, "/user/me", &ended.access), 401, &refused("revoked user="), "GET /user/<id>", true);
    note(post(&server, "/refresh", &tokens.access), 401, &refused("invalid"), "POST /refresh", false);
    let reply = call("DELETE", &user, Some(&stale), None);
    note(reply, 401, &refused("not_fresh user="), "DELETE /user/<id>", true);
    let reply = call("DELETE", &user, Some(&tokens.access), None);
    note(reply, 200, "deleted user=", "DELETE /user/<id>", true);

    let log = stop_well(server);
    for (request, event, access, known) in expected {
        let audit = line_of(&log, "gatelet::audit", &request);
        assert!(audit.starts_with(&event), "{event}: {audit}");
        assert_eq!(field(audit, "client"), "127.0.0.1");
        let line = line_of(&log, "gatelet::access", &request);
        assert!(line.starts_with(&access), "{access}: {line}");
        assert!(field(line, "duration_us").parse::<u64>().is_ok(), "{line}");
        assert_eq!(field(line, "client"), "127.0.0.1");
        if known {
            assert_eq!(field(line, "user"), field(audit, "user"), "{line} {audit}");
        } else {
            assert_eq!(field(line, "user"), "-", "{line}");
        }
    }
    for line in lines(&log, "gatelet::audit") {
        assert!(!line.contains("user=") || line.contains(&id) || line.contains("bert"), "{line}");
    }
}

#[test]
fn every_request_leaves_one_line_with_its_route_and_not_its_path() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    let id = register(&server, "anna");
    let tokens = log_in(&server, "anna");
    let mut client = server.client();
    let mut expected = Vec::new();
    for (method, path, line) in [
        ("GET", "/user/me", "GET /user/<id> 200 "),
        ("HEAD", "/user/me?token=secret", "HEAD /user/<id> 200 "),
        ("GET", "/user/11111111-1111-7111-8111-111111111111", "GET /user/<id> 403 "),
        ("GET", "/user", "GET /user 403 "),
        ("OPTIONS", "/login", "OPTIONS /login 204 "),
        ("PUT", "/login", "PUT /login 405 "),
        ("GET", "/healthz", "GET /healthz 200 "),
        ("GET", "/readyz", "GET /readyz 200 "),
        ("GET", "/secret/path", "GET - 404 "),
    ] {
        let reply = client.call(method, path, Some(&tokens.access), None);
        expected.push((request_id(&reply), line));
    }
    let log = stop_well(server);
    for (request, start) in expected {
        let line = line_of(&log, "gatelet::access", &request);
        assert!(line.starts_with(start), "{start}: {line}");
        if start.contains("/user/<id> 200") {
            assert_eq!(field(line, "user"), id, "{line}");
        }
    }
    assert!(!log.contains("secret"), "{log}");
}

#[test]
fn a_request_id_is_taken_over_only_if_it_is_harmless() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    let mut client = server.client();
    let mut answered = Vec::new();
    for given in ["trace-1.a_B", "two words", "a=b;c", "\"quoted\"", "na\u{ef}ve", &"x".repeat(65)] {
        client.send_raw(&request("GET", "/user/me", &[("X-Request-Id", given)], None)).unwrap();
        answered.push(request_id(&client.receive(false).unwrap()));
    }
    assert_eq!(answered[0], "trace-1.a_B");
    let log = stop_well(server);
    for id in &answered {
        line_of(&log, "gatelet::access", id);
        line_of(&log, "gatelet::audit", id);
    }
    for ours in &answered[1..] {
        assert!(ours.len() == 24 && ours.bytes().all(|byte| byte.is_ascii_hexdigit()), "{ours}");
        // Ids that count would share their beginning or their end.
        let others = answered[1..].iter().filter(|other| *other != ours);
        assert!(
            others.clone().all(|other| other[..16] != ours[..16] && other[8..] != ours[8..]),
            "{answered:?}"
        );
        assert_eq!(others.count(), answered.len() - 2, "one id twice: {answered:?}");
    }
    for harm in ["two words", "a=b", "quoted", "na\u{ef}", "xxxxx"] {
        assert!(!log.contains(harm), "{log}");
    }
}

#[test]
fn no_name_forges_a_line_or_sends_a_raw_byte_to_the_terminal() {
    let dir = temporary();
    let server = Process::start(dir.path(), &["--log", "trace", "--usernames", "exact"]);
    let forged =
        "x\r\n[2026-01-01T00:00:00Z INFO  gatelet::audit] forged user=1 \u{1b}[2J\u{1b}]0;title\u{7}";
    for name in [forged, "a\u{9b}31m", "\u{85}\u{2028}forged"] {
        let reply = server.client().post("/login", &credentials(name, PASSWORD));
        assert_eq!(reply.status, 401, "{reply:?}");
        let reply = server.client().post("/register", &credentials(name, PASSWORD));
        assert_eq!(reply.status, 422, "{reply:?}");
    }
    let odd = "\u{202e}\u{2028}\u{2029}\u{feff}\u{200f}\u{2066}\u{e0001}\u{3164}\u{2800}\" request=1 client=\"6.6.6.6\\";
    register(&server, odd);
    log_in(&server, odd);
    let reply = server.client().post("/login", &credentials(odd, "wrong horse"));
    assert_eq!(reply.status, 401);
    let mut client = server.client();
    client.send_raw(b"GET /\xc2\x9b31m%0d%0aforged\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let _ = client.receive(false);
    let mut client = server.client();
    client.send_raw(b"GET /%1b%5b31m%0d%0a HTTP/1.1\r\nHost: x\r\nUser-Agent: \xff\xfe\r\n\r\n").unwrap();
    let _ = client.receive(false);

    let log = stop_well(server);
    assert!(!log.contains("forged"), "{log}");
    let harmful = |c: char| {
        (c.is_control() && c != '\n')
            || "\u{202e}\u{2028}\u{2029}\u{feff}\u{200f}\u{2066}\u{e0001}\u{3164}\u{2800}".contains(c)
    };
    assert!(!log.contains(harmful), "{log:?}");
    assert!(log.lines().all(|line| line.starts_with('[')), "{log}");
    for line in lines(&log, "gatelet::audit") {
        // Outside of the quoted name there are only our own fields.
        assert!(line.matches(" client=127.0.0.1 request=").count() == 1, "{line}");
        assert!(!line.contains("\" request=1") || line.contains("\\\" request=1"), "{line}");
    }
}

#[test]
fn the_level_comes_from_the_flag_or_the_environment() {
    let dir = temporary();
    for (args, variable, audit, access) in [
        (&[][..], None, true, true),
        (&["--log", "warn"], None, false, false),
        (&[], Some("warn"), false, false),
        (&["--log", "info"], Some("off"), true, true),
        (&["--log", "gatelet::audit=info"], None, true, false),
        (&["--log", "info,gatelet::access=off"], None, true, false),
        // Set for other programs.
        (&[], Some("myapp=debug"), true, true),
        (&[], Some("hyper=off,tower_http=trace"), true, true),
        (&[], Some(""), true, true),
    ] {
        let mut command = serve(dir.path(), args);
        command.envs(variable.map(|filter| ("RUST_LOG", filter)));
        let server = Process::spawn(&mut command).unwrap();
        server.client().call("GET", "/user/me", None, None);
        let log = stop_well(server);
        assert_eq!(!lines(&log, "gatelet::audit").is_empty(), audit, "{args:?} {variable:?}: {log}");
        assert_eq!(!lines(&log, "gatelet::access").is_empty(), access, "{args:?} {variable:?}: {log}");
    }
}

#[test]
fn a_filter_for_some_lines_leaves_the_warnings_of_others() {
    for (filter, warned) in [("gatelet::audit=info", true), ("gatelet::audit=info,off", false)] {
        let dir = temporary();
        let log = stop_well(Process::start(dir.path(), &["--dev", "--log", filter]));
        assert_eq!(log.contains(" WARN "), warned, "{filter}: {log}");
    }
}

#[test]
fn a_command_writes_what_the_environment_asks_for_and_the_audit_log_if_it_asks_for_nothing() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    register(&server, "anna");
    stop_well(server);
    for (filter, audit, info) in [
        (None, true, false),
        (Some("myapp=debug"), true, false),
        (Some("info"), true, true),
        (Some("off"), false, false),
        (Some("warn"), false, false),
    ] {
        let mut command = gatelet();
        command
            .args(["user", "end-sessions", "anna", "--data-dir"])
            .arg(dir.path())
            .env("GATELET_SCRYPT", CHEAP);
        command.envs(filter.map(|filter| ("RUST_LOG", filter)));
        let output = run(&mut command);
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{filter:?}: {log}");
        let events = lines(&log, "gatelet::audit");
        assert_eq!(!events.is_empty(), audit, "{filter:?}: {log}");
        assert!(events.iter().all(|line| field(line, "client") == "-"), "nobody came over a network: {log}");
        assert_eq!(log.contains("password hashes"), info, "{filter:?}: {log}");
    }
}

#[test]
fn the_log_says_what_has_started() {
    let dir = temporary();
    let dir = dir.path().canonicalize().unwrap();
    for format in ["text", "json"] {
        let mut command = gatelet();
        command.current_dir(&dir).args([
            "--listen",
            "127.0.0.1:0",
            "--scrypt",
            CHEAP,
            "--log-format",
            format,
        ]);
        command.args(["--metrics-listen", "127.0.0.1:0", "--backup-dir", "backups", "--backup-every", "6h"]);
        let server = Process::spawn(&mut command).unwrap();
        let address = server.address;
        let log = stop_well(server);
        let begin =
            format!("gatelet {} serves {}/data on {address}", env!("CARGO_PKG_VERSION"), dir.display());
        let end = format!(", backups to {}/backups every 6h, 7 of them kept", dir.display());
        let line = log.lines().find(|line| line.contains(&begin)).unwrap_or_else(|| panic!("{begin}: {log}"));
        assert!(line.contains(", metrics on 127.0.0.1:") && line.contains(&end), "{line}");
    }
}

#[test]
fn a_silent_server_works_like_any_other() {
    let dir = temporary();
    for filter in ["warn", "error", "off"] {
        let server = Process::start(dir.path(), &["--log", filter]);
        let mut client = server.client();
        for _ in 0..100 {
            assert_eq!(client.call("GET", "/healthz", None, None).status, 200, "{filter}");
        }
        assert_eq!(server.client().call("GET", "/readyz", None, None).status, 200, "{filter}");
        stop_well(server);
    }
}

#[test]
fn the_last_line_says_how_it_ended() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    let text = crate::does_not_start(dir.path(), 73);
    assert!(text.trim_end().ends_with("ended with exit code 73"), "{text}");
    let log = stop_well(server);
    assert!(log.contains("SIGTERM received: finishing the requests under way"), "{log}");
    assert!(log.trim_end().ends_with("ended with exit code 0"), "{log}");
}

/// Where a server listens that has just been started.
pub(super) fn address(child: &mut Child) -> SocketAddr {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim_end().strip_prefix("gatelet listening on http://").unwrap().parse().unwrap()
}

/// A server whose log goes into a pipe, and so many requests that the pipe is full by far.
fn with_a_log_that_nobody_reads(dir: &Path) -> (Child, Client) {
    let mut child =
        serve(dir, &["--log", "trace"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut client = Client::connect(address(&mut child)).unwrap();
    for _ in 0..20_000 {
        assert_eq!(client.call("GET", "/healthz", None, None).status, 200);
    }
    (child, client)
}

fn stops_well(mut child: Child) {
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).unwrap();
    let status = crate::watched(pid, move || child.wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_reader_of_the_log_that_stalls_holds_up_nobody_and_no_stop() {
    let dir = temporary();
    let (mut child, _client) = with_a_log_that_nobody_reads(dir.path());
    let unread = child.stderr.take();
    stops_well(child);
    drop(unread);
}

#[test]
fn a_reader_of_the_log_that_goes_away_ends_nothing() {
    let dir = temporary();
    let (mut child, mut client) = with_a_log_that_nobody_reads(dir.path());
    drop(child.stderr.take());
    for _ in 0..100 {
        assert_eq!(client.call("GET", "/healthz", None, None).status, 200);
    }
    stops_well(child);
}

#[test]
fn usage_errors_leave_no_log() {
    let output = run(gatelet().arg("--colour"));
    assert!(!String::from_utf8(output.stderr).unwrap().contains("ended with exit code"));
}
