//! The owner's side: hands jobs over and hears what became of them. Never waits.

use super::word::{AGAIN, LENGTH, MESSAGE, READY, WITH_LINE};
use super::{Event, FDS, Greeting, VARIABLE};
use crate::fd;
use crate::pass::{self, Kind};
use crate::spawn::Command;
use crate::user::Ids;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The number of the socket in the clean parent.
const AT: i32 = 3;

/// A clean parent of ours. Dropping it closes the socket: the clean parent waits for its children
/// and ends; its owner still reaps it.
#[derive(Debug)]
pub struct Brood {
    sock: OwnedFd,
    pid: u32,
    ready: Cell<bool>,
    greeting: RefCell<Option<Greeting>>,
    /// Its children may serve a client again.
    again: Cell<bool>,
    /// How often it has said that it serves, which it says anew when something has changed.
    readings: Cell<u64>,
    /// Answers that came in one message with the last that was given out.
    heard: RefCell<VecDeque<Event>>,
}

impl Brood {
    /// Starts `program` as a clean parent, with the arguments after its name, with further
    /// variables, as `ids`.
    pub fn spawn(
        program: &OsStr,
        args: &[OsString],
        env: &[(OsString, OsString)],
        ids: Option<&Ids>,
    ) -> io::Result<Self> {
        let mut command = Command::new(program).args(args);
        for (name, value) in env {
            command = command.env(name, value);
        }
        command.ids = ids.cloned();
        Self::start(command)
    }

    /// Starts a clean parent described in full; its descriptor 3 is the socket.
    pub fn start(command: Command<'_>) -> io::Result<Self> {
        let (sock, theirs) = pass::pair(Kind::Seqpacket)?;
        fd::set_nonblocking(&sock, true)?;
        let pid = command.fd(theirs, AT).env(VARIABLE, AT.to_string()).spawn()?;
        let (ready, greeting, again, readings, heard) = Default::default();
        Ok(Self { sock, pid, ready, greeting, again, readings, heard })
    }

    /// The clean parent's pid, by which its owner knows it when it reaps it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the clean parent has said that it serves: its program has read what it needs and
    /// takes jobs. Jobs handed over earlier wait. Known only as far as [`Brood::next`] has read.
    pub fn ready(&self) -> bool {
        self.ready.get()
    }

    /// What the program says first, if it has told. As with [`Brood::ready`], it is known only as
    /// far as [`Brood::next`] has read, and may change.
    pub fn greeting(&self) -> Option<Greeting> {
        self.greeting.borrow().clone()
    }

    /// Whether a child may serve further connections of its client ([`super::Regular`]).
    pub fn serves_again(&self) -> bool {
        self.again.get()
    }

    /// How often the program has read what it needs. Children forked before the last time may know
    /// something that holds no more.
    pub fn readings(&self) -> u64 {
        self.readings.get()
    }

    /// The socket, to poll for answers.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.sock.as_fd()
    }

    /// Hands a job over: a payload of at most [`base::limits::HANDOVER`] bytes and at most [`FDS`]
    /// descriptors, which stay open on our side. `WouldBlock`: the clean parent is behind, try
    /// again; `BrokenPipe` and the like: it is gone or has retired.
    pub fn hand_over(&self, serial: u64, payload: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if payload.len() > base::limits::HANDOVER || fds.len() > FDS {
            return Err(ErrorKind::InvalidInput.into());
        }
        let job = [&serial.to_le_bytes()[..], payload].concat();
        pass::send(&self.sock, &job, fds).map(drop)
    }

    /// [`Brood::hand_over`] of a connection, with the other end of a [`super::Regular`]. Only for
    /// programs that [serve again](Brood::serves_again).
    pub fn hand_over_regular(
        &self,
        serial: u64,
        payload: &[u8],
        connection: BorrowedFd<'_>,
        line: BorrowedFd<'_>,
    ) -> io::Result<()> {
        self.hand_over(serial | WITH_LINE, payload, &[connection, line])
    }

    /// The next answer, if there is one. `UnexpectedEof`: the clean parent is gone, and with it the
    /// answers for jobs still open. `InvalidData`: it said something we do not know; drop it.
    pub fn next(&self) -> io::Result<Option<Event>> {
        loop {
            if let Some(event) = self.next_heard() {
                return Ok(Some(event));
            }
            let mut message = [0; MESSAGE];
            let length = match self.message(&mut message) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            };
            self.hear(message.get(..length).unwrap_or_default())?;
        }
    }

    /// The next answer of those that came in one message with the last; without asking the kernel.
    pub fn next_heard(&self) -> Option<Event> {
        self.heard.borrow_mut().pop_front()
    }

    /// Takes a message apart.
    fn hear(&self, message: &[u8]) -> io::Result<()> {
        let again = message.strip_prefix(AGAIN);
        if let Some(greeting) = again.or_else(|| message.strip_prefix(READY)) {
            self.ready.set(true);
            self.again.set(again.is_some());
            self.readings.update(|readings| readings.saturating_add(1));
            self.greeting.replace(Greeting::new(greeting));
            return Ok(());
        }
        for word in message.chunks(LENGTH) {
            let event = Event::decode(word).ok_or(ErrorKind::InvalidData)?;
            self.heard.borrow_mut().push_back(event);
        }
        Ok(())
    }

    fn message(&self, message: &mut [u8]) -> io::Result<usize> {
        let said = match pass::recv(&self.sock, message, 0) {
            // Said once if it died with jobs unread; what it answered before is still there.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                pass::recv(&self.sock, message, 0)
            }
            said => said,
        };
        said.map(|(length, _)| length)
    }
}
