//! More clients than there is room for.

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

/// Hashes that take about half a second: what asks for one is under way for as long.
const SLOW_HASHES: [&str; 4] = ["--scrypt", "ln=16,r=8,p=3", "--hash-slots", "1"];

/// A client whose request is being worked on.
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

/// Tells the others that it is over, also when it is because a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn two_thousand_half_requests_are_closed_while_good_clients_are_served() {
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
                let _ = client.send_raw(HALF_A_HEAD); // it may be gone already, to make room for the next
                flood.push(client);
            }
            // However busy the machine is, the good clients get a word in between.
            while counts().iter().zip(before).any(|(now, before)| *now == before) {
                assert!(good.iter().all(|client| !client.is_finished()), "a good client was not served");
                thread::sleep(Duration::from_millis(1));
            }
        }
        flood.iter().for_each(assert_closed);
    });
}

#[test]
fn a_full_house_makes_room_for_the_next_by_closing_the_longest_idle() {
    let server = Server::start(&["--max-connections", "4"]);
    let mut idle: Vec<_> = (0..4).map(|_| server.client()).collect();
    for client in &mut idle {
        assert_eq!(client.call("GET", "/healthz", None, None).status, 200);
        thread::sleep(Duration::from_millis(2)); // idle since milliseconds that can be told apart
    }
    // The first is not the longest idle any more.
    assert_eq!(idle[0].call("GET", "/healthz", None, None).status, 200);
    server.assert_answers();
    assert_closed(&idle[1]);
    for place in [0, 2, 3] {
        assert_eq!(idle[place].call("GET", "/healthz", None, None).status, 200);
    }
}

/// Tries `scene` with a server of four places. On a machine that is busy a client may not send, nor the server read, within the
/// time that clients have to themselves: then it is tried again.
fn with_four_places(scene: impl Fn(&Server)) {
    let went_well = |_| {
        let server = Server::start(&[&["--max-connections", "4"], &SLOW_HASHES[..]].concat());
        catch_unwind(AssertUnwindSafe(|| scene(&server))).is_ok()
    };
    assert!((0..5).any(went_well));
}

#[test]
fn requests_that_are_worked_on_are_never_evicted() {
    with_four_places(|server| {
        let mut busy: Vec<_> = (0..3).map(|n| begin(server, &format!("user {n}"))).collect();
        for _ in 0..50 {
            server.assert_answers();
        }
        busy.iter_mut().for_each(finish);
    });
}

#[test]
fn where_all_are_worked_on_the_next_is_served_as_soon_as_one_is_done() {
    with_four_places(|server| {
        let mut busy: Vec<_> = (0..4).map(|n| begin(server, &format!("user {n}"))).collect();
        // No sleep in between: the fifth must not push out one whose request has not been read yet.
        let mut fifth = server.client();
        fifth.send_raw(&request("GET", "/healthz", &[], None)).unwrap();
        assert_eq!(fifth.receive(false).unwrap().status, 200);
        busy.iter_mut().for_each(finish);
    });
}

#[test]
fn bodies_that_do_not_come_make_room_at_once() {
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
fn half_requests_make_room_at_once() {
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
fn clients_that_never_read_make_room() {
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
fn a_thousand_connections_that_come_and_go_leave_nothing_behind() {
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
