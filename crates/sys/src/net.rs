//! TCP sockets, as far as the standard library's need help: options before the bind, a backlog, a
//! limit on connecting.

use crate::poll::{self, Interest};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// A new TCP socket of the family of `addr`; an exec closes it.
pub fn socket(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let proto = Some(ipproto::TCP);
    Ok(rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, proto)?)
}

/// Binds it to `addr` although old connections of that address linger (`SO_REUSEADDR`).
pub fn bind(sock: impl AsFd, addr: SocketAddr) -> io::Result<()> {
    sockopt::set_socket_reuseaddr(&sock, true)?;
    Ok(rustix::net::bind(sock, &addr)?)
}

/// Whether an IPv6 socket takes IPv6 connections only (`IPV6_V6ONLY`); before the bind.
pub fn only_six(sock: impl AsFd, only: bool) -> io::Result<()> {
    Ok(sockopt::set_ipv6_v6only(sock, only)?)
}

/// The number of a network interface, which an address that is good on one link needs.
pub fn interface(name: &str) -> io::Result<u32> {
    let any = rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    Ok(rustix::net::netdevice::name_to_index(any, name)?)
}

/// The name of a network interface by its number.
pub fn interface_name(number: u32) -> io::Result<String> {
    let any = rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    Ok(rustix::net::netdevice::index_to_name(any, number)?)
}

/// Makes it listen, with room for `backlog` connections nobody has accepted.
pub fn listen(sock: impl AsFd, backlog: i32) -> io::Result<()> {
    Ok(rustix::net::listen(sock, backlog)?)
}

/// Its own address.
pub fn local(sock: impl AsFd) -> io::Result<SocketAddr> {
    Ok(rustix::net::getsockname(sock)?.try_into()?)
}

/// The address at its other end.
pub fn peer(sock: impl AsFd) -> io::Result<SocketAddr> {
    Ok(rustix::net::getpeername(sock)?.ok_or(Errno::NOTCONN)?.try_into()?)
}

/// The next connection and where it comes from; an exec closes it.
pub fn accept(sock: impl AsFd) -> io::Result<(OwnedFd, SocketAddr)> {
    let (conn, addr) = retry_on_intr(|| rustix::net::acceptfrom_with(&sock, SocketFlags::CLOEXEC))?;
    let addr = addr.ok_or(Errno::CONNABORTED)?;
    Ok((conn, addr.try_into()?))
}

/// Sends small pieces at once instead of collecting them (`TCP_NODELAY`).
pub fn nodelay(sock: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(sock, true)?)
}

/// The longest that bytes of one socket are waited for: a read that waits so long ends by itself, and
/// nobody has to wait for bytes before it.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    limit: Duration,
    /// Whether the socket ends such a read, once it was asked to.
    heeded: Option<bool>,
}

impl ReadLimit {
    /// What a read ends by itself is not looked at more closely.
    const ABOUT: Duration = Duration::from_secs(1);

    /// Of a socket that does not know of it yet.
    pub const fn new(limit: Duration) -> Self {
        Self { limit, heeded: None }
    }

    /// Whether a read from the socket that has to wait ends after `left`, to within a second, with
    /// `WouldBlock`. Never so on what is no socket, and if nothing is left.
    pub fn ends(&mut self, sock: impl AsFd, left: Duration) -> bool {
        let longest = !left.is_zero() && left.saturating_add(Self::ABOUT) >= self.limit;
        longest && *self.heeded.get_or_insert_with(|| limit_reads(sock, self.limit).is_ok())
    }
}

/// From now on a read from the socket that has to wait ends with `WouldBlock` after `limit` at the
/// latest. Fails on what is no socket.
fn limit_reads(sock: impl AsFd, limit: Duration) -> io::Result<()> {
    Ok(sockopt::set_socket_timeout(sock, sockopt::Timeout::Recv, Some(limit))?)
}

/// Removes IP options, source routes above all, from a connection. A socket that has none by its
/// nature (IPv6, loopback) is fine.
pub fn clear_ip_options(sock: impl AsFd) -> io::Result<()> {
    use nix::libc;
    let fd = sock.as_fd().as_raw_fd();
    // SAFETY: length 0 with a null pointer is IP_OPTIONS' documented way to clear; no memory is
    // read.
    let said =
        unsafe { libc::setsockopt(fd, libc::IPPROTO_IP, libc::IP_OPTIONS, std::ptr::null(), 0) };
    if said == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENOPROTOOPT) { Ok(()) } else { Err(error) }
}

/// Sends what there is room for now, without waiting and without SIGPIPE; returns how much.
pub fn send_now(sock: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(retry_on_intr(|| rustix::net::send(&sock, bytes, flags))?)
}

