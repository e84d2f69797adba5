//! UNIX sockets: who is at the other end, and descriptors handed over with a message.

use rustix::fs::Mode;
use rustix::io::retry_on_intr;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    sockopt,
};
use std::ffi::OsString;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The most descriptors one message carries, whatever a caller asks for.
const FDS: usize = 16;
/// How long a connect waits for room in the listener's queue.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a listener that nobody answers for may take to be there. At an upgrade the old one leaves
/// within three seconds.
const BACK: Duration = Duration::from_secs(5);
/// The pause between two tries to reach it.
const AGAIN: Duration = Duration::from_millis(5);

/// The process at the other end of a UNIX socket, as the kernel recorded it at connect time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process id.
    pub pid: u32,
    /// Its effective uid.
    pub uid: u32,
    /// Its effective gid.
    pub gid: u32,
}

/// Asks the kernel who connected (`SO_PEERCRED`).
pub fn peer(sock: impl AsFd) -> io::Result<Peer> {
    let said = sockopt::socket_peercred(sock)?;
    let pid = u32::try_from(said.pid.as_raw_nonzero().get()).unwrap_or(0);
    Ok(Peer { pid, uid: said.uid.as_raw(), gid: said.gid.as_raw() })
}

/// Sends one message with descriptors; never raises SIGPIPE.
pub fn send(sock: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut rights = SendAncillaryBuffer::new(&mut room);
    if !fds.is_empty() && !rights.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(ErrorKind::InvalidInput.into());
    }
    let data = [IoSlice::new(bytes)];
    Ok(retry_on_intr(|| rustix::net::sendmsg(&sock, &data, &mut rights, SendFlags::NOSIGNAL))?)
}

/// Receives one message and its descriptors (an exec closes them). Length 0 is the end.
///
/// More descriptors than `max_fds`, or a message that did not fit: `InvalidData`, and whatever
/// came is closed.
pub fn recv(sock: impl AsFd, buf: &mut [u8], max_fds: usize) -> io::Result<(usize, Vec<OwnedFd>)> {
    whole(receive(sock, buf, RecvFlags::CMSG_CLOEXEC)?, max_fds)
}

/// [`recv`] for bytes that mean something without their descriptors: where there is no room for
/// those, as in a process that has as many as it may, none is given.
pub fn recv_with_or_without(
    sock: impl AsFd,
    buf: &mut [u8],
    max_fds: usize,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut came = receive(sock, buf, RecvFlags::CMSG_CLOEXEC)?;
    if came.flags.contains(ReturnFlags::CTRUNC) {
        came.fds.clear();
        came.flags.remove(ReturnFlags::CTRUNC);
    }
    whole(came, max_fds)
}

/// [`recv`] that never waits: `WouldBlock` if nothing has come.
pub fn recv_now(
    sock: impl AsFd,
    buf: &mut [u8],
    max_fds: usize,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    whole(receive(sock, buf, RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT)?, max_fds)
}

/// What one call received.
struct Came {
    bytes: usize,
    fds: Vec<OwnedFd>,
    flags: ReturnFlags,
}

/// All of a message, or an error.
fn whole(came: Came, max_fds: usize) -> io::Result<(usize, Vec<OwnedFd>)> {
    let Came { bytes, fds, flags } = came;
    if flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) || fds.len() > max_fds {
        return Err(io::Error::new(ErrorKind::InvalidData, "a message larger than we allow"));
    }
    Ok((bytes, fds))
}

fn receive(sock: impl AsFd, buf: &mut [u8], flags: RecvFlags) -> io::Result<Came> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut rights = RecvAncillaryBuffer::new(&mut room);
    let mut data = [IoSliceMut::new(buf)];
    let said = retry_on_intr(|| rustix::net::recvmsg(&sock, &mut data, &mut rights, flags))?;
    let mut fds = Vec::new();
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            fds.extend(more);
        }
    }
    Ok(Came { bytes: said.bytes, fds, flags: said.flags })
}

/// How a UNIX socket keeps its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A stream of bytes.
    Stream,
    /// Messages, each whole.
    Seqpacket,
}

impl Kind {
    fn number(self) -> SocketType {
        match self {
            Self::Stream => SocketType::STREAM,
            Self::Seqpacket => SocketType::SEQPACKET,
        }
    }

    fn socket(self) -> io::Result<OwnedFd> {
        let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
        Ok(rustix::net::socket_with(family, self.number(), flags, None)?)
    }
}

/// Listens at `path` with the file's permission bits `mode`.
///
/// A dead socket there is replaced; a living one is `AddrInUse`. The socket is made under another
/// name and renamed into place, so that `path` is never there without a listener behind it.
pub fn listen(path: &Path, kind: Kind, mode: u32, backlog: i32) -> io::Result<OwnedFd> {
    if connect(path, kind).is_ok() {
        return Err(ErrorKind::AddrInUse.into());
    }
    let making = making(path);
    let _ = std::fs::remove_file(&making);
    let sock = kind.socket()?;
    rustix::net::bind(&sock, &SocketAddrUnix::new(&making)?)?;
    rustix::fs::chmod(&making, Mode::from_raw_mode(mode))?;
    rustix::net::listen(&sock, backlog)?;
    std::fs::rename(&making, path)?;
    Ok(sock)
}

