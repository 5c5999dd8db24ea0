//! `--log-format json`: the log for machines.

use std::io;
use std::process::Stdio;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Client, Process, Reply, Tokens, credentials, gatelet, request, serve, temporary};
use crate::{PASSWORD, get, log, log_in, metrics, post, refused, register, run, stop_well};

const JSON: &[&str] = &["--log-format", "json"];

/// All lines, each of which is an object that begins as every line does.
fn lines(log: &str) -> Vec<Value> {
    let parse = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line.starts_with("{\"time\":\""), "{line}");
        let time = value["time"].as_str().unwrap();
        let moment = time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339);
        assert!(moment.is_ok() && time.len() == "2026-01-01T00:00:00.000Z".len(), "{line}");
        assert!(["ERROR", "WARN", "INFO"].contains(&value["level"].as_str().unwrap()), "{line}");
        assert!(value["target"].as_str().unwrap().starts_with("gatelet"), "{line}");
        assert!(value["message"].is_string(), "{line}");
        value
    };
    log.lines().map(parse).collect()
}

fn of_target<'a>(lines: &'a [Value], target: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["target"] == target).collect()
}

/// The line on `target` of the request that got this answer.
fn line_of<'a>(lines: &'a [Value], target: &str, reply: &Reply) -> &'a Value {
    let id = reply.header("x-request-id").unwrap();
    let found: Vec<_> = of_target(lines, target).into_iter().filter(|line| line["request"] == id).collect();
    let [line] = found[..] else { panic!("{id} on {target}: {found:?}") };
    line
}

/// The fields that only this kind of line has.
fn fields(line: &Value) -> Value {
    let mut line = line.clone();
    for common in ["time", "level", "target"] {
        line.as_object_mut().unwrap().remove(common);
    }
    line
}

#[test]
fn access_lines_have_their_fields() {
    let dir = temporary();
    let server = Process::start(dir.path(), JSON);
    let id = register(&server, "anna");
    let tokens = log_in(&server, "anna");
    let shown = get(&server, &format!("/user/{id}"), &tokens.access);
    let lost = get(&server, "/no/such/path", &tokens.access);
    let log = stop_well(server);
    let lines = lines(&log);
    for (reply, method, route, status, user) in
        [(&shown, "GET", "/user/<id>", 200, json!(id)), (&lost, "GET", "-", 404, Value::Null)]
    {
        let line = line_of(&lines, "gatelet::access", reply);
        assert!(line["duration_us"].as_u64().is_some_and(|micros| micros > 0), "{line}");
        let expected = json!({
            "message": format!("{method} {route} {status}"),
            "method": method, "route": route, "status": status, "duration_us": line["duration_us"],
            "user": user, "client": "127.0.0.1", "request": reply.header("x-request-id").unwrap(),
        });
        assert_eq!(fields(line), expected);
    }
}

