//! Clean parents (`-f`): the one that takes connections, and those that only finish theirs.

use super::conn::{Conn, VARIABLES};
use super::regulars::Regulars;
use super::source::Source;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};
use sys::brood::{Brood, EARLYTALKER, Event, GREETED, Greeting, HURRY, Regular};
use sys::poll::{Interest, Poller};
use sys::process::Held;
use sys::spawn::{Command, Status};

/// Connections handed over that no child has yet; more wait here.
const WAITING: usize = 32;
/// How often one connection is handed over.
const TRIES: u8 = 3;
/// The least time between two starts of a clean parent.
const PAUSE: Duration = Duration::from_secs(1);

/// What became of a connection.
#[derive(Debug)]
pub(super) enum News {
    /// A child has it.
    Started { conn: Box<Conn>, pid: u32 },
    /// Its child has ended, or takes another; how is not known if its clean parent was gone by then.
    Ended { from: IpAddr, pid: u32, status: Option<Status> },
    /// Nobody took it; it is closed.
    Lost { from: IpAddr, cause: io::Error },
    /// A clean parent is gone before it was ready.
    Stillborn,
    /// The clean parent that took connections is gone.
    Died,
}

/// A connection handed over that no child has yet: we keep the socket, in case another clean
/// parent must take it.
#[derive(Debug)]
struct Job {
    conn: Box<Conn>,
    sock: OwnedFd,
    payload: Vec<u8>,
    tries: u8,
    /// The clean parent that was asked.
    brood: u32,
    /// The line to its child, if the client is one that keeps coming.
    line: Option<Regular>,
}

/// A child, and the connection it has.
#[derive(Clone, Copy, Debug)]
struct Child {
    from: IpAddr,
    pid: u32,
    /// Its clean parent.
    brood: u32,
    /// It has a connection just now. One that has none and ends is nobody's loss.
    serves: bool,
}

/// The clean parents of one program.
#[derive(Debug)]
pub(super) struct Nursery {
    program: Vec<OsString>,
    poller: Rc<Poller>,
    current: Option<Brood>,
    retiring: Vec<Brood>,
    waiting: BTreeMap<u64, Job>,
    running: BTreeMap<u64, Child>,
    /// Children whose clean parent is gone, by pid, held so that their end is seen.
    orphans: BTreeMap<u32, (Held, IpAddr)>,
    /// Jobs refused by one that retires, for the next.
    homeless: Vec<u64>,
    regulars: Regulars,
    /// How often the clean parent had read what it needs when the regulars' children were forked.
    readings: u64,
    serial: u64,
    not_before: Instant,
    /// What the program says first, as the clean parent that was heard last told.
    greeting: Option<Rc<Greeting>>,
}

impl Nursery {
    /// Starts the first clean parent.
    pub(super) fn new(program: &[OsString], poller: Rc<Poller>, now: Instant) -> io::Result<Self> {
        let mut nursery = Self {
            program: program.to_vec(),
            regulars: Regulars::new(Rc::clone(&poller)),
            readings: 0,
            poller,
            current: None,
            retiring: Vec::new(),
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            orphans: BTreeMap::new(),
            homeless: Vec::new(),
            serial: 0,
            not_before: now,
            greeting: None,
        };
        nursery.renew(now)?;
        Ok(nursery)
    }

    /// Starts a clean parent if there is none and the last start is long enough ago; lets children
    /// go whose time is over.
    pub(super) fn renew(&mut self, now: Instant) -> io::Result<()> {
        self.regulars.expire(now);
        if self.current.is_none() && now >= self.not_before {
            self.not_before = now.checked_add(PAUSE).unwrap_or(now);
            let brood = start(&self.program)?;
            self.poller.add(brood.fd(), Source::Parent(brood.pid()).number(), Interest::READ)?;
            self.current = Some(brood);
        }
        Ok(())
    }

    /// When `renew` has something to do, if it has.
    pub(super) fn due(&self) -> Option<Instant> {
        let start = self.current.is_none().then_some(self.not_before);
        start.into_iter().chain(self.regulars.due()).min()
    }

