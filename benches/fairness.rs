//! Logins of a user beside a flood: the share that succeeds, and the waiting times. The floods are right passwords, wrong
//! ones and registrations, from one network and from a hundred; one account from a hundred networks; and the user's own
//! network. `cargo bench --bench fairness -- 40 [other-executable]` runs each for 40 seconds, with another build on
//! request; words select floods by name.
//!
//! Compare the waiting times with those of the same user without a flood, in the same run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Client, Process, credentials, gatelet, request, temporary};

const PASSWORD: &str = "correct horse";
const VICTIM: &str = "192.0.2.1";

/// The victim's pause between an answer and the next login, that of a brisk person. Each of a hundred flooding networks
/// gets a hash in about twenty seconds; a victim that asks for far more than that waits like the others.
const PAUSE: Duration = Duration::from_secs(5);

/// The pause of a flood's connection that was refused. Without one the flood's own threads would take the cores that the
/// server hashes on.
const REFUSED: Duration = Duration::from_millis(100);

/// Whether the name of a flood contains a word of the arguments, if there are any.
fn is_wanted(name: &str) -> bool {
    let words: Vec<_> =
        std::env::args().skip(1).filter(|arg| arg.chars().all(|c| c.is_ascii_alphabetic())).collect();
    words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
}

/// Connections of each flood; from a hundred networks, three of each.
const FROM_ONE: usize = 40;
const FROM_MANY: usize = 300;
const NETWORKS: usize = 100;

#[derive(Clone, Copy)]
enum Kind {
    /// All connections use one account.
    RightOfOne,
    /// Each network uses an account of its own.
    RightOfEach,
    Wrong,
    Registrations,
}

/// The origin of a flood.
#[derive(Clone, Copy)]
enum From {
    /// The victim's own address.
    Victims,
    One,
    Many,
}

const FLOODS: [(&str, Kind, From); 9] = [
    ("right passwords of one account, one network", Kind::RightOfOne, From::One),
    ("right passwords of one account, 100 networks", Kind::RightOfOne, From::Many),
    ("right passwords of 100 accounts, 100 networks", Kind::RightOfEach, From::Many),
    ("wrong passwords, one network", Kind::Wrong, From::One),
    ("wrong passwords, 100 networks", Kind::Wrong, From::Many),
    ("registrations, one network", Kind::Registrations, From::One),
    ("registrations, 100 networks", Kind::Registrations, From::Many),
    ("right passwords of one account, the victim's network", Kind::RightOfOne, From::Victims),
    ("wrong passwords, the victim's network", Kind::Wrong, From::Victims),
];

