//! `gatelet key …`: the same whether a server runs or not, and in force at once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ct_codecs::{Base64UrlSafeNoPadding, Decoder};
use gatelet::app::Server;
use gatelet::domain::clock::Clock;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::spawn_blocking;

use crate::support::{Process, TestServer, Tokens, admin_socket, gatelet, settings, start, temporary};
use crate::{PASSWORD, complaints, get, log_in, post, register, run, stop_well, with};

/// Every command that looks at a data directory.
const COMMANDS: [&[&str]; 5] =
    [&["list"], &["rotate"], &["rotate", "--revoke"], &["export", "--public"], &["prune"]];

/// Runs `gatelet key …` on `dir`. Whatever it says, it says no secret.
fn key_on(dir: &Path, args: &[&str]) -> Output {
    let before = key_files(dir);
    let output = run(gatelet().arg("key").args(args).arg("--data-dir").arg(dir));
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    for secret in before.values().chain(key_files(dir).values()) {
        assert!(!said.contains(material(secret)), "{args:?}: {said}");
    }
    output
}

/// The same where it must succeed, without a word on standard error but for the audit log's.
fn key(dir: &Path, args: &[&str]) -> String {
    let output = key_on(dir, args);
    assert_eq!((output.status.code(), &*complaints(&output.stderr)), (Some(0), ""), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The files of keys, by name; each is for its owner alone. One that goes meanwhile is none.
fn key_files(dir: &Path) -> BTreeMap<String, String> {
    let read = |name: String| {
        let path = dir.join("keys").join(&name);
        let text = fs::read_to_string(&path).ok()?;
        let mode = fs::metadata(&path).ok()?.permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        Some((name, text))
    };
    names(dir).into_iter().filter_map(read).collect()
}

/// The names of those files, in order.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("keys")).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Enough of a secret key to know it by: a signing key's seed, which comes before its public half.
fn material(paserk: &str) -> &str {
    &paserk.rsplit('.').next().unwrap()[..40]
}

/// A line of the list of keys: id, purpose, state, moment.
type Row = [String; 4];

fn rows(table: &str) -> Vec<Row> {
    let mut lines = table.lines();
    let head = cells(lines.next().unwrap());
    assert_eq!(head, ["KEY", "FOR", "STATE", "NOT AFTER"]);
    lines.map(cells).collect()
}

fn cells(line: &str) -> Row {
    let cells: Vec<_> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    cells.iter().map(ToString::to_string).collect::<Vec<_>>().try_into().unwrap()
}

fn state<'a>(rows: &'a [Row], id: &str) -> &'a str {
    &rows.iter().find(|row| row[0] == id).unwrap_or_else(|| panic!("{id}: {rows:?}"))[2]
}

/// The id of the key that made a token, as it says itself.
fn kid(token: &str) -> String {
    let footer = Base64UrlSafeNoPadding::decode_to_vec(token.rsplit('.').next().unwrap(), None).unwrap();
    serde_json::from_slice::<Value>(&footer).unwrap()["kid"].as_str().unwrap().to_owned()
}

fn expect_good(server: &Process, tokens: &Tokens, case: &str) {
    assert_eq!(get(server, "/user/me", &tokens.access).status, 200, "{case}");
    assert_eq!(post(server, "/refresh", &tokens.refresh).status, 200, "{case}");
}

/// Refused as if nobody had ever made them.
fn expect_unknown(server: &Process, tokens: &Tokens, case: &str) {
    for (reply, what) in [
        (get(server, "/user/me", &tokens.access), "access"),
        (post(server, "/refresh", &tokens.refresh), "refresh"),
        (post(server, "/logout", &tokens.access), "logout"),
        (post(server, "/logout", &tokens.refresh), "logout by refresh token"),
    ] {
        assert_eq!((reply.status, &reply.json()["error"]), (401, &json!("invalid_token")), "{case}: {what}");
    }
}

