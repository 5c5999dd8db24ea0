//! Keys that are lost, damaged or exposed: the server does not start, and never makes a new key by itself.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::{Process, Tokens, temporary};
use crate::{does_not_start, get, log_in, post, register, stop_well};

fn with_a_user() -> (TempDir, Tokens) {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    register(&server, "anna");
    let tokens = log_in(&server, "anna");
    stop_well(server);
    (dir, tokens)
}

/// All that lies in the folder of keys, by path.
fn keys(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir.join("keys")).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn put_back(path: &Path, key: &[u8]) {
    fs::write(path, key).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// Whatever `harm` does to either key stops the start with `remedy`, changes no file, and is over once the key
/// is back.
fn stops_the_start(harm: impl Fn(&Path, &[u8]), remedy: &str) {
    let (dir, tokens) = with_a_user();
    let good = keys(dir.path());
    assert_eq!(good.len(), 2);
    for (path, key) in &good {
        harm(path, key);
        let harmed = keys(dir.path());
        let text = does_not_start(dir.path(), 65);
        assert!(text.contains(path.to_str().unwrap()) && text.contains(remedy), "{text}");
        assert!(!text.contains(str::from_utf8(key).unwrap().trim_end()), "{text}");
        assert_eq!(keys(dir.path()), harmed);
        put_back(path, key);
    }
    let server = Process::start(dir.path(), &[]);
    assert_eq!(get(&server, "/user/me", &tokens.access).status, 200);
    assert_eq!(post(&server, "/refresh", &tokens.refresh).status, 200);
    assert_eq!(keys(dir.path()), good);
    stop_well(server);
}

#[test]
fn a_key_with_one_character_changed_stops_the_start() {
    for place in [3, 20, 50] {
        stops_the_start(
            |path, key| {
                let mut key = key.to_vec();
                key[place] = if key[place] == b'A' { b'B' } else { b'A' };
                fs::write(path, key).unwrap();
            },
            "--replace-keys",
        );
    }
}

#[test]
fn a_truncated_key_stops_the_start() {
    stops_the_start(|path, key| fs::write(path, &key[..key.len() / 2]).unwrap(), "--replace-keys");
}

#[test]
fn an_empty_key_stops_the_start() {
    stops_the_start(|path, _| fs::write(path, "").unwrap(), "--replace-keys");
}

#[test]
fn a_key_of_bytes_that_are_no_text_stops_the_start() {
    stops_the_start(|path, _| fs::write(path, [0xff; 100]).unwrap(), "--replace-keys");
}

#[test]
fn a_missing_key_stops_the_start() {
    stops_the_start(|path, _| fs::remove_file(path).unwrap(), "--replace-keys");
}

#[test]
fn a_world_readable_key_stops_the_start() {
    for mode in [0o644, 0o604, 0o602, 0o666] {
        stops_the_start(
            |path, _| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap(),
            "chmod 600",
        );
    }
}

#[test]
fn a_missing_folder_of_keys_stops_the_start() {
    let (dir, _) = with_a_user();
    fs::remove_dir_all(dir.path().join("keys")).unwrap();
    let text = does_not_start(dir.path(), 65);
    assert!(text.contains("missing") && text.contains("--replace-keys"), "{text}");
    assert!(!dir.path().join("keys").exists() || keys(dir.path()).is_empty());
}

#[test]
fn the_keys_of_another_server_stop_the_start() {
    let ((dir, _), (other, _)) = (with_a_user(), with_a_user());
    fs::remove_dir_all(dir.path().join("keys")).unwrap();
    fs::rename(other.path().join("keys"), dir.path().join("keys")).unwrap();
    let text = does_not_start(dir.path(), 65);
    assert!(text.contains("missing"), "{text}");
    assert_eq!(keys(dir.path()).len(), 2);
}

#[test]
fn replaced_keys_refuse_old_tokens_and_let_users_log_in() {
    let (dir, old) = with_a_user();
    for path in keys(dir.path()).keys() {
        fs::write(path, "").unwrap();
    }
    does_not_start(dir.path(), 65);

    let server = Process::start(dir.path(), &["--replace-keys"]);
    assert_eq!(get(&server, "/user/me", &old.access).json()["error"], "invalid_token");
    assert_eq!(post(&server, "/refresh", &old.refresh).json()["error"], "invalid_token");
    let new = log_in(&server, "anna");
    let log = stop_well(server);
    assert_eq!(log.matches("is lost and will be replaced").count(), 2, "{log}");

    // From then on without the flag.
    let server = Process::start(dir.path(), &[]);
    assert_eq!(get(&server, "/user/me", &new.access).status, 200);
    assert_eq!(post(&server, "/refresh", &new.refresh).status, 200);
    assert_eq!(get(&server, "/user/me", &old.access).json()["error"], "invalid_token");
    stop_well(server);
}

#[test]
fn replacing_leaves_good_keys_alone() {
    let (dir, tokens) = with_a_user();
    let good = keys(dir.path());
    let server = Process::start(dir.path(), &["--replace-keys"]);
    assert_eq!(get(&server, "/user/me", &tokens.access).status, 200);
    assert_eq!(keys(dir.path()), good);
    stop_well(server);
}

#[test]
fn keys_that_nobody_depends_on_are_made_anew() {
    let dir = temporary();
    stop_well(Process::start(dir.path(), &[]));
    fs::remove_dir_all(dir.path().join("keys")).unwrap();
    let server = Process::start(dir.path(), &[]);
    register(&server, "anna");
    log_in(&server, "anna");
    stop_well(server);
}
