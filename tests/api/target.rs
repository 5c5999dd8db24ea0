//! The host and path of a request: ambiguous ones are refused.

use serde_json::json;

use crate::generic::PATHS;
use crate::refusal::{Refusal, expect};
use crate::support::{Client, Reply, TestServer, credentials, request};

const PASSWORD: &str = "correct horse";

/// The answer to exactly these bytes.
pub(crate) fn ask(server: &TestServer, request: &str) -> Reply {
    let mut client = Client::connect(server.address).unwrap();
    client.send_raw(request.as_bytes()).unwrap();
    client.receive(false).unwrap()
}

#[test]
fn a_request_without_exactly_one_valid_host_is_refused_and_closed() {
    let server = TestServer::in_memory();
    for host in [
        "",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nhost: a\r\n",
        "Host: a\r\nHost:\r\n",
        "Host: a b\r\n",
        "Host: a, b\r\n",
        "Host: a,b\r\n",
        "Host: a@b\r\n",
        "Host: a/b\r\n",
        "Host: a:x\r\n",
        "Host: a:80:80\r\n",
        "Host: ::1\r\n",
        "Host: [::1\r\n",
        "Host: [x]\r\n",
        "Host: http://a\r\n",
        "Host: \u{e4}\r\n",
    ] {
        for target in ["/healthz", "/verify", "/nothing", "http://a/healthz"] {
            let text = format!("GET {target} HTTP/1.1\r\n{host}\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
            let mut client = Client::connect(server.address).unwrap();
            client.send_raw(text.as_bytes()).unwrap();
            let reply = client.receive(false).unwrap();
            let message = "A request needs one Host, and a valid one.";
            expect(&reply, 400, &json!({"code": 400, "message": message, "status": "Bad Request"}), &text);
            assert_eq!(reply.header("connection"), Some("close"), "{text}");
            assert!(reply.header("x-request-id").is_some(), "{text}");
            assert!(client.receive(false).is_err(), "what follows is not read: {text}");
        }
    }
    for host in ["a", "a:", "a:80", "", ":80", "gate_let:5000", "[::1]:5000", "192.0.2.1", "EXAMPLE.org."] {
        let reply = ask(&server, &format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(reply.status, 200, "{host}");
    }
}

#[test]
fn a_target_is_a_path_or_an_http_url_and_nothing_else() {
    let server = TestServer::in_memory();
    for target in ["http://a/healthz", "HTTP://a:80/healthz?x", "https://b/healthz"] {
        let reply = ask(&server, &format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(reply.status, 200, "{target}");
    }
    for (method, target) in [
        ("GET", "healthz"),
        ("GET", "a:80"),
        ("CONNECT", "a:80"),
        ("GET", "http://u@a/healthz"),
        ("GET", "http://u:p@a/healthz"),
        ("GET", "ftp://a/healthz"),
        ("POST", "login"),
    ] {
        let reply = ask(&server, &format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let message = "The target must be a path, or a URL with a host and no user.";
        let body = json!({"code": 400, "message": message, "status": "Bad Request"});
        expect(&reply, 400, &body, &format!("{method} {target}"));
    }
    for method in ["GET", "OPTIONS"] {
        let reply = ask(&server, &format!("{method} * HTTP/1.1\r\nHost: a\r\n\r\n"));
        Refusal::NotFound.expect(&reply, method);
    }
}

/// Other spellings of a path that some programs treat as equal.
fn spellings(path: &str) -> Vec<String> {
    let last = path.rfind('/').unwrap();
    let (folder, name) = path.split_at(last + 1);
    let encoded = name.chars().next().map_or_else(String::new, |first| {
        format!("{folder}%{:02x}{}", u32::from(first), &name[first.len_utf8()..])
    });
    let mut spellings = vec![
        format!("{path}/"),
        format!("{path}//"),
        format!("{path}/."),
        format!("{path}/x/.."),
        format!("{path};x"),
        format!("{path}%2f"),
        format!("{path}%00"),
        format!("{path}%20"),
        format!("/{path}"),
        format!("/.{path}"),
        format!("/x/..{path}"),
        format!("{folder}/{name}"),
        format!("{folder}{}", name.to_uppercase()),
        encoded,
    ];
    spellings.retain(|spelling| spelling.starts_with('/') && spelling != path && spelling != "/swagger-ui/");
    spellings
}

#[test]
fn each_path_has_one_spelling_and_every_other_is_unknown() {
    let server = TestServer::in_memory();
    server.register("anna", PASSWORD);
    let access = server.log_in("anna", PASSWORD).access;
    let bearer = format!("Bearer {access}");
    let anna = credentials("anna", PASSWORD).to_string();
    let mut client = server.client();
    for path in PATHS.map(|(path, _)| path).iter().filter(|path| **path != "/").chain(&["/verify"]) {
        for spelling in spellings(path) {
            for method in ["GET", "POST", "DELETE", "OPTIONS"] {
                let headers = [("Authorization", bearer.as_str())];
                let body = (method == "POST").then_some(anna.as_bytes());
                client.send_raw(&request(method, &spelling, &headers, body)).unwrap();
                let reply = client.receive(false).unwrap();
                // Ids may be in capitals (RFC 9562, section 4).
                if spelling.starts_with("/user/01890A5D") {
                    continue;
                }
                Refusal::NotFound.expect(&reply, &format!("{method} {spelling}"));
            }
        }
    }
    assert_eq!(server.call("GET", "/user/me", Some(&access), None).status, 200, "nothing was changed");
}

#[test]
fn metrics_have_one_path_and_need_a_host() {
    let server = TestServer::in_memory_with(&["--metrics-listen", "127.0.0.1:0"]);
    let ask = |target: &str, host: &str| {
        let mut client = Client::connect(server.metrics.unwrap()).unwrap().unchecked();
        client.send_raw(format!("GET {target} HTTP/1.1\r\n{host}\r\n").as_bytes()).unwrap();
        client.receive(false).unwrap().status
    };
    assert_eq!(ask("/metrics", "Host: a\r\n"), 200);
    assert_eq!(ask("/metrics/", "Host: a\r\n"), 404);
    assert_eq!(ask("/metrics", ""), 400);
    assert_eq!(ask("/metrics", "Host: a\r\nHost: b\r\n"), 400);
}