fn main() {
    let secs = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(40);
    let other = std::env::args().skip(1).find(|arg| arg.contains('/'));
    let dir = temporary();
    let server = &start(dir.path(), other.as_deref());
    let mut client = server.client();
    // Each from a network of its own: earlier work would count against the victim's network.
    let names = (0..NETWORKS).map(|n| (format!("203.0.113.{n}"), format!("mallory {n}")));
    for (address, name) in names.chain([(VICTIM.to_owned(), "victim".to_owned())]) {
        // On a busy machine a hash may exceed the deadline of its request.
        while ![201, 409].contains(&post(&mut client, &address, "/register", &credentials(&name, PASSWORD)).0)
        {
            client = server.client();
        }
    }
    let alone = log_in(server, Duration::from_secs(secs));
    println!("alone: {alone}");
    for (name, kind, from) in FLOODS.into_iter().filter(|(name, ..)| is_wanted(name)) {
        thread::sleep(Duration::from_secs(3)); // lets the queue drain
        let over = &AtomicBool::new(false);
        let [served, refused] = &[const { AtomicUsize::new(0) }; 2];
        thread::scope(|scope| {
            let connections = if let From::Many = from { FROM_MANY } else { FROM_ONE };
            for n in 0..connections {
                scope.spawn(move || flood(server, kind, from, n, over, served, refused));
            }
            thread::sleep(Duration::from_millis(500));
            let victim = log_in(server, Duration::from_secs(secs));
            over.store(true, Ordering::Relaxed);
            let ratio = victim.median.as_secs_f64() / alone.median.as_secs_f64();
            let (served, refused) = (served.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
            println!(
                "{name}: {victim}, {ratio:.1} times alone; the flood: {served} served, {refused} refused"
            );
        });
    }
}

fn start(dir: &Path, other: Option<&str>) -> Process {
    let mut command = match other {
        Some(path) => Command::new(path),
        None => gatelet(),
    };
    command.args(["serve", "--listen", "127.0.0.1:0", "--trusted-proxies", "127.0.0.1", "--log", "off"]);
    for limit in ["--account-limit", "--network-limit", "--registration-limit"] {
        command.args([limit, "off"]);
    }
    command.arg("--data-dir").arg(dir);
    Process::spawn(&mut command).unwrap()
}

/// One request from a client at `address`, and its status; 0 where it was not answered.
fn post(client: &mut Client, address: &str, path: &str, body: &Value) -> (u16, Duration) {
    let headers = [("Content-Type", "application/json"), ("X-Forwarded-For", address)];
    let began = Instant::now();
    let bytes = request("POST", path, &headers, Some(body.to_string().as_bytes()));
    let status = client.send_raw(&bytes).and_then(|()| client.receive(false)).map_or(0, |reply| reply.status);
    (status, began.elapsed())
}

struct Fared {
    logins: usize,
    succeeded: usize,
    /// The statuses of the other requests; 0 without an answer.
    failed: BTreeMap<u16, usize>,
    median: Duration,
    p99: Duration,
}

impl std::fmt::Display for Fared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let share = self.succeeded as f64 / self.logins as f64;
        let Self { logins, succeeded, failed, median, p99 } = self;
        write!(f, "{share:.2} ({succeeded} of {logins}), waiting {median:.0?} (p99 {p99:.0?})")?;
        if failed.is_empty() { Ok(()) } else { write!(f, ", failed by status {failed:?}") }
    }
}

/// The victim's logins, one after the other.
fn log_in(server: &Process, span: Duration) -> Fared {
    let began = Instant::now();
    let (mut logins, mut waits, mut failed) = (0, Vec::new(), BTreeMap::new());
    while began.elapsed() < span {
        let (status, took) = post(&mut server.client(), VICTIM, "/login", &credentials("victim", PASSWORD));
        logins += 1;
        match status {
            200 => waits.push(took),
            other => *failed.entry(other).or_default() += 1,
        }
        thread::sleep(PAUSE);
    }
    waits.sort();
    let at = |part: f64| waits.get((waits.len() as f64 * part) as usize).copied().unwrap_or_default();
    Fared { logins, succeeded: waits.len(), failed, median: at(0.5), p99: at(0.99) }
}

/// One connection of the flood, which sends its next request as soon as it is served.
fn flood(
    server: &Process,
    kind: Kind,
    from: From,
    n: usize,
    over: &AtomicBool,
    served: &AtomicUsize,
    refused: &AtomicUsize,
) {
    let address = match from {
        From::Victims => VICTIM.to_owned(),
        From::One => "198.51.100.1".to_owned(),
        From::Many => format!("198.51.100.{}", n % NETWORKS),
    };
    let mut client = server.client();
    for step in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let (path, body) = match kind {
            Kind::RightOfOne => ("/login", credentials("mallory 0", PASSWORD)),
            Kind::RightOfEach => ("/login", credentials(&format!("mallory {}", n % NETWORKS), PASSWORD)),
            Kind::Wrong => ("/login", credentials(&format!("nobody {n} {step}"), PASSWORD)),
            Kind::Registrations => ("/register", credentials(&format!("new {address} {n} {step}"), PASSWORD)),
        };
        match post(&mut client, &address, path, &body).0 {
            503 => {
                thread::sleep(REFUSED);
                refused.fetch_add(1, Ordering::Relaxed)
            }
            0 => {
                client = server.client();
                0
            }
            _ => served.fetch_add(1, Ordering::Relaxed),
        };
    }
}
