//! What somebody would try who has taken over a process of ours: each act in a child of its own,
//! behind a fence. For test programs with one thread.
#![allow(unsafe_code, reason = "what is tried are bare system calls")]
#![allow(clippy::panic, reason = "a test says what it expects by failing")]

use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::libc;
use sys::sandbox::Fence;
use sys::spawn::{self, Fork, Status};

/// One thing to try.
#[derive(Clone, Debug)]
pub enum Act {
    /// Read a file.
    Read(PathBuf),
    /// List a directory.
    List(PathBuf),
    /// Make a file, or add to it, and sync it.
    Write(PathBuf),
    /// Remove a file.
    Remove(PathBuf),
    /// Run a program.
    Exec(PathBuf),
    /// Fork, and wait for the child.
    Fork,
    /// Start a thread.
    Thread,
    /// Connect by TCP.
    Connect(SocketAddr),
    /// Connect by TCP from this address.
    ConnectFrom(IpAddr, SocketAddr),
    /// Listen for TCP at any port.
    Listen,
    /// Open a UDP socket.
    Udp,
    /// Connect to a UNIX socket.
    Unix(PathBuf),
    /// A packet socket, to hear everybody.
    Packets,
    /// Signal a process outside: the one that tries us.
    Signal,
    /// Memory that holds code.
    Code,
    /// Become another user.
    SetUid,
    /// A device node.
    Device(PathBuf),
    /// Look into another process.
    Trace,
    /// Mount a file system.
    Mount,
    /// A world of one's own.
    Unshare,
    /// Another root directory.
    Chroot,
    /// A program in the kernel.
    Bpf,
    /// System calls past the filter.
    Uring,
    /// The kernel's keys.
    Keys,
}

/// The acts that kill whoever tries them, behind any fence.
pub const KILLED: [Act; 7] =
    [Act::Trace, Act::Mount, Act::Unshare, Act::Chroot, Act::Bpf, Act::Uring, Act::Keys];

/// The acts that no fence of ours leaves open to a process that serves strangers.
pub const REFUSED: [Act; 5] = [Act::Listen, Act::Packets, Act::Signal, Act::Code, Act::SetUid];

impl Act {
    fn attempt(&self) -> io::Result<()> {
        match self {
            Self::Read(path) => File::open(path).map(drop),
            Self::List(path) => std::fs::read_dir(path).map(drop),
            Self::Write(path) => {
                let mut file = File::options().create(true).append(true).open(path)?;
                file.write_all(b"x").and_then(|()| file.sync_all())
            }
            Self::Remove(path) => std::fs::remove_file(path),
            Self::Exec(path) => Err(spawn::exec(path.as_os_str(), &[path.into()], None)),
            Self::Fork => match spawn::fork()? {
                Fork::Child => spawn::exit(0),
                Fork::Parent(pid) => spawn::wait(pid).map(drop),
            },
            Self::Thread => {
                let thread = std::thread::Builder::new().spawn(|| ())?;
                thread.join().map_err(|_| io::ErrorKind::Other.into())
            }
            Self::Connect(to) => TcpStream::connect(to).map(drop),
            Self::ConnectFrom(from, to) => {
                let limit = Duration::from_secs(60);
                sys::net::connect(*to, Some(SocketAddr::new(*from, 0)), limit).map(drop)
            }
            Self::Listen => TcpListener::bind(("127.0.0.1", 0)).map(drop),
            Self::Udp => UdpSocket::bind(("127.0.0.1", 0)).map(drop),
            Self::Unix(path) => UnixStream::connect(path).map(drop),
            Self::Packets => call(libc::SYS_socket, [17, 3, 0]),
            Self::Signal => call(libc::SYS_kill, [parent(), 0, 0]),
            Self::Code => call(libc::SYS_mmap, [0, 4_096, 7]),
            Self::SetUid => call(libc::SYS_setuid, [0, 0, 0]),
            Self::Device(path) => {
                let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
                call(libc::SYS_mknodat, [-100, name.as_ptr() as i64, 0o020_600])?;
                std::fs::remove_file(path)
            }
            Self::Trace => call(libc::SYS_ptrace, [16, parent(), 0]),
            Self::Mount => call(libc::SYS_mount, [0; 3]),
            Self::Unshare => call(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0]),
            Self::Chroot => call(libc::SYS_chroot, [c"/".as_ptr() as i64, 0, 0]),
            Self::Bpf => call(libc::SYS_bpf, [0; 3]),
            Self::Uring => call(libc::SYS_io_uring_setup, [1, 0, 0]),
            Self::Keys => call(libc::SYS_keyctl, [0; 3]),
        }
    }
}

