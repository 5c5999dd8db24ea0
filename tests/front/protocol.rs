//! HTTP/1.1 as real clients use it, and bytes that are not HTTP.

use crate::support::{credentials, request};
use crate::{PASSWORD, Server, assert_closed, exchange};

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(&[]);
    assert!(server.register("anna"));
    let login = credentials("anna", PASSWORD).to_string();
    let mut all = Vec::new();
    let mut expected = Vec::new();
    for round in 0..20 {
        for (method, path, body, status) in [
            ("POST", "/login", Some(login.as_bytes()), 200),
            ("GET", "/healthz", None, 200),
            ("POST", "/login", Some(&b"nonsense"[..]), 400),
            ("GET", "/nowhere", None, 404),
            ("GET", "/user/me", None, 401),
        ] {
            let id = format!("{round}{}", path.replace('/', "-"));
            all.extend(request(method, path, &[("X-Request-Id", &id)], body));
            expected.push((id, status));
        }
    }
    let mut client = server.client();
    client.send_raw(&all).unwrap();
    for (id, status) in expected {
        let reply = client.receive(false).unwrap();
        assert_eq!((reply.header("x-request-id"), reply.status), (Some(id.as_str()), status));
    }
    assert_eq!(client.call("GET", "/healthz", None, None).status, 200);
}

#[test]
fn http_1_0_is_served() {
    let server = Server::start(&[]);
    let answer = exchange(&server, b"GET /healthz HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(r#"{"status":"alive"}"#), "{answer}");

    let lines = "Host: a\r\nHost: a\r\n";
    let two_hosts = format!("GET /healthz HTTP/1.0\r\n{lines}\r\n");
    let answer = exchange(&server, two_hosts.as_bytes());
    assert!(answer.starts_with("HTTP/1.0 400 Bad Request\r\n"), "{answer}");

    let twice = b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n";
    assert_eq!(exchange(&server, twice).matches(r#"{"status":"alive"}"#).count(), 2);
}

#[test]
fn a_connection_is_closed_on_request() {
    let server = Server::start(&[]);
    let answer = exchange(&server, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
}

#[test]
fn bytes_other_than_http_get_400_and_are_closed() {
    let server = Server::start(&[]);
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], // the start of TLS
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"GET\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nX: a\r\n folded\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nX: a\0b\r\n\r\n",
        b"GET /healthz\xff HTTP/1.1\r\n\r\n\r\n",
    ] {
        let answer = exchange(&server, garbage);
        let shown = String::from_utf8_lossy(garbage);
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{shown:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{shown:?}: {answer:?}");
    }
    server.assert_answers();
}

#[test]
fn http_2_is_refused() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.send_raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    assert_closed(&client);
    server.assert_answers();
}

/// A request that can be read in two ways can smuggle another past a proxy.
#[test]
fn a_body_of_ambiguous_length_is_refused() {
    let server = Server::start(&[]);
    let hidden = "GET /hidden HTTP/1.1\r\n\r\n";
    for headers in [
        "Content-Length: 0\r\nContent-Length: 24",
        "Content-Length: +0",
        "Content-Length: 0, 24",
        "Content-Length: 0x18",
        "Content-Length: -1",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
    ] {
        let text = format!("POST /login HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{hidden}");
        let answer = exchange(&server, text.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{headers:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{headers:?}: {answer}");
    }
    // With a length and chunks, the chunks count (RFC 9112, 6.3): the bytes after them are not a body, and the bytes in
    // them not a request.
    let text = format!(
        "POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n18\r\n{hidden}\r\n0\r\n\r\n"
    );
    let mut client = server.client();
    client.send_raw(text.as_bytes()).unwrap();
    assert_eq!(client.receive(false).unwrap().status, 400);
    if client.send_raw(&request("GET", "/healthz", &[], None)).is_ok()
        && let Ok(reply) = client.receive(false)
    {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

#[test]
fn a_transfer_coding_other_than_chunked_is_refused_and_closed() {
    let server = Server::start(&[]);
    let body = credentials("anna", PASSWORD).to_string();
    for coding in
        ["gzip, chunked", "chunked, chunked", "chunked\r\nTransfer-Encoding: chunked", "identity, chunked"]
    {
        let text = format!(
            "POST /register HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {coding}\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        let answer = exchange(&server, text.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 501 "), "{coding:?}: {answer}");
        assert!(answer.contains("connection: close"), "{coding:?}: {answer}");
    }
}

#[test]
fn a_body_declared_too_large_gets_no_100_continue() {
    let server = Server::start(&[]);
    for (headers, body) in [
        ("Content-Length: 1000000000\r\nExpect: 100-continue", ""),
        ("Content-Length: 16385\r\nExpect: 100-continue", ""),
        ("Content-Length: 1000000000", "{"),
    ] {
        let text = format!("POST /login HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{body}");
        let answer = exchange(&server, text.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 413 "), "{headers:?}: {answer}");
    }
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let server = Server::start(&[]);
    let body = credentials("anna", PASSWORD).to_string();
    let head = format!(
        "POST /register HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut client = server.client();
    client.send_raw(head.as_bytes()).unwrap();
    assert_eq!(client.receive(false).unwrap().status, 100);
    client.send_raw(body.as_bytes()).unwrap();
    assert_eq!(client.receive(false).unwrap().status, 201);
}
