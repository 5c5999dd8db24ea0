//! `gatelet backup`, `restore` and `verify`, with a server and without.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::support::fill::{self, filled};
use crate::support::{
    Process, Random, Tokens, credentials, gatelet, memory_kib, serve, spoil_pages, temporary,
};
use crate::terminal::Terminal;
use crate::{
    PASSWORD, complaints, does_not_start, get, log_in, pid, post, refused, register, run, stop_well,
};

const NO_LIMITS: [&str; 6] =
    ["--account-limit", "off", "--network-limit", "off", "--registration-limit", "off"];

pub(crate) fn backup(dir: &Path, file: &Path) -> Command {
    let mut command = gatelet();
    command.arg("backup").arg(file).arg("--data-dir").arg(dir);
    command
}

pub(crate) fn restore(file: &Path, dir: &Path) -> Command {
    let mut command = gatelet();
    command.arg("restore").arg(file).arg("--data-dir").arg(dir);
    command
}

fn verify(dir: &Path) -> Command {
    let mut command = gatelet();
    command.args(["verify", "--json", "--data-dir"]).arg(dir);
    command
}

pub(crate) fn succeeds(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that ends with `code`, and answers what it complains about.
pub(crate) fn fails(command: &mut Command, code: i32) -> String {
    let output = run(command);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {output:?}");
    complaints(&output.stderr)
}

/// The users in a backup.
fn users_in(file: &[u8]) -> Vec<Value> {
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let entries = lines[1..lines.len() - 1].iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.filter(|entry| entry.get("username").is_some()).collect() // the others are names of deleted users
}

fn add_admin(dir: &Path) {
    let mut command = gatelet();
    command
        .args(["user", "add", "--admin", "root", "--data-dir"])
        .arg(dir)
        .env("GATELET_SCRYPT", "ln=1,r=8,p=1");
    crate::support::secrets::command(&command);
    crate::support::secrets::passwords(&credentials("root", PASSWORD));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("{PASSWORD}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// All users, as an administrator sees them.
fn list(server: &Process) -> Vec<Value> {
    let root = log_in(server, "root").access;
    let mut users: Vec<Value> = Vec::new();
    loop {
        let after = users.last().map(|user| format!("&after={}", user["id"].as_str().unwrap()));
        let path = format!("/user?limit=1000{}", after.unwrap_or_default());
        match get(server, &path, &root).json() {
            Value::Array(page) if page.is_empty() => return users,
            Value::Array(page) => users.extend(page),
            other => panic!("{other}"),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    assert!(run(Command::new("cp").arg("-a").args([from, to])).status.success());
}

/// Clients that change users all the time. Each makes one, then deletes the one it made before: whatever moment is
/// looked at, there is one of each, or two with neighbouring numbers.
struct Load {
    done: Arc<AtomicBool>,
    clients: Vec<thread::JoinHandle<usize>>,
    /// How many passwords the user `changing` has had, counted before each is set.
    passwords: Arc<AtomicUsize>,
}

const CLIENTS: usize = 4;

impl Load {
    fn begin(server: &Process) -> Self {
        let (done, passwords) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let address = server.address;
        let mut clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let done = Arc::clone(&done);
                thread::spawn(move || {
                    let mut line = crate::support::Client::connect(address).unwrap();
                    let mut before: Option<Tokens> = None;
                    for n in 0.. {
                        let who = credentials(&format!("load {client} {n}"), PASSWORD);
                        assert_eq!(line.post("/register", &who).status, 201);
                        let tokens = Tokens::from_reply(&line.post("/login", &who));
                        if n % 2 == 0 {
                            let again = Tokens::from_reply(&line.post("/login", &who));
                            assert_eq!(line.call("POST", "/logout", Some(&again.refresh), None).status, 200);
                        }
                        if let Some(before) = before.replace(tokens) {
                            let deleted = line.call("DELETE", "/user/me", Some(&before.access), None);
                            assert_eq!(deleted.status, 200);
                        }
                        if done.load(Ordering::Relaxed) {
                            return n;
                        }
                    }
                    unreachable!()
                })
            })
            .collect();
        let (end, count) = (Arc::clone(&done), Arc::clone(&passwords));
        clients.push(thread::spawn(move || {
            let mut line = crate::support::Client::connect(address).unwrap();
            let tokens = Tokens::from_reply(&line.post("/login", &credentials("changing", PASSWORD)));
            for n in 1.. {
                let current = if n == 1 { PASSWORD.to_owned() } else { password(n - 1) };
                let body = json!({ "current_password": current, "new_password": password(n) });
                count.store(n, Ordering::SeqCst);
                let changed = line.call("POST", "/user/me/password", Some(&tokens.access), Some(&body));
                assert_eq!(changed.status, 200, "{changed:?}");
                if end.load(Ordering::Relaxed) {
                    return n;
                }
            }
            unreachable!()
        }));
        Self { done, clients, passwords }
    }

    fn end(self) -> Vec<usize> {
        self.done.store(true, Ordering::Relaxed);
        self.clients.into_iter().map(|client| client.join().unwrap()).collect()
    }
}

fn password(n: usize) -> String {
    format!("battery staple {n}")
}

#[test]
fn a_backup_under_load_shows_one_moment_and_comes_back_as_it_was() {
    const FIXED: usize = 30;
    let (data, out) = (temporary(), temporary());
    add_admin(data.path());
    let server = Process::start(data.path(), &NO_LIMITS);
    let fixed: BTreeMap<_, _> = (0..FIXED)
        .map(|n| format!("fixed {n}"))
        .map(|name| (name.clone(), register(&server, &name)))
        .collect();
    register(&server, "changing");
    let tokens = log_in(&server, "fixed 1");
    let root = log_in(&server, "root").access;
    let patch = |id: &str, body: Value| {
        let reply = server.client().call("PATCH", &format!("/user/{id}"), Some(&root), Some(&body));
        assert_eq!(reply.status, 200, "{reply:?}");
    };
    patch(&fixed["fixed 2"], json!({ "role": "admin" }));
    patch(&fixed["fixed 3"], json!({ "disabled": true }));

    let load = Load::begin(&server);
    let mut backups = Vec::new();
    for n in 0..5 {
        let file = out.path().join(format!("{n}.jsonl.gz"));
        let earliest = load.passwords.load(Ordering::SeqCst).saturating_sub(1);
        let said = succeeds(&mut backup(data.path(), &file));
        let latest = load.passwords.load(Ordering::SeqCst);
        assert!(said.contains(" users, signed by k4.pid."), "{said}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        backups.push((file, earliest..=latest));
        thread::sleep(Duration::from_millis(100));
    }
    let rounds = load.end();
    println!("rounds of the clients: {rounds:?}");
    stop_well(server);

    for (n, (file, passwords)) in backups.iter().enumerate() {
        let users = users_in(&fs::read(file).unwrap());
        for client in 0..CLIENTS {
            let prefix = format!("load {client} ");
            let names = users.iter().filter_map(|user| user["username"].as_str()?.strip_prefix(&prefix));
            let numbers: BTreeSet<usize> = names.map(|number| number.parse().unwrap()).collect();
            let spread = numbers.last().zip(numbers.first()).map(|(last, first)| last - first);
            assert!(
                spread.unwrap_or(0) == numbers.len().saturating_sub(1) && numbers.len() <= 2,
                "{numbers:?}"
            );
        }
        let dir = out.path().join(format!("restored {n}"));
        succeeds(&mut restore(file, &dir));
        let server = Process::start(&dir, &NO_LIMITS);
        let restored = list(&server);
        assert_eq!(restored.len(), users.len());
        for (restored, kept) in restored.iter().zip(&users) {
            for field in ["id", "username", "role", "disabled"] {
                assert_eq!(restored[field], kept[field], "{restored} is not {kept}");
            }
        }
        for (name, id) in &fixed {
            let user = restored.iter().find(|user| user["id"] == *id).unwrap();
            assert_eq!(user["username"], *name);
            assert_eq!(user["role"], if name == "fixed 2" { "admin" } else { "user" });
            assert_eq!(user["disabled"], name == "fixed 3");
        }
        log_in(&server, "fixed 2");
        let login =
            |name: &str, password: &str| server.client().post("/login", &credentials(name, password)).status;
        assert_eq!(login("fixed 3", PASSWORD), 401, "still disabled");
        let of_changing = |n: usize| if n == 0 { PASSWORD.to_owned() } else { password(n) };
        let good = passwords.clone().filter(|&n| login("changing", &of_changing(n)) == 200);
        assert_eq!(good.count(), 1, "one of {passwords:?}");
        // What was good in the old store is nothing here, and may be asked for again.
        for token in [&tokens.access, &tokens.refresh] {
            let reply = post(&server, if token == &tokens.access { "/logout" } else { "/refresh" }, token);
            assert_eq!(reply.json()["error"], "invalid_token", "{reply:?}");
        }
        let new = log_in(&server, "fixed 1");
        assert_eq!(get(&server, "/user/me", &new.access).json()["id"], fixed["fixed 1"]);
        // New users come after all that were restored.
        assert!(register(&server, "new") > *fixed.values().last().unwrap());
        stop_well(server);
    }
}

#[test]
fn keys_of_the_old_store_bring_no_session_back() {
    let (old, out) = (temporary(), temporary());
    let server = Process::start(old.path(), &[]);
    register(&server, "anna");
    let tokens = log_in(&server, "anna");
    let logged_out = log_in(&server, "anna");
    let file = out.path().join("backup.jsonl.gz");
    succeeds(&mut backup(old.path(), &file));
    post(&server, "/logout", &logged_out.access);
    stop_well(server);

    let refused = |server: &Process| {
        for tokens in [&tokens, &logged_out] {
            assert_eq!(get(server, "/user/me", &tokens.access).json()["error"], "invalid_token");
            assert_eq!(post(server, "/refresh", &tokens.refresh).json()["error"], "invalid_token");
        }
    };
    let dir = out.path().join("restored");
    succeeds(&mut restore(&file, &dir));
    // Beside the new ones:
    copy(&old.path().join("keys/."), &dir.join("keys"));
    let server = Process::start(&dir, &[]);
    refused(&server);
    let good = log_in(&server, "anna");
    let log = stop_well(server);
    assert!(log.contains("is no key in use"), "{log}");
    // In place of them:
    fs::rename(dir.join("keys"), dir.join("new keys")).unwrap();
    copy(&old.path().join("keys"), &dir);
    assert!(does_not_start(&dir, 65).contains("is missing"));
    let server = Process::start(&dir, &["--replace-keys"]);
    refused(&server);
    assert_eq!(get(&server, "/user/me", &good.access).json()["error"], "invalid_token");
    log_in(&server, "anna");
    stop_well(server);
}

#[test]
fn backup_restore_and_verify_need_no_server() {
    let (dir, out) = (filled(700), temporary());
    let file = out.path().join("backup.jsonl.gz");
    succeeds(&mut backup(dir.path(), &file));
    assert_eq!(users_in(&fs::read(&file).unwrap()).len(), 700);
    let said = succeeds(&mut restore(&file, &out.path().join("a/new/place")));
    assert!(said.contains("700 users") && said.contains("all sessions are over"), "{said}");
    assert!(succeeds(&mut verify(&out.path().join("a/new/place"))).contains("\"good\""));
}

#[test]
fn a_file_that_is_there_is_kept_unless_told_otherwise_and_a_directory_without_a_store_has_no_backup() {
    let (dir, out) = (filled(3), temporary());
    let file = out.path().join("backup.jsonl.gz");
    fs::write(&file, "precious").unwrap();
    assert!(fails(&mut backup(dir.path(), &file), 2).contains("--force"));
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    succeeds(backup(dir.path(), &file).arg("--force"));
    assert_eq!(users_in(&fs::read(&file).unwrap()).len(), 3);

    let nowhere = out.path().join("nowhere/backup.jsonl.gz");
    assert!(fails(&mut backup(dir.path(), &nowhere), 73).contains("nowhere"));
    let none = out.path().join("none.jsonl.gz");
    assert!(fails(&mut backup(&out.path().join("empty"), &none), 73).contains("there is no store"));
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn a_backup_can_go_to_standard_output() {
    let dir = filled(3);
    let server = Process::start(dir.path(), &[]);
    let Output { stdout, status, .. } = run(&mut backup(dir.path(), Path::new("-")));
    assert!(status.success());
    assert_eq!(users_in(&stdout).len(), 3);
    stop_well(server);
}

#[test]
fn what_is_no_good_backup_is_not_restored_and_leaves_the_directory_as_it_was() {
    let (dir, out) = (filled(600), temporary());
    let (file, broken) = (out.path().join("backup.jsonl.gz"), out.path().join("broken"));
    succeeds(&mut backup(dir.path(), &file));
    let good = fs::read(&file).unwrap();
    let target = out.path().join("target");
    for (what, bytes) in [
        ("no good backup", good[..good.len() / 2].to_vec()),
        ("no good backup", [&good[..], b"x"].concat()),
        ("no good backup", b"something else".to_vec()),
    ] {
        fs::write(&broken, bytes).unwrap();
        assert!(fails(&mut restore(&broken, &target), 65).contains(what));
        assert!(!target.exists());
        let found: Value = serde_json::from_slice(
            &run(gatelet().args(["verify", "--json", "--backup"]).arg(&broken)).stdout,
        )
        .unwrap();
        assert_eq!(found["checks"][0]["verdict"], "wrong");
    }
    assert!(fails(&mut restore(&out.path().join("gone"), &target), 2).contains("gone"));
    assert!(fails(&mut restore(out.path(), &target), 2).contains("no file"));

    // With the keys of the server it came from, or of another.
    let keys = |dir: &Path| {
        let path = out.path().join("keys.json");
        fs::write(&path, succeeds(gatelet().args(["key", "export", "--public", "--data-dir"]).arg(dir)))
            .unwrap();
        path
    };
    let foreign = keys(filled(0).path());
    let said = fails(restore(&file, &target).arg("--keys").arg(&foreign), 65);
    assert!(said.contains("is whole, but") && said.contains("not among the keys given"), "{said}");
    assert!(!said.contains("use another"), "{said}");
    assert!(!target.exists());
    let own = keys(dir.path());
    assert!(succeeds(restore(&file, &target).arg("--keys").arg(own)).contains("one of the keys given"));
    assert!(succeeds(gatelet().args(["verify", "--backup"]).arg(&file)).contains("600 users"));
}

#[test]
fn a_backup_before_a_rotation_of_keys_is_good_with_those_of_its_time() {
    let (dir, out) = (filled(3), temporary());
    let (file, keys) = (out.path().join("backup.jsonl.gz"), out.path().join("keys.json"));
    succeeds(&mut backup(dir.path(), &file));
    let export = || {
        let exported = succeeds(gatelet().args(["key", "export", "--public", "--data-dir"]).arg(dir.path()));
        fs::write(&keys, exported).unwrap();
    };
    let verify = || {
        let mut verify = gatelet();
        verify.args(["verify", "--backup"]).arg(&file).arg("--keys").arg(&keys);
        run(&mut verify)
    };
    export();
    assert!(verify().status.success());
    succeeds(gatelet().args(["key", "rotate", "--revoke", "--data-dir"]).arg(dir.path()));
    export();
    let output = verify();
    assert_eq!(output.status.code(), Some(65));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("is whole, but") && said.contains("the time when it was made"), "{said}");
}

/// Runs a command with something on its standard input.
fn fed(command: &mut Command, input: impl Into<Stdio>) -> Output {
    command.stdin(input).output().unwrap()
}

#[test]
fn a_backup_on_standard_input_is_restored_and_leaves_nothing_else_behind() {
    let (dir, out) = (filled(700), temporary());
    let (file, target) = (out.path().join("backup.jsonl.gz"), out.path().join("target"));
    succeeds(&mut backup(dir.path(), &file));
    let good = fs::read(&file).unwrap();
    let broken = out.path().join("broken");
    fs::write(&broken, &good[..good.len() / 2]).unwrap();
    let standard_input = || restore(Path::new("-"), &target);
    let output = fed(&mut standard_input(), fs::File::open(&broken).unwrap());
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    assert!(complaints(&output.stderr).contains("standard input is no good backup"));
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);

    let mut cat = Command::new("cat").arg(&file).stdout(Stdio::piped()).spawn().unwrap();
    let output = fed(standard_input().arg("--json"), cat.stdout.take().unwrap());
    assert!(cat.wait().unwrap().success() && output.status.success(), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["users"], &said["vouched"]), (&json!(700), &json!(false)));
    let names = |dir: &Path| {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>()
    };
    let other = out.path().join("from the file");
    succeeds(&mut restore(&file, &other));
    assert_eq!(names(&target), names(&other));
    assert!(succeeds(&mut verify(&target)).contains("\"good\""));
    // What is there already is not read for nothing.
    let output = fed(&mut standard_input(), fs::File::open("/dev/zero").unwrap());
    assert_eq!(output.status.code(), Some(73), "{output:?}");
}

#[test]
fn nobody_is_waited_for_who_might_write_into_a_pipe() {
    let dir = temporary();
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(fails(&mut restore(&pipe, &dir.path().join("target")), 2).contains("is no file"));
    assert!(fails(gatelet().args(["verify", "--backup"]).arg(&pipe), 2).contains("is no file"));
}

#[test]
fn scripts_are_told_what_was_backed_up() {
    let (dir, out) = (filled(3), temporary());
    let file = out.path().join("backup.jsonl.gz");
    let said = succeeds(backup(dir.path(), &file).arg("--json"));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["file"], &said["users"]), (&json!(file), &json!(3)));
    assert_eq!(said["store"], fs::read_to_string(dir.path().join("store-id")).unwrap().trim());
    assert!(said["kid"].as_str().unwrap().starts_with("k4.pid.") && said["created_at"].is_string());
}

