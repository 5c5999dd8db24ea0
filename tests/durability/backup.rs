//! Power cuts during a restore, and right after a backup.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use crate::disk::Disk;
use crate::support::fill::filled;
use crate::support::{Process, Random, gatelet, serve, temporary};

const ROUNDS: usize = 20;

/// Enough that a restore takes several times as long as a process needs to start.
const USERS: usize = 4000;

/// `EX_DATAERR`: the directory holds no store.
const NO_STORE: i32 = 65;

/// Runs a command on a data directory. Returns its exit code and output.
fn run(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = gatelet().args(args).arg("--data-dir").arg(dir).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn succeeds(dir: &Path, args: &[&str]) -> String {
    let (code, said) = run(dir, args);
    assert_eq!(code, Some(0), "{args:?}: {said}");
    said
}

#[test]
#[ignore = "needs root: mounts a loop device"]
fn a_power_cut_in_a_restore_leaves_the_whole_store_or_one_that_no_start_takes_for_it() {
    let (disk, data, other) = (Disk::make(), filled(USERS as u64), temporary());
    let file = other.path().join("backup.jsonl.gz");
    let restore = ["restore", file.to_str().unwrap()];
    succeeds(data.path(), &["backup", file.to_str().unwrap()]);
    let begun = Instant::now();
    succeeds(&disk.root().join("measured"), &restore);
    let whole = begun.elapsed();

    let mut random = Random::begin("power cut in a restore");
    let (mut finished, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let target = disk.root().join(round.to_string());
        let moment = random.moment_in(whole, 1200);
        let mut command = gatelet();
        command.args(restore).arg("--data-dir").arg(&target).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // In every other round the delay starts once the first file exists: so some cuts hit a half-made
        // store, even on a slow machine.
        while round % 2 == 0 && !target.join("restoring").exists() && child.try_wait().unwrap().is_none() {
            thread::yield_now();
        }
        thread::sleep(moment);
        let had_ended = child.try_wait().unwrap();
        disk.cut();
        child.wait().unwrap();
        disk.power_on();
        let was_told = had_ended.is_some_and(|status| status.success());
        // Whether a start accepts the directory as a store: `serve` would make an empty one in an empty
        // directory.
        let (code, said) = run(&target, &["export", "-"]);
        let is_whole = code == Some(0);
        assert!(is_whole || !was_told, "round {round}: a restore that had succeeded is gone: {said}");
        if target.join("restoring").exists() {
            let ended = Process::spawn(&mut serve(&target, &[])).err().expect("a start takes it");
            assert_eq!(ended.code(), NO_STORE, "{ended:?}");
            refused += 1;
        }
        if !is_whole {
            succeeds(&target, &restore);
        }
        let exported = succeeds(&target, &["export", "-"]);
        let users = exported.lines().filter(|line| line.starts_with("user ")).count();
        assert_eq!(users, USERS, "round {round}, cut after {moment:?} of {whole:?}");
        succeeds(&target, &["verify"]);
        fs::remove_dir_all(&target).unwrap();
        finished += usize::from(was_told);
    }
    println!("of {ROUNDS} restores {finished} had ended well, {refused} left what no start takes");
    assert!(refused > 0);
}

#[test]
#[ignore = "needs root: mounts a loop device"]
fn a_backup_that_was_made_survives_a_power_cut() {
    let (disk, data) = (Disk::make(), filled(200));
    let make = |name: &str| {
        let file = disk.root().join(name);
        let file = file.to_str().unwrap();
        succeeds(data.path(), &["backup", file]);
        disk.cut();
        disk.power_on();
        succeeds(data.path(), &["verify", "--backup", file]);
    };
    make("stopped.jsonl.gz");
    let server = Process::start(data.path(), &[]);
    make("running.jsonl.gz");
    server.stop();
}