/// A server with a user and that user's tokens. It has answered, so its admin socket listens.
fn with_a_user(dir: &Path) -> (Process, Tokens) {
    let server = Process::start(dir, &[]);
    register(&server, "anna");
    let tokens = log_in(&server, "anna");
    (server, tokens)
}

#[test]
fn what_only_looks_says_the_same_whether_a_server_runs_or_not() {
    let dir = temporary();
    let (server, tokens) = with_a_user(dir.path());
    key(dir.path(), &["rotate"]);
    let published = get(&server, "/.well-known/paseto-keys", "").json();
    let files = key_files(dir.path());
    let look =
        || COMMANDS.map(|args| if args[0] == "rotate" { String::new() } else { key(dir.path(), args) });

    let running = look();
    stop_well(server);
    assert_eq!(look(), running);
    let server = Process::start(dir.path(), &[]);
    assert_eq!(look(), running, "after a restart");
    assert_eq!(key_files(dir.path()), files, "looking changes nothing");

    let [list, _, _, exported, pruned] = running;
    let rows = rows(&list);
    assert_eq!(rows.len(), 4);
    for row in &rows {
        let purpose = if row[0].starts_with("k4.pid.") { "access tokens" } else { "refresh tokens" };
        let old = row[0] == kid(&tokens.access) || row[0] == kid(&tokens.refresh);
        assert_eq!((&*row[1], &*row[2]), (purpose, if old { "retiring" } else { "active" }), "{row:?}");
        assert_eq!(row[3] == "-", !old, "{row:?}");
        assert!(files.contains_key(&row[0]), "{row:?}");
    }
    assert_eq!(serde_json::from_str::<Value>(&exported).unwrap(), published);
    assert_eq!(pruned, "nothing to remove\n");
    stop_well(server);
}

#[test]
fn a_rotation_counts_at_once_and_for_good_and_refuses_no_token() {
    for running in [true, false] {
        let case = format!("running: {running}");
        let dir = temporary();
        let (server, old) = with_a_user(dir.path());
        let before = names(dir.path());
        assert_eq!(before.len(), 2);

        let (server, table) = with(server, dir.path(), running, || key(dir.path(), &["rotate"]));
        let rows = rows(&table);
        assert_eq!(table, key(dir.path(), &["list"]), "{case}");
        let after = names(dir.path());
        assert_eq!(after.len(), 4, "{case}");
        assert!(before.iter().all(|id| after.contains(id)), "{case}");

        let new = log_in(&server, "anna");
        for (token, old) in [(&new.access, &old.access), (&new.refresh, &old.refresh)] {
            let (now, then) = (kid(token), kid(old));
            assert_ne!(now, then, "{case}");
            assert_eq!((state(&rows, &now), state(&rows, &then)), ("active", "retiring"), "{case}");
        }
        let refreshed = post(&server, "/refresh", &old.refresh).json();
        assert_eq!(kid(refreshed["access_token"].as_str().unwrap()), kid(&new.access), "{case}");
        for tokens in [&old, &new] {
            expect_good(&server, tokens, &case);
        }
        // A session goes on: it can be ended by a token of before.
        assert_eq!(post(&server, "/logout", &old.refresh).status, 200, "{case}");
        assert_eq!(get(&server, "/user/me", &old.access).json()["error"], "token_revoked", "{case}");

        stop_well(server);
        let server = Process::start(dir.path(), &[]);
        expect_good(&server, &new, &case);
        assert_eq!(get(&server, "/user/me", &old.access).json()["error"], "token_revoked", "{case}");
        assert_eq!(table, key(dir.path(), &["list"]), "{case}");
        stop_well(server);
    }
}