#[test]
#[ignore = "takes half a minute: puts 100,000 users into a store"]
fn what_a_backup_takes_of_the_servers_memory_is_bounded() {
    const USERS: u64 = 100_000;
    /// Twice what is measured.
    const MORE_KIB: u64 = 60 << 10;
    let (dir, out) = (filled(USERS), temporary());
    let server = Process::start(dir.path(), &[]);
    let peak = || memory_kib(server.id(), "VmHWM").unwrap();
    let before = peak();
    succeeds(&mut backup(dir.path(), &out.path().join("backup.jsonl.gz")));
    let by_hand = peak();
    stop_well(server);
    let copies = out.path().join("copies");
    let server = Process::start(dir.path(), &["--backup-dir", copies.to_str().unwrap()]);
    let peak = || memory_kib(server.id(), "VmHWM").unwrap();
    let begun = Instant::now();
    while !server.client().call("GET", "/readyz", None, None).json()["backup"]["last"].is_string() {
        assert!(begun.elapsed() < Duration::from_secs(300), "never");
        thread::sleep(Duration::from_millis(100));
    }
    let by_itself = peak();
    println!("{before} KiB, {by_hand} after a backup, {by_itself} after an automatic one");
    assert!(by_hand < before + MORE_KIB && by_itself < before + MORE_KIB);
    stop_well(server);
}