fn parent() -> i64 {
    // SAFETY: getppid touches no memory.
    unsafe { libc::getppid() }.into()
}

fn call(number: i64, [a, b, c]: [i64; 3]) -> io::Result<()> {
    // SAFETY: the calls tried here fail or end the process; where they take a pointer it is null
    // or a string that outlives the call.
    let said = unsafe { libc::syscall(number, a, b, c, 0x22, -1_i64, 0) };
    if said < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How an act ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It failed with this error number.
    Failed(u8),
    /// The process was killed by this signal.
    Killed(u8),
}

/// Tries an act in a child behind `fence`, or behind none.
///
/// # Panics
/// The kernel builds the fence in part only: these tests are of no use there.
pub fn attempt(fence: Option<&Fence>, act: &Act) -> Outcome {
    match spawn::fork().unwrap_or_else(|err| panic!("fork: {err}")) {
        Fork::Child => {
            if let Some(Err(why)) = fence.map(closed) {
                eprintln!("{why}");
                spawn::exit(255);
            }
            match act.attempt() {
                Ok(()) => spawn::exit(0),
                Err(err) => spawn::exit(err.raw_os_error().unwrap_or(254)),
            }
        }
        Fork::Parent(pid) => match spawn::wait(pid).unwrap_or_else(|err| panic!("wait: {err}")) {
            Status::Exited(0) => Outcome::Done,
            Status::Exited(255) => panic!("there is no whole fence"),
            Status::Exited(errno) => Outcome::Failed(errno),
            Status::Killed(signal) => Outcome::Killed(signal),
        },
    }
}

fn closed(fence: &Fence) -> Result<(), String> {
    match fence.close() {
        Ok(closed) if closed.is_whole() => Ok(()),
        Ok(closed) => Err(closed.to_string()),
        Err(err) => Err(err.to_string()),
    }
}

/// Insists that each act is done behind the fence.
///
/// # Panics
/// It is not.
pub fn left(who: &str, fence: &Fence, acts: &[Act]) {
    for act in acts {
        assert_eq!(attempt(Some(fence), act), Outcome::Done, "{who} must be able to: {act:?}");
    }
}

/// Insists that each act fails behind the fence for want of permission, and could be done without.
///
/// # Panics
/// It is done, or nobody can do it, which would prove nothing.
pub fn refused(who: &str, fence: &Fence, acts: &[Act]) {
    for act in acts {
        let outcome = attempt(Some(fence), act);
        let denied = matches!(outcome, Outcome::Failed(1 | 13));
        assert!(denied, "{who} must not be able to: {act:?} ({outcome:?})");
        let free = attempt(None, act);
        let possible = !matches!(free, Outcome::Failed(1 | 13)) || sys::user::euid() != 0;
        assert!(possible, "nobody is able to: {act:?} ({free:?})");
    }
}

/// Insists that all of [`KILLED`] end the process behind the fence.
///
/// # Panics
/// One does not.
pub fn killed(who: &str, fence: &Fence) {
    for act in KILLED {
        let sigsys = Outcome::Killed(31);
        assert_eq!(attempt(Some(fence), &act), sigsys, "{who} must not survive: {act:?}");
    }
}
