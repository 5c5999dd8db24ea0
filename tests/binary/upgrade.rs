//! The data directory of an earlier version: `tests/fixtures/README.md` says how it came about.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Process, Tokens, credentials, gatelet, temporary};
use crate::{get, post, run, stop_well};

const UPGRADED: &str = "was brought to the layout of this version";

/// A directory as the earlier version left it, and what that version had answered.
struct Old {
    _dir: TempDir,
    data: PathBuf,
    answers: Value,
}

fn old() -> Old {
    old_of(1)
}

fn old_of(layout: u8) -> Old {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let dir = temporary();
    let archive = fixtures.join(format!("layout-{layout}.tar.gz"));
    let output =
        run(Command::new("tar").args(["--no-same-owner", "-xpzf"]).arg(archive).arg("-C").arg(dir.path()));
    assert!(output.status.success(), "{output:?}");
    let data = dir.path().join(format!("layout-{layout}"));
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    let answers = fs::read_to_string(fixtures.join(format!("layout-{layout}.json"))).unwrap();
    Old { _dir: dir, data, answers: serde_json::from_str(&answers).unwrap() }
}

impl Old {
    fn start(&self) -> Process {
        Process::start(&self.data, &[])
    }

    fn keys(&self) -> BTreeMap<PathBuf, String> {
        let entries = fs::read_dir(self.data.join("keys")).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
    }

    /// Name and id of every user.
    fn users(&self) -> impl Iterator<Item = (&str, &str)> {
        let users = self.answers["users"].as_object().unwrap();
        users.iter().map(|(name, id)| (name.as_str(), id.as_str().unwrap()))
    }

    fn tokens(&self, session: &str) -> Tokens {
        let token = |field: &str| self.answers[session][field].as_str().unwrap().to_owned();
        Tokens { access: token("access_token"), refresh: token("refresh_token") }
    }

    /// Everybody who was there logs in and is who they were; whoever was deleted is nobody.
    fn assert_whole(&self, server: &Process) {
        assert!(self.users().count() >= 3);
        for (name, id) in self.users() {
            let tokens = Tokens::from_reply(&log_in(server, name));
            let me = get(server, "/user/me", &tokens.access);
            assert_eq!((me.status, me.json()), (200, json!({"id": id, "username": name})));
            assert_eq!(post(server, "/refresh", &tokens.refresh).status, 200, "{name}");
            let session = get(server, "/session", &tokens.access).json();
            assert_eq!(session["user"]["role"], "user", "{name}");
            let created = session["user"]["created_at"].as_str().unwrap();
            assert!(created.starts_with("2025-12-31T00:00:0"), "{name}: {created}");
            assert!(matches!(register(server, name).status, 409 | 422), "{name}");
        }
        assert_eq!(log_in(server, "gone").status, 401);
    }

    /// Asserts that these tokens of before open nothing.
    fn assert_refused(&self, server: &Process, session: &str) {
        let tokens = self.tokens(session);
        for reply in [
            get(server, "/user/me", &tokens.access),
            server.client().call("DELETE", "/user/me", Some(&tokens.access), None),
            post(server, "/refresh", &tokens.refresh),
            post(server, "/logout", &tokens.access),
            post(server, "/logout", &tokens.refresh),
        ] {
            assert_eq!(reply.status, 401, "{session}: {reply:?}");
        }
    }
}

fn password(name: &str) -> String {
    format!("correct horse of {name}")
}

fn log_in(server: &Process, name: &str) -> crate::support::Reply {
    server.client().post("/login", &credentials(name, &password(name)))
}

fn register(server: &Process, name: &str) -> crate::support::Reply {
    server.client().post("/register", &credentials(name, "another quiet pony"))
}

#[test]
fn a_store_of_layout_1_opens_with_all_that_was_in_it_and_is_upgraded_once() {
    let old = old();
    let server = old.start();
    old.assert_whole(&server);
    let log = stop_well(server);
    assert_eq!(log.matches(UPGRADED).count(), 1, "{log}");
    for _ in 0..2 {
        let server = old.start();
        old.assert_whole(&server);
        let log = stop_well(server);
        assert!(!log.contains(UPGRADED), "{log}");
    }
}

