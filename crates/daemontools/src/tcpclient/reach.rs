//! Connecting: which addresses are tried, in which order and how long.

use super::options::Options;
use crate::message::TEMPORARY;
use crate::tcpserver::address::{self, Families};
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream};
use std::time::Duration;
use sys::errno;

/// Addresses of one host that are tried.
const MOST: usize = 64;

/// A connection to `port` of `host`; what goes wrong is told, and returned as the exit code.
pub(super) fn connect(options: &Options, host: &OsStr, port: &OsStr) -> Result<TcpStream, i32> {
    let port = address::port(port)
        .ok_or_else(|| options.fatal(&[&"unable to figure out port number for ", &port], None))?;
    let first = address::addresses(host, options.ends.families).map_err(|e| {
        let text = "temporarily unable to figure out IP address for ";
        options.fatal(&[&text, &host], Some(&e))
    })?;
    let scope =
        address::scope(options.ends.interface.as_deref(), |text, e| options.fatal(text, Some(e)))?;
    let at = |ip| match ip {
        IpAddr::V4(ip) => SocketAddr::from((ip, port)),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
    };
    let mut known = Vec::new();
    // A name's IPv6 addresses are asked for when those of IPv4 have failed.
    let more = || match options.ends.families {
        Families::Both if !first.is_empty() && address::is_name(host) => {
            address::addresses(host, Families::Six).unwrap_or_default()
        }
        Families::Both | Families::Four | Families::Six => Vec::new(),
    };
    for ask in [&(|| first.clone()) as &dyn Fn() -> Vec<IpAddr>, &more] {
        let fresh = ask().into_iter().filter(|ip| !known.contains(ip)).collect();
        let list = mixed(fresh, options.from);
        known.extend_from_slice(&list);
        if let Some(sock) = attempts(options, list.into_iter().map(at).collect())? {
            return Ok(sock);
        }
    }
    if known.is_empty() {
        return Err(options.fatal(&[&"no IP address for ", &host], None));
    }
    Err(TEMPORARY)
}

/// Those of the family that we come from, in random order, IPv4 first.
fn mixed(mut list: Vec<IpAddr>, from: Option<IpAddr>) -> Vec<IpAddr> {
    list.retain(|ip| from.is_none_or(|from| from.is_ipv4() == ip.is_ipv4()));
    list.truncate(MOST);
    // Without random numbers in the order that DNS gives, which is nearly as good.
    list.sort_by_cached_key(|ip| (ip.is_ipv6(), sys::random::number().unwrap_or(0)));
    list
}

/// Tries each address, and those that took too long once more and longer. One alone is tried once.
fn attempts(options: &Options, mut list: Vec<SocketAddr>) -> Result<Option<TcpStream>, i32> {
    let [first, second] = options.tries;
    let alone = list.len() < 2;
    let rounds =
        if alone { [first.saturating_add(second), Duration::ZERO] } else { [first, second] };
    for (limit, more) in rounds.into_iter().zip([rounds[1], Duration::ZERO]) {
        let mut late = Vec::new();
        for to in list {
            match attempt(options, to, limit)? {
                Ok(sock) => return Ok(Some(sock)),
                Err(error) if error.kind() == ErrorKind::TimedOut && !more.is_zero() => {
                    late.push(to);
                }
                Err(error) => options.tell_failed(to, &error),
            }
        }
        list = late;
    }
    Ok(None)
}

/// One attempt. What is wrong on our side ends all of them.
fn attempt(
    options: &Options,
    to: SocketAddr,
    limit: Duration,
) -> Result<io::Result<TcpStream>, i32> {
    let fatal = |text: &str, error: io::Error| options.fatal(&[&text], Some(&error));
    let sock = match sys::net::socket(to) {
        // A host without this family at all: another address may be of the other.
        Err(error) if errno::is(&error, errno::EAFNOSUPPORT) => return Ok(Err(error)),
        made => made.map_err(|e| fatal("unable to create socket", e))?,
    };
    if options.from.is_some() || options.from_port > 0 {
        let any = || {
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
        };
        let from = SocketAddr::new(options.from.unwrap_or_else(any), options.from_port);
        sys::net::bind(&sock, from).map_err(|e| fatal("unable to bind socket", e))?;
    }
    Ok(sys::net::connect_on(sock, to, limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn silent() -> Options {
        let mut options = Options::plain();
        options.ends.loudness = crate::ucspi::Loudness::Silent;
        options
    }

    #[test]
    fn ipv4_is_tried_first_and_only_what_our_address_can_reach() {
        let list = ["::1", "192.0.2.1", "::2", "192.0.2.2"].map(ip).to_vec();
        let families = |from: Option<&str>| {
            let mixed = mixed(list.clone(), from.map(ip));
            mixed.iter().map(|ip| if ip.is_ipv4() { '4' } else { '6' }).collect::<String>()
        };
        assert_eq!(families(None), "4466");
        assert_eq!(families(Some("10.0.0.1")), "44");
        assert_eq!(families(Some("::9")), "66");
    }

    #[test]
    fn the_next_address_is_tried_when_one_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let options = silent();
        let sock = attempts(&options, vec![closed, there]).unwrap();
        assert_eq!(sock.unwrap().peer_addr().unwrap(), there);
        assert!(attempts(&options, vec![closed]).unwrap().is_none());
    }

    #[test]
    fn no_time_to_wait_is_enough_for_who_answers_at_once() {
        let options = Options { tries: [Duration::ZERO; 2], ..silent() };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        assert!(attempts(&options, vec![there]).unwrap().is_some());
        assert!(attempts(&options, vec![there, there]).unwrap().is_some());
    }
}