#[test]
fn tokens_of_before_stay_good_through_a_restart_after_a_rotation() {
    for running in [true, false] {
        let dir = temporary();
        let (server, old) = with_a_user(dir.path());
        let (server, _) = with(server, dir.path(), running, || key(dir.path(), &["rotate"]));
        stop_well(server);
        let server = Process::start(dir.path(), &[]);
        expect_good(&server, &old, &format!("running: {running}"));
        stop_well(server);
    }
}

#[test]
fn a_revoking_rotation_refuses_all_tokens_of_before_at_once_and_for_good() {
    for running in [true, false] {
        let case = format!("running: {running}");
        let dir = temporary();
        let (server, first) = with_a_user(dir.path());
        key(dir.path(), &["rotate"]);
        let second = log_in(&server, "anna");
        // The server has verified them once and remembers it.
        expect_good(&server, &first, &case);
        expect_good(&server, &second, &case);
        let before = names(dir.path());
        assert_eq!(before.len(), 4);

        let (server, table) = with(server, dir.path(), running, || key(dir.path(), &["rotate", "--revoke"]));
        let new = log_in(&server, "anna");
        for old in [&first, &second] {
            expect_unknown(&server, old, &case);
        }
        expect_good(&server, &new, &case);

        let rows = rows(&table);
        assert_eq!(rows.len(), 2, "{case}: {table}");
        assert!(rows.iter().all(|row| row[2] == "active" && row[3] == "-"), "{case}: {table}");
        let mut expected = [kid(&new.access), kid(&new.refresh)];
        expected.sort();
        assert_eq!(names(dir.path()), expected, "{case}: the old files are gone");
        assert!(!before.iter().any(|id| expected.contains(id)), "{case}");

        stop_well(server);
        let server = Process::start(dir.path(), &[]);
        for old in [&first, &second] {
            expect_unknown(&server, old, &case);
        }
        expect_good(&server, &new, &case);
        stop_well(server);
    }
}

#[test]
fn a_revocation_outlives_a_kill_right_after_its_command() {
    let dir = temporary();
    let (server, old) = with_a_user(dir.path());
    key(dir.path(), &["rotate", "--revoke"]);
    server.kill();
    let server = Process::start(dir.path(), &[]);
    expect_unknown(&server, &old, "after kill -9");
    expect_good(&server, &log_in(&server, "anna"), "after kill -9");
    stop_well(server);
}

#[test]
fn a_directory_without_a_store_stays_as_it_is() {
    let dir = temporary();
    let (empty, missing, other) =
        (dir.path().join("empty"), dir.path().join("none"), dir.path().join("other"));
    for made in [&empty, &other] {
        fs::create_dir(made).unwrap();
    }
    fs::write(other.join("notes.txt"), "mine").unwrap();
    for args in COMMANDS {
        for place in [&empty, &missing, &other] {
            let output = key_on(place, args);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), &*output.stdout), (Some(73), &b""[..]), "{args:?}: {said}");
            assert!(said.contains("no store") && said.contains(place.to_str().unwrap()), "{args:?}: {said}");
        }
        assert!(!missing.exists(), "{args:?}");
        assert_eq!(fs::read_dir(&empty).unwrap().count(), 0, "{args:?}");
        assert_eq!(fs::read_dir(&other).unwrap().count(), 1, "{args:?}");
    }
}

#[test]
fn a_directory_whose_server_cannot_be_reached_is_in_use() {
    let dir = temporary();
    let (server, tokens) = with_a_user(dir.path());
    let before = key_files(dir.path());
    fs::remove_file(dir.path().join("control.sock")).unwrap();
    for args in COMMANDS {
        let output = key_on(dir.path(), args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(73), &b""[..]), "{args:?}: {said}");
        assert!(said.contains("in use") && said.contains(&server.id().to_string()), "{args:?}: {said}");
    }
    assert_eq!(key_files(dir.path()), before);
    expect_good(&server, &tokens, "the server has noticed nothing");
    stop_well(server);
}

