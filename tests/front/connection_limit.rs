//! More connections than `--max-connections`.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{Client, Tokens, credentials, request};
use crate::{PASSWORD, Server, assert_closed};

const HALF_A_HEAD: &[u8] = b"GET /user/me HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";

fn allow_files(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).unwrap();
    }
}

/// Hashes of about half a second, so that requests stay in progress for as long.
const SLOW_HASHES: [&str; 4] = ["--scrypt", "ln=16,r=8,p=3", "--hash-slots", "1"];

/// A client whose request is in progress.
fn begin(server: &Server, name: &str) -> Client {
    let body = credentials(name, PASSWORD).to_string();
    let mut client = server.client();
    client.send_raw(&request("POST", "/register", &[], Some(body.as_bytes()))).unwrap();
    client
}

fn finish(client: &mut Client) {
    let reply = client.receive(false).unwrap();
    assert_eq!(reply.status, 201, "{reply:?}");
}

/// Stops the good clients, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn good_clients_are_served_during_two_thousand_half_requests() {
    allow_files(4000);
    let server = &Server::start(&[]);
    assert!(server.register("anna"));
    let tokens = Tokens::from_reply(&server.client().post("/login", &credentials("anna", PASSWORD)));
    let me = |client: &mut Client| {
        assert_eq!(client.call("GET", "/user/me", Some(&tokens.access), None).status, 200);
    };
    let over = AtomicBool::new(false);
    let answered = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let counts = || answered.each_ref().map(|count| count.load(Ordering::Relaxed));

    let mut kept = server.client();
    thread::scope(|scope| {
        let good = [
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    me(&mut kept);
                    answered[0].fetch_add(1, Ordering::Relaxed);
                }
            }),
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    me(&mut server.client());
                    answered[1].fetch_add(1, Ordering::Relaxed);
                }
            }),
        ];
        let _over = Over(&over);
        let mut flood = Vec::new();
        for _ in 0..20 {
            let before = counts();
            for _ in 0..100 {
                let mut client = server.client();
                let _ = client.send_raw(HALF_A_HEAD); // it may be closed already, to make room for the next
                flood.push(client);
            }
            // Both good clients are served between any two waves, even on a busy machine.
            while counts().iter().zip(before).any(|(now, before)| *now == before) {
                assert!(good.iter().all(|client| !client.is_finished()), "a good client was not served");
                thread::sleep(Duration::from_millis(1));
            }
        }
        flood.iter().for_each(assert_closed);
    });
}

#[test]
fn at_the_limit_the_longest_idle_connection_is_closed() {
    let server = Server::start(&["--max-connections", "4"]);
    let mut idle: Vec<_> = (0..4).map(|_| server.client()).collect();
    for client in &mut idle {
        assert_eq!(client.call("GET", "/healthz", None, None).status, 200);
        thread::sleep(Duration::from_millis(2)); // so that they became idle in different milliseconds
    }
    // The first connection is no longer the longest idle.
    assert_eq!(idle[0].call("GET", "/healthz", None, None).status, 200);
    server.assert_answers();
    assert_closed(&idle[1]);
    for place in [0, 2, 3] {
        assert_eq!(idle[place].call("GET", "/healthz", None, None).status, 200);
    }
}

/// Tries `scene` with a server of four places, up to five times: on a busy machine the server may not read a request
/// before the connection may be evicted.
fn with_four_places(scene: impl Fn(&Server)) {
    let went_well = |_| {
        let server = Server::start(&[&["--max-connections", "4"], &SLOW_HASHES[..]].concat());
        catch_unwind(AssertUnwindSafe(|| scene(&server))).is_ok()
    };
    assert!((0..5).any(went_well));
}

#[test]
fn requests_in_progress_are_never_evicted() {
    with_four_places(|server| {
        let mut busy: Vec<_> = (0..3).map(|n| begin(server, &format!("user {n}"))).collect();
        for _ in 0..50 {
            server.assert_answers();
        }
        busy.iter_mut().for_each(finish);
    });
}

#[test]
fn with_all_requests_in_progress_the_next_one_waits_for_a_place() {
    with_four_places(|server| {
        let mut busy: Vec<_> = (0..4).map(|n| begin(server, &format!("user {n}"))).collect();
        // No pause: the fifth must not evict a connection whose request has not been read yet.
        let mut fifth = server.client();
        fifth.send_raw(&request("GET", "/healthz", &[], None)).unwrap();
        assert_eq!(fifth.receive(false).unwrap().status, 200);
        busy.iter_mut().for_each(finish);
    });
}

#[test]
fn connections_that_wait_for_a_body_are_evicted() {
    let server = Server::start(&["--max-connections", "4"]);
    let mut slow: Vec<_> = (0..4).map(|_| server.client()).collect();
    for client in &mut slow {
        client.send_raw(b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").unwrap();
    }
    for _ in 0..4 {
        server.assert_answers();
    }
    slow.iter().for_each(assert_closed);
}

#[test]
fn connections_with_half_a_head_are_evicted() {
    let server = Server::start(&["--max-connections", "4"]);
    let mut half: Vec<_> = (0..4).map(|_| server.client()).collect();
    for client in &mut half {
        client.send_raw(HALF_A_HEAD).unwrap();
    }
    for _ in 0..4 {
        server.assert_answers();
    }
    half.iter().for_each(assert_closed);
}

#[test]
fn clients_that_never_read_are_evicted() {
    let server = Server::start(&["--max-connections", "2"]);
    let requests = request("GET", "/user/me", &[], None).repeat(100);
    let deaf = [server.client(), server.client()];
    for client in &deaf {
        let mut stream = client.socket();
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        while stream.write_all(&requests).is_ok() {}
    }
    for _ in 0..4 {
        server.assert_answers();
    }
}

#[test]
fn a_thousand_closed_connections_take_no_places() {
    let server = Server::start(&["--max-connections", "8"]);
    for round in 0..1000 {
        let mut client = server.client();
        match round % 4 {
            0 => {}
            1 => client.send_raw(HALF_A_HEAD).unwrap(),
            2 => client.send_raw(b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{").unwrap(),
            _ => client.send_raw(&request("GET", "/healthz", &[], None)).unwrap(),
        }
    }
    let mut all: Vec<_> = (0..8).map(|_| server.client()).collect();
    for _ in 0..3 {
        for client in &mut all {
            assert_eq!(client.call("GET", "/healthz", None, None).status, 200);
        }
    }
}
