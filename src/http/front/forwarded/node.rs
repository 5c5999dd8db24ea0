//! The forms in which proxies write a client's address: RFC 7239, section 6, and what stands in `X-Forwarded-For`
//! besides.

use std::net::IpAddr;

/// An entry of `X-Forwarded-For`: an address, with brackets, a zone, a port and quotes around all of it or without.
pub(super) fn x_forwarded_for(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches(WHITE);
    let node = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => text,
    };
    address(node)
}

/// An element of `Forwarded`: the address of its one `for`.
pub(super) fn forwarded(element: &[u8]) -> Option<IpAddr> {
    let mut rest = std::str::from_utf8(element).ok()?.trim_matches(WHITE);
    let mut node = None;
    while !rest.is_empty() {
        let pair;
        (pair, rest) = next_pair(rest)?;
        if let Some((name, value)) = pair
            && name.eq_ignore_ascii_case("for")
            && node.replace(value).is_some()
        {
            return None; // a parameter stands there once (section 4)
        }
    }
    address(&node?)
}

const WHITE: [char; 2] = [' ', '\t'];

type Pair<'a> = Option<(&'a str, String)>;

/// The next `name=value` before a `;`, or nothing between two of these; and what follows.
fn next_pair(text: &str) -> Option<(Pair<'_>, &str)> {
    let text = text.trim_start_matches(WHITE);
    if let Some(rest) = text.strip_prefix(';') {
        return Some((None, rest));
    }
    let (name, text) = text.split_once('=')?;
    let (value, rest) = match text.strip_prefix('"') {
        Some(quoted) => unquoted(quoted)?,
        None => {
            let end = text.find(';').unwrap_or(text.len());
            let (value, rest) = text.split_at(end);
            (value.trim_end_matches(WHITE).to_owned(), rest)
        }
    };
    // Quotes and backslashes belong into quoted strings: elsewhere they remain of one cut at a comma.
    // A semicolon in a name ends a pair that has no value.
    let is_plain = |text: &str| !text.contains(['"', '\\', ' ', '\t', '=', ';']);
    let rest = rest.trim_start_matches(WHITE);
    if !is_plain(name) || (!text.starts_with('"') && !is_plain(&value)) {
        return None;
    }
    match rest.strip_prefix(';') {
        Some(rest) => Some((Some((name, value)), rest)),
        None => rest.is_empty().then_some((Some((name, value)), rest)),
    }
}

/// What a quoted string holds whose first quote has been read; and what follows.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => value.push(characters.next()?.1),
            (_, character) => value.push(character),
        }
    }
}

/// An address and perhaps a port, of which nothing is kept. IPv4 in IPv6 (`::ffff:192.0.2.1`) is IPv4.
fn address(node: &str) -> Option<IpAddr> {
    let (host, port) = match node.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        // With one colon it begins a port; an IPv6 address has more.
        None => match node.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, &node[host.len()..]),
            _ => (node, ""),
        },
    };
    let (host, has_zone) = match host.split_once('%') {
        Some((host, zone)) => (host, !zone.is_empty()),
        None => (host, true),
    };
    let address: IpAddr = host.parse().ok()?;
    let is_zoned_ipv4 = address.is_ipv4() && node.contains('%');
    (is_port(port) && has_zone && !is_zoned_ipv4).then(|| address.to_canonical())
}

/// Nothing, a colon alone, a port, or one that the proxy does not tell (`:_hidden`, section 6.3).
fn is_port(text: &str) -> bool {
    match text.strip_prefix(':') {
        None => text.is_empty(),
        Some(port) => match port.strip_prefix('_') {
            Some(hidden) => !hidden.is_empty() && hidden.bytes().all(is_obfuscated),
            None => {
                port.bytes().all(|byte| byte.is_ascii_digit())
                    && (port.is_empty() || port.parse::<u16>().is_ok())
            }
        },
    }
}

fn is_obfuscated(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address_is_read() {
        for (entry, address) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:567", "192.0.2.1"),
            ("192.0.2.1:", "192.0.2.1"),
            ("192.0.2.1:_hidden", "192.0.2.1"),
            ("\t 192.0.2.1:567 ", "192.0.2.1"),
            ("\"192.0.2.1:567\"", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:", "2001:db8::1"),
            ("[2001:db8::1]:567", "2001:db8::1"),
            ("\"[2001:db8::1]\"", "2001:db8::1"),
            (" \"[2001:db8::1]:443\"", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]:443", "fe80::1"),
            ("fe80::1%eth0:1", "fe80::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:c000:201]:567", "192.0.2.1"),
            ("::1", "::1"),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(x_forwarded_for(entry.as_bytes()), Some(address), "{entry}");
            let quoted = format!("for=\"{}\"", entry.trim().trim_matches('"'));
            assert_eq!(forwarded(quoted.as_bytes()), Some(address), "{quoted}");
        }
    }

    #[test]
    fn what_is_no_address_is_not_taken_for_one() {
        for entry in [
            "",
            " ",
            "unknown",
            "_hidden",
            "unix:",
            "localhost",
            "192.0.2.256",
            "192.0.2",
            "010.0.0.1",
            "1.2.3.4:99999",
            "1.2.3.4:+80",
            "1.2.3.4:x",
            "1.2.3.4:_",
            "1.2.3.4%eth0",
            "1.2.3.4 5",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]x",
            "[2001:db8::1]:x",
            "[[::1]]",
            "[]",
            "fe80::1%",
            "\"192.0.2.1",
            "192.0.2.1\"",
            "\"",
            "\"\"",
            "2001:db8::1:2:3:4:5:6:7:8",
            "http://192.0.2.1",
            "192.0.2.1/32",
        ] {
            assert_eq!(x_forwarded_for(entry.as_bytes()), None, "{entry}");
        }
        assert_eq!(x_forwarded_for(b"192.0.2.1\xff"), None);
    }

    #[test]
    fn the_for_of_an_element_is_found_among_its_parameters() {
        for (element, address) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=192.0.2.1:80", "192.0.2.1"),
            (" FOR=\"[2001:db8:cafe::17]:4711\" ", "2001:db8:cafe::17"),
            ("for=2001:db8::1", "2001:db8::1"),
            ("proto=https;for=192.0.2.1;by=203.0.113.43", "192.0.2.1"),
            ("host=\"a;for=1.2.3.4\" ; for=192.0.2.1", "192.0.2.1"),
            ("host=\"a\\\";for=1.2.3.4;b=\\\"\";for=192.0.2.1", "192.0.2.1"),
            ("for=\"192.0.2.\\1\"", "192.0.2.1"),
            (";;for=192.0.2.1;", "192.0.2.1"),
        ] {
            assert_eq!(forwarded(element.as_bytes()), address.parse().ok(), "{element}");
        }
        for element in [
            "",
            "for",
            "for=",
            "for=unknown",
            "for=_hidden",
            "for=\"_hidden\"",
            "by=192.0.2.1",
            "192.0.2.1",
            "for=192.0.2.1;for=192.0.2.2",
            // A pair without a value, whose name would reach into the next one.
            "x;for=192.0.2.1;for=192.0.2.2",
            "x;proto=https;for=192.0.2.1",
            "for=\"192.0.2.1",
            "for=192.0.2.1\"",
            "for=192.0.2.1 x",
            "for =192.0.2.1",
            // Pieces of a quoted string that a client has put commas into.
            "for=1.2.3.4\"",
            "for=1.2.3.4;a=\\\"\"",
            "for=1.2.3.4;host=\"",
            "x\";for=1.2.3.4",
        ] {
            assert_eq!(forwarded(element.as_bytes()), None, "{element}");
        }
    }
}
