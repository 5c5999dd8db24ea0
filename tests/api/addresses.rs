//! The client's address: that of the socket, or the one that a trusted proxy gives in `X-Forwarded-For` or `Forwarded`.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use gatelet::http::TrustedProxies;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::support::{Client, Process, Random, Reply, TestServer, credentials, request, temporary};

const PASSWORD: &str = "correct horse";

/// Each client may fail to log in once. A second failure is answered 429, which tells clients apart.
const ONE_FAILURE: [&str; 4] = ["--account-limit", "off", "--network-limit", "1,1h"];

/// A `POST` with these lines of `X-Forwarded-For`.
fn post_with(client: &mut Client, forwarded: &[&str], path: &str, body: &Value) -> Reply {
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend(forwarded.iter().map(|line| ("X-Forwarded-For", *line)));
    client.send("POST", path, &headers, Some(body.to_string().as_bytes()))
}

/// A `POST` as a proxy forwards it for the client at `address`.
pub(crate) fn post_from(client: &mut Client, address: &str, path: &str, body: &Value) -> Reply {
    post_with(client, &[address], path, body)
}

/// A server that trusts the proxies in `trusted` and allows each client one failed login.
struct Watched(TestServer);

impl Watched {
    fn trusting(trusted: &str) -> Self {
        Self(TestServer::in_memory_with(&[&ONE_FAILURE[..], &["--trusted-proxies", trusted]].concat()))
    }

    /// Whether this is the first failed login of the client that these lines name.
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

    /// Asserts that all these headers name one client, which has not failed before.
    #[track_caller]
    fn expect_one_client(&self, forwarded: &[&[&str]]) {
        for (n, lines) in forwarded.iter().enumerate() {
            assert_eq!(self.is_new(lines), n == 0, "{lines:?}");
        }
    }
}

#[test]
fn without_trusted_proxies_the_header_is_ignored() {
    let server = Watched(TestServer::in_memory_with(&ONE_FAILURE));
    server.expect_one_client(&[&["192.0.2.1"], &["192.0.2.2"], &[], &["2001:db8::1, 192.0.2.3"], &["x"]]);
}

#[test]
fn headers_of_an_untrusted_peer_are_ignored() {
    let server = Watched::trusting("192.0.2.1,10.0.0.0/8,::1");
    server.expect_one_client(&[&["192.0.2.1"], &["192.0.2.2"], &[], &["10.0.0.1"]]);
}

#[test]
fn a_trusted_proxy_names_the_client() {
    for trusted in ["127.0.0.1", "10.0.0.0/8, 127.0.0.0/8", "::ffff:127.0.0.1"] {
        let server = Watched::trusting(trusted);
        for client in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            server.expect_one_client(&[&[client], &[client]]);
        }
        // Without the header, the proxy itself is the client.
        server.expect_one_client(&[&[], &[]]);
    }
}

#[test]
fn a_client_cannot_forge_its_address_in_the_header() {
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
    // The forged addresses have not been charged.
    for n in 1..=6 {
        assert!(server.is_new(&[&format!("198.51.100.{n}")]), "{n}");
    }
}

#[test]
fn without_a_readable_address_the_last_proxy_is_the_client() {
    let server = Watched::trusting("127.0.0.1,10.0.0.0/8");
    server.expect_one_client(&[&["192.0.2.1, unknown"], &[""], &[" , ,"], &["192.0.2.256"], &["127.0.0.1"]]);
    server.expect_one_client(&[&["192.0.2.3, _hidden, 10.0.0.9"], &["10.0.0.9"]]);
    assert!(server.is_new(&["192.0.2.1"]));
    // Empty elements are skipped.
    server.expect_one_client(&[
        &["192.0.2.4"],
        &["192.0.2.4,"],
        &["192.0.2.4 , ,10.0.0.9, "],
        &["192.0.2.4", ""],
    ]);
}