#[test]
fn wrong_usage_ends_with_2_and_names_what_is_wrong() {
    let dir = temporary();
    let (server, _) = with_a_user(dir.path());
    let before = names(dir.path());
    let (server, ()) = with(server, dir.path(), true, || refuse_wrong_usage(dir.path()));
    stop_well(server);
    refuse_wrong_usage(dir.path());
    assert_eq!(names(dir.path()), before);
}

fn refuse_wrong_usage(dir: &Path) {
    for (args, named) in [
        (&[][..], "Usage"),
        (&["frobnicate"], "frobnicate"),
        (&["export"], "--public"),
        (&["list", "--colour"], "--colour"),
        (&["rotate", "now"], "now"),
        (&["rotate", "--revoke", "--revoke"], "--revoke"),
        (&["prune", "--revoke"], "--revoke"),
        (&["list", "--data-dir"], "--data-dir"),
    ] {
        let mut command = gatelet();
        command.env("GATELET_DATA_DIR", dir).arg("key").args(args);
        let said = crate::refused(&mut command, 2);
        assert!(said.contains(named), "{args:?}: {said}");
    }
    for (name, value) in [("GATELET_REFRESH_TTL", "never"), ("GATELET_REFRESH_TLT", "30d")] {
        let mut command = gatelet();
        command.args(["key", "rotate", "--data-dir"]).arg(dir).env(name, value);
        let said = crate::refused(&mut command, 2);
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn the_directory_may_come_from_the_environment_and_a_flag_beats_it() {
    let dir = temporary();
    let (server, _) = with_a_user(dir.path());
    let expected = key(dir.path(), &["list"]);
    let output = run(gatelet().env("GATELET_DATA_DIR", dir.path()).args(["key", "list"]));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    let mut beaten = gatelet();
    beaten
        .env("GATELET_DATA_DIR", dir.path().join("none"))
        .args(["key", "list", "--data-dir"])
        .arg(dir.path());
    assert_eq!(String::from_utf8(run(&mut beaten).stdout).unwrap(), expected);
    stop_well(server);
}

#[test]
fn rotations_and_removals_are_in_the_audit_log_and_keys_in_no_log() {
    let dir = temporary();
    let server = Process::start(dir.path(), &["--log", "trace"]);
    register(&server, "anna");
    let mut secrets: Vec<_> = key_files(dir.path()).into_values().collect();
    let tokens = log_in(&server, "anna");
    key(dir.path(), &["rotate"]);
    secrets.extend(key_files(dir.path()).into_values());
    key(dir.path(), &["rotate", "--revoke"]);
    secrets.extend(key_files(dir.path()).into_values());
    let log = stop_well(server);
    assert_eq!(log.matches("keys_rotated by=console").count(), 2, "{log}");
    let removed = log.lines().find(|line| line.contains("keys_removed")).unwrap();
    assert!(removed.contains(&kid(&tokens.access)) && removed.contains(&kid(&tokens.refresh)), "{removed}");
    for secret in &secrets {
        assert!(!log.contains(material(secret)), "{log}");
    }
}

// What follows needs days to pass: the executable finds keys that were retired long ago, or asks a server whose
// clock is moved by hand.

/// Leaves two keys in `dir` that nobody needs any more by now. Answers which.
fn retire_keys_long_ago(dir: &Path) -> Vec<String> {
    let settings = settings(dir, &["--access-ttl", "1m", "--refresh-ttl", "1h"]);
    let runtime = Runtime::new().unwrap();
    let rotate = async {
        gatelet::store::Store::free_when_dropped();
        let server = Server::open(&settings, Arc::new(Clock::manual(start()))).await.unwrap();
        let before = names(dir);
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let asked = spawn_blocking(|| admin_socket::exchange(ours, &admin_socket::rotate_keys()));
        let theirs = tokio::net::UnixStream::from_std(theirs).unwrap();
        let ((), reply) = tokio::join!(server.serve_admin_socket(theirs), asked);
        reply.unwrap().unwrap().unwrap();
        server.close().await;
        before
    };
    runtime.block_on(rotate)
}

#[test]
fn pruning_removes_keys_whose_time_is_over_and_names_them() {
    let dir = temporary();
    let over = retire_keys_long_ago(dir.path());
    assert_eq!((over.len(), names(dir.path()).len()), (2, 4));
    assert_eq!(rows(&key(dir.path(), &["list"])).len(), 4);

    let said = key(dir.path(), &["prune"]);
    let mut removed: Vec<_> = said.lines().map(str::to_owned).collect();
    removed.sort();
    assert_eq!(removed, over);
    let left = names(dir.path());
    assert!(left.len() == 2 && !left.iter().any(|id| over.contains(id)), "{left:?}");
    assert_eq!(rows(&key(dir.path(), &["list"])).len(), 2);
    assert_eq!(key(dir.path(), &["prune"]), "nothing to remove\n");
}

#[test]
fn pruning_names_them_in_json_as_well() {
    let dir = temporary();
    let over = retire_keys_long_ago(dir.path());
    for expected in [over, Vec::new()] {
        let said: Value = serde_json::from_str(&key(dir.path(), &["prune", "--json"])).unwrap();
        let mut removed: Vec<String> = serde_json::from_value(said["removed"].clone()).unwrap();
        removed.sort();
        assert_eq!(removed, expected);
    }
}

#[test]
fn a_server_that_starts_removes_keys_whose_time_is_over_by_itself() {
    let dir = temporary();
    let over = retire_keys_long_ago(dir.path());
    let server = Process::start(dir.path(), &[]);
    register(&server, "anna");
    wait_until(|| names(dir.path()).len() == 2);
    key(dir.path(), &["rotate"]); // changes take turns: the line about the one before has been written
    let log = stop_well(server);
    let line = log.lines().find(|line| line.contains("keys_removed")).unwrap_or_else(|| panic!("{log}"));
    assert!(over.iter().all(|id| line.contains(id)) && line.contains("by=housekeeping"), "{line}");
}

/// Housekeeping comes by itself, at a moment that nobody is told.
fn wait_until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < crate::WATCHDOG, "it does not come");
        std::thread::yield_now();
    }
}