#[test]
fn a_request_that_got_no_answer_has_no_status() {
    let (dir, address) = (temporary(), metrics::free_port());
    let slow = ["--scrypt", "ln=15,r=8,p=3", "--metrics-listen", &address.to_string()];
    let server = Process::start(dir.path(), &[JSON, &slow].concat());
    let body = credentials("anna", PASSWORD).to_string();
    let mut client = server.client();
    let head = format!(
        "POST /login HTTP/1.1\r\nHost: x\r\nX-Request-Id: gone\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.send_raw(head.as_bytes()).unwrap();
    client.send_raw(body.as_bytes()).unwrap();
    while metrics::value(address, "gatelet_password_hashes_running") == 0.0 {}
    drop(client);
    let log = stop_well(server);
    let lines = lines(&log);
    let line =
        of_target(&lines, "gatelet::access").into_iter().find(|line| line["request"] == "gone").unwrap();
    assert_eq!((&line["message"], &line["status"]), (&json!("POST - unanswered"), &Value::Null));
}

/// What each audit event says, but for client and request.
#[test]
fn every_audit_event_has_its_fields() {
    let dir = temporary();
    let once =
        ["--account-limit=3,1h", "--registration-limit=4,1h", "--refresh-rotation=on", "--usernames=exact"];
    let mut command = serve(dir.path(), &[JSON, &once].concat());
    command.envs([("GATELET_ADMIN_USERNAME", "root"), ("GATELET_ADMIN_PASSWORD", "seven wild horses")]);
    let server = Process::spawn(&mut command).unwrap();
    let call = |method: &str, path: &str, token: Option<&str>, body: Value| {
        server.client().call(method, path, token, Some(&body))
    };
    let say =
        |path: &str, name: &str, password: &str| server.client().post(path, &credentials(name, password));
    let mut expected: Vec<(Reply, Value)> = Vec::new();

    let odd = "o\"d d\\\u{202e}\u{2028}\u{3164}\u{1f600}é";
    let reply = say("/register", odd, PASSWORD);
    let id = reply.header("location").unwrap().strip_prefix("/user/").unwrap().to_owned();
    let made =
        json!({ "message": "registered", "user": id, "name": odd, "role": "user", "by": "themselves" });
    expected.push((reply, made));
    let anna = register(&server, "anna");
    register(&server, "bert");
    expected.push((
        say("/register", odd, PASSWORD),
        json!({ "message": "registration_refused", "reason": "name_taken", "user": id, "name": odd }),
    ));
    expected.push((
        say("/register", "carl", PASSWORD),
        json!({ "message": "registration_refused", "reason": "throttled" }),
    ));

    let session = |reply: &Reply| {
        let token = reply.json()["access_token"].as_str().unwrap().to_owned();
        get(&server, "/session", &token).json()["session"]["id"].clone()
    };
    let reply = say("/login", odd, PASSWORD);
    let first = reply.json();
    let sid = session(&reply);
    expected.push((reply, json!({ "message": "login_ok", "user": id, "name": odd, "session": sid })));
    expected.push((
        say("/login", odd, "wrong horse"),
        json!({ "message": "login_refused", "reason": "wrong_password", "user": id, "name": odd }),
    ));
    for _ in 0..3 {
        let refused = json!({ "message": "login_refused", "reason": "unknown_user" });
        expected.push((say("/login", "nobody", PASSWORD), refused));
    }
    expected.push((
        say("/login", "nobody", PASSWORD),
        json!({ "message": "login_refused", "reason": "throttled", "by": "account" }),
    ));

    let refresh = first["refresh_token"].as_str().unwrap();
    let reply = post(&server, "/refresh", refresh);
    let stale = reply.json()["access_token"].as_str().unwrap().to_owned();
    expected.push((reply, json!({ "message": "refreshed", "user": id, "session": sid })));
    expected.push((
        call("DELETE", "/user/me", Some(&stale), json!({})),
        json!({ "message": "token_refused", "reason": "not_fresh", "user": id }),
    ));
    expected.push((
        call("GET", "/user/me", None, json!({})),
        json!({ "message": "token_refused", "reason": "missing" }),
    ));
    let ended = first["access_token"].as_str().unwrap();
    let out = json!({ "message": "logged_out", "user": id, "session": sid });
    expected.push((post(&server, "/logout", ended), out));

    let password = json!({ "current_password": PASSWORD, "new_password": "another horse" });
    let tokens = log_in(&server, "anna");
    expected.push((
        call("POST", "/user/me/password", Some(&tokens.access), password),
        json!({ "message": "password_changed", "user": anna, "by": anna }),
    ));
    expected.push((
        call("DELETE", "/user/me/sessions", Some(&tokens.access), json!({})),
        json!({ "message": "sessions_ended", "user": anna, "by": anna }),
    ));

    // By the administrator, whom the settings have made.
    let root = Tokens::from_reply(&say("/login", "root", "seven wild horses")).access;
    let admin = Some(root.as_str());
    let by = get(&server, "/session", &root).json()["user"]["id"].clone();
    expected.push((
        call("PATCH", &format!("/user/{anna}"), admin, json!({ "disabled": true })),
        json!({ "message": "updated", "user": anna, "role": "user", "disabled": true, "by": by }),
    ));
    expected.push((
        say("/login", "anna", "another horse"),
        json!({ "message": "login_refused", "reason": "disabled", "user": anna, "name": "anna" }),
    ));
    expected.push((
        call("DELETE", &format!("/user/{anna}"), admin, json!({})),
        json!({ "message": "deleted", "user": anna, "by": by }),
    ));

    // A copy that comes back, after more rotations than are remembered.
    assert_eq!(call("POST", "/user", admin, credentials("dora", PASSWORD)).status, 201);
    let copied = log_in(&server, "dora").refresh;
    let mut good = copied.clone();
    for _ in 0..10 {
        good = Tokens::from_reply(&post(&server, "/refresh", &good)).refresh;
    }
    let theft = post(&server, "/refresh", &copied);
    assert_eq!(theft.status, 401);

    let mut rotate = gatelet();
    rotate.args(["key", "rotate", "--revoke", "--data-dir"]).arg(dir.path());
    assert_eq!(run(&mut rotate).status.code(), Some(0));

    let log = stop_well(server);
    assert!(log.contains(r#""name":"o\"d d\\\u202e\u2028\u3164😀é""#), "{log}");
    let lines = lines(&log);
    for (reply, mut event) in expected {
        event["client"] = "127.0.0.1".into();
        event["request"] = reply.header("x-request-id").unwrap().into();
        assert_eq!(fields(line_of(&lines, "gatelet::audit", &reply)), event);
    }
    // Those that are not the only one of their request, or of none.
    let events = |word: &str| -> Vec<Value> {
        let audit = of_target(&lines, "gatelet::audit").into_iter();
        audit.filter(|line| line["message"] == word).map(fields).collect()
    };
    let id = theft.header("x-request-id").unwrap();
    let [reused] = &events("refresh_token_reused")[..] else { panic!("{log}") };
    assert_eq!((&reused["request"], &reused["client"]), (&json!(id), &json!("127.0.0.1")));
    assert!(reused["session"].as_str().is_some_and(|session| session.len() == 40), "{reused}");
    let local = |by: &str| json!({ "message": "keys_rotated", "by": by, "client": null, "request": by });
    assert_eq!(events("keys_rotated"), [local("console")]);
    let [removed] = &events("keys_removed")[..] else { panic!("{log}") };
    let keys = removed["key"].as_array().unwrap();
    assert!(keys.len() == 2 && keys.iter().all(|key| key.as_str().unwrap().starts_with("k4.")), "{removed}");
    let [made, ..] = &events("registered")[..] else { panic!("{log}") };
    assert_eq!(
        (&made["by"], &made["role"], &made["request"]),
        (&json!("settings"), &json!("admin"), &json!("start"))
    );
}

#[test]
fn a_login_that_could_not_be_served_says_why() {
    let dir = temporary();
    let server =
        Process::start(dir.path(), &[JSON, &["--hash-slots", "1", "--scrypt", "ln=15,r=8,p=3"]].concat());
    let body = credentials("nobody", PASSWORD).to_string();
    let ask = request("POST", "/login", &[], Some(body.as_bytes()));
    let mut clients: Vec<_> = (0..40).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.send_raw(&ask).unwrap());
    // What is refused is refused at once; the rest has no need of its answer.
    let mut replies = clients.iter_mut().rev().map(|client| client.receive(false).unwrap());
    let refused = replies.find(|reply| reply.status == 503).unwrap();
    drop(clients);
    let log = stop_well(server);
    let lines = lines(&log);
    let expected = json!({
        "message": "login_refused", "reason": "busy", "client": "127.0.0.1",
        "request": refused.header("x-request-id").unwrap(),
    });
    assert_eq!(fields(line_of(&lines, "gatelet::audit", &refused)), expected);
}

#[test]
fn a_start_that_fails_says_so_in_json_and_a_wrong_flag_in_plain_text() {
    let dir = temporary();
    let server = Process::start(dir.path(), JSON);
    let text = refused(&mut serve(dir.path(), JSON), 73);
    let messages: Vec<_> =
        lines(&text).iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect();
    assert!(messages.iter().any(|message| message.contains("in use")), "{text}");
    assert_eq!(messages.last().unwrap(), "ended with exit code 73");
    stop_well(server);
    // Before there is a log nothing is known of its format.
    let text = refused(gatelet().args(["--log-format", "json", "--colour"]), 2);
    assert!(text.starts_with("error: "), "{text}");
}

#[test]
fn commands_keep_their_audit_lines_in_the_same_format() {
    let dir = temporary();
    stop_well(Process::start(dir.path(), &[]));
    let mut rotate = gatelet();
    rotate.args(["key", "rotate", "--data-dir"]).arg(dir.path()).env("GATELET_LOG_FORMAT", "json");
    let stderr = String::from_utf8(run(&mut rotate).stderr).unwrap();
    assert_eq!(of_target(&lines(&stderr), "gatelet::audit").len(), 1, "{stderr}");
}

#[test]
fn lost_lines_are_reported_as_one_more_line() {
    let dir = temporary();
    let args = [JSON, &["--log", "trace"]].concat();
    let mut child = serve(dir.path(), &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut client = Client::connect(log::address(&mut child)).unwrap();
    for _ in 0..20_000 {
        assert_eq!(client.call("GET", "/healthz", None, None).status, 200);
    }
    let mut stderr = child.stderr.take().unwrap();
    let reading = thread::spawn(move || io::read_to_string(&mut stderr).unwrap());
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let log = reading.join().unwrap();
    let lost: Vec<_> = lines(&log).into_iter().filter(|line| line["target"] == "gatelet::logging").collect();
    assert!(!lost.is_empty() && lost.iter().all(|line| line["level"] == "WARN"), "{lost:?}");
    let text = lost[0]["message"].as_str().unwrap();
    assert!(text.ends_with(": standard error did not take them"), "{text}");
    let sum = ["audit", "access", "other"].map(|kind| lost[0][kind].as_u64().unwrap()).iter().sum::<u64>();
    assert!(text.starts_with(&format!("{sum} log lines were lost (")), "{text}");
}
