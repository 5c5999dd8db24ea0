//! Signals: what was begun is finished, and the exit code is 0.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::support::{CHEAP, Client, Process, Reply, credentials, request, serve, temporary};
use crate::{PASSWORD, end_of, log_in, pid, register, stop_well};

/// A connection on which nothing has happened for longer than this may be closed at a stop although a request
/// is on its way. (The server waits twice as long.)
const IDLE: Duration = Duration::from_millis(250);

fn signal(server: &Process, signal: Signal) {
    kill_process(pid(server), signal).unwrap();
}

/// Waits until the server accepts no more connections: it has seen the signal.
fn until_closed(server: &Process) {
    while TcpStream::connect(server.address).is_ok() {
        thread::sleep(Duration::from_millis(5));
    }
}

fn says_close(reply: &Reply) -> bool {
    reply.header("connection") == Some("close")
}

/// Sends the same kind of request over and over on one connection until the server says that it closes it.
/// Every request must be answered as a whole; `expected` looks at the answers.
fn until_told_to_close(
    mut client: Client,
    answered: &AtomicUsize,
    next: impl Fn(usize) -> Vec<u8>,
    expected: impl Fn(usize, &Reply),
) -> usize {
    let mut last = Instant::now();
    for count in 0.. {
        let idle = last.elapsed();
        let reply = client.send_raw(&next(count)).and_then(|()| client.receive(false));
        match reply {
            Ok(reply) => {
                expected(count, &reply);
                answered.fetch_add(1, Ordering::Relaxed);
                if says_close(&reply) {
                    assert!(client.receive(false).is_err(), "goes on after Connection: close");
                    return count + 1;
                }
            }
            Err(_) if idle > IDLE => return count,
            Err(error) => panic!("request {count} was cut: {error}"),
        }
        last = Instant::now();
    }
    unreachable!()
}

/// A server that was started to hear all signals, or to ignore one, whatever its caller ignores.
fn start_with_signals(dir: &Path, signals: &str, args: &[&str]) -> Process {
    let serve = serve(dir, args);
    let mut command = Command::new("env");
    command.env_clear().arg("--default-signal").arg(signals).arg(serve.get_program()).args(serve.get_args());
    Process::spawn(&mut command).unwrap()
}

fn cuts_nothing_in_mid_load(with: Signal) {
    let dir = temporary();
    let server = start_with_signals(dir.path(), "--default-signal", &["--log", "warn"]);
    register(&server, "anna");
    let tokens = log_in(&server, "anna");
    let bearer = format!("Bearer {}", tokens.access);
    let json = [("Content-Type", "application/json")];
    let answered = AtomicUsize::new(0);
    let is = |status: u16| move |_: usize, reply: &Reply| assert_eq!(reply.status, status, "{reply:?}");

    let registered = thread::scope(|scope| {
        for _ in 0..4 {
            let me = request("GET", "/user/me", &[("Authorization", &bearer)], None);
            let (client, answered) = (server.client(), &answered);
            scope.spawn(move || until_told_to_close(client, answered, |_| me.clone(), is(200)));
        }
        for _ in 0..2 {
            let body = credentials("anna", PASSWORD).to_string();
            let login = request("POST", "/login", &json, Some(body.as_bytes()));
            let (client, answered) = (server.client(), &answered);
            scope.spawn(move || until_told_to_close(client, answered, |_| login.clone(), is(200)));
        }
        let (client, answered) = (server.client(), &answered);
        let registered = scope.spawn(move || {
            let body = |count| credentials(&format!("user {count}"), PASSWORD).to_string();
            let next = |count| request("POST", "/register", &json, Some(body(count).as_bytes()));
            until_told_to_close(client, answered, next, is(201))
        });
        while answered.load(Ordering::Relaxed) < 500 {
            thread::sleep(Duration::from_millis(5));
        }
        signal(&server, with);
        registered.join().unwrap()
    });
    assert!(TcpStream::connect(server.address).is_err());
    let ended = end_of(server);
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(!ended.log.contains("gave up on"), "{}", ended.log);

    let server = Process::start(dir.path(), &[]);
    for count in 0..registered {
        log_in(&server, &format!("user {count}"));
    }
    stop_well(server);
}

#[test]
fn sigterm_in_mid_load_cuts_nothing() {
    cuts_nothing_in_mid_load(Signal::TERM);
}

#[test]
fn sigint_in_mid_load_cuts_nothing() {
    cuts_nothing_in_mid_load(Signal::INT);
}

#[test]
fn sighup_in_mid_load_cuts_nothing() {
    cuts_nothing_in_mid_load(Signal::HUP);
}

#[test]
fn sigquit_in_mid_load_cuts_nothing() {
    cuts_nothing_in_mid_load(Signal::QUIT);
}

#[test]
fn a_server_under_nohup_outlives_its_terminal() {
    let dir = temporary();
    let server = start_with_signals(dir.path(), "--ignore-signal=HUP", &[]);
    for _ in 0..100 {
        signal(&server, Signal::HUP);
        assert_eq!(server.client().call("GET", "/healthz", None, None).status, 200);
    }
    let log = stop_well(server);
    assert!(!log.contains("SIGHUP"), "{log}");
}

#[test]
fn signals_that_others_send_to_have_logs_opened_anew_end_nothing() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    for number in [Signal::USR1, Signal::USR2, Signal::ALARM, Signal::XFSZ] {
        signal(&server, number);
        assert_eq!(server.client().call("GET", "/healthz", None, None).status, 200);
    }
    stop_well(server);
}

