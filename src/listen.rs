//! Listeners, made as soon as their addresses exist: a tunnel, bridge or network card may come up after the server.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket};

/// How often an address is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Returns once this machine has the address. Logs once that it waits, and for which setting. Does not wait for loopback
/// addresses: a missing one stays missing, like `::1` without IPv6.
pub async fn await_address(address: SocketAddr, setting: &str) {
    let mut said = false;
    while !is_there(address) {
        if !said {
            log::warn!("{} is no address of this machine yet: waiting for it ({setting})", address.ip());
            said = true;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    if said {
        log::info!("{} is there", address.ip());
    }
}

fn is_there(address: SocketAddr) -> bool {
    if address.ip().is_loopback() || address.ip().is_unspecified() {
        return true;
    }
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let mut any_port = address;
    any_port.set_port(0); // a port in use is no missing address
    !socket.and_then(|socket| socket.bind(any_port)).is_err_and(|error| is_missing(&error))
}

/// Whether the address or its interface is missing.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || Errno::from_io_error(error) == Some(Errno::NODEV)
}

/// Listens on an address, once it exists.
///
/// # Errors
/// The reason, with the setting of the address.
pub async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener, String> {
    loop {
        await_address(address, setting).await;
        match TcpListener::bind(address).await {
            Err(error) if is_missing(&error) && !is_there(address) => {} // gone again
            bound => {
                return bound.map_err(|error| format!("cannot listen on {address}: {error} ({setting})"));
            }
        }
    }
}