#[test]
fn an_ipv6_client_is_its_64_bit_prefix_and_an_ipv4_client_its_address() {
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

/// The status of a login from another address of this machine.
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
fn only_the_trusted_proxy_names_other_clients() {
    let Watched(server) = Watched::trusting("127.0.0.1");
    let from = |peer: &str, forwarded: &str| log_in_from(peer.parse().unwrap(), server.address, forwarded);
    assert_eq!(from("127.0.0.2", "192.0.2.1"), 401);
    assert_eq!(from("127.0.0.2", "192.0.2.2"), 429, "the header is ignored");
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
fn registrations_count_against_the_clients_address() {
    let server =
        TestServer::in_memory_with(&["--registration-limit", "1,1h", "--trusted-proxies", "127.0.0.1"]);
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

#[test]
fn every_form_in_which_proxies_write_an_address_is_one_client() {
    let server = Watched::trusting("127.0.0.1,10.0.0.0/8");
    server.expect_one_client(&[
        &["2001:db8::1"],
        &["[2001:db8::1]"],
        &["[2001:db8::1]:443"],
        &["[2001:db8::1]:"],
        &["\"[2001:db8::1]:443\""],
        &["2001:db8::1%eth0"],
        &["198.51.100.1,[2001:db8::1%25eth0]:443 , 10.0.0.7:"],
        &["198.51.100.1", "\"2001:db8::1\""],
    ]);
    server.expect_one_client(&[
        &["192.0.2.1"],
        &["192.0.2.1:"],
        &["192.0.2.1:443"],
        &["\"192.0.2.1:443\""],
        &["[::ffff:192.0.2.1]:443"],
        &["::ffff:c000:201"],
    ]);
    server.expect_one_client(&[&["fe80::1%eth0"], &["[fe80::1]"]]);
    server.expect_one_client(&[&["127.0.0.1"], &["unknown"], &["_hidden"], &["unix:"]]);
}

/// The status of a failed login of the client that these lines of `Forwarded` name.
fn forwarded(server: &Watched, lines: &[&str], more: &[(&str, &str)]) -> u16 {
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend(lines.iter().map(|line| ("Forwarded", *line)));
    headers.extend(more);
    let body = credentials("nobody", PASSWORD).to_string();
    server.0.client().send("POST", "/login", &headers, Some(body.as_bytes())).status
}

#[test]
fn forwarded_is_read_from_a_trusted_proxy_that_sends_only_that() {
    let server = Watched::trusting("127.0.0.1,10.0.0.0/8");
    for (lines, status) in [
        (&["for=192.0.2.1"][..], 401),
        (&["For=\"192.0.2.1:4711\";proto=https;host=example.org"], 429),
        (&["for=198.51.100.1, for=192.0.2.1;by=10.0.0.1, for=10.0.0.2"], 429),
        (&["for=198.51.100.1", "for=192.0.2.1"], 429),
        (&["for=\"[2001:db8:cafe::17]:4711\""], 401),
        (&["FOR=\"[2001:db8:cafe::18]\""], 429),
        (&["for=_hidden"], 401),
        (&["for=198.51.100.1, for=unknown"], 429),
    ] {
        assert_eq!(forwarded(&server, lines, &[]), status, "{lines:?}");
    }
    // With both headers, the proxy appends to one and forwards the other as the client may have written it.
    assert_eq!(forwarded(&server, &["for=198.51.100.1"], &[("X-Forwarded-For", "192.0.2.1")]), 429);
    assert!(server.is_new(&["198.51.100.1"]), "that a client has named");
    let server = Watched::trusting("10.0.0.0/8");
    assert_eq!(forwarded(&server, &["for=192.0.2.1"], &[]), 401);
    assert_eq!(forwarded(&server, &["for=192.0.2.2"], &[]), 429, "an untrusted peer");
}

/// An address in one of the forms that proxies write.
fn written(address: IpAddr, random: &mut Random) -> String {
    let port = ["", ":", ":443", ":_p"][random.below(4)];
    let text = match (address, random.below(3)) {
        (IpAddr::V4(address), 0) => format!("[{}]{port}", address.to_ipv6_mapped()),
        (IpAddr::V4(_), _) => format!("{address}{port}"),
        (IpAddr::V6(_), 0) => format!("[{address}]{port}"),
        (IpAddr::V6(_), 1) => format!("{address}%eth0"),
        (IpAddr::V6(_), _) => address.to_string(),
    };
    if random.below(3) == 0 { format!("\"{text}\"") } else { text }
}

/// Random chains of addresses and junk, over random numbers of lines, against a model that reads them from the end.
#[test]
fn the_client_is_the_last_readable_address_that_is_not_a_trusted_proxy() {
    let mut random = Random::begin("the_client_is_the_last_address");
    let trusted: TrustedProxies = "10.0.0.0/8,fd00::/8".parse().unwrap();
    let addresses =
        ["10.0.0.2", "10.9.8.7", "fd00::3", "192.0.2.1", "198.51.100.7", "2001:db8::1", "fe80::9"];
    let junk = [
        "unknown",
        "_hidden",
        "x",
        "192.0.2.256",
        "[2001:db8::1",
        "\"192.0.2.1",
        "1.2.3.4 5.6.7.8",
        "\u{ff}",
    ];
    for _ in 0..20_000 {
        let chain: Vec<Option<IpAddr>> = (0..random.below(6))
            .map(|_| (random.below(5) > 0).then(|| addresses[random.below(addresses.len())].parse().unwrap()))
            .collect();
        let peer: IpAddr = addresses[random.below(addresses.len())].parse().unwrap();
        let is_proxy =
            |address: IpAddr| address.to_string().starts_with("10.") || address.to_string().starts_with("fd");

        let mut expected = peer;
        for entry in chain.iter().rev() {
            match entry {
                Some(address) if is_proxy(expected) => expected = *address,
                _ => break,
            }
        }

        for name in ["x-forwarded-for", "forwarded"] {
            let entries: Vec<String> = chain
                .iter()
                .map(|entry| {
                    let node = match entry {
                        Some(address) => written(*address, &mut random),
                        None => junk[random.below(junk.len())].to_owned(),
                    };
                    match name {
                        "forwarded" if node.starts_with('"') => format!("proto=http;for={node}"),
                        "forwarded" => format!("For={node};by=_x"),
                        _ => node,
                    }
                })
                .collect();
            let mut headers = HeaderMap::new();
            for line in entries.chunks(1 + random.below(3)) {
                let text = line.join([",", ", ", "\t,  "][random.below(3)]);
                headers.append(name, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            }
            assert_eq!(trusted.client(peer, &headers), expected, "{peer}: {headers:?}");
        }
    }
}

/// The log lines about such headers.
fn complaints(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains(" sends ")).collect()
}

#[test]
fn an_untrusted_peer_that_sends_the_header_is_logged_once() {
    let dir = temporary();
    let server = Process::start(dir.path(), &["--trusted-proxies", "::1,10.0.0.0/8"]);
    for header in ["X-Forwarded-For", "X-Forwarded-For", "Forwarded"] {
        for _ in 0..50 {
            server.client().send("GET", "/healthz", &[(header, "192.0.2.1")], None);
        }
    }
    let log = server.stop().log;
    let [line] = complaints(&log)[..] else { panic!("{log}") };
    assert!(line.contains("WARN"), "{line}");
    assert!(line.contains("127.0.0.1 sends X-Forwarded-For and is not among --trusted-proxies"), "{line}");
    assert!(!log.contains("192.0.2.1"), "{log}");
}

#[test]
fn unreadable_headers_of_a_proxy_are_logged_once_and_escaped() {
    let dir = temporary();
    let server = Process::start(dir.path(), &["--trusted-proxies", "127.0.0.1,10.0.0.0/8"]);
    let mut client = server.client();
    let mut send = |header: &str, value: &str| client.send("GET", "/healthz", &[(header, value)], None);
    send("X-Forwarded-For", "192.0.2.1"); // is read
    let long = "\u{9b}31m\u{202e}".repeat(1000);
    for _ in 0..50 {
        send("X-Forwarded-For", &long);
        send("X-Forwarded-For", "unknown");
    }
    for n in 0..100 {
        send("Forwarded", &format!("for=_hidden, for=10.0.0.{n}"));
    }
    let log = server.stop().log;
    let lines = complaints(&log);
    assert_eq!(lines.len(), 16, "no more than that: {log}");
    assert!(
        lines[0].contains("the proxy 127.0.0.1 sends a client's address in X-Forwarded-For"),
        "{}",
        lines[0]
    );
    assert!(lines[0].contains(r"\u{9b}31m") && lines[0].contains("and more"), "{}", lines[0]);
    assert!(
        lines.iter().all(|line| line.len() < 2000 && !line.contains(['\u{9b}', '\u{202e}'])),
        "{lines:?}"
    );
    assert!(lines[1].contains("the proxy 10.0.0.0 ") && lines[1].contains("Forwarded"), "{}", lines[1]);
    assert!(lines[1].contains(r#""for=_hidden""#), "{}", lines[1]);
}
