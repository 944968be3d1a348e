//! Addresses to listen on: `127.0.0.1:5778`, `[::1]:5778`, or a name such as `localhost:5778`, resolved once.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use crate::document::check::Check;

/// An address with the key that named it.
pub(super) type Listener = (String, SocketAddr);

/// The address behind `text`, or an error that says how to write one.
pub(super) fn listen(check: &mut Check<'_>, key: &str, text: &str) -> Option<SocketAddr> {
    match resolve(text) {
        Ok(address) => Some(address),
        Err(message) => {
            check.fail(key, message);
            None
        }
    }
}

fn resolve(text: &str) -> Result<SocketAddr, String> {
    let how = "expected host:port, such as 127.0.0.1:5778, [::1]:5778 or localhost:5778";
    let (host, port) = text.rsplit_once(':').ok_or(how)?;
    port.parse::<u16>().map_err(|_| how)?;
    if host.is_empty() {
        return Err(format!("{how}; for every interface write 0.0.0.0:{port}"));
    }
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if host.contains([':', '[', ']']) {
        return Err(how.to_owned());
    }
    let addresses: Vec<SocketAddr> =
        text.to_socket_addrs().map_err(|error| format!("{host} has no address: {error}"))?.collect();
    // SDKs look for 127.0.0.1 first, and `localhost` often lists ::1 before it.
    let chosen = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    chosen.copied().ok_or_else(|| format!("{host} has no address"))
}

/// Fails each listener that cannot be bound beside an earlier one.
pub(super) fn refuse_conflicts(check: &mut Check<'_>, listeners: &[Listener]) {
    for (i, (key, address)) in listeners.iter().enumerate() {
        if let Some((other, taken)) = listeners[..i].iter().find(|(_, earlier)| conflict(*earlier, *address)) {
            check.fail(key, format_args!("{address} cannot be bound beside {other} ({taken})"));
        }
    }
}

/// Port 0 means any free port, and an unspecified address covers all of its family; `::` takes IPv4 as well.
fn conflict(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |wide: IpAddr, ip: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || ip.is_ipv4());
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_brackets_and_names_are_addresses() {
        for (text, expected) in
            [("127.0.0.1:5778", "127.0.0.1:5778"), ("[::1]:0", "[::1]:0"), ("localhost:80", "127.0.0.1:80")]
        {
            assert_eq!(resolve(text).map(|a| a.to_string()), Ok(expected.to_owned()));
        }
        for bad in ["", "5778", ":5778", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "::1:5778", "[::1]", "[x]:1"] {
            assert!(resolve(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn listeners_conflict_where_the_kernel_would_refuse_the_second() {
        let table = [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("[::]:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "[::1]:1", false),
        ];
        for (a, b, expected) in table {
            let parse = |text: &str| text.parse().expect("an address");
            assert_eq!(conflict(parse(a), parse(b)), expected, "{a} {b}");
            assert_eq!(conflict(parse(b), parse(a)), expected, "{b} {a}");
        }
    }
}