#[test]
fn a_backup_is_restored_into_an_empty_directory_alone() {
    let (dir, out) = (filled(5), temporary());
    let file = out.path().join("backup.jsonl.gz");
    succeeds(&mut backup(dir.path(), &file));
    assert!(fails(&mut restore(&file, dir.path()), 73).contains("is not empty"));
    let server = Process::start(dir.path(), &[]);
    assert!(fails(&mut restore(&file, dir.path()), 73).contains("is not empty"));
    stop_well(server);

    let volume = out.path().join("volume");
    fs::create_dir_all(volume.join("lost+found")).unwrap();
    for left_over in ["lock", "restoring.new"] {
        fs::write(volume.join(left_over), "").unwrap();
    }
    fs::write(volume.join("notes.txt"), "").unwrap();
    assert!(fails(&mut restore(&file, &volume), 73).contains("notes.txt"));
    fs::remove_file(volume.join("notes.txt")).unwrap();
    succeeds(&mut restore(&file, &volume));
    assert!(volume.join("lost+found").exists());
    stop_well(Process::start(&volume, &[]));
}

/// Starts `command`, and kills it after a moment.
fn kill_after(command: &mut Command, moment: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while begun.elapsed() < moment {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        thread::sleep(Duration::from_micros(200));
    }
    let _ = child.kill();
    child.wait().unwrap().success()
}

