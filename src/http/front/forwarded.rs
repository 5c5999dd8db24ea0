//! Who the client is when it comes through a proxy: `X-Forwarded-For` or `Forwarded` (RFC 7239), believed only from
//! proxies that are trusted.

mod node;
mod notices;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::{IpNet, Ipv4Net};

use notices::Notices;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies whose word about clients is taken. Written as addresses and networks with commas between:
/// `127.0.0.1,10.0.0.0/8,fd00::/8`; the empty text for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

/// An entry that is neither an address nor a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an address (127.0.0.1) nor a network (10.0.0.0/8)")]
pub struct BadProxy(String);

impl TrustedProxies {
    /// The address of the client whose request came from `peer`: `peer` itself, unless that is trusted.
    ///
    /// A client can send a header of its own, and each proxy appends the address it was called from. So the header
    /// is read from its end, past trusted proxies, to the first address that is none: the last one that a trusted proxy
    /// has seen. What stands before it is hearsay. Where the header ends earlier, or in something that is no
    /// address, the last address read counts.
    ///
    /// `Forwarded` is read where there is no `X-Forwarded-For`: a proxy that appends to the one passes on what a client
    /// writes into the other.
    ///
    /// IPv4 in IPv6 (`::ffff:192.0.2.1`) is answered as IPv4.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        self.look(peer, headers).0
    }

    /// The client's address, and what of the headers was not taken.
    fn look<'h>(&self, peer: IpAddr, headers: &'h HeaderMap) -> (IpAddr, Option<Doubt<'h>>) {
        let peer = peer.to_canonical();
        let (name, header, read): (_, _, fn(&[u8]) -> _) = if headers.contains_key(X_FORWARDED_FOR) {
            (X_FORWARDED_FOR, "X-Forwarded-For", node::x_forwarded_for)
        } else if headers.contains_key(FORWARDED) {
            (FORWARDED, "Forwarded", node::forwarded)
        } else {
            return (peer, None);
        };
        if !self.trusts(peer) {
            return (peer, Some(Doubt::Untrusted { peer, header }));
        }
        let mut client = peer;
        // Several lines are one list (RFC 9110, section 5.3). A comma within quotes stands in no address: what is cut
        // there cannot be read.
        let lines = headers.get_all(name).iter().rev();
        let entries = lines.flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','));
        // An empty element counts for nothing (section 5.6.1).
        for entry in entries.filter(|entry| !entry.trim_ascii().is_empty()) {
            match read(entry) {
                Some(address) => client = address,
                None => return (client, Some(Doubt::Unreadable { proxy: client, header, entry })),
            }
            if !self.trusts(client) {
                break;
            }
        }
        (client, None)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&address))
    }
}

/// What a peer or a proxy says about a client and is not taken.
#[derive(Clone, Copy, Debug)]
enum Doubt<'h> {
    /// The peer is no trusted proxy.
    Untrusted { peer: IpAddr, header: &'static str },
    /// What the proxy has written is no address.
    Unreadable { proxy: IpAddr, header: &'static str, entry: &'h [u8] },
}

/// Finds clients' addresses, and tells the log, once for each proxy, where that cannot work.
pub(super) struct Clients {
    trusted: TrustedProxies,
    notices: Notices,
}

impl Clients {
    pub(super) fn new(trusted: TrustedProxies) -> Self {
        Self { trusted, notices: Notices::default() }
    }

    /// [`TrustedProxies::client`].
    pub(super) fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let (client, doubt) = self.trusted.look(peer, headers);
        if let Some(doubt) = doubt {
            self.notices.tell(doubt);
        }
        client
    }
}

/// One entry of the setting.
fn network(text: &str) -> Option<IpNet> {
    let net = match text.parse::<IpAddr>() {
        Ok(address) => address.into(),
        Err(_) => text.parse::<IpNet>().ok()?,
    };
    // Clients' addresses are compared in their canonical form.
    if let (IpAddr::V4(address), Some(prefix)) = (net.addr().to_canonical(), net.prefix_len().checked_sub(96))
    {
        return Ipv4Net::new(address, prefix).ok().map(|net| net.trunc().into());
    }
    Some(net.trunc())
}

impl FromStr for TrustedProxies {
    type Err = BadProxy;