#[test]
fn a_store_of_layout_3_opens_with_all_that_was_in_it_and_knows_its_last_administrator() {
    let old = old_of(3);
    for upgrades in [1, 0] {
        let server = old.start();
        old.assert_whole(&server);
        old.assert_refused(&server, "logged_out");
        let root = Tokens::from_reply(&log_in(&server, "root")).access;
        let demoted = json!({ "role": "user" });
        let reply = server.client().call("PATCH", "/user/me", Some(&root), Some(&demoted));
        assert_eq!(reply.status, 409, "{reply:?}");
        let log = stop_well(server);
        assert_eq!(log.matches(UPGRADED).count(), upgrades, "{log}");
    }
}

#[test]
fn a_name_that_was_free_in_layout_1_can_be_taken_after_the_upgrade() {
    let old = old();
    let server = old.start();
    assert_eq!(register(&server, "gone").status, 201);
    assert_eq!(register(&server, "dora").status, 201);
    assert_eq!(register(&server, "dora").status, 409);
    stop_well(server);
    let server = old.start();
    for name in ["gone", "dora"] {
        assert_eq!(register(&server, name).status, 409, "{name}");
        let reply = server.client().post("/login", &credentials(name, "another quiet pony"));
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
    }
    // Whoever had the name before has come back in no way.
    old.assert_whole(&server);
    stop_well(server);
}

#[test]
fn a_session_that_was_logged_out_before_the_upgrade_stays_out() {
    let old = old();
    for _ in 0..2 {
        let server = old.start();
        old.assert_refused(&server, "logged_out");
        stop_well(server);
    }
}

/// Ids of sessions have grown: those of before are not understood.
#[test]
fn whoever_was_logged_in_before_the_upgrade_logs_in_anew() {
    let old = old();
    let server = old.start();
    old.assert_refused(&server, "live");
    old.assert_whole(&server);
    stop_well(server);
}

#[test]
fn the_keys_of_layout_1_stay_in_use() {
    let old = old();
    let before = old.keys();
    assert_eq!(before.len(), 2);
    let signing = before.keys().find_map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("k4.pid.").then(|| name.to_owned())
    });
    let server = old.start();
    let published = || get(&server, "/.well-known/paseto-keys", "").json();
    assert_eq!(published()["keys"][0]["kid"], signing.clone().unwrap());
    assert_eq!(published()["keys"][0]["state"], "active");
    assert_eq!(published()["keys"].as_array().unwrap().len(), 1);
    assert_eq!(old.keys(), before);

    // And take part in a rotation like any others.
    let tokens = Tokens::from_reply(&log_in(&server, "anna"));
    let output = run(gatelet().args(["key", "rotate", "--data-dir"]).arg(&old.data));
    assert!(output.status.success(), "{output:?}");
    let keys = published();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    assert_eq!((&keys["keys"][1]["kid"], &keys["keys"][1]["state"]), (&json!(signing), &json!("retiring")));
    assert_eq!(get(&server, "/user/me", &tokens.access).status, 200);
    assert_eq!(post(&server, "/refresh", &tokens.refresh).status, 200);
    stop_well(server);
    assert!(before.iter().all(|(path, key)| old.keys().get(path) == Some(key)));
}

#[test]
fn a_kill_right_after_the_upgrade_loses_nothing() {
    for layout in [1, 2, 3] {
        let old = old_of(layout);
        old.start().kill();
        let server = old.start();
        old.assert_whole(&server);
        stop_well(server);
    }
}

#[test]
fn a_command_upgrades_a_store_as_well_as_a_server() {
    let old = old();
    let before = old.keys();
    let command = |name: &str| {
        let output = run(gatelet().args(["key", name, "--data-dir"]).arg(&old.data));
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        said
    };
    // One that looks, at a copy; one that may change something, for good.
    let said = command("list");
    for path in before.keys() {
        assert!(said.contains(path.file_name().unwrap().to_str().unwrap()), "{said}");
    }
    assert!(!said.contains(UPGRADED), "{said}");
    command("prune");
    let server = old.start();
    old.assert_whole(&server);
    let log = stop_well(server);
    assert!(!log.contains(UPGRADED), "{log}");
    assert_eq!(old.keys(), before);
}