#[test]
fn a_restore_that_is_killed_leaves_a_whole_store_or_one_that_no_start_takes_for_it() {
    const USERS: u64 = 4000;
    let mut random = Random::begin("killed restore");
    let (dir, out) = (filled(USERS), temporary());
    let file = out.path().join("backup.jsonl.gz");
    succeeds(&mut backup(dir.path(), &file));
    let begun = Instant::now();
    succeeds(&mut restore(&file, &out.path().join("measured")));
    let whole = begun.elapsed();
    let mut refused = 0;
    for n in 0..20 {
        let target = out.path().join(format!("target {n}"));
        let moment = random.moment_in(whole, 1100);
        kill_after(&mut restore(&file, &target), moment);
        let is_whole = target.join("store-id").exists() && !target.join("restoring").exists();
        if target.join("restoring").exists() {
            assert!(does_not_start(&target, 65).contains("run `gatelet restore` again"));
            refused += 1;
        }
        if !is_whole {
            succeeds(&mut restore(&file, &target));
        }
        let again = out.path().join(format!("{n}.jsonl.gz"));
        succeeds(&mut backup(&target, &again));
        assert_eq!(
            users_in(&fs::read(&again).unwrap()).len() as u64,
            USERS,
            "killed after {moment:?} of {whole:?}"
        );
    }
    println!("{refused} of 20 were refused until they were restored again");
    assert!(refused > 0);
}

