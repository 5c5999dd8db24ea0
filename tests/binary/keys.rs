//! Keys that are lost, damaged or exposed: the server does not start, and never makes a new key by itself.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::backup_command::{backup, fails, restore, succeeds};
use crate::support::{Process, Tokens, mounts, temporary};
use crate::{does_not_start, get, log_in, post, register, run, stop_well};

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

#[test]
fn what_a_rotation_that_was_cut_short_has_left_is_gone_after_the_next_start() {
    let (dir, tokens) = with_a_user();
    let good = keys(dir.path());
    let (_, key) = good.first_key_value().unwrap();
    let folder = dir.path().join("keys");
    let id = format!("k4.pid.{}", "x".repeat(44));
    for name in [format!("{id}.new"), format!(".{id}.new.0123456789abcdef.new")] {
        put_back(&folder.join(name), &key[..key.len() / 2]);
    }
    let ours = folder.join(format!("{id}.old"));
    put_back(&ours, key);
    let server = Process::start(dir.path(), &[]);
    assert_eq!(get(&server, "/user/me", &tokens.access).status, 200);
    let log = stop_well(server);
    assert!(log.contains(&format!("{id}.old is no key in use; it is left alone")), "{log}");
    fs::remove_file(ours).unwrap();
    assert_eq!(keys(dir.path()), good);
}

#[test]
fn a_key_that_the_store_remembers_is_found_before_its_file_has_its_name() {
    let (dir, tokens) = with_a_user();
    let good = keys(dir.path());
    for path in good.keys() {
        fs::rename(path, path.with_added_extension("new")).unwrap();
    }
    let server = Process::start(dir.path(), &[]);
    assert_eq!(get(&server, "/user/me", &tokens.access).status, 200);
    assert_eq!(post(&server, "/refresh", &tokens.refresh).status, 200);
    assert_eq!(keys(dir.path()), good);
    stop_well(server);
}

/// What `bindfs` shows of a directory, with the modes that it says; as file systems that know none do.
struct Modeless {
    dir: TempDir,
}

impl Modeless {
    fn new(mode: &str) -> Self {
        mounts::make_private();
        let dir = temporary();
        for name in ["below", "shown"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let modeless = Self { dir };
        let mut bindfs = Command::new("bindfs");
        bindfs
            .args(["-p", mode, "--chmod-ignore"])
            .arg(modeless.dir.path().join("below"))
            .arg(modeless.shown());
        let output = run(&mut bindfs);
        assert!(output.status.success(), "{output:?}");
        modeless
    }

    fn shown(&self) -> PathBuf {
        self.dir.path().join("shown")
    }
}

impl Drop for Modeless {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.shown()).status();
    }
}

#[test]
#[ignore = "needs root: mounts with bindfs"]
fn keys_are_not_made_where_the_next_start_would_refuse_them() {
    let (dir, out) = (with_a_user().0, temporary());
    let file = out.path().join("backup.jsonl.gz");
    succeeds(&mut backup(dir.path(), &file));
    let open = Modeless::new("0755");
    let text = does_not_start(&open.shown().join("first"), 73);
    assert!(text.contains("access to new files") && text.contains("umask=077"), "{text}");
    assert_eq!(keys(&open.shown().join("first")), BTreeMap::new());
    let target = open.shown().join("restored");
    let text = fails(&mut restore(&file, &target), 73);
    assert!(text.contains("access to new files"), "{text}");
    let left: Vec<_> = fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
    drop(open);

    // Mounted as the message says, it does.
    let private = Modeless::new("0700");
    let data = private.shown().join("data");
    for _ in 0..2 {
        let server = Process::start(&data, &[]);
        server.client().call("GET", "/readyz", None, None);
        stop_well(server);
    }
}
