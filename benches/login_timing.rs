//! Whether the time of a refused login tells why: unknown name, wrong password and disabled user, interleaved, with
//! the cheapest hash, where a difference would show most. `cargo bench --bench login_timing -- 8000`
//!
//! The limit that the differences are to be seen against is the noise between two halves of the same kind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use serde_json::Value;

use support::{Client, Process, credentials, temporary};

const USERS: usize = 64;

fn main() {
    let samples = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(8_000_usize);
    for cost in ["ln=1,r=8,p=1", "ln=10,r=8,p=1"] {
        let dir = temporary();
        let args = ["--scrypt", cost, "--account-limit", "off", "--network-limit", "off"];
        let server = Process::start(dir.path(), &args);
        let mut client = server.client();
        prepare(&mut client);
        println!("{cost}, medians of {samples} each:");
        measure(&mut client, samples);
        server.stop();
    }
}

fn prepare(client: &mut Client) {
    let admin = register(client, "root");
    for n in 0..USERS {
        register(client, &format!("known-{n:03}"));
        register(client, &format!("barred{n:03}"));
    }
    drop(admin);
}

fn register(client: &mut Client, name: &str) {
    assert_eq!(client.post("/register", &credentials(name, "correct horse")).status, 201);
}

/// Names of one length, passwords of one length.
fn measure(client: &mut Client, samples: usize) {
    let mut unknown = Vec::with_capacity(samples);
    let mut wrong = Vec::with_capacity(samples);
    for step in 0..samples {
        let n = step.wrapping_mul(7919) % USERS;
        let pair = [(format!("ghost-{n:03}"), true), (format!("known-{n:03}"), false)];
        // Neither always comes first.
        for (name, is_unknown) in pair.iter().skip(step % 2).chain(pair.iter().take(step % 2)) {
            let body: Value = credentials(name, "wrong horse!!");
            let began = Instant::now();
            let reply = client.post("/login", &body);
            let took = began.elapsed();
            assert_eq!(reply.status, 401);
            if *is_unknown { unknown.push(took) } else { wrong.push(took) }
        }
    }
    let (first, second) = wrong.split_at(samples / 2);
    let noise = difference(median(first), median(second));
    let (unknown, wrong) = (median(&unknown), median(&wrong));
    println!("  unknown {unknown:?}, wrong {wrong:?}: {:+.2} %", difference(unknown, wrong));
    println!("  noise between halves of the latter: {noise:+.2} %");
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

fn difference(a: Duration, b: Duration) -> f64 {
    (a.as_secs_f64() / b.as_secs_f64() - 1.0) * 100.0
}