#[test]
fn a_layout_1_store_with_a_hole_is_refused_and_not_upgraded() {
    let old = old();
    let log = old.data.join("store/db");
    let mut bytes = fs::read(&log).unwrap();
    let used = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[used / 2..used / 2 + 64].fill(0xa5);
    fs::write(&log, bytes).unwrap();
    let said = crate::does_not_start(&old.data, 65);
    assert!(!said.contains(UPGRADED) && said.contains("restore the data directory"), "{said}");
}

/// Names of the store of layout 2 that share their fold with another.
const ALIKE: [&str; 8] = ["Admin", "admin", "anna", "anna ", "an\u{200b}na", "bert", " bert", "STRASSE"];

#[test]
fn names_of_one_fold_from_before_stay_with_their_users_and_no_new_user_gets_one_like_them() {
    let old = old_of(2);
    for _ in 0..2 {
        let server = old.start();
        old.assert_whole(&server);
        // Each is reached by the very spelling; another that would mean several means nobody.
        for spelling in ["ADMIN", "aDmin", "ANNA", "Bert", "Strasse"] {
            for name in ["Admin", "admin", "anna", "bert", "STRASSE"] {
                let reply = server.client().post("/login", &credentials(spelling, &password(name)));
                assert_eq!(reply.status, 401, "{spelling}: {reply:?}");
            }
            assert_eq!(register(&server, spelling).status, 409, "{spelling}");
        }
        // A name that is alone in its fold is reached by any spelling.
        let reply = server.client().post("/login", &credentials("zoë  MÜLLER", &password("Zoë Müller")));
        assert_eq!(reply.status, 200, "{reply:?}");
        stop_well(server);
    }
    let server = old.start();
    assert_eq!(register(&server, "GONE").status, 201, "deleted before names were kept");
    assert_eq!(register(&server, "gone").status, 409);
    stop_well(server);
}

#[test]
fn verify_lists_names_of_one_fold_and_calls_the_store_good() {
    let old = old_of(2);
    let output = run(gatelet().args(["verify", "--json", "--data-dir"]).arg(&old.data));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = |check: &str| {
        let checks = checks["checks"].as_array().unwrap();
        checks.iter().find(|row| row["check"] == check).unwrap_or_else(|| panic!("{checks:?}")).clone()
    };
    let alike = found("names alike");
    assert_eq!(alike["verdict"], "note");
    let said = alike["found"].as_str().unwrap();
    assert!(said.starts_with("9 "), "{said}");
    for name in ["\"Admin\"", "\"admin\"", "\"anna \"", "\"an\\u{200b}na\"", "\" bert\"", "\"straße\""] {
        assert!(said.contains(name), "{name}: {said}");
    }
    assert!(!said.contains("\u{430}nna") && !said.contains("Zoë"), "{said}");
    let said = found("names of before")["found"].as_str().unwrap().to_owned();
    assert!(said.starts_with("6 ") && said.contains("\"..\"") && said.contains("\u{430}nna"), "{said}");
}

#[test]
fn a_backup_of_names_of_one_fold_restores_them() {
    let old = old_of(2);
    let (target, backup) = (old.data.with_file_name("restored"), old.data.with_file_name("backup.jsonl.gz"));
    for args in [vec!["backup".as_ref(), backup.as_os_str()], vec!["restore".as_ref(), backup.as_os_str()]] {
        let dir = if args[0] == "backup" { &old.data } else { &target };
        let output = run(gatelet().args(&args).arg("--data-dir").arg(dir));
        assert!(output.status.success(), "{output:?}");
    }
    let restored = Old { data: target, _dir: temporary(), answers: old.answers.clone() };
    let server = restored.start();
    restored.assert_whole(&server);
    for name in ALIKE {
        assert_ne!(register(&server, &name.to_uppercase()).status, 201, "{name}");
    }
    stop_well(server);
}

/// By the rule of the first version, an upgraded store answers as that version did.
#[test]
fn an_upgraded_store_can_go_on_with_exact_names() {
    let old = old_of(2);
    let server = Process::start(&old.data, &["--usernames", "exact"]);
    old.assert_whole(&server);
    assert_eq!(log_in(&server, "gone").status, 401);
    assert_eq!(register(&server, "ADMIN").status, 201);
    let reply = server.client().post("/login", &credentials("zoë müller", &password("Zoë Müller")));
    assert_eq!(reply.status, 401, "{reply:?}");
    stop_well(server);
}
