//! Clean parents (`-f`): the one that takes connections, and those that only finish theirs.

use super::conn::{Conn, VARIABLES};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::brood::{Brood, Event};
use sys::spawn::{Command, Status};

/// Connections handed over that no child has yet; more are not accepted meanwhile.
const WAITING: usize = 32;
/// How often one connection is handed over.
const TRIES: u8 = 3;
/// The least time between two starts of a clean parent.
const PAUSE: Duration = Duration::from_secs(1);

/// What became of a connection.
#[derive(Debug)]
pub(super) enum News {
    /// A child has it.
    Started { conn: Conn, pid: u32 },
    /// Its child has ended.
    Ended { from: IpAddr, pid: u32, status: Status },
    /// Nobody took it; it is closed.
    Lost { from: IpAddr, cause: io::Error },
    /// The clean parent that had it is gone; how its child ends will not be told.
    Forgotten { from: IpAddr },
    /// A clean parent is gone before it was ready.
    Stillborn,
    /// The clean parent that took connections is gone.
    Died,
}

/// A connection handed over.
#[derive(Debug)]
struct Job {
    conn: Conn,
    state: State,
    /// The clean parent that has it.
    brood: u32,
}

#[derive(Debug)]
enum State {
    /// No child has it yet: we keep the socket, in case another clean parent must take it.
    Waiting { sock: OwnedFd, payload: Vec<u8>, tries: u8 },
    /// This child has it.
    Running { pid: u32 },
}

/// The clean parents of one program.
#[derive(Debug)]
pub(super) struct Nursery {
    program: Vec<OsString>,
    current: Option<Brood>,
    retiring: Vec<Brood>,
    jobs: BTreeMap<u64, Job>,
    /// Jobs refused by one that retires, for the next.
    homeless: Vec<u64>,
    serial: u64,
    not_before: Instant,
}

impl Nursery {
    /// Starts the first clean parent.
    pub(super) fn new(program: &[OsString], now: Instant) -> io::Result<Self> {
        let first = start(program)?;
        Ok(Self {
            program: program.to_vec(),
            current: Some(first),
            retiring: Vec::new(),
            jobs: BTreeMap::new(),
            homeless: Vec::new(),
            serial: 0,
            not_before: now.checked_add(PAUSE).unwrap_or(now),
        })
    }

    /// Starts a clean parent if there is none and the last start is long enough ago.
    pub(super) fn renew(&mut self, now: Instant) -> io::Result<()> {
        if self.current.is_none() && now >= self.not_before {
            self.not_before = now.checked_add(PAUSE).unwrap_or(now);
            self.current = Some(start(&self.program)?);
        }
        Ok(())
    }

    /// When `renew` has something to do, if it has.
    pub(super) fn due(&self) -> Option<Instant> {
        self.current.is_none().then_some(self.not_before)
    }

    /// Whether a connection can be handed over.
    pub(super) fn open(&self) -> bool {
        let waiting = self.jobs.values().filter(|job| matches!(job.state, State::Waiting { .. }));
        self.current.as_ref().is_some_and(Brood::ready) && waiting.count() < WAITING
    }