/// What has come that nobody has read, as far as `buf` has room; it stays. 0 is the end, `WouldBlock`
/// nothing yet.
pub fn peek(sock: impl AsFd, buf: &mut [u8]) -> io::Result<usize> {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let (got, _) = retry_on_intr(|| rustix::net::recv(&sock, &mut *buf, flags))?;
    Ok(got)
}

/// Whether something has come that nobody has read (`false`: only the end); `WouldBlock` if neither
/// has. What has come stays.
pub fn peek_now(sock: impl AsFd) -> io::Result<bool> {
    Ok(peek(sock, &mut [0; 1])? > 0)
}

/// Connects to `to`, from the address `from` if one is given, within `limit` (then: `TimedOut`).
/// The connection is blocking; an exec closes it.
pub fn connect(to: SocketAddr, from: Option<SocketAddr>, limit: Duration) -> io::Result<TcpStream> {
    let sock = socket(to)?;
    if let Some(from) = from {
        rustix::net::bind(&sock, &from)?;
    }
    connect_on(sock, to, limit)
}

/// The same with a socket there is.
pub fn connect_on(sock: OwnedFd, to: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let since = Instant::now();
    crate::fd::set_nonblocking(&sock, true)?;
    match rustix::net::connect(&sock, &to) {
        Ok(()) => {}
        Err(Errno::INPROGRESS | Errno::INTR) => established(&sock, since, limit)?,
        Err(error) => return Err(error.into()),
    }
    crate::fd::set_nonblocking(&sock, false)?;
    Ok(sock.into())
}

/// Waits for a connection under way.
fn established(sock: &OwnedFd, since: Instant, limit: Duration) -> io::Result<()> {
    loop {
        let left = limit.saturating_sub(since.elapsed());
        if poll::ready(&[sock.as_fd()], Interest::WRITE, Some(left))?.contains(&true) {
            return Ok(sockopt::socket_error(sock)??);
        }
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd;

    #[test]
    fn a_connection_knows_both_its_ends() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = socket(any).unwrap();
        bind(&listener, any).unwrap();
        listen(&listener, 5).unwrap();
        let here = local(&listener).unwrap();
        let client = connect(here, Some(any), Duration::from_secs(5)).unwrap();
        let (conn, from) = accept(&listener).unwrap();
        assert_eq!(from, client.local_addr().unwrap());
        clear_ip_options(&conn).unwrap();
        nodelay(&conn).unwrap();
        assert_eq!(peek_now(&client).unwrap_err().kind(), ErrorKind::WouldBlock);
        fd::write_all(&conn, b"hello").unwrap();
        let mut limit = ReadLimit::new(Duration::from_millis(20));
        assert!(!limit.ends(&conn, Duration::ZERO));
        assert!(limit.ends(&conn, Duration::from_millis(10)));
        assert_eq!(fd::read(&conn, &mut [0; 9]).unwrap_err().kind(), ErrorKind::WouldBlock);
        poll::ready(&[client.as_fd()], Interest::READ, None).unwrap();
        assert!(peek_now(&client).unwrap());
        drop(conn);
        assert_eq!(fd::read_to_end(&client, 10).unwrap(), b"hello");
    }

    #[test]
    fn a_read_ends_by_itself_only_after_the_longest_wait_and_only_of_a_socket() {
        let (one, _other) = crate::pass::pair(crate::pass::Kind::Stream).unwrap();
        let mut limit = ReadLimit::new(Duration::from_secs(60));
        assert!(!limit.ends(&one, Duration::from_secs(58)));
        assert!(limit.ends(&one, Duration::from_secs(59)));
        let (pipe, _writer) = fd::pipe().unwrap();
        assert!(!ReadLimit::new(Duration::from_secs(1)).ends(&pipe, Duration::from_secs(1)));
    }

    #[test]
    fn what_is_peeked_at_stays() {
        let (client, conn) = crate::pass::pair(crate::pass::Kind::Stream).unwrap();
        assert_eq!(peek(&conn, &mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);
        fd::write_all(&client, b"hello").unwrap();
        let mut buf = [0; 4];
        for _ in 0..2 {
            assert_eq!((peek(&conn, &mut buf).unwrap(), &buf), (4, b"hell"));
        }
        drop(client);
        assert_eq!(fd::read_to_end(&conn, 9).unwrap(), b"hello");
        assert_eq!(peek(&conn, &mut buf).unwrap(), 0);
    }

    #[test]
    fn an_interface_has_a_number_and_a_name() {
        let number = interface("lo").unwrap();
        assert_eq!(interface_name(number).unwrap(), "lo");
        assert!(interface("no-such-interface").is_err());
    }

    #[test]
    fn a_closed_port_refuses() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let bound = socket(any).unwrap();
        bind(&bound, any).unwrap();
        let error = connect(local(&bound).unwrap(), None, Duration::from_secs(5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}
