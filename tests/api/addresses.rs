//! Whose request it is: the socket's address, or what a trusted proxy says in `X-Forwarded-For`.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::support::{Client, Process, Reply, TestServer, credentials, request, temporary};

const PASSWORD: &str = "correct horse";

/// What stands for a client in these tests is its allowance: one failed login.
const ONE_FAILURE: [&str; 4] = ["--account-limit", "off", "--network-limit", "1,1h"];

/// A `POST` with these lines of `X-Forwarded-For`.
fn post_with(client: &mut Client, forwarded: &[&str], path: &str, body: &Value) -> Reply {
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend(forwarded.iter().map(|line| ("X-Forwarded-For", *line)));
    client.send("POST", path, &headers, Some(body.to_string().as_bytes()))
}

/// A `POST` as a proxy passes it on for the client at `address`.
pub(crate) fn post_from(client: &mut Client, address: &str, path: &str, body: &Value) -> Reply {
    post_with(client, &[address], path, body)
}

/// A server that believes the proxies in `trusted`, and allows each client one failed login.
struct Watched(TestServer);

impl Watched {
    fn trusting(trusted: &str) -> Self {
        Self(TestServer::start_with(&[&ONE_FAILURE[..], &["--trusted-proxies", trusted]].concat()))
    }

    /// Whether this is the first failed login of the client who sends these lines.
    #[track_caller]
    fn is_new(&self, forwarded: &[&str]) -> bool {
        let reply = post_with(&mut self.0.client(), forwarded, "/login", &credentials("nobody", PASSWORD));
        let case = forwarded.join(" | ");
        match reply.status {
            401 => Refusal::InvalidCredentials.expect(&reply, &case),
            status => assert_eq!(status, 429, "{case}: {reply:?}"),
        }
        reply.status == 401
    }

    /// Whether these all come from one client, who has not been here yet.
    #[track_caller]
    fn expect_one_client(&self, forwarded: &[&[&str]]) {
        for (n, lines) in forwarded.iter().enumerate() {
            assert_eq!(self.is_new(lines), n == 0, "{lines:?}");
        }
    }
}

#[test]
fn without_trusted_proxies_the_header_is_ignored() {
    let server = Watched(TestServer::start_with(&ONE_FAILURE));
    server.expect_one_client(&[&["192.0.2.1"], &["192.0.2.2"], &[], &["2001:db8::1, 192.0.2.3"], &["x"]]);
}

#[test]
fn a_peer_that_is_no_trusted_proxy_is_believed_nothing() {
    let server = Watched::trusting("192.0.2.1,10.0.0.0/8,::1");
    server.expect_one_client(&[&["192.0.2.1"], &["192.0.2.2"], &[], &["10.0.0.1"]]);
}

#[test]
fn the_address_that_a_trusted_proxy_names_counts() {
    for trusted in ["127.0.0.1", "10.0.0.0/8, 127.0.0.0/8", "::ffff:127.0.0.1"] {
        let server = Watched::trusting(trusted);
        for client in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            server.expect_one_client(&[&[client], &[client]]);
        }
        // The proxy itself, where it names nobody.
        server.expect_one_client(&[&[], &[]]);
    }
}

#[test]
fn what_a_client_writes_into_the_header_itself_makes_it_nobody_else() {
    let server = Watched::trusting("127.0.0.1,10.0.0.0/8");
    server.expect_one_client(&[
        &["192.0.2.1"],
        &["198.51.100.1, 192.0.2.1"],
        &["198.51.100.2,192.0.2.1"],
        &["198.51.100.3", "192.0.2.1"],
        &["10.0.0.1, 127.0.0.1, 192.0.2.1"],
        &["unknown, , 192.0.2.1"],
        &["198.51.100.4, 192.0.2.1, 10.0.0.7"],
        &["198.51.100.5, 192.0.2.1", "10.1.2.3, 127.0.0.1"],
        &["198.51.100.6, 192.0.2.1:4711"],
    ]);
    // Nobody was blamed whom the client has named.
    for n in 1..=6 {
        assert!(server.is_new(&[&format!("198.51.100.{n}")]), "{n}");
    }
}

#[test]
fn a_header_that_ends_in_no_address_leaves_it_at_the_last_proxy() {
    let server = Watched::trusting("127.0.0.1,10.0.0.0/8");
    server.expect_one_client(&[
        &["192.0.2.1, unknown"],
        &[""],
        &["192.0.2.2,"],
        &["192.0.2.256"],
        &["127.0.0.1"],
    ]);
    server.expect_one_client(&[&["192.0.2.3, _hidden, 10.0.0.9"], &["10.0.0.9"]]);
    assert!(server.is_new(&["192.0.2.1"]));
}

