//! The power fails: only synced data survives.

use std::fs::{self, File};
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::disk::Disk;
use crate::support::{Client, Process};
use crate::trial::Trial;

const ROUNDS: usize = 20;

/// Time limit for a server to notice the lost disk, finish its requests and exit.
const PATIENCE: Duration = Duration::from_secs(20);

/// `EX_TEMPFAIL`: a supervisor should start it again.
const STORE_FAILED: i32 = 75;

#[test]
#[ignore = "needs root: mounts a loop device"]
fn nothing_that_was_acknowledged_is_lost_by_a_power_cut() {
    let disk = Disk::make();
    let mut trial = Trial::begin("power cut", &disk.root().join("data"));
    let mut process = trial.start();
    for _ in 0..ROUNDS {
        let mut ended = None;
        process = trial.round(
            process,
            |process| {
                disk.cut();
                notice(&process);
                ended = Some(process.wait_within(PATIENCE));
            },
            |trial| {
                disk.power_on();
                trial.start()
            },
        );
        let ended = ended.unwrap();
        assert_eq!(ended.code(), STORE_FAILED, "{ended:?}");
    }
    trial.finish(process);
}

/// Tests writes until they fail, as a supervisor would: in some rounds there are no other writes.
fn notice(process: &Process) {
    let begun = Instant::now();
    let Ok(mut client) = Client::connect(process.address) else {
        return; // another client was faster
    };
    while begun.elapsed() < PATIENCE && client.try_call("GET", "/readyz", None, None).is_ok() {
        thread::sleep(Duration::from_millis(20));
    }
}

/// Proves that the disk loses data; otherwise the test above could pass on one that never does.
#[test]
#[ignore = "needs root: mounts a loop device"]
fn a_power_cut_takes_what_was_not_synced_and_leaves_what_was() {
    let disk = Disk::make();
    let path = |name: &str| disk.root().join(name);
    let (kept, grown, lost) = (path("kept"), path("grown"), path("lost"));
    let mut log = File::create(&grown).unwrap();
    for path in [&kept, &grown] {
        fs::write(path, "synced").unwrap();
        File::open(path).unwrap().sync_all().unwrap();
    }
    File::open(disk.root()).unwrap().sync_all().unwrap();
    log.write_all(&[b'x'; 5000]).unwrap();
    fs::write(&lost, "not synced").unwrap();
    disk.cut();
    assert!(fs::write(&kept, "too late").is_err());
    drop(log);
    disk.power_on();
    assert_eq!(fs::read(&kept).unwrap(), b"synced");
    assert_eq!(fs::read(&grown).unwrap(), b"synced");
    assert_eq!(fs::read(&lost).unwrap_or_default(), b"");
}
