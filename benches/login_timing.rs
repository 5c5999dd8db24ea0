//! Measures whether the time of a refused login reveals the reason: unknown name, wrong password or disabled user,
//! interleaved, with the cheapest hash, where a difference would show most. `cargo bench --bench login_timing -- 8000`
//!
//! Compare the differences with the noise within one kind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use serde_json::json;

use support::{Client, Process, Tokens, credentials, serve, temporary};

const USERS: usize = 64;

fn main() {
    let samples = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(8_000_usize);
    for cost in ["ln=1,r=8,p=1", "ln=10,r=8,p=1"] {
        let dir = temporary();
        let args = ["--scrypt", cost, "--account-limit", "off", "--network-limit", "off"];
        let mut command = serve(dir.path(), &args);
        command.envs([("GATELET_ADMIN_USERNAME", "root"), ("GATELET_ADMIN_PASSWORD", "correct horse")]);
        let server = Process::spawn(&mut command).unwrap();
        let mut client = server.client();
        prepare(&mut client);
        println!("{cost}, medians of {samples} each:");
        measure(&mut client, samples);
        server.stop();
    }
}

fn prepare(client: &mut Client) {
    let root = Tokens::from_reply(&client.post("/login", &credentials("root", "correct horse")));
    for n in 0..USERS {
        for kind in ["known", "bared"] {
            let reply = client.post("/register", &credentials(&format!("{kind}-{n:03}"), "correct horse"));
            assert_eq!(reply.status, 201);
            if kind == "bared" {
                let place = reply.header("location").unwrap();
                let disabled = json!({ "disabled": true });
                assert_eq!(client.call("PATCH", place, Some(&root.access), Some(&disabled)).status, 200);
            }
        }
    }
}

/// Names of one length, and one password.
fn measure(client: &mut Client, samples: usize) {
    const KINDS: [&str; 3] = ["known", "ghost", "bared"];
    let mut times = KINDS.map(|_| Vec::with_capacity(samples));
    for step in 0..samples {
        let n = step.wrapping_mul(7919) % USERS;
        for turn in 0..KINDS.len() {
            let kind = (step + turn) % KINDS.len(); // none of them always comes first
            let body = credentials(&format!("{}-{n:03}", KINDS[kind]), "wrong horse!!");
            let began = Instant::now();
            let reply = client.post("/login", &body);
            times[kind].push(began.elapsed());
            assert_eq!(reply.status, 401);
        }
    }
    let every_other =
        |begin: usize| median(&times[0].iter().skip(begin).step_by(2).copied().collect::<Vec<_>>());
    let noise = difference(every_other(0), every_other(1));
    let [wrong, unknown, disabled] = times.map(|times| median(&times));
    println!("  wrong password {wrong:?}");
    println!("  unknown name   {unknown:?}: {:+.2} %", difference(unknown, wrong));
    println!("  disabled user  {disabled:?}: {:+.2} %", difference(disabled, wrong));
    println!("  the limit: {noise:+.2} % between every other wrong password and the rest");
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

fn difference(a: Duration, b: Duration) -> f64 {
    (a.as_secs_f64() / b.as_secs_f64() - 1.0) * 100.0
}
