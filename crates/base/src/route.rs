//! Where a line of `smtproutes` or `qmtproutes` leads: `relay[:port][|name|secret]`.

use alloc::format;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What stands behind the key of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Route<'a> {
    /// A name or an address; empty: the host's own exchangers.
    pub relay: &'a [u8],
    /// The port; the protocol's own if the line says none.
    pub port: u16,
    /// Name and secret to log in with.
    pub login: Option<(&'a [u8], &'a [u8])>,
}

impl fmt::Debug for Route<'_> {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (relay, name) = (self.relay.escape_ascii(), self.login.map(|(name, _)| name));
        let name = name.map(|name| format!("{}", name.escape_ascii()));
        write!(f, "Route({relay}, {}, {name:?})", self.port)
    }
}

/// Reads what stands behind the key; an IPv6 address with a port stands in brackets.
///
/// # Errors
/// What cannot be meant about it.
pub fn read(value: &[u8], own_port: u16) -> Result<Route<'_>, &'static str> {
    let (to, behind) = cut(value, b'|');
    let (relay, port) = relay_and_port(to.trim_ascii(), own_port)?;
    let login = match behind.map(|behind| cut(behind, b'|')) {
        None | Some((b"", None | Some(b""))) => None,
        Some((_, None)) => return Err("a name without a password: write RELAY:PORT|NAME|PASSWORD"),
        Some((name, Some(secret))) => Some((name, secret)),
    };
    if relay.iter().any(|c| c.is_ascii_whitespace() || c.is_ascii_control()) {
        return Err("the relay has a blank in it, as no host's name has");
    }
    if login.is_some() && relay.is_empty() {
        return Err("a password without a relay: name the host that is to hear it");
    }
    Ok(Route { relay, port, login })
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
    let port = port.get(1..).and_then(|port| core::str::from_utf8(port).ok());
    let digits = port.filter(|port| port.bytes().all(|c| c.is_ascii_digit()));
    match digits.and_then(|port| port.parse().ok()) {
        None | Some(0) => Err("the port is not a number from 1 to 65535"),
        Some(port) => Ok((relay, port)),
    }
}

/// A DNS server as a line of `dnsservers` has it: `ip`, `ip:port`, `[ip]` or `[ip]:port`; port 53 if the
/// line says none.
pub fn server(line: &[u8]) -> Option<SocketAddr> {
    let line = core::str::from_utf8(line).ok()?.trim();
    let bare = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(line);
    match bare.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, 53)),
        Err(_) => line.parse().ok(),
    }
}

/// The address a host is, if it is one: bare, in brackets, or as RFC 5321 §4.1.3 writes IPv6.
pub fn address(host: &[u8]) -> Option<IpAddr> {
    let host = core::str::from_utf8(host).ok()?;
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

    #[test]
    fn a_dns_server_is_an_address_with_or_without_a_port() {
        let text = |line: &[u8]| server(line).map(|server| format!("{server}"));
        assert_eq!(text(b"192.0.2.1").as_deref(), Some("192.0.2.1:53"));
        assert_eq!(text(b" [2001:db8::1]:54 ").as_deref(), Some("[2001:db8::1]:54"));
        assert_eq!(text(b"2001:db8::1").as_deref(), Some("[2001:db8::1]:53"));
        assert_eq!((text(b"nosuch"), text(b"192.0.2.1:x")), (None, None));
        assert_eq!(
            read(b"bad host", 25).map(drop),
            Err("the relay has a blank in it, as no host's name has")
        );
    }

    #[test]
    fn relays_are_names_or_addresses_of_either_kind() {
        for (value, relay, port) in [
            ("mx.test", "mx.test", 25),
            ("mx.test:587", "mx.test", 587),
            (" mx.test:587 |joe|x", "mx.test", 587),
            ("192.0.2.1:2525", "192.0.2.1", 2525),
            ("[192.0.2.1]:26", "[192.0.2.1]", 26),
            ("[2001:db8::1]:26", "[2001:db8::1]", 26),
            ("2001:db8::1", "2001:db8::1", 25),
            ("[::1]", "[::1]", 25),
            ("", "", 25),
        ] {
            let route = read(value.as_bytes(), 25).unwrap();
            assert_eq!((route.relay, route.port), (relay.as_bytes(), port), "{value}");
        }
    }

    #[test]
    fn a_port_that_is_none_and_half_a_login_cannot_be_meant() {
        for value in ["mx:x", "mx:99999", "mx:0", "mx:", "[::1]:", "mx:25x", "mx:+25"] {
            let why = read(value.as_bytes(), 25).unwrap_err();
            assert_eq!(why, "the port is not a number from 1 to 65535", "{value}");
        }
        for value in ["mx|joe", "|joe|x", ":26|joe|x"] {
            assert!(read(value.as_bytes(), 25).is_err(), "{value}");
        }
    }

    #[test]
    fn a_login_stands_behind_the_relay_and_its_secret_is_not_shown() {
        for (value, want) in [
            ("mx:26|joe|a|b:c", Some(("joe", "a|b:c"))),
            ("mx|joe|", Some(("joe", ""))),
            ("mx||", None),
            ("mx|", None),
        ] {
            let want = want.map(|(name, secret)| (name.as_bytes(), secret.as_bytes()));
            assert_eq!(read(value.as_bytes(), 25).unwrap().login, want, "{value}");
        }
        let shown = format!("{:?}", read(b"mx|joe|secret", 25));
        assert!(shown.contains("joe") && !shown.contains("secret"), "{shown}");
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
