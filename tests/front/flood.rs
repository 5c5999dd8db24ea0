//! A flood of logins at many times the capacity of hashing.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Process, Tokens, credentials};
use crate::{PASSWORD, Server};

const SLOTS: usize = 2;

/// A hash takes 32 MiB and a tenth of a second or more. Two slots compute a dozen or two a second, and each hash beyond
/// the slots shows in the memory.
const ARGS: [&str; 8] =
    ["--hash-slots", "2", "--scrypt", "ln=15,r=8,p=2", "--account-limit", "off", "--network-limit", "off"];
const HASH_KIB: u64 = 32 << 10;

/// The memory for buffers, connections and the allocator: less than a hash.
const SLACK_KIB: u64 = 24 << 10;

/// More clients than places in the queue; each sends its next login after this pause.
const ATTACKERS: usize = 160;
const PAUSE: Duration = Duration::from_millis(30);

/// On a busy machine hashes wait; the server closes a request after 15 s.
const LONGEST: Duration = Duration::from_secs(14);

/// The flood sends this many logins for each that is hashed,
const TIMES: usize = 50;
/// lasts until this many logins have been hashed, which takes many waves,
const HASHED: usize = 20;
/// or, on a busy machine, for this long.
const PATIENCE: Duration = Duration::from_secs(15);

/// A line of `/proc/<pid>/status` in KiB.
fn memory(server: &Process, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let value = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    value.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// The number of threads by name, without numbers at the end of a name.
fn threads(server: &Process) -> BTreeMap<String, usize> {
    let mut threads = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{}/task", server.id())).unwrap() {
        // A thread may have ended meanwhile.
        if let Ok(name) = fs::read_to_string(task.unwrap().path().join("comm")) {
            let name = name.trim_end().trim_end_matches(|c: char| c.is_ascii_digit());
            *threads.entry(name.to_owned()).or_default() += 1;
        }
    }
    threads
}

/// Stops the flood, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_flood_of_logins_takes_only_its_hash_slots() {
    let server = &Server::start(&ARGS);
    assert!(server.register("anna"));
    let tokens = &Tokens::from_reply(&server.client().post("/login", &credentials("anna", PASSWORD)));
    let over = &AtomicBool::new(false);
    let answers: &Mutex<BTreeMap<u16, usize>> = &Mutex::default();
    let count = |wanted: &[u16]| -> usize {
        let answers = answers.lock().unwrap();
        wanted.iter().map(|status| answers.get(status).copied().unwrap_or(0)).sum()
    };
    let checked = &AtomicUsize::new(0);

    let before = threads(&server.process);
    assert_eq!(before.get("hash-"), Some(&SLOTS), "{before:?}");
    let (rest, mut resident) = (memory(&server.process, "VmRSS"), Vec::new());

    thread::scope(|scope| {
        let _over = Over(over);
        let mut workers = Vec::new();
        for n in 0..ATTACKERS {
            workers.push(scope.spawn(move || {
                let (name, password, expected) =
                    [("anna", PASSWORD, 200), ("anna", "wrong horse", 401), ("nobody", PASSWORD, 401)][n % 3];
                let mut client = server.client();
                while !over.load(Ordering::Relaxed) {
                    let (sent, body) = (Instant::now(), credentials(name, password));
                    let reply = match client.try_call("POST", "/login", None, Some(&body)) {
                        Ok(reply) => reply,
                        Err(error) => {
                            assert!(sent.elapsed() > LONGEST, "{error}");
                            client = server.client();
                            continue;
                        }
                    };
                    if reply.status == 503 {
                        assert_eq!(reply.header("retry-after"), Some("2"));
                        assert_eq!(reply.json()["message"], "Too many logins at once.");
                    } else {
                        assert_eq!(reply.status, expected, "{reply:?}");
                    }
                    *answers.lock().unwrap().entry(reply.status).or_default() += 1;
                    thread::sleep(PAUSE);
                }
            }));
        }
        workers.push(scope.spawn(move || {
            let mut kept = server.client();
            while !over.load(Ordering::Relaxed) {
                for client in [&mut kept, &mut server.client()] {
                    let reply = client.call("GET", "/user/me", Some(&tokens.access), None);
                    assert_eq!(reply.status, 200, "{reply:?}");
                    let reply = client.call("POST", "/refresh", Some(&tokens.refresh), None);
                    assert_eq!(reply.status, 200, "{reply:?}");
                }
                checked.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PAUSE);
            }
        }));

        let begun = Instant::now();
        loop {
            assert!(workers.iter().all(|worker| !worker.is_finished()), "a client got an unexpected answer");
            let during = threads(&server.process);
            assert_eq!(during.get("hash-"), Some(&SLOTS), "{during:?}");
            let more = |name: &String| during[name] > before.get(name).copied().unwrap_or(0);
            assert!(!during.keys().any(more), "more threads than before: {before:?}, {during:?}");
            resident.push(memory(&server.process, "VmRSS"));
            let (hashed, refused) = (count(&[200, 401]), count(&[503]));
            let is_flood = hashed > 0 && refused >= (TIMES - 1) * hashed;
            if is_flood && (hashed >= HASHED || begun.elapsed() > PATIENCE) {
                break;
            }
            assert!(begun.elapsed() < 2 * PATIENCE, "no flood: {hashed} hashed, {refused} refused");
            thread::sleep(Duration::from_millis(20));
        }
    });

    let (answers, checked) = (answers.lock().unwrap(), checked.load(Ordering::Relaxed));
    let peak = memory(&server.process, "VmHWM");
    println!("{answers:?}, {checked} rounds of token checks, resident {rest} to {peak} KiB");
    assert!(checked > 0, "no token was checked");
    let slots = u64::try_from(SLOTS).unwrap();
    assert!(peak <= rest + slots * HASH_KIB + SLACK_KIB, "{peak} KiB at most, {rest} before");
    // Memory stays flat after the beginning.
    let highest = |part: &[u64]| part.iter().copied().max().unwrap();
    let (first, second) = resident.split_at(resident.len() / 2);
    let (first, second) = (highest(first), highest(second));
    assert!(second <= first + SLACK_KIB / 4, "{first} KiB at most in the first half, then {second}");
    let after = server.client().post("/login", &credentials("anna", PASSWORD));
    assert_eq!(after.status, 200, "{after:?}");
}