    /// The sockets of the clean parents, to poll.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.current.iter().chain(&self.retiring).map(Brood::fd)
    }

    /// Hands a connection over; the error is why it never can be.
    pub(super) fn take(&mut self, conn: Conn, sock: OwnedFd, payload: Vec<u8>) -> io::Result<()> {
        self.serial = self.serial.wrapping_add(1);
        let state = State::Waiting { sock, payload, tries: 0 };
        self.jobs.insert(self.serial, Job { conn, state, brood: 0 });
        match self.house(self.serial) {
            Some((_, cause)) => Err(cause),
            None => Ok(()),
        }
    }

    /// Hands a waiting connection to the clean parent there is. One that retires just now leaves
    /// it homeless; one that has been tried often enough is given up.
    fn house(&mut self, serial: u64) -> Option<(IpAddr, io::Error)> {
        let job = self.jobs.get_mut(&serial)?;
        let State::Waiting { sock, payload, tries } = &mut job.state else { return None };
        let brood = self.current.as_ref().ok_or(ErrorKind::WouldBlock);
        let handed = brood.map_err(io::Error::from).and_then(|brood| {
            brood.hand_over(serial, payload, &[sock.as_fd()])?;
            Ok(brood.pid())
        });
        *tries = tries.saturating_add(1);
        match handed {
            Ok(pid) => job.brood = pid,
            Err(error) if *tries >= TRIES || error.kind() == ErrorKind::InvalidInput => {
                let from = job.conn.remote.ip();
                self.jobs.remove(&serial);
                return Some((from, error));
            }
            Err(_) => self.homeless.push(serial),
        }
        None
    }

    /// Hears all clean parents and says what became of connections.
    pub(super) fn hear(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        for brood in std::mem::take(&mut self.retiring) {
            if self.hear_one(&brood, &mut news) != Life::Gone {
                self.retiring.push(brood);
            }
        }
        if let Some(brood) = self.current.take() {
            match self.hear_one(&brood, &mut news) {
                Life::Serving => self.current = Some(brood),
                Life::Retiring => self.retiring.push(brood),
                Life::Gone if brood.ready() => news.push(News::Died),
                Life::Gone => news.push(News::Stillborn),
            }
        }
        self.rehouse(&mut news);
        news
    }

    fn hear_one(&mut self, brood: &Brood, news: &mut Vec<News>) -> Life {
        let mut life = Life::Serving;
        loop {
            match brood.next() {
                Ok(None) => return life,
                Ok(Some(Event::Retired)) => life = Life::Retiring,
                Ok(Some(event)) => news.extend(self.event(event)),
                Err(_) => {
                    news.extend(self.bereave(brood.pid()));
                    return Life::Gone;
                }
            }
        }
    }

    fn event(&mut self, event: Event) -> Option<News> {
        match event {
            Event::Started { serial, pid } => {
                let job = self.jobs.get_mut(&serial)?;
                job.state = State::Running { pid };
                Some(News::Started { conn: job.conn.clone(), pid })
            }
            Event::Ended { serial, status } => {
                let job = self.jobs.remove(&serial)?;
                let from = job.conn.remote.ip();
                match job.state {
                    State::Running { pid } => Some(News::Ended { from, pid, status }),
                    State::Waiting { .. } => {
                        Some(News::Lost { from, cause: ErrorKind::InvalidData.into() })
                    }
                }
            }
            Event::Refused { serial, errno } => self.refused(serial, errno),
            Event::Retired => None,
        }
    }

    /// A connection one clean parent would not take: another may.
    fn refused(&mut self, serial: u64, errno: i32) -> Option<News> {
        let job = self.jobs.get_mut(&serial)?;
        match &job.state {
            State::Waiting { tries, .. } if *tries < TRIES => {
                job.brood = 0;
                self.homeless.push(serial);
                return None;
            }
            State::Waiting { .. } | State::Running { .. } => {}
        }
        let from = self.jobs.remove(&serial)?.conn.remote.ip();
        Some(News::Lost { from, cause: io::Error::from_raw_os_error(errno) })
    }

    /// Everything a dead clean parent had.
    fn bereave(&mut self, brood: u32) -> Vec<News> {
        let gone = self.jobs.extract_if(.., |_, job| job.brood == brood);
        gone.map(|(_, job)| {
            let from = job.conn.remote.ip();
            match job.state {
                State::Waiting { .. } => News::Lost { from, cause: ErrorKind::BrokenPipe.into() },
                State::Running { .. } => News::Forgotten { from },
            }
        })
        .collect()
    }

    /// Hands the homeless connections to the clean parent there is now.
    fn rehouse(&mut self, news: &mut Vec<News>) {
        if self.current.as_ref().is_some_and(Brood::ready) {
            for serial in std::mem::take(&mut self.homeless) {
                let lost = self.house(serial);
                news.extend(lost.map(|(from, cause)| News::Lost { from, cause }));
            }
        }
    }
}

/// How a clean parent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Serving,
    Retiring,
    Gone,
}

/// A clean parent of the program, without the variables of any connection.
fn start(program: &[OsString]) -> io::Result<Brood> {
    let (name, args) = program.split_first().ok_or(ErrorKind::InvalidInput)?;
    let command = Command::new(name).args(args);
    Brood::start(VARIABLES.iter().fold(command, Command::env_remove))
}
