//! The clean parent's side: forks one child per job and does nothing else with it.

use super::word::{AGAIN, MESSAGE, READY, WITH_LINE};
use super::{Event, FDS, Greeting, VARIABLE, regular};
use crate::pass;
use crate::poll::{self, Interest};
use crate::signal::{self, Signal, Signals};
use crate::spawn::{self, Fork, Status};
use crate::{errno, fd};
use rustix::net::{Shutdown, SocketType};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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
    // Every line of a conversation wakes somebody who would take the processor from us.
    crate::sched::gather();
    Some(sock)
}

/// What a program does as a clean parent.
pub trait CleanParent {
    /// What it says first on a connection, if that is known before the connection is.
    fn greeting(&self) -> Option<Greeting> {
        None
    }

    /// Whether a child may serve further connections of the client it has served: it keeps nothing
    /// of a connection that the next one may not know.
    fn serves_again(&self) -> bool {
        false
    }

    /// A descriptor that is readable when [`CleanParent::refresh`] has something to do.
    fn watch(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Reads again what has changed. Called before each job, and when the watch is readable
    /// (`told`). True: the greeting may be another one now, or children that serve a client again
    /// know something that holds no more.
    fn refresh(&mut self, told: bool) -> bool {
        let _ = told;
        false
    }

    /// Whether a fresh clean parent would serve better, as one that is fenced anew. Asked after
    /// [`CleanParent::refresh`]; the job that waits goes to the fresh one.
    fn is_obsolete(&self) -> bool {
        false
    }

    /// One job, in a process of its own; its exit code.
    fn child(&mut self, payload: &[u8], fds: Vec<OwnedFd>) -> i32;
}

impl<C: FnMut(&[u8], Vec<OwnedFd>) -> i32> CleanParent for C {
    fn child(&mut self, payload: &[u8], fds: Vec<OwnedFd>) -> i32 {
        self(payload, fds)
    }
}

/// Serves the owner until it hangs up: for each job forks a child that runs `child` on the payload
/// and descriptors and exits with its value.
///
/// A child killed by a signal, `retire_after` jobs, or a program that says so: it retires. Jobs that still come are
/// refused; it waits for its children and returns. For programs with one thread and no other
/// children.
pub fn serve(
    sock: OwnedFd,
    limits: Serve,
    child: impl FnMut(&[u8], Vec<OwnedFd>) -> i32,
) -> io::Result<()> {
    serve_as(sock, limits, child)
}

/// [`serve`] for a program that also has a greeting, or something to read again.
pub fn serve_as(sock: OwnedFd, limits: Serve, program: impl CleanParent) -> io::Result<()> {
    // From here on what is written lies together, and each fork finds the same few pages touched.
    crate::nook::open();
    let signals = Signals::catch(&[Signal::Chld])?;
    signal::ignore(Signal::Pipe);
    let (children, said) = (BTreeMap::new(), Vec::with_capacity(MESSAGE));
    let room = vec![0; base::limits::HANDOVER.saturating_add(8)];
    let sock = Some(sock);
    let state = State::Hearing { jobs: 0 };
    Clean { sock, signals, limits, children, state, program, said, room }.run()
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

struct Clean<P> {
    /// The owner's; a child has closed it.
    sock: Option<OwnedFd>,
    signals: Signals,
    limits: Serve,
    /// Serial numbers of jobs by their child's pid.
    children: BTreeMap<u32, u64>,
    state: State,
    program: P,
    /// Answers not sent yet: those of one turn go in one message.
    said: Vec<u8>,
    /// Where jobs are received. Kept, so that each fork finds the same few pages touched.
    room: Vec<u8>,
}

/// A job as it was handed over.
struct Job<'a> {
    serial: u64,
    payload: &'a [u8],
    fds: Vec<OwnedFd>,
    /// The last descriptor is the line for more of the same client.
    with_line: bool,
}

/// What there is to do.
#[derive(Clone, Copy, Debug)]
struct Ready {
    death: bool,
    told: bool,
    job: bool,
}

impl<P: CleanParent> Clean<P> {
    fn run(&mut self) -> io::Result<()> {
        self.greet()?;
        while self.state != State::Deaf || !self.children.is_empty() {
            let ready = self.wait()?;
            if ready.death {
                self.bury()?;
            }
            // Before the job: what was changed before a client came counts for it.
            if ready.told || ready.job {
                if self.program.refresh(ready.told) {
                    self.greet()?;
                }
                if self.program.is_obsolete() {
                    self.retire()?;
                }
            }
            if ready.job {
                self.hear()?;
            }
            self.flush()?;
        }
        Ok(())
    }