#[test]
fn a_backup_that_is_killed_or_whose_server_is_leaves_no_file_of_that_name() {
    const USERS: u64 = 10_000;
    let mut random = Random::begin("killed backup");
    let (dir, out) = (filled(USERS), temporary());
    let file = out.path().join("backup.jsonl.gz");
    let begun = Instant::now();
    succeeds(&mut backup(dir.path(), &file));
    let whole = begun.elapsed();
    let whole_or_none = |file: &Path| {
        if file.exists() {
            assert_eq!(users_in(&fs::read(file).unwrap()).len() as u64, USERS);
            fs::remove_file(file).unwrap();
        }
    };
    whole_or_none(&file);
    for _ in 0..10 {
        kill_after(&mut backup(dir.path(), &file), random.moment_in(whole, 1000));
        whole_or_none(&file);
    }
    for kill in [true, false] {
        for _ in 0..5 {
            let server = Process::start(dir.path(), &[]);
            let mut command = backup(dir.path(), &file);
            let command = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            thread::sleep(random.moment_in(whole, 700));
            if kill {
                server.kill();
            } else {
                stop_well(server);
            }
            let output = command.wait_with_output().unwrap();
            assert_eq!(output.status.success(), file.exists(), "{output:?}");
            assert!(output.status.success() || !complaints(&output.stderr).is_empty());
            whole_or_none(&file);
        }
    }
    succeeds(&mut backup(dir.path(), &file));
    whole_or_none(&file);
    let left: Vec<PathBuf> = fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The checks of `gatelet verify` that are not good.
fn found(dir: &Path, code: i32, settings: &[(&str, &str)]) -> BTreeMap<String, String> {
    let output = run(verify(dir).envs(settings.iter().copied()));
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = found["checks"].as_array().unwrap().iter().filter(|check| check["verdict"] != "good");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    checks.map(|check| (text(&check["check"]), text(&check["found"]))).collect()
}

#[test]
fn verify_finds_what_is_planted_while_the_server_runs() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    register(&server, "anna");
    post(&server, "/logout", &log_in(&server, "anna").access);
    assert_eq!(found(dir.path(), 0, &[]), BTreeMap::new());

    let expect = |what: &str, code: i32, text: &str| {
        let found = found(dir.path(), code, &[]);
        assert!(found.len() == 1 && found.get(what).is_some_and(|found| found.contains(text)), "{found:?}");
    };
    let (marker, commits) = (dir.path().join("store-id"), dir.path().join("commits"));
    let id = fs::read(&marker).unwrap();
    fs::write(&marker, "00000000-0000-4000-8000-000000000000\n").unwrap();
    expect("marker", 65, "store-id");
    fs::remove_file(&marker).unwrap();
    expect("marker", 65, std::str::from_utf8(&id).unwrap().trim());
    fs::write(&marker, &id).unwrap();

    let known = fs::read(&commits).unwrap();
    let ahead = 1000_u64;
    fs::write(&commits, [ahead.to_be_bytes(), (!ahead).to_be_bytes()].concat()).unwrap();
    expect("changes", 65, "are missing");
    fs::write(&commits, &known).unwrap();

    let (store, away) = (dir.path().join("store"), dir.path().join("away"));
    fs::rename(&store, &away).unwrap();
    expect("store", 65, "put it back");
    copy(&away, &store);
    expect("store", 65, "replaced by another");
    fs::remove_dir_all(&store).unwrap();
    fs::rename(&away, &store).unwrap();

    let key = fs::read_dir(dir.path().join("keys")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read(&key).unwrap();
    fs::write(&key, "k4.secret.nonsense").unwrap();
    expect("key files", 65, "is damaged");
    fs::remove_file(&key).unwrap();
    expect("key files", 65, "is missing");
    fs::write(&key, &text).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    expect("key files", 65, "can be read by every user");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let strange = dir.path().join("keys/somebody's");
    fs::write(&strange, "").unwrap();
    expect("other key files", 0, "somebody's");
    fs::remove_file(&strange).unwrap();

    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    expect("directory", 1, "chmod 700");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(found(dir.path(), 0, &[]), BTreeMap::new());
    stop_well(server);

    let full = found(dir.path(), 1, &[("GATELET_MIN_FREE_MIB", "4000000000")]);
    assert!(full.keys().eq(["free space"]), "{full:?}");
}

#[test]
fn verify_says_why_a_stopped_store_does_not_open_and_what_to_do() {
    let dir = filled(50);
    let table = succeeds(gatelet().args(["verify", "--data-dir"]).arg(dir.path()));
    assert!(table.starts_with("CHECK") && table.contains("users"), "{table}");
    let log = dir.path().join("store/db");
    fs::File::options().write(true).open(&log).unwrap().set_len(100).unwrap();
    let found = found(dir.path(), 65, &[]);
    assert!(found["store"].contains("restore"), "{found:?}");
    assert!(fails(verify(&dir.path().join("empty")).arg("--deadline=1s"), 73).contains("there is no store"));
}

#[test]
fn links_and_devices_are_not_replaced_by_a_backup() {
    let data = filled(3);
    let dir = temporary();
    let (file, precious) = (dir.path().join("backup.gz"), dir.path().join("precious"));
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, &file).unwrap();
    assert!(fails(backup(data.path(), &file).arg("--force"), 2).contains("is no file"));
    fs::remove_file(&precious).unwrap(); // it leads nowhere now
    assert!(fails(&mut backup(data.path(), &file), 2).contains("is no file"));
    assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
    fs::remove_file(&file).unwrap();
    succeeds(&mut backup(data.path(), &file));
}

