//! A store that is damaged, gone, or not the one that belongs here.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::{Process, Tokens, log_file, serve, temporary};
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
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}
