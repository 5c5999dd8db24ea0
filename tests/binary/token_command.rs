//! `gatelet token verify` and `gatelet token explain`, with tokens of a running server.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use pasetors::keys::{AsymmetricPublicKey, AsymmetricSecretKey};
use pasetors::paserk::FormatAsPaserk;
use pasetors::version4::V4;
use rustix::process::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Process, Tokens, gatelet, temporary};
use crate::terminal::Terminal;
use crate::{log_in, register, stop_well, watched};

/// A user's tokens, and their server's public keys in a file, in both forms.
struct Desk {
    dir: TempDir,
    tokens: Tokens,
    id: String,
    set: PathBuf,
    lines: PathBuf,
}

fn desk(args: &[&str]) -> Desk {
    let dir = temporary();
    let server = Process::start(dir.path(), args);
    let id = register(&server, "anna");
    let tokens = log_in(&server, "anna");
    stop_well(server);
    let (kid, public) = public_key(dir.path());
    let (set, lines) = (dir.path().join("keys.json"), dir.path().join("keys.txt"));
    let key = json!({"kid": kid, "public_key": public, "state": "active", "not_after": null});
    fs::write(&set, json!({ "keys": [key] }).to_string()).unwrap();
    fs::write(&lines, format!("{public}\n")).unwrap();
    Desk { dir, tokens, id, set, lines }
}

/// The only signing key's id and its public half.
pub(crate) fn public_key(dir: &Path) -> (String, String) {
    let mut files = fs::read_dir(dir.join("keys")).unwrap().map(|entry| entry.unwrap());
    let file = files.find(|file| file.file_name().to_string_lossy().starts_with("k4.pid.")).unwrap();
    let secret = fs::read_to_string(file.path()).unwrap();
    let secret = AsymmetricSecretKey::<V4>::try_from(secret.as_str()).unwrap();
    let mut public = String::new();
    AsymmetricPublicKey::try_from(&secret).unwrap().fmt(&mut public).unwrap();
    (file.file_name().into_string().unwrap(), public)
}

/// Runs `gatelet token …` with `input` on standard input. It never says the input back.
fn token(args: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = gatelet()
        .arg("token")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()); // wrong usage may end it before
    let Output { status, stdout, stderr } =
        watched(Pid::from_child(&child), || child.wait_with_output().unwrap());
    let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    let said = input.trim();
    assert!(said.is_empty() || !format!("{out}{err}").contains(said), "{out}{err}");
    (status.code(), out, err)
}

#[test]
fn a_good_token_verifies_with_the_keys_in_either_form() {
    let desk = desk(&[]);
    for keys in [&desk.set, &desk.lines] {
        let keys = keys.to_str().unwrap();
        for input in [
            desk.tokens.access.clone(),
            format!("  {}\r\n", desk.tokens.access),
            format!("bearer  {}\n", desk.tokens.access),
        ] {
            let (code, out, err) = token(&["verify", "--keys", keys, "--issuer", "gatelet"], &input);
            assert_eq!(code, Some(0), "{err}");
            let claims: Value = serde_json::from_str(&out).unwrap();
            assert_eq!((&claims["sub"], &claims["typ"]), (&json!(desk.id), &json!("access")));
            assert!(err.starts_with("valid until 2") && err.contains("(in 1"), "{err}");
            assert_eq!(err.lines().count(), 1, "{err}");
        }
    }
}

#[test]
fn a_token_that_is_not_good_ends_with_1_and_the_reason() {
    let (desk, other) = (desk(&[]), desk(&["--access-ttl", "1s"]));
    let changed = desk.tokens.access.replacen("v4.public.eyJ", "v4.public.eyK", 1);
    let keys = desk.set.to_str().unwrap();
    for (args, input, reason) in [
        (&["--issuer", "acme"][..], &desk.tokens.access, "issuer is not \"acme\""),
        (&[], &changed, "signature does not fit"),
        (&[], &desk.tokens.refresh, "only the server can read it"),
        (&[], &other.tokens.access, "not among the public keys"),
        (&[], &"v4.nothing".to_owned(), "not one of Gatelet's tokens"),
        (&[], &"\u{1b}[31m".to_owned(), "not one of Gatelet's tokens"),
    ] {
        let (code, out, err) = token(&[&["verify", "--keys", keys], args].concat(), input);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        assert!(err.contains(reason) && !err.contains('\u{1b}'), "{err}");
    }
    let (_, _, err) = token(&["verify", "--keys", keys, "--issuer", "acme"], &desk.tokens.access);
    assert!(err.contains("expires 2") && err.contains("(in 1"), "{err}");
}