#[test]
fn files_beside_a_backup_or_an_export_stay_whatever_their_names() {
    let data = filled(3);
    let dir = temporary();
    let path = |name: &str| dir.path().join(name);
    for name in ["b.new", "b"] {
        succeeds(&mut backup(data.path(), &path(name)));
    }
    fs::write(path("all.csv.new"), "precious").unwrap();
    succeeds(gatelet().arg("export").arg(path("all.csv")).arg("--data-dir").arg(data.path()));
    assert_eq!(users_in(&fs::read(path("b.new")).unwrap()).len(), 3);
    assert_eq!(fs::read(path("all.csv.new")).unwrap(), b"precious");
    assert_eq!(fs::read_to_string(path("all.csv")).unwrap().lines().count(), 4);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
}

#[test]
fn exports_to_one_file_at_once_leave_one_of_them_whole() {
    let data = filled(2000);
    let dir = temporary();
    let server = Process::start(data.path(), &[]);
    let file = dir.path().join("all.csv");
    let export = || {
        let mut command = gatelet();
        command.arg("export").arg(&file).arg("--data-dir").arg(data.path()).stdout(Stdio::null());
        command.spawn().unwrap()
    };
    for mut command in [(); 4].map(|()| export()) {
        assert!(command.wait().unwrap().success());
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 2001);
    }
    stop_well(server);
}

