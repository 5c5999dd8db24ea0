//! Variables of the environment under our prefix: ours, those of others, and misspelt ones.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};

/// The first name that is neither in `known` nor written by other programs: it is misspelt, and would silently leave a
/// default in force.
pub(super) fn misspelt<'a>(
    variables: &'a [(OsString, OsString)],
    known: &[&OsStr],
) -> Option<std::borrow::Cow<'a, str>> {
    let unknown = |(name, value): &&(OsString, OsString)| {
        let text = name.to_string_lossy();
        text.starts_with("GATELET_")
            && !known.contains(&name.as_os_str())
            && !value.to_str().is_some_and(|value| describes_a_service(&text, value))
    };
    variables.iter().find(unknown).map(|(name, _)| name.to_string_lossy())
}

/// Protocols of services.
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Whether Kubernetes or a link of Docker describes a service in this variable. Services whose names begin with `gatelet`
/// have our prefix: `GATELET_METRICS_PORT=tcp://10.0.0.1:9100` belongs to `gatelet-metrics`. A mistaken setting, such as
/// `GATELET_PORT=5000`, has another value.
fn describes_a_service(name: &str, value: &str) -> bool {
    let is_ip = || value.parse::<IpAddr>().is_ok();
    let is_port = || value.parse::<u16>().is_ok();
    let is_url = || {
        let scheme = |protocol: &&str| {
            let rest = value.strip_prefix(&protocol.to_ascii_lowercase())?;
            rest.strip_prefix("://")?.parse::<SocketAddr>().ok()
        };
        PROTOCOLS.iter().any(|protocol| scheme(protocol).is_some())
    };
    // Docker's links say what the container is called, and repeat its environment.
    if name.contains("_ENV_") || (name.ends_with("_NAME") && value.starts_with('/')) {
        return true;
    }
    // From the longest form to the shortest, which ends as others do.
    if let Some((_, part)) = one_port(name) {
        return match part {
            "" => is_url(),
            "ADDR" => is_ip(),
            "PORT" => is_port(),
            "PROTO" => PROTOCOLS.iter().any(|protocol| protocol.eq_ignore_ascii_case(value)),
            _ => false,
        };
    }
    if name.ends_with("_SERVICE_HOST") {
        return is_ip();
    }
    if name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return is_port();
    }
    name.ends_with("_PORT") && is_url()
}

/// The parts of `…_PORT_<number>_<protocol>[_<part>]`: what stands before, and the part.
fn one_port(name: &str) -> Option<(&str, &str)> {
    let protocol = |text: &&str| PROTOCOLS.contains(text);
    let (before, part) = match name.rsplit_once('_')? {
        (before, last) if protocol(&last) => (before, ""),
        (before, last) => match before.rsplit_once('_')? {
            (before, middle) if protocol(&middle) => (before, last),
            _ => return None,
        },
    };
    let (before, number) = before.rsplit_once('_')?;
    number.parse::<u16>().ok()?;
    Some((before.strip_suffix("_PORT")?, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_describes_a_service_is_known_by_name_and_value() {
        for (name, value) in [
            ("GATELET_SERVICE_HOST", "10.0.0.1"),
            ("GATELET_SERVICE_PORT", "5000"),
            ("GATELET_SERVICE_PORT_HTTP", "5000"),
            ("GATELET_PORT", "tcp://10.0.0.1:5000"),
            ("GATELET_NAME", "/web/gatelet"),
            ("GATELET_ENV_PATH", "/bin"),
            ("GATELET_METRICS_NAME", "/web/gatelet-metrics"),
            ("GATELET_METRICS_ENV_PATH", "/bin"),
            ("GATELET_PORT_5000_TCP", "tcp://10.0.0.1:5000"),
            ("GATELET_PORT_5000_TCP_PROTO", "tcp"),
            ("GATELET_PORT_5000_TCP_PORT", "5000"),
            ("GATELET_PORT_5000_TCP_ADDR", "10.0.0.1"),
            ("GATELET_METRICS_SERVICE_HOST", "fd00::1"),
            ("GATELET_METRICS_SERVICE_PORT_HTTP_METRICS", "9100"),
            ("GATELET_METRICS_PORT", "tcp://[fd00::1]:9100"),
            ("GATELET_METRICS_PORT_9100_UDP", "udp://[fd00::1]:9100"),
            ("GATELET_METRICS_PORT_9100_SCTP_PROTO", "sctp"),
            ("GATELET_AUTH_PORT_5000_TCP_ADDR", "10.0.0.1"),
            ("GATELET_LISTEN_SERVICE_HOST", "10.0.0.1"),
        ] {
            assert!(describes_a_service(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("GATELET_PORT", "5000"),
            ("GATELET_LISTEN_PORT", "5000"),
            ("GATELET_METRICS_PORT", "127.0.0.1:9100"),
            ("GATELET_METRICS_PORT", "tcp://metrics:9100"),
            ("GATELET_SERVICE_HOST", "0.0.0.0:5000"),
            ("GATELET_SERVICE_HOST", "gatelet.local"),
            ("GATELET_SERVICE_PORT", "http"),
            ("GATELET_SERVICE", "10.0.0.1"),
            ("GATELET_HOST", "10.0.0.1"),
            ("GATELET_PORT_TCP", "tcp://10.0.0.1:5000"),
            ("GATELET_PORT_5000_TCP_LIMIT", "5000"),
            ("GATELET_PORT_99999_TCP_ADDR", "10.0.0.1"),
            ("GATELET_5000_TCP_ADDR", "10.0.0.1"),
            ("GATELET_ACESS_TTL", "15m"),
        ] {
            assert!(!describes_a_service(name, value), "{name}={value}");
        }
    }
}
