//! Names on the command line: freed, imported, carried along by backups.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::import_command::import;
use crate::support::{CHEAP, Process, Tokens, credentials, gatelet, temporary};
use crate::{PASSWORD, get, register, run, stop_well};

const HASH: &str = "$scrypt$ln=4,r=8,p=1$AYAQIkQoxVirNUZorVXKWQ$nSe7pDQPABHeyZ/Nh5hi4lwQjl3cVQqGPRnsdGG7vNI";

/// Runs a command; answers its exit code, and what it says on both outputs.
fn said(command: &mut Command) -> (Option<i32>, String) {
    let output = run(command.env("GATELET_SCRYPT", CHEAP));
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out + &err)
}

fn user(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    said(gatelet().arg("user").args(args).arg("--data-dir").arg(dir))
}

fn status(server: &Process, path: &str, name: &str) -> u16 {
    server.client().post(path, &credentials(name, PASSWORD)).status
}

fn delete(server: &Process, name: &str) {
    let tokens = Tokens::from_reply(&server.client().post("/login", &credentials(name, PASSWORD)));
    assert_eq!(server.client().call("DELETE", "/user/me", Some(&tokens.access), None).status, 200);
}

#[test]
fn an_administrator_frees_the_name_of_a_deleted_user_whether_a_server_runs_or_not() {
    let dir = temporary();
    let mut server = Process::start(dir.path(), &[]);
    for round in ["running", "stopped"] {
        register(&server, "Anna");
        delete(&server, "anna");
        assert_eq!(status(&server, "/register", "ANNA"), 409, "{round}");
        let free = |name: &str| user(dir.path(), &["free", name]);
        let (log, (code, text)) = if round == "running" {
            let answer = free("anna");
            assert_eq!(free("anna").0, Some(1));
            assert_eq!(status(&server, "/register", "ANNA"), 201, "{round}");
            delete(&server, "anna");
            let (code, text) = user(dir.path(), &["free", "--json", "Anna"]);
            assert_eq!(code, Some(0));
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({ "freed": ["ANNA"] }));
            (stop_well(server), answer)
        } else {
            stop_well(server);
            let answer = free("anna");
            (answer.1.clone(), answer)
        };
        assert_eq!(code, Some(0));
        assert!(text.contains("new users may be called \"Anna\" again\n"), "{text}");
        assert!(log.contains("name_freed name=\"Anna\" by=console"), "{log}");
        server = Process::start(dir.path(), &[]);
    }
    assert_eq!(status(&server, "/register", "ANNA"), 201);
    let (code, text) = user(dir.path(), &["free", "anna"]);
    assert_eq!(code, Some(1), "a user has it");
    assert!(text.contains("no user was deleted in the last 30 days who was called \"anna\""), "{text}");
    stop_well(server);
}

