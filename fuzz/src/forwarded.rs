//! `X-Forwarded-For` and `Forwarded`: the client is the last address that is no trusted proxy.

use std::net::{IpAddr, Ipv4Addr};

use gatelet::http::TrustedProxies;
use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};

use crate::input::Input;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Settings, and whom they trust.
const TRUSTED: [(&str, fn(IpAddr) -> bool); 4] = [
    ("10.0.0.0/8,::1,fd00::/8", |address| match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.is_loopback() || address.octets()[0] == 0xfd,
    }),
    ("", |_| false),
    ("0.0.0.0/0", |address| address.is_ipv4()),
    ("::ffff:192.0.2.0/120, 10.0.0.1 ,2001:db8::/32", |address| match address {
        IpAddr::V4(address) => address.octets()[..3] == [192, 0, 2] || address.octets() == [10, 0, 0, 1],
        IpAddr::V6(address) => address.segments()[..2] == [0x2001, 0xdb8],
    }),
];

const PEERS: [&str; 6] = ["10.0.0.1", "::ffff:10.0.0.1", "192.0.2.1", "fd00::1", "::1", "2001:db8::7"];

pub fn run(mut input: Input<'_>, broken: bool) {
    let (setting, trusts) = *input.of(&TRUSTED);
    let peer: IpAddr = input.of(&PEERS).parse().expect("an address");
    let mut headers = HeaderMap::new();
    let (mut x_forwarded_for, mut forwarded) = (Vec::new(), Vec::new());
    for line in input.rest().split(|byte| *byte == b'\n') {
        let Some((kind, text)) = line.split_first() else { continue };
        let Ok(value) = HeaderValue::from_bytes(text) else { continue };
        let (name, lines) = match kind {
            b'F' => (FORWARDED, &mut forwarded),
            _ => (X_FORWARDED_FOR, &mut x_forwarded_for),
        };
        headers.append(name, value);
        lines.push(text);
    }
    let (lines, read): (_, fn(&str) -> Option<IpAddr>) =
        if x_forwarded_for.is_empty() { (forwarded, element) } else { (x_forwarded_for, entry) };
    let list = lines.join(&b',');
    let entries: Vec<_> =
        list.split(|byte| *byte == b',').filter(|entry| !entry.trim_ascii().is_empty()).collect();
    let read = |entry: &&[u8]| read(std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']));

    let peer = peer.to_canonical();
    let chain: Vec<_> = std::iter::once(peer).chain(entries.iter().rev().map_while(read)).collect();
    let expected = chain.iter().find(|address| !trusts(**address)).or(chain.last()).copied();

    let proxies: TrustedProxies = setting.parse().expect("a setting");
    let found = match broken {
        false => proxies.client(peer, &headers),
        // The bug: the first address of the list counts.
        true if trusts(peer) => entries.first().and_then(read).unwrap_or(peer),
        true => peer,
    };
    assert_eq!(Some(found), expected, "{peer} sends {headers:?}, and [{setting}] is trusted");
    assert!(found == peer || trusts(peer), "a stranger is believed");
}

/// An entry of `X-Forwarded-For`.
fn entry(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('"') {
        Some(rest) => node(rest.strip_suffix('"')?),
        None => node(text),
    }
}

/// An element of `Forwarded`.
fn element(text: &str) -> Option<IpAddr> {
    let (mut pairs, mut pair) = (Vec::new(), String::new());
    let (mut quoted, mut escaped) = (false, false);
    for letter in text.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => {
                pairs.push(std::mem::take(&mut pair));
                continue;
            }
            _ => {}
        }
        pair.push(letter);
    }
    pairs.push(pair);
    let mut found = Vec::new();
    for pair in pairs.iter().map(|pair| pair.trim_matches([' ', '\t'])).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let is_token = |text: &str| !text.contains(['"', '\\', ' ', '\t', '=']);
        let value = match value.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None if is_token(value) => value.to_owned(),
            None => return None,
        };
        if !is_token(name) {
            return None;
        }
        if name.eq_ignore_ascii_case("for") {
            found.push(value);
        }
    }
    match &found[..] {
        [only] => node(only),
        _ => None,
    }
}

/// What stands in a quoted string, from behind its first quote up to its end.
fn unquoted(text: &str) -> Option<String> {
    let (mut value, mut letters) = (String::new(), text.chars());
    loop {
        match letters.next()? {
            '"' => return letters.next().is_none().then_some(value),
            '\\' => value.push(letters.next()?),
            letter => value.push(letter),
        }
    }
}

/// An address with or without a port.
fn node(text: &str) -> Option<IpAddr> {
    if let Some((before, port)) = text.rsplit_once(':')
        && is_port(port)
        && (before.ends_with(']') || before.parse::<Ipv4Addr>().is_ok())
    {
        return host(before);
    }
    host(text)
}

fn host(text: &str) -> Option<IpAddr> {
    let is_bracketed = text.starts_with('[');
    let text = if is_bracketed { text.strip_prefix('[')?.strip_suffix(']')? } else { text };
    match text.split_once('%') {
        Some((_, zone)) if zone.is_empty() || (is_bracketed && zone.contains(']')) => None,
        Some((address, _)) => Some(IpAddr::V6(address.parse().ok()?).to_canonical()),
        None => Some(text.parse::<IpAddr>().ok()?.to_canonical()),
    }
}

fn is_port(text: &str) -> bool {
    let is_hidden = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match text.strip_prefix('_') {
        Some(hidden) => !hidden.is_empty() && hidden.bytes().all(is_hidden),
        None => text.is_empty() || (!text.starts_with('+') && text.parse::<u16>().is_ok()),
    }
}
