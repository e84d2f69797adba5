//! What qmail-lspawn and qmail-rspawn have in common (stock `spawn.c`): commands in, letters from
//! queued, deliveries side by side, reports out in whatever order they end. One loop that waits
//! for nobody in particular.

mod children;
mod crew;
mod desk;
mod letters;

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use base::outcome::Outcome;
use base::time::Moment;
use base::wire::frame;
use base::wire::spawn::{Delivery, MAX_DELIVERY};
use store::home::Home;
use sys::poll::Interest;
use sys::signal::{Signal, Signals};
use sys::{clock, fd};

pub(crate) use children::Children;
pub(crate) use crew::{Channel, Crew, Member};
pub(crate) use desk::Desk;
use letters::Letters;

/// Bytes read at a time.
const PIECE: usize = 64 << 10;
/// The tokens of what every spawner hears.
const COMMANDS: u64 = 0;
const SIGNALS: u64 = 1;
const QUEUED: u64 = 2;
/// The first token of what a spawner watches itself.
const FIRST: u64 = 3;

/// A verdict and its text, as they go to qmail-send.
pub(crate) type Verdict = (Outcome, Vec<u8>);

/// `Z` and a text.
pub(crate) fn later(text: &str) -> Verdict {
    (Outcome::Later, text.as_bytes().to_vec())
}

/// A delivery as qmail-send ordered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) slot: u32,
    pub(crate) letter: u64,
    birth: Moment,
    index: u32,
    perhaps: bool,
    sender: Vec<u8>,
    recipient: Vec<u8>,
}

impl Order {
    fn of(delivery: &Delivery<'_>) -> Self {
        let &Delivery { slot, letter, birth, index, perhaps, sender, recipient } = delivery;
        let (sender, recipient) = (sender.to_vec(), recipient.to_vec());
        Self { slot, letter, birth, index, perhaps, sender, recipient }
    }

    /// The order as it came.
    pub(crate) fn delivery(&self) -> Delivery<'_> {
        let &Self { slot, letter, birth, index, perhaps, .. } = self;
        let (sender, recipient) = (&self.sender[..], &self.recipient[..]);
        Delivery { slot, letter, birth, index, perhaps, sender, recipient }
    }
}

/// A letter from queued.
#[derive(Debug)]
pub(crate) enum Letter {
    /// A descriptor at its beginning.
    Open {
        fd: OwnedFd,
        /// Bytes.
        size: u64,
    },
    /// The bytes of a small one.
    Here(Vec<u8>),
}

impl Letter {
    /// Bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Open { size, .. } => *size,
            Self::Here(bytes) => bytes.len() as u64,
        }
    }

    /// A descriptor at its beginning, of its own.
    pub(crate) fn fd(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Open { fd, .. } => fd.try_clone(),
            Self::Here(bytes) => fd::memfd("letter", bytes),
        }
    }

    /// The same of a letter that is needed no more.
    pub(crate) fn into_fd(self) -> io::Result<OwnedFd> {
        match self {
            Self::Open { fd, .. } => Ok(fd),
            Self::Here(bytes) => fd::memfd("letter", &bytes),
        }
    }
}

/// What one of the two spawners does in its own way. Every delivery it is given it ends at the
/// [`Desk`], then or later.
pub(crate) trait Spawner {
    /// Whether small letters come as they are, not as descriptors.
    const HERE: bool;

    /// Starts a delivery.
    fn start(&mut self, order: Order, letter: Letter, desk: &mut Desk);

    /// Something it watches is ready.
    fn ready(&mut self, token: u64, desk: &mut Desk);

    /// Children have ended.
    fn reap(&mut self, desk: &mut Desk);

    /// All that was ready has been heard; returns after how long to be called again at the latest.
    fn turn(&mut self, now: Duration, desk: &mut Desk) -> Option<Duration>;
}

/// Serves descriptors 0 and 1 until the commands end and all deliveries are done, of which it makes
/// up to `ceiling` at a time; those that are made and wait for the disk only do not count. The exit
/// code.
pub(crate) fn serve<S: Spawner>(name: &str, ceiling: u32, spawner: impl FnOnce(&Home) -> S) -> i32 {
    // Orders and outcomes come several at a time so; without this, one by one.
    sys::sched::gather();
    let home = match Home::find() {
        Ok(home) => home,
        Err(err) => {
            let _ = writeln!(io::stderr(), "{name}: fatal: {err}");
            return 111;
        }
    };
    let spawner = spawner(&home);
    match Server::new(spawner, home, ceiling).and_then(|mut server| server.run()) {
        Ok(()) => 0,
        Err(err) => {
            // Of qmail-send's end others tell.
            if err.kind() != io::ErrorKind::BrokenPipe {
                let why = sys::errno::text(&err);
                let _ = writeln!(io::stderr(), "{name}: fatal: unable to hear qmail-send: {why}");
            }
            111
        }
    }
}

