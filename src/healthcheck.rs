//! `gatelet healthcheck`: asks the server for `/healthz`, for containers that hold nothing but this binary.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long connecting, asking and answering may take each.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Whether the server at `address` answers `/healthz` with 200. Blocks.
///
/// # Errors
/// What stood in the way, for people.
pub fn ask(address: SocketAddr) -> io::Result<()> {
    exchange(address).map_err(|error| match error.kind() {
        // The latter is what a socket says whose time is up.
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            let within = humantime::format_duration(TIMEOUT);
            io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {within}"))
        }
        _ => error,
    })
}

fn exchange(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    let status = answer.lines().next().unwrap_or("nothing");
    Err(io::Error::other(format!("the server answered {status:?}")))
}
