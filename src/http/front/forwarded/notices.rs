//! What the log is told about proxies: what would otherwise show as all clients being one.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use super::Doubt;
use crate::visible::quoted;

/// For how many addresses there is a line of each kind: more than any site has proxies, and a client cannot fill the log.
const TOLD_MAX: usize = 16;

/// How much of a header a line shows, in bytes.
const SHOWN_MAX: usize = 100;

/// A line for each peer or proxy, once.
#[derive(Debug, Default)]
pub(super) struct Notices {
    untrusted: Told,
    unreadable: Told,
}

/// Addresses that have their line.
#[derive(Debug, Default)]
struct Told(Mutex<HashSet<IpAddr>>);

impl Told {
    /// Whether this is the first time for this address, and there is room for its line.
    fn is_new(&self, address: IpAddr) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < TOLD_MAX && told.insert(address)
    }
}

impl Notices {
    pub(super) fn tell(&self, doubt: Doubt<'_>) {
        match doubt {
            Doubt::Untrusted { peer, header } if self.untrusted.is_new(peer) => log::warn!(
                "{peer} sends {header} and is not among --trusted-proxies: it is not believed, and all who come through \
                 it count as one client"
            ),
            Doubt::Unreadable { proxy, header, entry } if self.unreadable.is_new(proxy) => {
                let clipped = &entry[..entry.len().min(SHOWN_MAX)];
                let shown = quoted(&String::from_utf8_lossy(clipped));
                let more = if clipped.len() < entry.len() { " and more" } else { "" };
                log::warn!(
                    "the proxy {proxy} sends a client's address in {header} that cannot be read, {shown}{more}: such \
                     clients count as the proxy"
                );
            }
            Doubt::Untrusted { .. } | Doubt::Unreadable { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_line_once_and_there_is_an_end() {
        let told = Told::default();
        for n in 0..100 {
            let address = IpAddr::from([192, 0, 2, n]);
            assert_eq!(told.is_new(address), usize::from(n) < TOLD_MAX);
            assert!(!told.is_new(address));
        }
    }
}