#[test]
fn at_a_terminal_it_says_what_it_waits_for() {
    let dir = temporary();
    let mut terminal = Terminal::open(dir.path(), &["token", "explain"]);
    terminal.answer("Ctrl-D on a line of its own:\r\n", "v4.public.nothing");
    terminal.type_line("\u{4}");
    assert_eq!(terminal.end().0, Some(1));
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_wrong() {
    let desk = desk(&[]);
    let (set, access) = (desk.set.to_str().unwrap(), &desk.tokens.access);
    let missing = desk.dir.path().join("none").to_str().unwrap().to_owned();
    let foreign = desk.dir.path().join("foreign");
    fs::write(&foreign, "k4.secret.AAAA").unwrap();
    let long = "A".repeat(20_000);
    for (args, input, said) in [
        (&["verify"][..], access, "--keys"),
        (&["verify", "--keys", &missing], access, "cannot be read"),
        (&["explain", "--keys", foreign.to_str().unwrap()], access, "key 1 is no k4.public"),
        (&["verify", "--keys", set], &" \n".to_owned(), "no token on standard input"),
        (&["explain"], &String::new(), "no token on standard input"),
        (&["explain"], &long, "longer than any token"),
        (&["frobnicate"], access, "frobnicate"),
    ] {
        let (code, out, err) = token(args, input);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {err}");
        assert!(err.contains(said), "{args:?}: {err}");
    }
}

#[test]
fn explaining_shows_what_a_token_says_and_whether_to_believe_it() {
    let desk = desk(&[]);
    let (code, out, err) = token(&["explain"], &desk.tokens.access);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let (kid, _) = public_key(desk.dir.path());
    for part in ["v4", "public", &kid, "not verified", &desk.id, "(in 1"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains("what is wrong"), "{out}");

    let (_, out, _) = token(&["explain", "--keys", desk.set.to_str().unwrap()], &desk.tokens.access);
    assert!(out.contains("signature  verified") && !out.contains("not verified"), "{out}");

    let (code, out, _) = token(&["explain"], &desk.tokens.refresh);
    assert_eq!(code, Some(0));
    assert!(out.contains("k4.lid.") && out.contains("only the server"), "{out}");
    assert!(!out.contains(&desk.id), "{out}");

    for other in ["eyJhbGciOiJIUzI1NiJ9.e30.c2ln".to_owned(), desk.tokens.access.replacen("v4", "v2", 1)] {
        let (code, out, err) = token(&["explain"], &other);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        assert!(err.contains("v4.public.… or v4.local.…"), "{err}");
    }
}

#[test]
fn explaining_says_the_same_in_json() {
    let desk = desk(&[]);
    let (kid, _) = public_key(desk.dir.path());
    let keys = desk.set.to_str().unwrap();
    for (args, input, signature, sub, flaws) in [
        (&[][..], &desk.tokens.access, "not_checked", json!(desk.id), 0),
        (&["--keys", keys], &desk.tokens.access, "good", json!(desk.id), 0),
        (&["--keys", keys], &desk.tokens.refresh, "not_ours", Value::Null, 0),
    ] {
        let (code, out, err) = token(&[&["explain", "--json"], args].concat(), input);
        assert_eq!((code, err.as_str()), (Some(0), ""));
        let said: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&said["version"], &said["signature"]), (&json!("v4"), &json!(signature)), "{out}");
        assert_eq!((&said["claims"]["sub"], said["flaws"].as_array().unwrap().len()), (&sub, flaws), "{out}");
        assert_eq!(said["key"] == kid.as_str(), said["purpose"] == "public", "{out}");
    }
}
