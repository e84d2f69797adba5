//! Which addresses are this host's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Whether mail sent to `ip` would come back to us (`0.0.0.0` and `::` do).
///
/// A socket can be bound only to an address one has. Where the administrator allows binding to any
/// (`ip_nonlocal_bind`, usual with addresses that wander between hosts), an address reserved for
/// documentation can be bound too; then we ask which source the kernel would use to reach it.
pub(super) fn is_me(ip: IpAddr) -> bool {
    if ip.is_unspecified() || ip.is_loopback() {
        return true;
    }
    let broadcast = IpAddr::V4(Ipv4Addr::BROADCAST);
    if ip.is_multicast() || ip == broadcast || UdpSocket::bind((ip, 0)).is_err() {
        return false;
    }
    let (nobody, any) = match ip {
        IpAddr::V4(_) => (Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::UNSPECIFIED.into()),
        IpAddr::V6(_) => {
            let documentation = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            (documentation.into(), Ipv6Addr::UNSPECIFIED.into())
        }
    };
    let nobody: IpAddr = nobody;
    UdpSocket::bind((nobody, 0)).is_err() || is_its_own_source(ip, any)
}

/// Whether the way to `ip` begins at `ip`. Nothing is sent.
fn is_its_own_source(ip: IpAddr, any: IpAddr) -> bool {
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, super::route::PORT))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_nowhere_are_ours_and_documentation_is_not() {
        for ours in ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::"] {
            assert!(is_me(ours.parse().unwrap()), "{ours}");
        }
        for foreign in ["192.0.2.1", "198.51.100.7", "2001:db8::7", "224.0.0.1", "255.255.255.255"]
        {
            assert!(!is_me(foreign.parse().unwrap()), "{foreign}");
        }
    }

    #[test]
    fn the_address_we_speak_from_is_ours() {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("198.51.100.7:25").is_ok() {
            assert!(is_me(socket.local_addr().unwrap().ip()));
        }
    }
}