/// The name a socket has until it listens.
fn making(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Connects to the listener at `path`; `TimedOut` if its queue stays full for ten seconds.
pub fn connect(path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    let sock = kind.socket()?;
    let addr = SocketAddrUnix::new(path)?;
    sockopt::set_socket_timeout(&sock, sockopt::Timeout::Send, Some(CONNECT))?;
    match retry_on_intr(|| rustix::net::connect(&sock, &addr)) {
        Err(rustix::io::Errno::AGAIN) => return Err(ErrorKind::TimedOut.into()),
        said => said?,
    }
    sockopt::set_socket_timeout(&sock, sockopt::Timeout::Send, None)?;
    Ok(sock)
}

/// [`connect`] to a listener that should be there: one that is just being started, or started again,
/// is looked for up to [`BACK`].
pub fn connect_soon(path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    let since = Instant::now();
    loop {
        match connect(path, kind) {
            Err(err) if is_away(&err) && since.elapsed() < BACK => crate::clock::sleep(AGAIN),
            connected => return connected,
        }
    }
}

/// Whether an error says that nobody answers there, rather than that somebody said no.
fn is_away(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound)
}

/// [`connect`] that never waits: `WouldBlock` if the listener's queue is full.
pub fn connect_now(path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    let sock = kind.socket()?;
    crate::fd::set_nonblocking(&sock, true)?;
    let addr = SocketAddrUnix::new(path)?;
    retry_on_intr(|| rustix::net::connect(&sock, &addr))?;
    Ok(sock)
}

/// Takes the next connection of a UNIX listener; an exec closes it.
pub fn accept(fd: impl AsFd) -> io::Result<OwnedFd> {
    Ok(retry_on_intr(|| rustix::net::accept_with(&fd, SocketFlags::CLOEXEC))?)
}

/// The same, for a socket whose reads and writes never wait.
pub fn accept_nonblocking(fd: impl AsFd) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(retry_on_intr(|| rustix::net::accept_with(&fd, flags))?)
}

/// Two connected sockets; an exec closes both.
pub fn pair(kind: Kind) -> io::Result<(OwnedFd, OwnedFd)> {
    let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
    Ok(rustix::net::socketpair(family, kind.number(), flags, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd;
    use crate::rlimit::{self, Resource};
    use crate::spawn::{Fork, Status, exit, fork, wait};
    use yard::Yard;

    #[test]
    fn a_descriptor_crosses_with_its_message() {
        let (here, there) = pair(Kind::Seqpacket).unwrap();
        let (read_end, write_end) = fd::pipe().unwrap();
        send(&here, b"take this", &[write_end.as_fd()]).unwrap();
        let mut buf = [0; 100];
        let (length, fds) = recv(&there, &mut buf, 1).unwrap();
        assert_eq!(buf.get(..length), Some(&b"take this"[..]));
        fd::write_all(fds.first().unwrap(), b"through").unwrap();
        drop((fds, write_end));
        assert_eq!(fd::read_to_end(&read_end, 100).unwrap(), b"through");
    }

    #[test]
    fn too_many_descriptors_or_bytes_are_refused() {
        let (here, there) = pair(Kind::Seqpacket).unwrap();
        send(&here, b"x", &[here.as_fd(), here.as_fd()]).unwrap();
        assert_eq!(recv(&there, &mut [0; 9], 1).unwrap_err().kind(), ErrorKind::InvalidData);
        send(&here, b"0123456789", &[]).unwrap();
        assert_eq!(recv(&there, &mut [0; 9], 1).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_process_that_may_have_no_more_descriptors_hears_the_bytes() {
        let (here, there) = pair(Kind::Seqpacket).unwrap();
        for _ in 0..2 {
            send(&here, b"open", &[here.as_fd()]).unwrap();
        }
        // In a child: the limit is this whole process's.
        let pid = match fork().unwrap() {
            Fork::Parent(pid) => pid,
            Fork::Child => {
                let limited = rlimit::set_soft(Resource::Nofile, 3).is_ok();
                let strict = recv(&there, &mut [0; 9], 1).is_err();
                let heard = recv_with_or_without(&there, &mut [0; 9], 1);
                let heard = heard.is_ok_and(|(length, fds)| length == 4 && fds.is_empty());
                exit(i32::from(!(limited && strict && heard)));
            }
        };
        assert_eq!(wait(pid).unwrap(), Status::Exited(0));
    }

    #[test]
    fn a_listener_knows_its_peer_and_a_dead_socket_is_replaced() {
        let dir = Yard::new("sys-pass");
        let path = dir.join("socket");
        drop(listen(&path, Kind::Stream, 0o600, 5).unwrap());
        let listener = listen(&path, Kind::Stream, 0o600, 5).unwrap();
        assert_eq!(listen(&path, Kind::Stream, 0o600, 5).unwrap_err().kind(), ErrorKind::AddrInUse);
        let _probe = accept(&listener).unwrap();
        let _client = connect(&path, Kind::Stream).unwrap();
        let peer = peer(accept(&listener).unwrap()).unwrap();
        assert_eq!((peer.pid, peer.uid), (std::process::id(), crate::user::euid()));
    }
}