#[test]
fn a_file_that_is_made_while_a_backup_of_that_name_is_written_stays() {
    let data = filled(3);
    let dir = temporary();
    let file = dir.path().join("backup.gz");
    let server = Process::start(data.path(), &[]);
    kill_process(pid(&server), Signal::STOP).unwrap();
    let command = backup(data.path(), &file).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(300)); // it has begun, and waits for the server
    assert!(!file.exists(), "it has no name before it is whole");
    fs::write(&file, "precious").unwrap();
    kill_process(pid(&server), Signal::CONT).unwrap();
    let output = command.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(complaints(&output.stderr).contains("--force"), "{output:?}");
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    stop_well(server);
}

#[test]
fn commands_on_a_restore_that_was_cut_short_say_what_it_is() {
    let dir = temporary();
    fs::write(dir.path().join("restoring"), "").unwrap();
    for args in [&["verify"][..], &["export", "-"], &["user", "list"]] {
        let output = run(gatelet().args(args).arg("--data-dir").arg(dir.path()));
        assert_eq!(output.status.code(), Some(65), "{output:?}");
        let said = [output.stdout, output.stderr].concat();
        assert!(String::from_utf8_lossy(&said).contains("restore"), "{args:?}");
    }
}

#[test]
fn a_server_that_cannot_write_its_backups_does_not_start() {
    let dir = temporary();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for wrong in [file.join("below"), file] {
        let text = refused(serve(&dir.path().join("data"), &["--backup-dir"]).arg(&wrong), 73);
        assert!(text.contains(wrong.to_str().unwrap()) && text.contains("--backup-dir"), "{text}");
    }
}

