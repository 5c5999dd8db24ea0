//! A store that is damaged, gone, or not the one that belongs here.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use gatelet::domain::clock::{Clock, Timestamp};
use gatelet::store::{Store, StoreOptions};
use tempfile::TempDir;

use crate::support::{Process, Tokens, gatelet, log_file, serve, temporary};
use crate::{does_not_start, get, log_in, post, refused, register, run, stop_well};

const USERS: usize = 40;

/// A directory whose server has stopped, with users and with a session that was ended.
struct Data {
    dir: TempDir,
    ended: Tokens,
}

impl Data {
    fn new() -> Self {
        let dir = temporary();
        let server = Process::start(dir.path(), &[]);
        for user in 0..USERS {
            register(&server, &format!("user {user}"));
        }
        let ended = log_in(&server, "user 1");
        assert_eq!(post(&server, "/logout", &ended.access).status, 200);
        stop_well(server);
        Self { dir, ended }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn copy(&self) -> TempDir {
        let dir = temporary();
        copy(&self.path().join("."), dir.path());
        dir
    }

    fn assert_whole(&self, server: &Process) {
        for user in 0..USERS {
            log_in(server, &format!("user {user}"));
        }
        assert_eq!(get(server, "/user/me", &self.ended.access).json()["error"], "token_revoked");
    }
}

fn copy(from: &Path, to: &Path) {
    let output = run(Command::new("cp").arg("-a").args([from, to]));
    assert!(output.status.success(), "{output:?}");
}

/// Bytes of the log up to the last that is not zero: the file grows ahead of what is written.
fn used(log: &Path) -> usize {
    fs::read(log).unwrap().iter().rposition(|&byte| byte != 0).unwrap() + 1
}

fn assert_says_what_to_do(text: &str, dir: &Path) {
    assert!(text.contains(dir.to_str().unwrap()), "{text}");
    assert!(text.contains("restore the data directory from a backup"), "{text}");
}

#[test]
fn bytes_overwritten_in_the_log_stop_the_start_or_do_no_harm() {
    let data = Data::new();
    let length = used(&log_file(data.path()));
    let mut noticed = 0;
    for place in (1..16).map(|part| length * part / 16) {
        let dir = data.copy();
        let log = OpenOptions::new().write(true).open(log_file(dir.path())).unwrap();
        log.write_all_at(&[0xa5; 64], place as u64).unwrap();
        match Process::spawn(&mut crate::serve(dir.path(), &[])) {
            Err(ended) => {
                assert_eq!(ended.code(), 65, "at {place} of {length}: {ended:?}");
                assert_says_what_to_do(&ended.log, dir.path());
                noticed += 1;
            }
            Ok(server) => {
                data.assert_whole(&server);
                stop_well(server);
            }
        }
    }
    assert!(noticed > 0);
}

#[test]
fn a_truncated_log_stops_the_start() {
    let data = Data::new();
    let length = used(&log_file(data.path())) as u64;
    for left in [length / 2, length / 3, 100, 0] {
        let dir = data.copy();
        OpenOptions::new().write(true).open(log_file(dir.path())).unwrap().set_len(left).unwrap();
        assert_says_what_to_do(&does_not_start(dir.path(), 65), dir.path());
    }
}

#[test]
fn a_log_of_zeros_stops_the_start() {
    let data = Data::new();
    let log = log_file(data.path());
    let length = fs::metadata(&log).unwrap().len();
    fs::write(&log, vec![0; usize::try_from(length).unwrap()]).unwrap();
    assert_says_what_to_do(&does_not_start(data.path(), 65), data.path());
    // And again, rather than taking what the first attempt left behind for a store.
    assert_says_what_to_do(&does_not_start(data.path(), 65), data.path());
}

#[test]
fn a_refused_start_changes_nothing_that_a_repair_would_need() {
    let data = Data::new();
    let log = log_file(data.path());
    let good = fs::read(&log).unwrap();
    File::create(&log).unwrap();
    does_not_start(data.path(), 65);
    fs::write(&log, &good).unwrap();
    let server = Process::start(data.path(), &[]);
    data.assert_whole(&server);
    stop_well(server);
}

#[test]
fn a_vanished_store_stops_the_start() {
    let data = Data::new();
    let (store, away) = (data.path().join("store"), data.path().join("elsewhere"));
    for (path, hidden) in [(store.clone(), away.clone()), (log_file(data.path()), away.clone())] {
        fs::rename(&path, &hidden).unwrap();
        let text = does_not_start(data.path(), 65);
        assert!(text.contains("is gone") && text.contains("right disk"), "{text}");
        assert_says_what_to_do(&text, data.path());
        assert!(!path.exists());
        fs::rename(&hidden, &path).unwrap();
    }
    let server = Process::start(data.path(), &[]);
    data.assert_whole(&server);
    stop_well(server);
}

#[test]
fn a_store_from_another_directory_stops_the_start() {
    let (data, other) = (Data::new(), Data::new());
    fs::remove_dir_all(data.path().join("store")).unwrap();
    copy(&other.path().join("store"), data.path());
    let text = does_not_start(data.path(), 65);
    assert!(text.contains("mixed with another"), "{text}");
    assert_says_what_to_do(&text, data.path());
}

#[test]
fn a_store_with_users_but_without_its_marker_stops_the_start_until_its_id_is_confirmed() {
    let data = Data::new();
    let marker = data.path().join("store-id");
    let id = fs::read_to_string(&marker).unwrap();
    fs::remove_file(&marker).unwrap();
    let text = does_not_start(data.path(), 65);
    assert!(text.contains(data.path().join("store").to_str().unwrap()), "{text}");
    assert!(text.contains("store-id") && text.contains(id.trim_end()), "{text}");
    assert!(!marker.exists());

    fs::write(&marker, id).unwrap();
    let server = Process::start(data.path(), &[]);
    data.assert_whole(&server);
    stop_well(server);
}

#[test]
fn a_marker_that_is_no_id_stops_the_start() {
    let data = Data::new();
    fs::write(data.path().join("store-id"), "").unwrap();
    assert_says_what_to_do(&does_not_start(data.path(), 65), data.path());
}

#[test]
fn an_older_copy_of_the_store_stops_the_start() {
    let data = Data::new();
    let before = data.copy();
    let server = Process::start(data.path(), &[]);
    register(&server, "latecomer");
    let late = log_in(&server, "latecomer");
    assert_eq!(post(&server, "/logout", &late.access).status, 200);
    stop_well(server);

    fs::remove_dir_all(data.path().join("store")).unwrap();
    copy(&before.path().join("store"), data.path());
    let text = does_not_start(data.path(), 65);
    assert!(text.contains("its last 2 changes are missing"), "{text}");
    assert_says_what_to_do(&text, data.path());
}

#[test]
fn a_whole_copy_of_the_directory_is_as_good_as_the_original() {
    let data = Data::new();
    let copy = data.copy();
    let server = Process::start(copy.path(), &[]);
    data.assert_whole(&server);
    stop_well(server);
}

#[test]
fn unfinished_snapshots_are_removed_and_nothing_is_lost() {
    let data = Data::new();
    let store = data.path().join("store");
    let leftovers = ["snap.00000000000A0000.generating", "snap.0000000000000000", "snap.00000000000B0000"];
    fs::write(store.join(leftovers[0]), "half a snapshot").unwrap();
    fs::write(store.join(leftovers[1]), "").unwrap();
    fs::write(store.join(leftovers[2]), "").unwrap();
    let server = Process::start(data.path(), &[]);
    data.assert_whole(&server);
    let log = stop_well(server);
    for name in leftovers {
        assert!(log.contains(&format!("removed the unfinished snapshot {name};")), "{log}");
    }
    assert!(!store.join(leftovers[0]).exists() && !store.join(leftovers[2]).exists());
}

#[test]
fn a_damaged_snapshot_stops_the_start_or_does_no_harm() {
    let data = Data::new();
    fs::write(data.path().join("store/snap.00000000000A0000"), [0x5a; 300]).unwrap();
    match Process::spawn(&mut crate::serve(data.path(), &[])) {
        Err(ended) => {
            assert_eq!(ended.code(), 65, "{ended:?}");
            assert_says_what_to_do(&ended.log, data.path());
        }
        Ok(server) => {
            data.assert_whole(&server);
            stop_well(server);
        }
    }
}

#[test]
fn a_folder_that_was_never_ours_is_left_alone_however_often_one_tries() {
    let dir = temporary();
    let theirs = dir.path().join("store");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("inventory"), "apples").unwrap();
    for _ in 0..2 {
        let text = refused(&mut serve(dir.path(), &[]), 65);
        assert!(text.contains("a directory of its own"), "{text}");
        assert_eq!(fs::read_to_string(theirs.join("inventory")).unwrap(), "apples");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_store_that_lost_its_log_and_its_marker_is_not_begun_anew() {
    let data = Data::new();
    fs::remove_file(data.path().join("store-id")).unwrap();
    fs::remove_file(log_file(data.path())).unwrap();
    refused(&mut serve(data.path(), &[]), 65);
    assert!(data.path().join("store/conf").exists(), "what is left stays for whoever looks");
}

/// Puts something at `path` that every look at it and every read of it fails on, root's included.
fn make_unreadable(path: &Path) {
    symlink(path, path).unwrap();
}

#[test]
fn a_file_of_the_store_that_cannot_be_read_stops_the_start_before_anything_is_written() {
    let data = Data::new();
    let store = data.path().join("store");
    let before = files(&store);
    for path in [store.join("blobs/7"), store.join("snap.7")] {
        make_unreadable(&path);
        let text = does_not_start(data.path(), 73);
        assert!(text.contains(path.to_str().unwrap()), "{text}");
        assert!(text.contains("copy the data directory"), "{text}");
        fs::remove_file(&path).unwrap();
        assert!(files(&store) == before, "{path:?}");
    }
    let server = Process::start(data.path(), &[]);
    data.assert_whole(&server);
    stop_well(server);
}

#[test]
fn a_look_that_fails_is_not_taken_for_nothing_there() {
    let data = Data::new();
    let store = data.path().join("store");
    let before = files(&store);
    for name in ["restoring", "commits", "store-id"] {
        let (path, away) = (data.path().join(name), data.path().join("away"));
        let is_there = fs::rename(&path, &away).is_ok();
        make_unreadable(&path);
        let text = does_not_start(data.path(), 73);
        assert!(text.contains(path.to_str().unwrap()), "{text}");
        fs::remove_file(&path).unwrap();
        if is_there {
            fs::rename(&away, &path).unwrap();
        }
        assert!(files(&store) == before, "{name}");
    }
    let server = Process::start(data.path(), &[]);
    data.assert_whole(&server);
    stop_well(server);
}

#[test]
fn no_store_is_made_where_a_look_failed() {
    for name in ["lock", "store-id", "store", "restoring"] {
        let dir = temporary();
        let path = dir.path().join(name);
        make_unreadable(&path);
        let text = does_not_start(dir.path(), 73);
        assert!(text.contains(path.to_str().unwrap()), "{text}");
        fs::remove_file(&path).unwrap();
        assert!(!dir.path().join("store").exists(), "{name}");
    }
}

/// All files under `folder` with what is in them.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.append(&mut self::files(&path));
        } else if path.is_file() {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// All that lies in the data directory, but for the lock, in which a process writes its id.
fn everything(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = files(data);
    all.remove(&data.join("lock"));
    all
}

/// The commands that only look at a store, and what each exits with.
fn look(data: &Path, code: i32) {
    let out = temporary();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    for args in [
        &["verify"][..],
        &["user", "list"],
        &["key", "list"],
        &["key", "export", "--public"],
        &["export", "-"],
        &["backup", &path(&out.path().join("backup"))],
    ] {
        let output = run(gatelet().args(args).arg("--data-dir").arg(data));
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    }
}

#[test]
fn a_command_that_only_looks_at_a_stopped_store_changes_no_byte_of_it() {
    let data = Data::new();
    look_at(&data);
    let server = Process::start(data.path(), &[]);
    register(&server, "latecomer");
    server.kill();
    look_at(&data);
    let server = Process::start(data.path(), &[]);
    data.assert_whole(&server);
    log_in(&server, "latecomer");
    stop_well(server);
}

fn look_at(data: &Data) {
    let before = everything(data.path());
    look(data.path(), 0);
    assert!(everything(data.path()) == before);
}

#[test]
fn a_diagnosis_of_a_damaged_store_changes_no_byte_of_it_either() {
    let data = Data::new();
    let log = OpenOptions::new().read(true).write(true).open(log_file(data.path())).unwrap();
    let used = used(&log_file(data.path())) as u64;
    log.write_all_at(&[0xff; 64], used - 4000).unwrap();
    let before = everything(data.path());
    look(data.path(), 65);
    assert!(everything(data.path()) == before);
    does_not_start(data.path(), 65);
    let (mut after, mut before) = (everything(data.path()), before);
    for all in [&mut after, &mut before] {
        all.remove(&data.path().join("ballast"));
    }
    assert!(after == before, "a refused start");
}

#[test]
fn what_others_may_read_is_told_at_the_start_and_by_verify() {
    let data = Data::new();
    let verify = || run(gatelet().args(["verify", "--data-dir"]).arg(data.path()));
    let found = |output: &Output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find(|line| line.starts_with("permissions")).unwrap().to_owned()
    };
    assert_eq!(verify().status.code(), Some(0), "{:?}", verify());
    let chmod = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let store = data.path().join("store");
    for (path, open, private) in [(log_file(data.path()), 0o644, 0o600), (store.clone(), 0o755, 0o700)] {
        chmod(&path, open);
        let output = verify();
        assert_eq!(output.status.code(), Some(65), "{output:?}");
        assert!(found(&output).contains(path.to_str().unwrap()), "{output:?}");
        let log = stop_well(Process::start(data.path(), &[]));
        assert!(log.contains("chmod -R go=") && log.contains(path.to_str().unwrap()), "{log}");
        chmod(&path, private);
    }
    let key = fs::read_dir(data.path().join("keys")).unwrap().next().unwrap().unwrap().path();
    chmod(&key, 0o640);
    let output = verify();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(found(&output).contains("mode 0640"), "{output:?}");
    chmod(&key, 0o600);
    let log = stop_well(Process::start(data.path(), &[]));
    assert!(!log.contains("chmod"), "{log}");
}

#[test]
fn a_start_after_a_clean_stop_finds_the_store_as_it_was_closed() {
    let data = Data::new();
    let mark = data.path().join("store/closed");
    assert!(mark.exists());
    let server = Process::start(data.path(), &[]);
    assert!(!mark.exists() && !data.path().join("store/aside").exists());
    let log = stop_well(server);
    assert!(!log.contains("not closed properly"), "{log}");
    Process::start(data.path(), &[]).kill();
    let log = stop_well(Process::start(data.path(), &[]));
    assert!(log.contains("not closed properly"), "{log}");
}

#[test]
fn verify_says_that_the_clock_ran_ahead_and_a_variable_accepts_the_right_one() {
    let data = Data::new();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077)); // as the executable has it
    let options = StoreOptions { cache: 1 << 20, min_free: 0, accept_clock: None };
    let ahead = Arc::new(Clock::manual(Timestamp::from_unix_secs(4_000_000_000)));
    Store::free_when_dropped();
    let store = Store::open(data.path(), &options, ahead.clone()).unwrap();
    ahead.now().unwrap();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(store.keep_time()).unwrap();
    store.close().unwrap();
    drop(store);

    let output = run(gatelet().args(["verify", "--data-dir"]).arg(data.path()));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let clock = text.lines().find(|line| line.starts_with("clock")).unwrap();
    assert!(clock.contains("warning") && clock.contains("GATELET_ACCEPT_CLOCK"), "{clock}");

    let server = Process::spawn(serve(data.path(), &[]).env("GATELET_ACCEPT_CLOCK", "1")).unwrap();
    log_in(&server, "user 2");
    stop_well(server);
    assert_eq!(run(gatelet().args(["verify", "--data-dir"]).arg(data.path())).status.code(), Some(0));
}
