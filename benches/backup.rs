//! The cost of a backup: time, resident memory of both processes, and the waits of a writer meanwhile; and the cost of
//! checking and restoring it. `cargo bench --bench backup -- 1000000`
//!
//! Compare the waits with those of the same writer without a backup.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::fill::fill;
use support::{Process, credentials, gatelet, memory_kib, temporary};

fn main() {
    let users = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(100_000_u64);
    let temporary = temporary();
    let (dir, file) = (temporary.path().join("data"), temporary.path().join("backup.jsonl.gz"));
    Process::start(&dir, &[]).stop(); // makes the keys
    let began = Instant::now();
    fill(&dir, users);
    println!("{users} users written in {:?}", began.elapsed());

    let server = Process::start(&dir, &["--log", "warn", "--registration-limit", "off"]);
    let address = server.address;
    let write_while = |what: &str, work: &mut dyn FnMut()| {
        let done = Arc::new(AtomicBool::new(false));
        let writer = {
            let (done, prefix) = (Arc::clone(&done), what.to_owned());
            thread::spawn(move || waits(address, &prefix, &done))
        };
        work();
        done.store(true, Ordering::Relaxed);
        let mut waits = writer.join().unwrap();
        waits.sort();
        let at = |part: usize| waits[(waits.len() - 1) * part / 1000];
        println!(
            "{what}: {} registrations, half in {:?}, 99 % in {:?}, the longest in {:?}; {} MiB resident at most",
            waits.len(),
            at(500),
            at(990),
            at(1000),
            peak_mib(server.id()),
        );
    };
    write_while("no backup", &mut || thread::sleep(Duration::from_secs(5)));
    write_while("backup", &mut || {
        time("backup", gatelet().arg("backup").arg(&file).arg("--data-dir").arg(&dir))
    });
    println!("{} bytes of backup", std::fs::metadata(&file).unwrap().len());
    write_while("verify", &mut || time("verify", gatelet().arg("verify").arg("--data-dir").arg(&dir)));
    server.stop();
    time("verify --backup", gatelet().args(["verify", "--backup"]).arg(&file));
    let restored = temporary.path().join("restored");
    time("restore", gatelet().arg("restore").arg(&file).arg("--data-dir").arg(&restored));
    let began = Instant::now();
    Process::start(&restored, &[]).stop();
    println!("first start of the restored store, and its stop: {:?}", began.elapsed());
}

/// The time of each registration of a client that sends one after the other.
fn waits(address: std::net::SocketAddr, prefix: &str, done: &AtomicBool) -> Vec<Duration> {
    let mut client = support::Client::connect(address).unwrap();
    let mut waits = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let body = credentials(&format!("{prefix} {}", waits.len()), "correct horse");
        let began = Instant::now();
        let reply = client.post("/register", &body);
        waits.push(began.elapsed());
        assert_eq!(reply.status, 201, "{reply:?}");
    }
    waits
}

/// Runs a command and prints its time and memory.
fn time(what: &str, command: &mut Command) {
    let began = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        peak = peak.max(peak_mib(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        thread::sleep(Duration::from_millis(20));
    };
    println!("{what}: {:?}, {peak} MiB resident at most", began.elapsed());
    assert!(status.success(), "{status}");
}

/// The peak memory of a process; 0 once it has ended.
fn peak_mib(id: u32) -> u64 {
    memory_kib(id, "VmHWM").unwrap_or_default() / 1024
}