    fn from_str(text: &str) -> Result<Self, BadProxy> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let entry = |entry: &str| network(entry.trim()).ok_or_else(|| BadProxy(entry.trim().to_owned()));
        text.split(',').map(entry).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, net) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{net}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whom a request comes from that `peer` sent with these lines of `X-Forwarded-For`, where 10.0.0.0/8, ::1 and
    /// fd00::/8 are trusted.
    fn client(peer: &str, lines: &[&str]) -> String {
        let trusted: TrustedProxies = "10.0.0.0/8, ::1, fd00::/8".parse().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, line.parse().unwrap());
        }
        trusted.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_stranger_is_believed_nothing() {
        assert_eq!(client("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(client("::ffff:192.0.2.1", &["10.0.0.1"]), "192.0.2.1");
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_FOR, "198.51.100.7".parse().unwrap());
        let peer: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(TrustedProxies::default().client(peer, &headers), peer);
    }

    #[test]
    fn a_trusted_proxy_names_the_client() {
        assert_eq!(client("10.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("::ffff:10.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("fd00::1", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn a_client_cannot_name_another_through_the_proxy() {
        assert_eq!(client("10.0.0.1", &["198.51.100.7, 192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.7", "192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["10.0.0.2, 10.0.0.3, 192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.7, 192.0.2.1, 10.0.0.2,fd00::7"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.7,, ,x, 192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["::ffff:10.0.0.2, ::ffff:192.0.2.1"]), "192.0.2.1");
    }

    #[test]
    fn where_all_are_trusted_the_first_of_them_is_the_client() {
        assert_eq!(client("10.0.0.1", &["10.0.0.4", "10.0.0.3, ::ffff:10.0.0.2"]), "10.0.0.4");
    }

    #[test]
    fn what_is_no_address_ends_the_reading() {
        for junk in ["unknown", "_hidden", "192.0.2.256", "1.2.3.4:99999", "[2001:db8::1", "010.0.0.1"] {
            assert_eq!(client("10.0.0.1", &[&format!("198.51.100.7, {junk}, 10.0.0.2")]), "10.0.0.2");
            assert_eq!(client("10.0.0.1", &["198.51.100.7", junk]), "10.0.0.1", "{junk}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_FOR, http::HeaderValue::from_bytes(b"192.0.2.1, \xff").unwrap());
        let proxy: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!("10.0.0.1".parse::<TrustedProxies>().unwrap().client(proxy, &headers), proxy);
    }

    #[test]
    fn an_empty_element_counts_for_nothing() {
        for list in ["192.0.2.61,", "192.0.2.61, ", "192.0.2.61 , ,10.0.0.2 ,", ",192.0.2.61"] {
            assert_eq!(client("10.0.0.1", &[list]), "192.0.2.61", "{list}");
        }
        assert_eq!(client("10.0.0.1", &["192.0.2.61", ""]), "192.0.2.61");
        assert_eq!(client("10.0.0.1", &["", ","]), "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_where_it_stands_alone() {
        let proxies: TrustedProxies = "10.0.0.0/8, ::1".parse().unwrap();
        let client = |lines: &[(HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, line) in lines {
                headers.append(name, line.parse().unwrap());
            }
            proxies.client("10.0.0.1".parse().unwrap(), &headers).to_string()
        };
        for (lines, expected) in [
            (&[(FORWARDED, "for=192.0.2.1")][..], "192.0.2.1"),
            (
                &[(FORWARDED, "for=192.0.2.1, for=\"[2001:db8::1]:443\";proto=https, for=10.0.0.2")],
                "2001:db8::1",
            ),
            (&[(FORWARDED, "for=198.51.100.7"), (FORWARDED, "for=192.0.2.1")], "192.0.2.1"),
            // What a client opens, the proxy's own element is not part of.
            (&[(FORWARDED, "for=\", for=192.0.2.1")], "192.0.2.1"),
            // What a client has as its host is no element.
            (&[(FORWARDED, "for=192.0.2.1;host=\"x, for=1.2.3.4\"")], "10.0.0.1"),
            (&[(FORWARDED, "for=192.0.2.1, for=_hidden")], "10.0.0.1"),
            (&[(FORWARDED, "for=192.0.2.1, for=unknown, for=10.0.0.2")], "10.0.0.2"),
            (&[(FORWARDED, "for=198.51.100.7"), (X_FORWARDED_FOR, "192.0.2.1")], "192.0.2.1"),
            (&[(FORWARDED, "for=198.51.100.7"), (X_FORWARDED_FOR, "unknown")], "10.0.0.1"),
        ] {
            assert_eq!(client(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn the_setting_reads_back_and_names_what_is_wrong() {
        for (text, written) in [
            ("", ""),
            ("127.0.0.1, 10.1.2.3/8 ,fd00::/8", "127.0.0.1/32,10.0.0.0/8,fd00::/8"),
            ("::ffff:10.0.0.0/104,::ffff:192.0.2.1", "10.0.0.0/8,192.0.2.1/32"),
            ("0.0.0.0/0,::/0", "0.0.0.0/0,::/0"),
        ] {
            let proxies: TrustedProxies = text.parse().unwrap();
            assert_eq!(proxies.to_string(), written);
            assert_eq!(written.parse(), Ok(proxies));
        }
        for (text, bad) in [
            ("10.0.0.0/33", "10.0.0.0/33"),
            ("127.0.0.1, proxy", "proxy"),
            ("127.0.0.1,", ""),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("10.0.0.0/8;::1", "10.0.0.0/8;::1"),
        ] {
            let error = text.parse::<TrustedProxies>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{bad}`")), "{error}");
        }
    }
}