struct Server<S> {
    spawner: S,
    letters: Letters,
    signals: Signals,
    desk: Desk,
    commands: Vec<u8>,
    piece: Vec<u8>,
    hearing: bool,
}

impl<S: Spawner> Server<S> {
    fn new(spawner: S, home: Home, ceiling: u32) -> io::Result<Self> {
        let signals = Signals::catch(&[Signal::Chld])?;
        sys::signal::ignore(Signal::Pipe);
        let desk = Desk::new(FIRST, ceiling)?;
        desk.poller().add(fd::stdin(), COMMANDS, Interest::READ)?;
        desk.poller().add(signals.as_fd(), SIGNALS, Interest::READ)?;
        let (letters, commands, piece) = (Letters::new(home, S::HERE), Vec::new(), vec![0; PIECE]);
        Ok(Self { spawner, letters, signals, desk, commands, piece, hearing: true })
    }

    fn run(&mut self) -> io::Result<()> {
        self.desk.tell_ceiling();
        self.desk.flush(fd::stdout())?;
        let (mut events, mut limit) = (Vec::new(), None);
        while self.hearing || !self.desk.is_empty() {
            self.desk.poller().wait(&mut events, limit)?;
            for event in &events {
                match event.token {
                    COMMANDS => self.hear()?,
                    SIGNALS => self.bury()?,
                    QUEUED => {}
                    token => self.spawner.ready(token, &mut self.desk),
                }
            }
            self.open_letters();
            let now = clock::monotonic();
            let (ours, theirs) = (self.letters.wake(now), self.spawner.turn(now, &mut self.desk));
            limit = ours.into_iter().chain(theirs).min();
            self.desk.flush(fd::stdout())?;
        }
        Ok(())
    }

    fn bury(&mut self) -> io::Result<()> {
        while self.signals.next()?.is_some() {}
        self.spawner.reap(&mut self.desk);
        Ok(())
    }

    /// Asks for the letters of new orders and starts the deliveries whose letters have come.
    fn open_letters(&mut self) {
        let now = clock::monotonic();
        self.letters.ask(now, self.desk.poller());
        while let Some((order, letter)) = self.letters.next(now, self.desk.poller()) {
            match letter {
                Ok(letter) => self.spawner.start(order, letter, &mut self.desk),
                Err(verdict) => self.desk.ended(order.slot, verdict),
            }
        }
    }

    /// Takes what commands have come. Nonsense ends us: only qmail-send writes here.
    fn hear(&mut self) -> io::Result<()> {
        let n = fd::read(fd::stdin(), &mut self.piece)?;
        if n == 0 {
            self.hearing = false;
            return self.desk.poller().remove(fd::stdin());
        }
        self.commands.extend(self.piece.iter().take(n));
        let commands = std::mem::take(&mut self.commands);
        let mut rest = &commands[..];
        let malformed = |_| io::Error::from(io::ErrorKind::InvalidData);
        while let Some((frame, used)) = frame::take(rest, MAX_DELIVERY).map_err(malformed)? {
            let delivery = Delivery::decode(frame).map_err(malformed)?;
            self.order(&delivery);
            rest = rest.get(used..).unwrap_or_default();
        }
        self.commands = rest.to_vec();
        Ok(())
    }

    fn order(&mut self, delivery: &Delivery<'_>) {
        let slot = delivery.slot;
        let refused = if self.desk.knows(slot) {
            Some(later("Internal error: delnum in use. (#4.3.5)\n"))
        } else if !self.desk.has_room() {
            Some(later("Internal error: delnum too big. (#4.3.5)\n"))
        } else if !delivery.recipient.contains(&b'@') {
            let text = b"Sorry, address must include host name. (#5.1.3)\n".to_vec();
            Some((Outcome::Never, text))
        } else {
            None
        };
        match refused {
            Some(verdict) => self.desk.refused(slot, verdict),
            None => {
                self.desk.begun(slot);
                self.letters.want(Order::of(delivery));
            }
        }
    }
}
