//! The clean parent's side: forks one child per job and does nothing else with it.

use super::word::READY;
use super::{Event, FDS, VARIABLE};
use crate::pass;
use crate::poll::{self, Interest};
use crate::signal::{self, Signal, Signals};
use crate::spawn::{self, Fork, Status};
use crate::{errno, fd};
use rustix::net::{Shutdown, SocketType};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};

/// How much a clean parent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serve {
    /// Children at once; further jobs wait in the socket.
    pub max_children: usize,
    /// Jobs before it retires.
    pub retire_after: u64,
}

/// The owner's socket, if this program was started as a clean parent. Takes the variable out of
/// the environment; call once, at the start, before there is a second thread.
pub fn requested() -> Option<OwnedFd> {
    let number = std::env::var(VARIABLE).ok()?;
    // SAFETY: the programs call this first thing in `main`, when they have one thread.
    unsafe { std::env::remove_var(VARIABLE) };
    let sock = fd::take(number.parse().ok().filter(|number| *number > 2)?);
    if rustix::net::sockopt::socket_type(&sock).ok() != Some(SocketType::SEQPACKET) {
        // Not ours to close: the variable came from somebody who did not mean us.
        std::mem::forget(sock);
        return None;
    }
    fd::set_cloexec(&sock, true).ok()?;
    Some(sock)
}

/// Serves the owner until it hangs up: for each job forks a child that runs `child` on the payload
/// and descriptors and exits with its value.
///
/// A child killed by a signal, or `retire_after` jobs: it retires. Jobs that still come are
/// refused; it waits for its children and returns. For programs with one thread and no other
/// children.
pub fn serve(
    sock: OwnedFd,
    limits: Serve,
    child: impl FnMut(&[u8], Vec<OwnedFd>) -> i32,
) -> io::Result<()> {
    let signals = Signals::catch(&[Signal::Chld])?;
    signal::ignore(Signal::Pipe);
    let state = State::Hearing { jobs: 0 };
    Clean { sock, signals, limits, children: BTreeMap::new(), state, child }.run()
}

/// How far a clean parent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It takes jobs, and has taken so many.
    Hearing { jobs: u64 },
    /// It refuses the jobs still in its socket.
    Retiring,
    /// The socket is at its end; it waits for its children.
    Deaf,
}

struct Clean<C> {
    sock: OwnedFd,
    signals: Signals,
    limits: Serve,
    /// Serial numbers of jobs by their child's pid.
    children: BTreeMap<u32, u64>,
    state: State,
    child: C,
}

impl<C: FnMut(&[u8], Vec<OwnedFd>) -> i32> Clean<C> {
    fn run(&mut self) -> io::Result<()> {
        self.tell(READY)?;
        while self.state != State::Deaf || !self.children.is_empty() {
            let (job, death) = self.wait()?;
            if death {
                self.bury()?;
            }
            if job {
                self.hear()?;
            }
        }
        Ok(())
    }

    /// Waits for a job, as far as one may come, and for a child's death.
    fn wait(&self) -> io::Result<(bool, bool)> {
        let full = self.children.len() >= self.limits.max_children;
        let hears = match self.state {
            State::Hearing { .. } => !full,
            State::Retiring => true,
            State::Deaf => false,
        };
        let both = [self.signals.as_fd(), self.sock.as_fd()];
        let waited = both.get(..if hears { 2 } else { 1 }).unwrap_or_default();
        let ready = poll::ready(waited, Interest::READ, None)?;
        Ok((ready.get(1) == Some(&true), ready.first() == Some(&true)))
    }

    /// Takes the next message and does what the state wants with it.
    fn hear(&mut self) -> io::Result<()> {
        let mut room = vec![0; base::limits::HANDOVER.saturating_add(8)];
        let (length, fds) = match pass::recv(&self.sock, &mut room, FDS) {
            Ok(message) => message,
            Err(error) if error.kind() == ErrorKind::InvalidData => return self.torn(&room),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (0, Vec::new()),
            Err(error) => return Err(error),
        };
        let job = room.get(..length).unwrap_or_default();
        let Some((serial, payload)) = job.split_first_chunk::<8>() else {
            self.state = State::Deaf;
            return Ok(());
        };
        let serial = u64::from_le_bytes(*serial);
        match self.state {
            State::Hearing { jobs } => self.start(serial, payload, fds, jobs),
            State::Retiring | State::Deaf => {
                self.say(Event::Refused { serial, errno: nix::libc::EAGAIN })
            }
        }
    }

    /// A job whose descriptors the kernel could not give us (our table is full).
    fn torn(&self, room: &[u8]) -> io::Result<()> {
        let serial = room.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        self.say(Event::Refused { serial, errno: nix::libc::EMFILE })
    }

    fn start(
        &mut self,
        serial: u64,
        payload: &[u8],
        fds: Vec<OwnedFd>,
        jobs: u64,
    ) -> io::Result<()> {
        match spawn::fork() {
            Ok(Fork::Child) => self.be_child(payload, fds),
            Ok(Fork::Parent(pid)) => {
                drop(fds);
                self.children.insert(pid, serial);
                self.say(Event::Started { serial, pid })?;
                let jobs = jobs.saturating_add(1);
                self.state = State::Hearing { jobs };
                if jobs >= self.limits.retire_after { self.retire() } else { Ok(()) }
            }
            Err(error) => self.say(Event::Refused { serial, errno: errno::number(&error) }),
        }
    }

    /// The child's whole life: the owner's socket is not its business.
    fn be_child(&mut self, payload: &[u8], fds: Vec<OwnedFd>) -> ! {
        signal::unblock_all();
        // The owner's socket is closed by putting one in its place that leads nowhere.
        match pass::pair(pass::Kind::Stream) {
            Ok((nowhere, _)) => self.sock = nowhere,
            Err(_) => spawn::exit(111),
        }
        let code = (self.child)(payload, fds);
        let _ = io::stdout().flush();
        spawn::exit(code)
    }

    /// Tells the owner of every child that has ended.
    fn bury(&mut self) -> io::Result<()> {
        while self.signals.next()?.is_some() {}
        while let Some((pid, status)) = spawn::reap()? {
            let Some(serial) = self.children.remove(&pid) else { continue };
            self.say(Event::Ended { serial, status })?;
            if matches!(status, Status::Killed(_)) {
                self.retire()?;
            }
        }
        Ok(())
    }

    /// No more jobs: those on their way are refused, then the socket is at its end.
    fn retire(&mut self) -> io::Result<()> {
        if matches!(self.state, State::Hearing { .. }) {
            self.state = State::Retiring;
            rustix::net::shutdown(&self.sock, Shutdown::Read)?;
            self.say(Event::Retired)?;
        }
        Ok(())
    }

    /// Answers the owner; one that is gone needs no answers.
    fn say(&self, event: Event) -> io::Result<()> {
        self.tell(&event.encode())
    }

    fn tell(&self, word: &[u8]) -> io::Result<()> {
        match pass::send(&self.sock, word, &[]) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            said => said.map(drop),
        }
    }
}
