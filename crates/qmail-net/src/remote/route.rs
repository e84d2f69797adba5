//! `smtproutes`: where mail goes that the DNS is not asked about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use store::control::Map;

/// The SMTP port.
pub(super) const PORT: u16 = 25;

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// A name or an address.
    pub(super) relay: Vec<u8>,
    /// The port, 25 if the route says none.
    pub(super) port: u16,
}

/// The route for `host`: the first of host, its suffixes from a dot on, and the empty key that is
/// in the map counts. An empty relay, like no route, means the host's own exchangers.
pub(super) fn find(routes: &Map, host: &[u8]) -> Option<Route> {
    let suffixes = (1..=host.len()).filter(|&at| host.get(at).is_none_or(|&c| c == b'.'));
    let mut keys = std::iter::once(0).chain(suffixes).filter_map(|at| host.get(at..));
    let value = keys.find_map(|key| routes.get(key))?;
    let route = parse(value.trim_ascii());
    (!route.relay.is_empty()).then_some(route)
}

/// `relay[:port]`; an IPv6 address with a port stands in brackets.
fn parse(value: &[u8]) -> Route {
    let whole = |relay: &[u8]| Route { relay: relay.to_vec(), port: PORT };
    if address(value).is_some() {
        return whole(value);
    }
    let colon = value.iter().rposition(|&c| c == b':');
    let Some((relay, port)) = colon.and_then(|at| value.split_at_checked(at)) else {
        return whole(value);
    };
    let digits: Vec<u8> = port.iter().copied().skip(1).take_while(u8::is_ascii_digit).collect();
    let port = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok());
    Route { relay: relay.to_vec(), port: port.filter(|&port| port != 0).unwrap_or(PORT) }
}

/// The address a host is, if it is one: bare, in brackets, or as RFC 5321 §4.1.3 writes IPv6.
pub(super) fn address(host: &[u8]) -> Option<IpAddr> {
    let host = std::str::from_utf8(host).ok()?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(v4) = bare.parse::<Ipv4Addr>() {
        return Some(v4.into());
    }
    let tagged = bare.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    let v6 = if tagged { bare.get(5..)? } else { bare };
    v6.parse::<Ipv6Addr>().ok().map(IpAddr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[&str]) -> Map {
        Map::from_lines(lines.iter().map(|line| line.as_bytes()))
    }

    fn route(relay: &str, port: u16) -> Option<Route> {
        Some(Route { relay: relay.as_bytes().to_vec(), port })
    }

    #[test]
    fn the_first_key_from_the_left_counts() {
        let routes = map(&["a.b:one", ".b:two:26", ":three"]);
        assert_eq!(find(&routes, b"A.B"), route("one", 25));
        assert_eq!(find(&routes, b"x.a.b"), route("two", 26));
        assert_eq!(find(&routes, b"b"), route("three", 25));
        assert_eq!(find(&map(&[".b:two"]), b"b"), None);
    }

    #[test]
    fn an_empty_relay_is_no_route() {
        assert_eq!(find(&map(&["a.b:", ":three"]), b"a.b"), None);
        assert_eq!(find(&map(&[]), b""), None);
    }

    #[test]
    fn relays_are_names_or_addresses_of_either_kind() {
        for (value, relay, port) in [
            ("mx.test", "mx.test", 25),
            ("mx.test:587", "mx.test", 587),
            ("192.0.2.1:2525", "192.0.2.1", 2525),
            ("[192.0.2.1]:26", "[192.0.2.1]", 26),
            ("[2001:db8::1]:26", "[2001:db8::1]", 26),
            ("2001:db8::1", "2001:db8::1", 25),
            ("[::1]", "[::1]", 25),
            ("mx.test:x", "mx.test", 25),
            ("mx.test:99999", "mx.test", 25),
        ] {
            assert_eq!(Some(parse(value.as_bytes())), route(relay, port), "{value}");
        }
    }

    #[test]
    fn literals_are_addresses_and_names_are_not() {
        for (host, is) in [("192.0.2.1", true), ("[192.0.2.1]", true), ("[IPv6:::1]", true)] {
            assert_eq!(address(host.as_bytes()).is_some(), is, "{host}");
        }
        assert_eq!(address(b"1.2.3"), None);
        assert_eq!(address(b"[mx.test]"), None);
        assert_eq!(address(b"\xff"), None);
    }
}
