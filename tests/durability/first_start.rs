//! The first start is interrupted: the next one makes a whole store.

use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::disk::Disk;
use crate::support::{Process, Random, credentials, serve, temporary};

const ROUNDS: usize = 20;

#[test]
fn a_first_start_may_be_killed_at_any_moment() {
    let dir = temporary();
    let mut random = Random::begin("first start, killed");
    for round in 0..ROUNDS {
        let data = dir.path().join(round.to_string());
        let mut child = serve(&data, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(moment(&mut random));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_works(&data);
    }
}

#[test]
fn a_start_after_a_kill_may_be_killed_at_any_moment() {
    let dir = temporary();
    let mut random = Random::begin("start after a kill, killed");
    let process = Process::start(dir.path(), &[]);
    for user in 0..50 {
        let user = credentials(&format!("user {user}"), "correct horse");
        assert_eq!(process.client().post("/register", &user).status, 201);
    }
    process.kill();
    for _ in 0..ROUNDS {
        let mut child = serve(dir.path(), &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(moment(&mut random));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let process = Process::start(dir.path(), &[]);
    for user in 0..50 {
        let user = credentials(&format!("user {user}"), "correct horse");
        assert_eq!(process.client().post("/login", &user).status, 200);
    }
    assert!(!dir.path().join("store/aside").exists());
}

#[test]
#[ignore = "needs root: mounts a loop device"]
fn the_power_may_go_at_any_moment_of_a_first_start() {
    let disk = Disk::make();
    let mut random = Random::begin("first start, power cut");
    for round in 0..ROUNDS {
        let data = disk.root().join(round.to_string());
        let moment = moment(&mut random);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(moment);
                disk.cut();
            });
            drop(Process::spawn(&mut serve(&data, &[])));
        });
        disk.power_on();
        assert_works(&data);
    }
}

/// A random moment of a first start, which takes some twenty milliseconds.
fn moment(random: &mut Random) -> Duration {
    Duration::from_micros(random.below(30_000) as u64)
}

fn assert_works(data: &Path) {
    let process = Process::start(data, &[]);
    let anna = credentials("anna", "correct horse");
    assert_eq!(process.client().post("/register", &anna).status, 201);
    process.kill();
    let process = Process::start(data, &[]);
    assert_eq!(process.client().post("/login", &anna).status, 200);
}
