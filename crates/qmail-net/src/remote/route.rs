//! `smtproutes` and `qmtproutes`: where mail goes that the DNS is not asked about.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proto::smtp::client::Login;
use store::control::Row;

/// The SMTP port.
pub(super) const PORT: u16 = 25;
/// The QMTP port.
pub(super) const QMTP_PORT: u16 = 209;

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// A name or an address.
    pub(crate) relay: Vec<u8>,
    /// The port; the protocol's own if the route says none.
    pub(crate) port: u16,
    /// With which to log in.
    pub(crate) login: Option<Login>,
}

/// A line that means nothing, found when it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadRoute {
    /// Which line.
    pub(crate) line: usize,
    why: &'static str,
}

impl fmt::Display for BadRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// A file of routes: the last line for a key counts.
#[derive(Clone, Default)]
pub(crate) struct Routes(BTreeMap<Vec<u8>, (usize, Vec<u8>)>);

impl fmt::Debug for Routes {
    /// Without what they lead to: passwords may be there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys().map(|key| String::from_utf8_lossy(key))).finish()
    }
}

impl Routes {
    /// Takes the lines of a file.
    pub(crate) fn new(rows: Vec<Row>) -> Self {
        Self(rows.into_iter().map(|row| (row.key, (row.line, row.value))).collect())
    }

    /// The route for `host`: the first of host, its suffixes from a dot on, and the empty key that
    /// is in the file counts. An empty relay, like no route, means the host's own exchangers.
    ///
    /// # Errors
    /// The line that counts cannot be meant.
    pub(crate) fn find(&self, host: &[u8], port: u16) -> Result<Option<Route>, BadRoute> {
        let host = host.to_ascii_lowercase();
        let suffixes = (1..=host.len()).filter(|&at| host.get(at).is_none_or(|&c| c == b'.'));
        let mut keys = std::iter::once(0).chain(suffixes).filter_map(|at| host.get(at..));
        let Some((line, value)) = keys.find_map(|key| self.0.get(key)) else { return Ok(None) };
        let route = parse(value, port).map_err(|why| BadRoute { line: *line, why })?;
        Ok(Some(route).filter(|route| !route.relay.is_empty()))
    }
}

/// `relay[:port][|name|secret]`; an IPv6 address with a port stands in brackets.
fn parse(value: &[u8], own_port: u16) -> Result<Route, &'static str> {
    let (to, behind) = cut(value, b'|');
    let (relay, port) = relay_and_port(to.trim_ascii(), own_port)?;
    let login = match behind.map(|behind| cut(behind, b'|')) {
        None | Some((b"", None | Some(b""))) => None,
        Some((_, None)) => return Err("a name without a password: write RELAY:PORT|NAME|PASSWORD"),
        Some((name, Some(secret))) => Some(Login { name: name.to_vec(), secret: secret.to_vec() }),
    };
    if login.is_some() && relay.is_empty() {
        return Err("a password without a relay: name the host that is to hear it");
    }
    Ok(Route { relay: relay.to_vec(), port, login })
}

/// What stands before a byte, and what behind it if it is there.
fn cut(text: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    let found = text.iter().position(|&c| c == at).and_then(|at| text.split_at_checked(at));
    match found {
        Some((before, behind)) => (before, behind.get(1..)),
        None => (text, None),
    }
}

fn relay_and_port(value: &[u8], own_port: u16) -> Result<(&[u8], u16), &'static str> {
    if address(value).is_some() {
        return Ok((value, own_port));
    }
    let colon = value.iter().rposition(|&c| c == b':');
    let Some((relay, port)) = colon.and_then(|at| value.split_at_checked(at)) else {
        return Ok((value, own_port));
    };
    let port = port.get(1..).and_then(|port| std::str::from_utf8(port).ok());
    let digits = port.filter(|port| port.bytes().all(|c| c.is_ascii_digit()));
    match digits.and_then(|port| port.parse().ok()) {
        None | Some(0) => Err("the port is not a number from 1 to 65535"),
        Some(port) => Ok((relay, port)),
    }
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

    fn routes(lines: &[&str]) -> Routes {
        let row = |(n, line): (usize, &&str)| {
            let (key, value) = line.split_once(':').unwrap();
            Row { line: n + 1, key: key.into(), value: value.into() }
        };
        Routes::new(lines.iter().enumerate().map(row).collect())
    }

    fn found(lines: &[&str], host: &str) -> Option<(String, u16)> {
        let route = routes(lines).find(host.as_bytes(), PORT).unwrap()?;
        Some((String::from_utf8(route.relay).unwrap(), route.port))
    }

    #[test]
    fn the_first_key_from_the_left_counts() {
        let lines = ["a.b:no", "a.b:one", ".b:two:26", ":three"];
        assert_eq!(found(&lines, "A.B"), Some(("one".into(), 25)));
        assert_eq!(found(&lines, "x.a.b"), Some(("two".into(), 26)));
        assert_eq!(found(&lines, "b"), Some(("three".into(), 25)));
        assert_eq!(found(&[".b:two"], "b"), None);
        let qmtp = routes(&["a:b"]).find(b"a", QMTP_PORT);
        assert_eq!(qmtp.unwrap().unwrap().port, 209);
    }

    #[test]
    fn an_empty_relay_is_no_route() {
        assert_eq!(found(&["a.b:", ":three"], "a.b"), None);
        assert_eq!(found(&[], ""), None);
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
        ] {
            let line = format!("a:{value}");
            assert_eq!(found(&[&line], "a"), Some((relay.to_owned(), port)), "{value}");
        }
    }

    #[test]
    fn a_port_that_is_none_is_named_with_its_line() {
        for value in ["mx:x", "mx:99999", "mx:0", "mx:", "[::1]:", "mx:25x", "mx:+25"] {
            let bad = routes(&["b:c", &format!("a:{value}")]).find(b"a", PORT).unwrap_err();
            assert_eq!(bad.to_string(), "line 2: the port is not a number from 1 to 65535");
        }
    }

    #[test]
    fn a_login_stands_behind_the_relay() {
        for (value, want) in [
            ("mx:26|joe|a|b:c", Some(("joe", "a|b:c"))),
            ("mx|joe|", Some(("joe", ""))),
            ("mx||", None),
            ("mx|", None),
        ] {
            let route = routes(&[&format!("a:{value}")]).find(b"a", PORT).unwrap().unwrap();
            let want = want.map(|(name, secret): (&str, &str)| Login {
                name: name.into(),
                secret: secret.into(),
            });
            assert_eq!(route.login, want, "{value}");
            assert_eq!(route.relay, b"mx");
        }
        assert_eq!(format!("{:?}", routes(&["a:mx|joe|secret"])), r#"{"a"}"#);
        for bad in ["mx|joe", "|joe|x", ":26|joe|x"] {
            assert!(routes(&[&format!("a:{bad}")]).find(b"a", PORT).is_err(), "{bad}");
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