    /// Waits for a job, as far as one may come, for a child's death, and for what is watched.
    fn wait(&self) -> io::Result<Ready> {
        let full = self.children.len() >= self.limits.max_children;
        let hears = match self.state {
            State::Hearing { .. } => !full,
            State::Retiring => true,
            State::Deaf => false,
        };
        let sock = self.sock.as_ref().filter(|_| hears).map(AsFd::as_fd);
        let watch = self.program.watch();
        let waited: Vec<BorrowedFd<'_>> =
            [Some(self.signals.as_fd()), sock, watch].into_iter().flatten().collect();
        let ready = poll::ready(&waited, Interest::READ, None)?;
        let mut ready = ready.into_iter();
        Ok(Ready {
            death: ready.next() == Some(true),
            job: sock.is_some() && ready.next() == Some(true),
            told: watch.is_some() && ready.next() == Some(true),
        })
    }

    /// Takes the next message and does what the state wants with it.
    fn hear(&mut self) -> io::Result<()> {
        let mut room = std::mem::take(&mut self.room);
        let heard = self.hear_into(&mut room);
        self.room = room;
        heard
    }

    fn hear_into(&mut self, room: &mut [u8]) -> io::Result<()> {
        let Some(sock) = &self.sock else { return Ok(()) };
        let (length, fds) = match pass::recv(sock, room, FDS) {
            Ok(message) => message,
            Err(error) if error.kind() == ErrorKind::InvalidData => return self.torn(room),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (0, Vec::new()),
            Err(error) => return Err(error),
        };
        let job = room.get(..length).unwrap_or_default();
        let Some((serial, payload)) = job.split_first_chunk::<8>() else {
            self.state = State::Deaf;
            return Ok(());
        };
        let serial = u64::from_le_bytes(*serial);
        let (serial, with_line) = (serial & !WITH_LINE, serial & WITH_LINE != 0);
        match self.state {
            State::Hearing { jobs } => self.start(Job { serial, payload, fds, with_line }, jobs),
            State::Retiring | State::Deaf => {
                self.say(Event::Refused { serial, errno: nix::libc::EAGAIN })
            }
        }
    }

    /// A job whose descriptors the kernel could not give us (our table is full).
    fn torn(&mut self, room: &[u8]) -> io::Result<()> {
        let serial = room.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        self.say(Event::Refused { serial, errno: nix::libc::EMFILE })
    }

    fn start(&mut self, job: Job<'_>, jobs: u64) -> io::Result<()> {
        let serial = job.serial;
        match spawn::fork() {
            Ok(Fork::Child) => self.be_child(job),
            Ok(Fork::Parent(pid)) => {
                drop(job);
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
    fn be_child(&mut self, mut job: Job<'_>) -> ! {
        signal::unblock_all();
        self.sock = None;
        let line = if job.with_line { job.fds.pop() } else { None };
        let code = self.program.child(job.payload, job.fds);
        spawn::exit(match line {
            Some(line) => regular::serve_on(&line, code, |job, fds| self.program.child(job, fds)),
            None => code,
        })
    }

    /// Tells the owner of every child that has ended.
    fn bury(&mut self) -> io::Result<()> {
        // One is enough: of several equal signals the kernel keeps one.
        self.signals.next()?;
        while !self.children.is_empty()
            && let Some((pid, status)) = spawn::reap()?
        {
            let Some(serial) = self.children.remove(&pid) else { continue };
            crate::log::bury(pid, status);
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
            if let Some(sock) = &self.sock {
                rustix::net::shutdown(sock, Shutdown::Read)?;
            }
            self.say(Event::Retired)?;
        }
        Ok(())
    }

    /// Answers the owner, with the rest of this turn's answers.
    fn say(&mut self, event: Event) -> io::Result<()> {
        let word = event.encode();
        if self.said.len().saturating_add(word.len()) > MESSAGE {
            self.flush()?;
        }
        self.said.extend_from_slice(&word);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.said.is_empty() {
            let said = std::mem::take(&mut self.said);
            self.tell(&said)?;
            self.said = said;
            self.said.clear();
        }
        Ok(())
    }

    /// Tells the owner that we serve, and what it may say in our place.
    fn greet(&self) -> io::Result<()> {
        let greeting = self.program.greeting();
        let ready = if self.program.serves_again() { AGAIN } else { READY };
        self.tell(&[ready, greeting.as_ref().map_or(&[][..], Greeting::template)].concat())
    }

    /// An owner that is gone needs no answers.
    fn tell(&self, message: &[u8]) -> io::Result<()> {
        let Some(sock) = &self.sock else { return Ok(()) };
        match pass::send(sock, message, &[]) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            said => said.map(drop),
        }
    }
}