/// A server with a manual clock. It has answered, so its admin socket listens.
fn awake(server: TestServer) -> TestServer {
    assert_eq!(server.call("GET", "/healthz", None, None).status, 200);
    server
}

fn refresh_status(server: &TestServer, tokens: &Tokens) -> u16 {
    server.call("POST", "/refresh", Some(&tokens.refresh), None).status
}

fn access_status(server: &TestServer, token: &str) -> u16 {
    server.call("GET", "/user/me", Some(token), None).status
}

/// What the key's line says of its end.
fn end_of_key(server: &TestServer, id: &str) -> String {
    let body = server.admin_socket(&json!({ "list_keys": {} })).unwrap();
    let key = body["keys"].as_array().unwrap().iter().find(|key| key["kid"] == id);
    key.unwrap_or_else(|| panic!("{id}: {body}"))["not_after"].as_str().unwrap().to_owned()
}

#[test]
fn a_retired_key_stays_until_the_last_of_its_tokens_has_expired() {
    const ACCESS: Duration = Duration::from_secs(20 * 60);
    const REFRESH: Duration = Duration::from_secs(24 * 3600);
    const LEEWAY: Duration = Duration::from_secs(5);
    /// More than any margin on top.
    const LATER: Duration = Duration::from_secs(300);
    let server = awake(TestServer::start_with(&["--access-ttl", "20m", "--refresh-ttl", "24h"]));
    server.register("anna", PASSWORD);
    server.advance(Duration::from_secs(1000));
    // The last tokens that these keys make.
    let tokens = server.log_in("anna", PASSWORD);
    let made = server.clock.reading();
    let (signing, encrypting) = (kid(&tokens.access), kid(&tokens.refresh));
    key(server.data_dir(), &["rotate"]);

    let file = |server: &TestServer, id: &str| server.data_dir().join("keys").join(id).exists();
    let moment = Duration::from_millis(1);
    for (lifetime, id) in [(ACCESS, &signing), (REFRESH, &encrypting)] {
        server.clock.set(made.after(lifetime + LEEWAY).before(moment));
        assert_eq!(key(server.data_dir(), &["prune"]), "nothing to remove\n");
        assert!(file(&server, id));
        match lifetime {
            ACCESS => assert_eq!(access_status(&server, &tokens.access), 200),
            _ => assert_eq!(refresh_status(&server, &tokens), 200),
        }
        let end = end_of_key(&server, id);
        assert!(end >= made.after(lifetime + LEEWAY).to_string(), "{end}");
        server.clock.set(made.after(lifetime + LATER));
        assert_eq!(key(server.data_dir(), &["prune"]), format!("{id}\n"));
        assert!(!file(&server, id));
    }
    assert_eq!(names(server.data_dir()).len(), 2);
}

