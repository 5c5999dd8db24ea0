//! Slow clients, against the deadlines of a connection.

use std::io::Write;
use std::thread;
use std::time::Duration;

use crate::support::{credentials, request};
use crate::{PASSWORD, Server, assert_closed, drip, rest};

/// Longer than every deadline of a request; clients wait for 30 seconds.
const FOR_EVER: Duration = Duration::from_secs(40);

#[test]
fn an_endless_slow_body_is_refused_and_its_connection_closed() {
    let server = Server::start(&[]);
    let clients = [("Content-Length: 16000", &b" "[..]), ("Transfer-Encoding: chunked", b"1\r\n \r\n")];
    let clients = clients.map(|(header, drop)| {
        let mut client = server.client();
        client
            .send_raw(format!("POST /register HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n").as_bytes())
            .unwrap();
        drip(&client, drop, Duration::from_millis(50), FOR_EVER);
        client
    });
    for mut client in clients {
        let reply = client.receive(false).unwrap();
        assert_eq!(reply.status, 408, "{reply:?}");
        assert_closed(&client);
    }
}

#[test]
fn an_unwanted_slow_body_does_not_hold_the_connection() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.send_raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 16000\r\n\r\n").unwrap();
    drip(&client, b" ", Duration::from_millis(50), FOR_EVER);
    assert_eq!(client.receive(false).unwrap().status, 200);
    assert_closed(&client);
}

#[test]
fn a_missing_body_is_not_waited_for() {
    let server = Server::start(&[]);
    let clients = [("10", 408), ("10000000000", 413)].map(|(length, status)| {
        let mut client = server.client();
        let head = format!("POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        client.send_raw(head.as_bytes()).unwrap();
        (client, status)
    });
    for (mut client, status) in clients {
        assert_eq!(client.receive(false).unwrap().status, status);
        assert_closed(&client);
    }
}

#[test]
fn a_slow_head_is_cut_off() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.send_raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
    drip(&client, b"x", Duration::from_secs(1), FOR_EVER);
    assert_closed(&client);
}

#[test]
fn a_silent_connection_is_closed() {
    let server = Server::start(&[]);
    assert_eq!(rest(&server.client()).unwrap(), b"");
}

#[test]
fn empty_lines_do_not_keep_a_connection_alive() {
    let server = Server::start(&[]);
    let client = server.client();
    drip(&client, b"\r\n", Duration::from_millis(100), FOR_EVER);
    assert_closed(&client);
}

#[test]
fn a_slow_second_request_is_cut_off_too() {
    let server = Server::start(&[]);
    let mut client = server.client();
    assert_eq!(client.call("GET", "/healthz", None, None).status, 200);
    client.send_raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
    drip(&client, b"x", Duration::from_secs(1), FOR_EVER);
    assert_closed(&client);
}

#[test]
#[ignore = "takes a minute"]
fn half_a_second_head_has_the_deadline_of_an_idle_connection() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client
        .send_raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        .unwrap();
    assert_eq!(client.receive(false).unwrap().status, 200);
    client.socket().set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    assert_closed(&client);
}

#[test]
fn a_slow_client_within_the_deadlines_is_served() {
    let server = Server::start(&[]);
    let body = credentials("anna", PASSWORD).to_string();
    let text = request("POST", "/register", &[("Content-Type", "application/json")], Some(body.as_bytes()));
    let mut client = server.client();
    for piece in text.chunks(16) {
        client.send_raw(piece).unwrap();
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(client.receive(false).unwrap().status, 201);
    assert_eq!(client.call("GET", "/healthz", None, None).status, 200);
}

#[test]
#[ignore = "takes a minute"]
fn an_idle_connection_is_closed_after_a_minute() {
    let server = Server::start(&[]);
    let mut client = server.client();
    assert_eq!(client.call("GET", "/healthz", None, None).status, 200);
    thread::sleep(Duration::from_secs(50));
    assert_eq!(client.call("GET", "/healthz", None, None).status, 200);
    client.socket().set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    assert_closed(&client);
}

#[test]
#[ignore = "takes a minute"]
fn a_client_that_never_reads_is_closed() {
    let server = Server::start(&[]);
    let client = server.client();
    let mut stream = client.socket();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let requests = request("GET", "/user/me", &[], None).repeat(100);
    while stream.write_all(&requests).is_ok() {}
    // Such a client notices only the reset.
    for _ in 0..120 {
        if stream.take_error().unwrap().is_some() {
            return;
        }
        thread::sleep(Duration::from_secs(1));
    }
    panic!("still open");
}