#[test]
fn an_ipv6_client_is_its_slash_64_and_an_ipv4_client_its_address() {
    let server = Watched::trusting("127.0.0.1");
    server.expect_one_client(&[
        &["2001:db8:1:2::1"],
        &["2001:db8:1:2::2"],
        &["2001:db8:1:2:ffff:ffff:ffff:ffff"],
        &["[2001:0db8:0001:0002::7]:4711"],
    ]);
    server.expect_one_client(&[&["2001:db8:1:3::1"], &["2001:db8:1:3:8000::"]]);
    server.expect_one_client(&[&["192.0.2.1"], &["::ffff:192.0.2.1"], &["192.0.2.1:80"]]);
    server.expect_one_client(&[&["192.0.2.2"]]);
}

/// A login from another address of this machine; the status it is answered with.
fn log_in_from(from: IpAddr, server: SocketAddr, forwarded: &str) -> u16 {
    let body = credentials("nobody", PASSWORD).to_string();
    let headers = [("X-Forwarded-For", forwarded), ("Connection", "close")];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut stream: TcpStream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(server).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.write_all(&request("POST", "/login", &headers, Some(body.as_bytes()))).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap().parse().unwrap()
}

#[test]
fn clients_on_different_sockets_are_told_apart_and_only_the_proxy_speaks_for_others() {
    let Watched(server) = Watched::trusting("127.0.0.1");
    let from = |peer: &str, forwarded: &str| log_in_from(peer.parse().unwrap(), server.address, forwarded);
    assert_eq!(from("127.0.0.2", "192.0.2.1"), 401);
    assert_eq!(from("127.0.0.2", "192.0.2.2"), 429, "the same, whatever it says");
    assert_eq!(from("127.0.0.3", "192.0.2.2"), 401);
    assert_eq!(from("127.0.0.1", "192.0.2.2"), 401, "through the proxy");
    assert_eq!(from("127.0.0.1", "192.0.2.2"), 429);
    assert_eq!(from("127.0.0.1", "127.0.0.3"), 429, "throttled without the proxy, and with it");
}

#[test]
fn both_logs_show_the_clients_address() {
    for (args, expected) in [
        (&["--trusted-proxies", "127.0.0.1"][..], ["192.0.2.7", "2001:db8::7", "127.0.0.1"]),
        (&[], ["127.0.0.1"; 3]),
    ] {
        let dir = temporary();
        let server = Process::start(dir.path(), args);
        let mut client = server.client();
        let requests: Vec<_> = [&["203.0.113.9, 192.0.2.7"][..], &["203.0.113.9", "2001:db8::7"], &[]]
            .iter()
            .map(|forwarded| {
                let reply = post_with(&mut client, forwarded, "/login", &credentials("nobody", PASSWORD));
                assert_eq!(reply.status, 401, "{reply:?}");
                reply.header("x-request-id").unwrap().to_owned()
            })
            .collect();
        let log = server.stop().log;
        assert!(!log.contains("203.0.113.9"), "hearsay: {log}");
        for (request, client) in requests.iter().zip(expected) {
            let end = format!(" client={client} request={request}");
            for target in ["gatelet::access", "gatelet::audit"] {
                let found = log.lines().filter(|line| line.contains(target) && line.ends_with(&end)).count();
                assert_eq!(found, 1, "{target}{end}: {log}");
            }
        }
    }
}

#[test]
fn registrations_count_for_the_clients_address_as_well() {
    let server = TestServer::start_with(&["--registration-limit", "1,1h", "--trusted-proxies", "127.0.0.1"]);
    let register = |address: &str, name: &str| {
        post_from(&mut server.client(), address, "/register", &credentials(name, PASSWORD))
    };
    for (address, name, status) in [
        ("192.0.2.1", "anna", 201),
        ("192.0.2.1", "bert", 429),
        ("198.51.100.1, 192.0.2.1", "bert", 429),
        ("192.0.2.2", "bert", 201),
        ("2001:db8::1", "carla", 201),
        ("2001:db8::2", "dora", 429),
        ("2001:db8:0:1::2", "dora", 201),
    ] {
        let reply = register(address, name);
        assert_eq!(reply.status, status, "{address}: {reply:?}");
        if status == 429 {
            let expected =
                json!({"code": 429, "message": "Too many registrations.", "status": "Too Many Requests"});
            assert_eq!(reply.json(), expected);
        }
    }
}