#[test]
fn housekeeping_removes_a_key_when_its_time_has_come_and_not_before() {
    let args = ["--access-ttl", "20m", "--refresh-ttl", "24h"];
    let server = awake(TestServer::start_with(&args));
    server.register("anna", PASSWORD);
    let tokens = server.log_in("anna", PASSWORD);
    let (signing, encrypting) = (kid(&tokens.access), kid(&tokens.refresh));
    key(server.data_dir(), &["rotate"]);

    // Housekeeping begins with a start. That of the signing key shows that it has come by.
    server.advance(Duration::from_secs(20 * 60 + 300));
    let server = awake(server.restart());
    wait_until(|| !names(server.data_dir()).contains(&signing));
    assert!(names(server.data_dir()).contains(&encrypting));
    assert_eq!(refresh_status(&server, &tokens), 200);

    server.clock.set(start().after(Duration::from_secs(24 * 3600 + 300)));
    let server = awake(server.restart());
    wait_until(|| !names(server.data_dir()).contains(&encrypting));
    // The file loses its name before the store forgets the key.
    wait_until(|| rows(&key(server.data_dir(), &["list"])).len() == 2);
}

#[test]
fn tokens_of_a_longer_life_that_was_set_earlier_outlive_a_rotation() {
    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let server = awake(TestServer::start_with(&["--access-ttl", "2h", "--refresh-ttl", "30d"]));
    server.register("anna", PASSWORD);
    let tokens = server.log_in("anna", PASSWORD);
    let clock = || Arc::new(Clock::manual(start()));
    let short = ["--access-ttl", "1m", "--refresh-ttl", "1h"];
    let mut server = awake(server.restart_with(&short, clock()).unwrap());
    key(server.data_dir(), &["rotate"]);
    let newer = server.log_in("anna", PASSWORD);

    for (since, access, refresh) in [
        (HOUR / 2, 200, 200),
        (2 * HOUR, 200, 200),
        (2 * HOUR + Duration::from_secs(300), 401, 200),
        (29 * DAY, 401, 200),
        (30 * DAY, 401, 200),
        (30 * DAY + Duration::from_secs(300), 401, 401),
    ] {
        // By housekeeping, by the command, and by the clock alone.
        server = awake(server.restart_with(&short, Arc::new(Clock::manual(start().after(since)))).unwrap());
        key(server.data_dir(), &["prune"]);
        assert_eq!(access_status(&server, &tokens.access), access, "{since:?}");
        assert_eq!(refresh_status(&server, &tokens), refresh, "{since:?}");
        assert_eq!(refresh_status(&server, &newer), if since < HOUR { 200 } else { 401 }, "{since:?}");
    }
    wait_until(|| names(server.data_dir()).len() == 2);
}
