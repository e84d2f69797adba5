//! Which servers are asked, as an administrator writes them down.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig};

/// Where DNS servers listen.
const PORT: u16 = 53;

/// A line is no server: `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:5353`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadServer(pub String);

impl fmt::Display for BadServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no address of a DNS server (write ip, ip:port or [ip]:port)", self.0)
    }
}

impl std::error::Error for BadServer {}

/// The servers of a list (`control/dnsservers`), one a line.
///
/// # Errors
/// [`BadServer`] for the first line that is none.
pub fn parse_servers<'a>(
    lines: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<SocketAddr>, BadServer> {
    let text = |line: &[u8]| String::from_utf8_lossy(line).trim().to_owned();
    lines.into_iter().map(|line| parse(&text(line))).collect()
}

fn parse(line: &str) -> Result<SocketAddr, BadServer> {
    let bare = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(line);
    match bare.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, PORT)),
        Err(_) => line.parse().map_err(|_| BadServer(line.to_owned())),
    }
}

/// One server as hickory wants it: UDP, and TCP for what does not fit.
pub(crate) fn named(server: SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    config.connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].into();
    for connection in &mut config.connections {
        connection.port = server.port();
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_addresses_with_or_without_a_port() {
        let lines: [&[u8]; 4] = [b"192.0.2.1", b"127.0.0.1:5353", b"2001:db8::1", b"[::1]:54"];
        let want = ["192.0.2.1:53", "127.0.0.1:5353", "[2001:db8::1]:53", "[::1]:54"];
        let got = parse_servers(lines).unwrap();
        assert!(got.iter().map(ToString::to_string).eq(want));
    }

    #[test]
    fn anything_else_is_named() {
        let err = parse_servers([&b"dns.example"[..]]).unwrap_err();
        assert!(err.to_string().starts_with("dns.example is no address"), "{err}");
    }
}