#[test]
fn a_request_that_has_begun_is_finished() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    let body = credentials("anna", PASSWORD).to_string();
    let text = request("POST", "/register", &[], Some(body.as_bytes()));
    let (first, second) = text.split_at(text.len() - 10);
    let mut client = server.client();
    client.send_raw(first).unwrap();
    // Answered after the other was read, so that one has begun.
    assert_eq!(server.client().call("GET", "/healthz", None, None).status, 200);

    signal(&server, Signal::TERM);
    until_closed(&server);
    client.send_raw(second).unwrap();
    let reply = client.receive(false).unwrap();
    assert_eq!(reply.status, 201, "{reply:?}");
    assert!(says_close(&reply));
    let ended = end_of(server);
    assert_eq!(ended.code(), 0, "{ended:?}");
    log_in(&Process::start(dir.path(), &[]), "anna");
}

#[test]
fn logins_that_wait_for_a_hash_are_answered() {
    let dir = temporary();
    let server = Process::start(dir.path(), &["--scrypt", "ln=13,r=8,p=1", "--hash-slots", "1"]);
    register(&server, "anna");
    let body = credentials("anna", PASSWORD).to_string();
    let login = request("POST", "/login", &[], Some(body.as_bytes()));
    let mut clients: Vec<_> = (0..4).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send_raw(&login).unwrap();
    }
    assert_eq!(server.client().call("GET", "/healthz", None, None).status, 200);
    signal(&server, Signal::TERM);
    for client in &mut clients {
        let reply = client.receive(false).unwrap();
        assert!([200, 503].contains(&reply.status), "{reply:?}");
    }
    assert_eq!(end_of(server).code(), 0);
}

#[test]
fn a_request_that_waits_for_room_is_answered() {
    let dir = temporary();
    // A hash of most of a second: what is being worked on keeps its place.
    let server = Process::start(dir.path(), &["--max-connections", "1", "--scrypt", "ln=16,r=8,p=4"]);
    let body = credentials("anna", PASSWORD).to_string();
    let mut busy = server.client();
    busy.send_raw(&request("POST", "/register", &[], Some(body.as_bytes()))).unwrap();
    thread::sleep(Duration::from_millis(100)); // nobody can ask whether it has been read: there is no room
    let mut waiting = server.client();
    waiting.send_raw(&request("GET", "/healthz", &[], None)).unwrap();
    thread::sleep(Duration::from_millis(100));

    signal(&server, Signal::TERM);
    until_closed(&server);
    assert_eq!(busy.receive(false).unwrap().status, 201);
    assert_eq!(waiting.receive(false).unwrap().status, 200);
    assert_eq!(end_of(server).code(), 0);
}

#[test]
fn idle_connections_do_not_hold_up_the_stop() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    let mut clients: Vec<_> = (0..10).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.call("GET", "/healthz", None, None).status, 200);
    }
    let silent = server.client();
    signal(&server, Signal::TERM);
    let ended = end_of(server);
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(!ended.log.contains("gave up on"), "{}", ended.log);
    drop((clients, silent));
}

#[test]
fn a_client_that_never_finishes_its_request_does_not_hold_up_the_stop() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    let mut clients = [server.client(), server.client()];
    clients[0].send_raw(b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").unwrap();
    clients[1].send_raw(b"POST /login HTTP/1.1\r\nHost: x\r\nContent-").unwrap();
    assert_eq!(server.client().call("GET", "/healthz", None, None).status, 200);
    signal(&server, Signal::TERM);
    assert_eq!(end_of(server).code(), 0);
}

#[test]
fn a_second_signal_stops_at_once() {
    let dir = temporary();
    let server = Process::start(dir.path(), &[]);
    register(&server, "anna");
    let mut slow = server.client();
    slow.send_raw(b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").unwrap();
    assert_eq!(server.client().call("GET", "/healthz", None, None).status, 200);
    signal(&server, Signal::TERM);
    until_closed(&server);
    signal(&server, Signal::INT);
    let ended = end_of(server);
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.log.contains("SIGTERM received: finishing the requests under way"), "{}", ended.log);
    assert!(ended.log.contains("SIGINT received again: stopping at once"), "{}", ended.log);
    assert!(slow.receive(false).is_err());
    log_in(&Process::start(dir.path(), &[]), "anna");
}

#[test]
fn new_connections_at_a_stop_are_answered_whole_or_not_at_all() {
    let dir = temporary();
    let server = Process::start(dir.path(), &["--scrypt", CHEAP]);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let reply = Client::connect(server.address)
                        .and_then(|mut client| client.try_call("GET", "/healthz", None, None));
                    match reply {
                        Ok(reply) => assert_eq!(reply.json(), serde_json::json!({"status": "alive"})),
                        Err(error) => return assert!(nothing_came(&error), "{error}"),
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while answered.load(Ordering::Relaxed) < 100 {
            thread::sleep(Duration::from_millis(5));
        }
        signal(&server, Signal::TERM);
    });
    assert_eq!(end_of(server).code(), 0);
}

/// Refused, or closed before the first byte of an answer: a connection that the server never took over.
fn nothing_came(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | BrokenPipe)
}

#[test]
fn a_crash_leaves_no_memory_behind() {
    let limit = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: limit.maximum, ..limit }).unwrap(); // the server inherits it
    let (dir, elsewhere) = (temporary(), temporary());
    let server = Process::spawn(serve(dir.path(), &[]).current_dir(elsewhere.path())).unwrap();
    register(&server, "anna");
    signal(&server, Signal::ABORT);
    let ended = end_of(server);
    assert_eq!(ended.status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!ended.status.core_dumped());
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}