#[test]
fn backups_are_not_kept_among_the_stores_own_files_and_beside_them_with_a_warning() {
    let dir = temporary();
    let data = dir.path().join("data");
    stop_well(Process::start(&data, &[]));
    let link = dir.path().join("link");
    symlink(&data, &link).unwrap();
    for wrong in [data.clone(), data.join("../data"), link, data.join("store"), data.join("keys/backups")] {
        let text = refused(serve(&data, &["--backup-dir"]).arg(&wrong), 73);
        assert!(
            text.contains("the store keeps its own files there") && text.contains("--backup-dir"),
            "{text}"
        );
    }
    assert!(!data.join("keys/backups").exists());
    let server = Process::start(&data, &["--backup-dir", data.join("backups").to_str().unwrap()]);
    assert!(stop_well(server).contains("is inside --data-dir"));
}

#[test]
fn verify_does_not_wait_for_ever_for_a_server_that_hangs() {
    let dir = filled(5);
    let server = Process::start(dir.path(), &[]);
    kill_process(pid(&server), Signal::STOP).unwrap();
    let said = fails(verify(dir.path()).arg("--deadline=1s"), 75);
    let mut terminal = Terminal::open_with(dir.path(), &["verify", "--deadline=30s"], &[("TERM", "xterm")]);
    terminal.await_prompt("checking, ");
    kill_process(pid(&server), Signal::CONT).unwrap();
    assert_eq!(terminal.end().0, Some(0));
    assert!(said.contains("not done within 1s") && said.contains("--deadline"), "{said}");
    assert_eq!(found(dir.path(), 0, &[]), BTreeMap::new());
    stop_well(server);
}

#[test]
fn a_page_that_cannot_be_read_is_found_and_fails_backups_while_the_server_goes_on() {
    let (dir, out) = (filled(20_000), temporary());
    let server = Process::start(dir.path(), &["--cache-mib", "1"]);
    let users: Vec<_> = (10_000..20_000).step_by(100).map(fill::name).collect();
    spoil_pages(dir.path(), &users);
    let found = found(dir.path(), 65, &[]);
    assert!(found.len() == 1 && found["seal"].contains("a page cannot be read"), "{found:?}");
    fails(&mut backup(dir.path(), &out.path().join("backup.jsonl.gz")), 1);
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
    assert_eq!(server.client().call("GET", "/readyz", None, None).status, 200);
    let log = stop_well(server);
    assert!(log.contains("a backup was broken off: a page of the store cannot be read"), "{log}");
}