    /// Whether a connection can be handed over.
    pub(super) fn open(&self) -> bool {
        self.current.as_ref().is_some_and(Brood::ready) && self.waiting.len() < WAITING
    }

    /// Whether no connection is with a clean parent or a child.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty() && self.orphans.is_empty()
    }

    /// Lets the children go that wait for further connections of their clients.
    pub(super) fn part_with_regulars(&mut self) {
        self.regulars.part_with_all();
    }

    /// What may be said to a client before it is handed over.
    pub(super) fn greeting(&self) -> Option<Rc<Greeting>> {
        self.greeting.clone()
    }

    /// Hands a connection over: to a child that has served this client and is free, which is news
    /// at once, or to the clean parent. The error is why it never can be.
    pub(super) fn take(
        &mut self,
        conn: Box<Conn>,
        sock: OwnedFd,
        payload: Vec<u8>,
    ) -> io::Result<Option<News>> {
        let from = conn.remote.ip();
        if let Some((pid, serial)) = self.regulars.seat(from, &payload, &sock) {
            if let Some(child) = self.running.get_mut(&serial) {
                child.serves = true;
            }
            return Ok(Some(News::Started { conn, pid }));
        }
        self.serial = self.serial.wrapping_add(1);
        let job = Job { conn, sock, payload, tries: 0, brood: 0, line: None };
        self.waiting.insert(self.serial, job);
        match self.house(self.serial) {
            Some((_, cause)) => Err(cause),
            None => Ok(None),
        }
    }

    /// A child that serves a client again has said something.
    pub(super) fn hear_regular(&mut self, pid: u32) -> Option<News> {
        let serial = self.regulars.hear(pid, Instant::now())?;
        let child = self.running.get_mut(&serial)?;
        child.serves = false;
        Some(News::Ended { from: child.from, pid, status: Some(Status::Exited(0)) })
    }

    /// Hands a waiting connection to the clean parent there is. One that is behind, or has ended or
    /// retired and not been heard yet, leaves it homeless, and that is no try: else connections were lost
    /// to clean parents that come and go. One that has been tried often enough is given up.
    fn house(&mut self, serial: u64) -> Option<(IpAddr, io::Error)> {
        let job = self.waiting.get_mut(&serial)?;
        let brood = self.current.as_ref().ok_or(ErrorKind::WouldBlock);
        let handed = brood.map_err(io::Error::from).and_then(|brood| {
            let from = job.conn.remote.ip();
            let again = brood.serves_again() && self.regulars.wants(from);
            job.line = hand_over(brood, serial, job, again)?;
            Ok(brood.pid())
        });
        if handed.as_ref().is_err_and(passes) {
            self.homeless.push(serial);
            return None;
        }
        job.tries = job.tries.saturating_add(1);
        match handed {
            Ok(pid) => job.brood = pid,
            Err(error) if job.tries >= TRIES || error.kind() == ErrorKind::InvalidInput => {
                let from = job.conn.remote.ip();
                self.waiting.remove(&serial);
                return Some((from, error));
            }
            Err(_) => self.homeless.push(serial),
        }
        None
    }

    /// Hears a clean parent, one message of it, and says what became of connections.
    pub(super) fn hear(&mut self, pid: u32) -> Vec<News> {
        let mut news = Vec::new();
        if let Some(brood) = self.current.take_if(|brood| brood.pid() == pid) {
            let life = self.hear_one(&brood, &mut news);
            self.take_greeting(&brood);
            if life != Life::Serving || self.readings != brood.readings() {
                self.regulars.part_with_all();
            }
            self.readings = brood.readings();
            match life {
                Life::Serving => self.current = Some(brood),
                Life::Retiring => self.retiring.push(brood),
                Life::Gone if brood.ready() => news.push(News::Died),
                Life::Gone => news.push(News::Stillborn),
            }
        }
        for brood in self.retiring.extract_if(.., |brood| brood.pid() == pid).collect::<Vec<_>>() {
            if self.hear_one(&brood, &mut news) != Life::Gone {
                self.retiring.push(brood);
            }
        }
        self.rehouse(&mut news);
        news
    }

    /// One that is not ready does not know its greeting yet.
    fn take_greeting(&mut self, brood: &Brood) {
        if brood.ready() {
            let said = brood.greeting();
            if self.greeting.as_deref() != said.as_ref() {
                self.greeting = said.map(Rc::new);
            }
        }
    }

    fn hear_one(&mut self, brood: &Brood, news: &mut Vec<News>) -> Life {
        let mut life = Life::Serving;
        let Ok(mut heard) = brood.next() else {
            self.bereave(brood.pid(), news);
            return Life::Gone;
        };
        while let Some(event) = heard {
            if event == Event::Retired {
                life = Life::Retiring;
            }
            news.extend(self.event(event));
            heard = brood.next_heard();
        }
        life
    }

    fn event(&mut self, event: Event) -> Option<News> {
        match event {
            Event::Started { serial, pid } => {
                let Job { conn, brood, line, .. } = self.waiting.remove(&serial)?;
                let from = conn.remote.ip();
                self.running.insert(serial, Child { from, pid, brood, serves: true });
                if let Some(line) = line {
                    self.regulars.admit(pid, serial, from, line);
                }
                Some(News::Started { conn, pid })
            }
            Event::Ended { serial, status } => {
                let Child { from, pid, serves, .. } = self.running.remove(&serial)?;
                self.regulars.part(pid);
                if status == Status::Exited(0) {
                    self.regulars.remember(from);
                }
                serves.then_some(News::Ended { from, pid, status: Some(status) })
            }
            Event::Refused { serial, errno } => self.refused(serial, errno),
            Event::Retired => None,
        }
    }

    /// A connection one clean parent would not take: another may.
    fn refused(&mut self, serial: u64, errno: i32) -> Option<News> {
        let job = self.waiting.get_mut(&serial)?;
        if job.tries < TRIES {
            job.brood = 0;
            self.homeless.push(serial);
            return None;
        }
        let from = self.waiting.remove(&serial)?.conn.remote.ip();
        Some(News::Lost { from, cause: io::Error::from_raw_os_error(errno) })
    }

    /// Everything a dead clean parent had. Its children live on and still count: the kernel tells
    /// of their end.
    fn bereave(&mut self, brood: u32, news: &mut Vec<News>) {
        for (_, job) in self.waiting.extract_if(.., |_, job| job.brood == brood) {
            let from = job.conn.remote.ip();
            news.push(News::Lost { from, cause: ErrorKind::BrokenPipe.into() });
        }
        for (_, Child { from, pid, serves, .. }) in
            self.running.extract_if(.., |_, child| child.brood == brood)
        {
            if !serves {
                continue;
            }
            let held = Held::open(pid).and_then(|held| {
                self.poller.add(&held, Source::Orphan(pid).number(), Interest::READ)?;
                Ok(held)
            });
            match held {
                Ok(held) => drop(self.orphans.insert(pid, (held, from))),
                Err(_) => news.push(News::Ended { from, pid, status: None }),
            }
        }
    }

    /// An orphan has ended.
    pub(super) fn orphan_ended(&mut self, pid: u32) -> Option<News> {
        let (_, from) = self.orphans.remove(&pid)?;
        Some(News::Ended { from, pid, status: None })
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

/// Whether nothing was handed over because a clean parent is behind or on its way out, or there is none.
fn passes(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}

/// Hands a job to a clean parent; the line to its child, if the client may come `again`.
fn hand_over(brood: &Brood, serial: u64, job: &Job, again: bool) -> io::Result<Option<Regular>> {
    let sock = job.sock.as_fd();
    // Without descriptors to spare the child serves this connection alone.
    match again.then(Regular::open) {
        Some(Ok((line, theirs))) => {
            brood.hand_over_regular(serial, &job.payload, sock, theirs.as_fd())?;
            Ok(Some(line))
        }
        None | Some(Err(_)) => {
            brood.hand_over(serial, &job.payload, &[sock])?;
            Ok(None)
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
    let told = [GREETED, EARLYTALKER, HURRY];
    Brood::start(VARIABLES.iter().chain(&told).fold(command, Command::env_remove))
}
