//! Users of the original service move, from a database written by its own libraries, with the command of
//! docs/migrate.md.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::installed;
use crate::support::{Process, credentials, gatelet, secrets, temporary};

const GUIDE: &str = include_str!("../../docs/migrate.md");

/// The command of docs/migrate.md.
const MOVE: &str = "sqlite3 -csv data.db 'select username,password from users' | gatelet import --apply";

/// Names and passwords of the original service, which had no rules for either.
fn people() -> Vec<(&'static str, String)> {
    let people = [
        ("anna", "correct horse"),
        ("Zoë Müller", "pässwörter sind schön"),
        ("Zoe\u{308} in two parts", "pa\u{308}sswort in two parts"),
        ("between  spaces", " and its password "),
        ("quo\"te, comma; semicolon", "\"quotes\", and commas"),
        ("o'brien'); drop table users; --", "'; delete from users; --"),
        ("back\\slash\\n", "back\\slash\\0"),
        ("{\"json\":1}", "{}"),
        ("名前", "パスワード"),
        ("👩‍🚀", "🚀"),
        ("=1+1", "x"),
        ("username", "open sesame"),
    ];
    let mut people: Vec<_> = people.map(|(name, password)| (name, password.to_owned())).into();
    people.push(("long", "all four thousand characters of it ".repeat(115)));
    people
}

/// Writes a database with `people` and a number of other users.
fn make_database(dir: &Path, people: &[(&str, String)], others: usize) {
    let users: serde_json::Map<_, _> =
        people.iter().map(|(name, password)| ((*name).to_owned(), json!(password))).collect();
    let mut python = Command::new(installed("venv/bin/python"));
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/original.py"));
    python.arg("data.db").arg(others.to_string()).current_dir(dir).stdin(Stdio::piped());
    let mut child = python.spawn().unwrap();
    child.stdin.take().unwrap().write_all(Value::from(users).to_string().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Runs a command line in the directory with the database and the data directory.
fn shell(dir: &Path, line: &str) -> Output {
    let own = Path::new(env!("CARGO_BIN_EXE_gatelet")).parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&path))).unwrap();
    let output = Command::new("bash")
        .args(["-c", line])
        .current_dir(dir)
        .env_clear()
        .env("PATH", path)
        .output()
        .unwrap();
    secrets::logged(&String::from_utf8_lossy(&output.stderr));
    output
}

fn export(dir: &Path) -> Vec<Value> {
    let mut command = gatelet();
    command.args(["export", "--format", "jsonl", "--data-dir"]).arg(dir.join("data"));
    let output = command.output().unwrap();
    secrets::logged(&String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether the user's hash has been replaced by one of Gatelet's.
fn is_renewed(users: &[Value], name: &str) -> bool {
    let normal: gatelet::domain::user::Username = name.parse().unwrap();
    let user = users.iter().find(|user| user["username"] == normal.as_str()).expect(name);
    let hash = user["password_hash"].as_str().unwrap();
    assert!(hash.starts_with("$scrypt$") || hash.starts_with("$pbkdf2-sha256$"), "{name}");
    hash.starts_with("$scrypt$")
}

fn status(server: &Process, name: &str, password: &str) -> u16 {
    server.client().post("/login", &credentials(name, password)).status
}

#[test]
#[ignore = "needs passlib and SQLAlchemy from PyPI, and sqlite3: .ci/run installs them"]
fn ten_thousand_users_of_the_original_service_move_and_log_in_as_before() {
    const OTHERS: usize = 10_000;
    assert!(GUIDE.contains(MOVE), "docs/migrate.md has another line");
    let people = people();
    for running in [true, false] {
        let dir = temporary();
        make_database(dir.path(), &people, OTHERS);
        let data = dir.path().join("data");
        let server = running.then(|| Process::start(&data, &[]));
        let output = shell(dir.path(), MOVE);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("added                    10,013"), "{said}");
        assert!(said.contains("refused                  0"), "{said}");
        let server = server.unwrap_or_else(|| Process::start(&data, &[]));

        let others = (0..OTHERS).step_by(OTHERS / 20);
        let others: Vec<_> = others.map(|n| (format!("user-{n}"), format!("password of {n}"))).collect();
        let sample = people.iter().map(|(name, password)| (*name, password.as_str()));
        let sample: Vec<_> = sample.chain(others.iter().map(|(name, text)| (&**name, &**text))).collect();
        for (name, password) in &sample {
            for wrong in
                ["correct", &format!("{password} "), &format!("{password}\0"), &format!("x{password}")]
            {
                assert_eq!(status(&server, name, wrong), 401, "{name}");
            }
        }
        let users = export(dir.path());
        assert_eq!(users.len(), people.len() + OTHERS);
        assert!(sample.iter().all(|(name, _)| !is_renewed(&users, name)), "a wrong password renews nothing");
        for (name, password) in &sample {
            assert_eq!(status(&server, name, password), 200, "{name}");
        }
        let users = export(dir.path());
        assert!(sample.iter().all(|(name, _)| is_renewed(&users, name)));
        assert!(!is_renewed(&users, "user-1"), "who has not logged in has the old one");
        for (name, password) in &sample {
            assert_eq!(status(&server, name, password), 200, "{name}");
        }
        assert_eq!(server.stop().code(), 0);
    }
}

#[test]
#[ignore = "needs passlib and SQLAlchemy from PyPI, and sqlite3: .ci/run installs them"]
fn users_who_cannot_be_imported_are_named_by_line_and_others_move() {
    let dir = temporary();
    let people = [
        ("anna", "correct horse"),
        ("two\nlines", "x"),
        ("", "x"),
        (" spaces ", "x"),
        ("bert", "a quiet pony"),
    ];
    make_database(dir.path(), &people.map(|(name, password)| (name, password.to_owned())), 0);
    for expected in [
        ["added                    2", "there already            0"],
        ["added                    0", "there already            2"],
    ] {
        let output = shell(dir.path(), MOVE);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for line in expected.iter().chain(&["refused                  3"]) {
            assert!(said.contains(line), "{said}");
        }
        assert!(
            said.contains(": the name is empty")
                && said.contains(": the name holds a control character")
                && said.contains(": the name begins or ends with white space"),
            "{said}"
        );
    }
    let server = Process::start(&dir.path().join("data"), &[]);
    assert_eq!(status(&server, "anna", "correct horse"), 200);
    assert_eq!(status(&server, "bert", "a quiet pony"), 200);
    assert_eq!(server.stop().code(), 0);
}
