//! The listener of the real executable against slow, hostile and unusual clients.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // an error fails the test

#[path = "../support/mod.rs"]
mod support;

mod connection_limit;
mod flood;
mod limits;
mod protocol;
mod slow;

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use support::{Client, Process, credentials, temporary};

const PASSWORD: &str = "correct horse";

/// A server in a directory of its own.
struct Server {
    process: Process,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let dir = temporary();
        Self { process: Process::start(dir.path(), args), _dir: dir }
    }

    fn client(&self) -> Client {
        self.process.client()
    }

    fn assert_answers(&self) {
        assert_eq!(self.client().call("GET", "/healthz", None, None).status, 200);
    }

    /// Registers a user. `false` if the name is taken.
    fn register(&self, name: &str) -> bool {
        let status = self.client().post("/register", &credentials(name, PASSWORD)).status;
        assert!(status == 201 || status == 409, "{status}");
        status == 201
    }
}

/// The rest of the answer, until the server closes the connection.
fn rest(client: &Client) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    client.socket().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Waits until the server closes or resets the connection.
fn assert_closed(client: &Client) {
    match rest(client) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
}

/// The answer to raw bytes on a connection of their own, until the server closes it.
fn exchange(server: &Server, bytes: &[u8]) -> String {
    let mut client = server.client();
    client.send_raw(bytes).unwrap();
    String::from_utf8(rest(&client).unwrap()).unwrap()
}

/// Writes a byte after each `pause`, on a thread of its own, until the server closes the connection or `limit` is over.
fn drip(client: &Client, byte: &'static [u8], pause: Duration, limit: Duration) {
    let mut stream: TcpStream = client.socket().try_clone().unwrap();
    let begun = Instant::now();
    thread::spawn(move || {
        while begun.elapsed() < limit && io::Write::write_all(&mut stream, byte).is_ok() {
            thread::sleep(pause);
        }
    });
}
