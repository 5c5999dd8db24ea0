//! The footprint of a server: milliseconds from the start of the process to its first answer, and resident memory,
//! with an empty store and with many users. `cargo bench --bench footprint -- 1000000`
//!
//! Compare the times with a start of the same executable for `--version`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::fill::{fill, name};
use support::{Process, Tokens, credentials, gatelet, memory_kib, temporary};

fn main() {
    let users = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(100_000_u64);
    let dir = temporary();
    let dir = dir.path().join("data");

    let began = Instant::now();
    gatelet().arg("--version").output().unwrap();
    println!("gatelet --version: {:?}", began.elapsed());

    start("first start", &dir);
    start("empty store", &dir);
    let server = Process::start(&dir, &[]);
    server.client().post("/register", &credentials("anna", "correct horse"));
    server.stop();

    let began = Instant::now();
    fill(&dir, users);
    println!("{users} users written in {:?}", began.elapsed());
    start("many users, first start after they were written", &dir);
    start("many users", &dir);
    let server = Process::start(&dir, &["--log", "warn", "--registration-limit", "off"]);
    ask(&server, users);
    println!("after reading 100,000 random users: {} MiB resident", resident_mib(&server));
    server.stop();
}

fn start(what: &str, dir: &Path) {
    let began = Instant::now();
    let server = Process::start(dir, &[]);
    let reply = server.client().call("GET", "/healthz", None, None);
    let took = began.elapsed();
    assert_eq!(reply.status, 200);
    std::thread::sleep(Duration::from_secs(1));
    println!("{what}: answers after {took:?}, {} MiB resident", resident_mib(&server));
    server.stop();
}

fn resident_mib(server: &Process) -> u64 {
    memory_kib(server.id(), "VmRSS").unwrap() / 1024
}

/// Logs one user in and reads random others, by registering their names.
fn ask(server: &Process, users: u64) {
    let mut client = server.client();
    Tokens::from_reply(&client.post("/login", &credentials("anna", "correct horse")));
    for step in 0..100_000_u64 {
        let n = step.wrapping_mul(7_919_777) % users;
        let reply = client.post("/register", &credentials(&name(n), "correct horse"));
        assert_eq!(reply.status, 409);
    }
}
