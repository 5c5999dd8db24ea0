//! Requests that are too large.

use crate::support::{credentials, request};
use crate::{PASSWORD, Server, assert_closed};

const TOO_LARGE_HEAD: u16 = 431;

fn registration(name: &str, headers: &[(String, String)]) -> Vec<u8> {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    request("POST", "/register", &headers, Some(credentials(name, PASSWORD).to_string().as_bytes()))
}

fn headers(count: usize, length: usize) -> Vec<(String, String)> {
    (0..count).map(|n| (format!("X-{n}"), "x".repeat(length))).collect()
}

/// Sends a registration and returns its status. Asserts that a refused one has created no user.
fn try_register(server: &Server, headers: &[(String, String)]) -> u16 {
    let mut client = server.client();
    client.send_raw(&registration("anna", headers)).unwrap();
    let reply = client.receive(false).unwrap();
    if reply.status != 201 {
        assert_closed(&client);
        assert!(server.register("anna"), "refused with {}, but registered", reply.status);
    }
    reply.status
}

#[test]
fn sixty_four_headers_are_read_and_one_more_is_refused() {
    // With Host and Content-Length:
    assert_eq!(try_register(&Server::start(&[]), &headers(62, 10)), 201);
    assert_eq!(try_register(&Server::start(&[]), &headers(63, 10)), TOO_LARGE_HEAD);
    assert_eq!(try_register(&Server::start(&[]), &headers(1000, 1)), TOO_LARGE_HEAD);
}

#[test]
fn fifteen_kib_of_headers_are_read_and_sixteen_are_refused() {
    assert_eq!(try_register(&Server::start(&[]), &headers(1, 15 * 1024)), 201);
    assert_eq!(try_register(&Server::start(&[]), &headers(15, 1000)), 201);
    assert_eq!(try_register(&Server::start(&[]), &headers(1, 16 * 1024)), TOO_LARGE_HEAD);
    assert_eq!(try_register(&Server::start(&[]), &headers(17, 1000)), TOO_LARGE_HEAD);
    assert_eq!(try_register(&Server::start(&[]), &headers(1, 100_000)), TOO_LARGE_HEAD);
}

#[test]
fn a_request_target_of_16_kib_is_refused() {
    let server = Server::start(&[]);
    for length in [16 * 1024, 70_000] {
        let mut client = server.client();
        client.send_raw(&request("GET", &format!("/{}", "x".repeat(length)), &[], None)).unwrap();
        let status = client.receive(false).unwrap().status;
        assert!([400, 414, 431].contains(&status), "{status}");
        assert_closed(&client);
    }
    server.assert_answers();
}

#[test]
fn a_chunked_body_is_counted_while_it_is_read() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let json = credentials("anna", PASSWORD).to_string();
    let mut text = b"POST /register HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    text.extend(format!("{:x}\r\n{json}\r\n", json.len()).bytes());
    for _ in 0..17 {
        text.extend(format!("400\r\n{}\r\n", " ".repeat(1024)).bytes());
    }
    text.extend(b"0\r\n\r\n");
    client.send_raw(&text).unwrap();
    let reply = client.receive(false).unwrap();
    assert_eq!(reply.status, 413, "{reply:?}");
    assert_eq!(reply.json()["code"], 413);
    assert!(server.register("anna"));
}

#[test]
fn an_endless_chunked_body_is_refused() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.send_raw(b"POST /register HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(4096)).repeat(16);
    while client.send_raw(chunk.as_bytes()).is_ok() {}
    // The client goes on sending, so a reset may discard the answer. It must not be a success.
    if let Ok(reply) = client.receive(false) {
        assert_eq!(reply.status, 413);
    }
    server.assert_answers();
}

#[test]
fn a_body_of_16_kib_is_read_and_one_byte_more_is_not() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let json = credentials("anna", PASSWORD).to_string();
    for (length, status) in [(16 * 1024, 201), (16 * 1024 + 1, 413), (100_000, 413)] {
        let body = json.clone() + &" ".repeat(length - json.len());
        client.send_raw(&request("POST", "/register", &[], Some(body.as_bytes()))).unwrap();
        let reply = client.receive(false).unwrap();
        assert_eq!(reply.status, status, "{reply:?}");
        assert!(reply.header("x-request-id").is_some());
    }
}

#[test]
fn endless_chunk_extensions_and_trailers_are_refused() {
    let server = Server::start(&[]);
    let endless = "x".repeat(4096);
    for start in ["1;", "1\r\n \r\n0\r\nX-Trailer: "] {
        let mut client = server.client();
        let head = format!("POST /register HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{start}");
        client.send_raw(head.as_bytes()).unwrap();
        let mut sent = 0;
        while client.send_raw(endless.as_bytes()).is_ok() {
            sent += endless.len();
            assert!(sent < 100 << 20, "{start:?}: goes on reading");
        }
        server.assert_answers();
    }
}
