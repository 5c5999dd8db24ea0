//! The listener of metrics, as operators meet it.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use crate::support::{Client, Process, serve, temporary};
use crate::{refused, stop_well};

/// A port that is free, on an address that nobody else takes ports of.
pub(super) fn free_port() -> SocketAddr {
    TcpListener::bind("127.9.1.0:0").unwrap().local_addr().unwrap()
}

/// Lines of the access log that were lost.
const LOST: &str = "gatelet_log_lines_lost_total{kind=\"access\"}";

/// The value of a series.
pub(super) fn value(address: SocketAddr, name: &str) -> f64 {
    let reply = Client::connect(address).unwrap().call("GET", "/metrics", None, None);
    let page = String::from_utf8(reply.body).unwrap();
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name}: {page}")).parse().unwrap()
}

#[test]
fn a_port_that_is_taken_ends_the_start_and_names_the_setting() {
    let dir = temporary();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = refused(&mut serve(dir.path(), &["--metrics-listen", &address]), 73);
    assert!(
        text.contains(&format!("cannot listen on {address}: ")) && text.contains("(--metrics-listen)"),
        "{text}"
    );
    let address = free_port().to_string();
    let text = refused(&mut serve(dir.path(), &["--listen", &address, "--metrics-listen", &address]), 2);
    assert!(text.contains("--metrics-listen"), "{text}");
}

#[test]
fn the_variable_does_as_the_flag_does_and_without_either_nobody_listens() {
    let (dir, address) = (temporary(), free_port());
    let server = Process::start(dir.path(), &[]);
    assert!(Client::connect(address).is_err());
    stop_well(server);
    let server =
        Process::spawn(serve(dir.path(), &[]).env("GATELET_METRICS_LISTEN", address.to_string())).unwrap();
    assert_eq!(value(address, "gatelet_users"), 0.0);
    let scraped = Client::connect(address).unwrap(); // kept open, which must not delay the stop by much
    stop_well(server);
    drop(scraped);
}

#[test]
fn lost_log_lines_are_counted() {
    let (dir, address) = (temporary(), free_port());
    let args = ["--log", "trace", "--metrics-listen", &address.to_string()];
    let mut child = serve(dir.path(), &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let public = crate::log::address(&mut child);
    assert_eq!(value(address, LOST), 0.0);
    let mut client = Client::connect(public).unwrap();
    while value(address, LOST) == 0.0 {
        for _ in 0..1000 {
            assert_eq!(client.call("GET", "/healthz", None, None).status, 200);
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