#[test]
fn a_refused_name_is_explained_to_operators() {
    let dir = temporary();
    let password = dir.path().join("password");
    fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let data = dir.path().join("data");
    let add = |name: &str| {
        let input = fs::File::open(&password).unwrap();
        let mut command = gatelet();
        command
            .args(["user", "add", name, "--data-dir"])
            .arg(&data)
            .env("GATELET_SCRYPT", CHEAP)
            .stdin(input);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = add("anna ");
    assert_eq!(code, Some(2));
    assert!(text.contains("begins or ends with white space"), "{text}");
    assert!(!data.exists(), "nobody was made, and no store");
    let server = Process::start(&data, &[]);
    let (code, text) = add("\u{430}nna");
    assert_eq!(code, Some(2));
    assert!(text.contains("username: Invalid value. The name mixes letters of scripts"), "{text}");
    register(&server, "anna");
    delete(&server, "anna");
    let (code, text) = add("Anna");
    assert_eq!(code, Some(1));
    assert!(text.contains("already exists") && text.contains("gatelet user free"), "{text}");
    // By any spelling, a command means the user whom a login would.
    register(&server, "Bert");
    let (code, text) = user(&data, &["show", "BERT"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("Bert") && !text.contains("BERT"), "{text}");
    stop_well(server);
}

#[test]
fn an_import_tells_names_apart_as_the_server_does() {
    let users = format!(
        "anna,\"{HASH}\"\nAnna,\"{HASH}\"\nbert,\"{HASH}\"\n\"cora \",\"{HASH}\"\n\u{430}nna,\"{HASH}\"\ngone,\"{HASH}\"\nDORA,\"{HASH}\"\n"
    );
    for (flags, refused, added) in [
        (
            &[][..],
            json!([
                { "line": 2, "problem": "the same name as in line 1" },
                { "line": 4, "problem": "the name begins or ends with white space" },
                { "line": 5, "problem": "the name mixes letters of scripts that do not go together" },
                { "line": 6, "problem": "a deleted user had the name in the last 30 days (`gatelet user free` frees it), or several users have names like it" },
                { "line": 7, "problem": "a user of that name is there with another hash, and is left alone" },
            ]),
            2,
        ),
        (
            &["--usernames", "exact"],
            json!([{ "line": 6, "problem": "a deleted user had the name in the last 30 days (`gatelet user free` frees it), or several users have names like it" }]),
            6,
        ),
    ] {
        let dir = temporary();
        let server = Process::start(dir.path(), flags);
        for name in ["dora", "gone"] {
            register(&server, name);
        }
        delete(&server, "gone");
        for args in [&["--json"][..], &["--json", "--apply"]] {
            let report = import(dir.path(), args, &users).json();
            assert_eq!(
                (&report["problems"], &report["added"]),
                (&refused, &json!(added)),
                "{flags:?} {args:?}"
            );
        }
        let report = import(dir.path(), &["--json", "--apply"], &users).json();
        assert_eq!((&report["present"], &report["added"]), (&json!(added), &json!(0)), "{report}");
        stop_well(server);
    }
    // Where there is no store yet, as a new one would by the settings.
    let dir = temporary();
    let report = import(&dir.path().join("none"), &["--json"], &users).json();
    assert_eq!((&report["added"], &report["refused"]), (&json!(4), &json!(3)), "{report}");
}

#[test]
fn a_backup_carries_the_names_of_deleted_users_along() {
    let dir = temporary();
    let (data, target, file) =
        (dir.path().join("data"), dir.path().join("restored"), dir.path().join("backup.jsonl.gz"));
    let server = Process::start(&data, &[]);
    for name in ["anna", "bert", "Cora"] {
        register(&server, name);
    }
    delete(&server, "Cora");
    assert_eq!(said(gatelet().arg("backup").arg(&file).arg("--data-dir").arg(&data)).0, Some(0));
    stop_well(server);
    let (code, text) = said(gatelet().arg("verify").arg("--backup").arg(&file));
    assert!(code == Some(0) && text.contains("2 users"), "{text}");
    assert_eq!(said(gatelet().arg("restore").arg(&file).arg("--data-dir").arg(&target)).0, Some(0));
    let server = Process::start(&target, &[]);
    assert_eq!(["anna", "CORA", "cora"].map(|name| status(&server, "/register", name)), [409, 409, 409]);
    assert_eq!(user(&target, &["free", "cora"]).0, Some(0));
    assert_eq!(status(&server, "/register", "cora"), 201);
    assert_eq!(said(gatelet().arg("verify").arg("--data-dir").arg(&target)).0, Some(0));
    stop_well(server);
}

/// `tests/fixtures/README.md` says how the backup came about.
#[test]
fn a_backup_of_the_first_format_restores_names_of_one_fold_and_each_goes_on() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let answers: Value =
        serde_json::from_str(&fs::read_to_string(fixtures.join("layout-2.json")).unwrap()).unwrap();
    let file = fixtures.join("backup-1.jsonl.gz");
    let dir = temporary();
    let target = dir.path().join("restored");
    assert_eq!(said(gatelet().arg("verify").arg("--backup").arg(&file)).0, Some(0));
    assert_eq!(said(gatelet().arg("restore").arg(&file).arg("--data-dir").arg(&target)).0, Some(0));
    let server = Process::start(&target, &[]);
    for (name, id) in answers["users"].as_object().unwrap() {
        let body = credentials(name, &format!("correct horse of {name}"));
        let tokens = Tokens::from_reply(&server.client().post("/login", &body));
        assert_eq!(get(&server, "/user/me", &tokens.access).json(), json!({ "id": id, "username": name }));
    }
    for name in ["ADMIN", "Anna", "bERT", "strasse"] {
        assert_eq!(status(&server, "/register", name), 409, "{name}");
        assert_eq!(status(&server, "/login", name), 401, "{name}");
    }
    stop_well(server);
}
