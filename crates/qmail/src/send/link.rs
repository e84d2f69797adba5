//! The connection to queued: followed while it stands, made again when it breaks.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use base::wire::Malformed;
use base::wire::queue::{Answer, MAX_ANSWER, Request};
use sys::pass::{self, Kind};
use sys::poll::{Interest, Poller};

use super::pipe::{Inlet, Outlet};
use super::schedule::Event;

/// The first pause before connecting again; it doubles up to [`PAUSE`].
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE: Duration = Duration::from_secs(1);
/// How long queued may take to appear before we say so.
const PATIENCE: Duration = Duration::from_secs(3);

/// The connection, or when to make it.
#[derive(Debug)]
pub(super) struct Link {
    socket: PathBuf,
    token: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Up(Box<Ends>),
    /// Times are since boot.
    Away {
        since: Duration,
        next: Duration,
        pause: Duration,
        said: bool,
    },
}

#[derive(Debug)]
struct Ends {
    inlet: Inlet,
    outlet: Outlet,
}

impl Link {
    /// No connection yet, and one due at once; `time` is since boot.
    pub(super) fn new(socket: PathBuf, token: u64, time: Duration) -> Self {
        let state = State::Away { since: time, next: time, pause: FIRST, said: false };
        Self { socket, token, state }
    }

    /// When [`Link::mend`] is wanted.
    pub(super) fn due(&self) -> Option<Duration> {
        match self.state {
            State::Up(_) => None,
            State::Away { next, .. } => Some(next),
        }
    }

    /// Connects if it is time; true if the administrator should hear that queued is not there.
    pub(super) fn mend(&mut self, poller: &Poller, time: Duration) -> bool {
        let State::Away { since, next, pause, said } = self.state else { return false };
        if time < next {
            return false;
        }
        if let Ok(ends) = self.connect(poller) {
            self.state = State::Up(Box::new(ends));
            return false;
        }
        let late = !said && time.saturating_sub(since) >= PATIENCE;
        let next = time.saturating_add(pause);
        let pause = pause.saturating_mul(2).min(PAUSE);
        self.state = State::Away { since, next, pause, said: said || late };
        late
    }

    fn connect(&self, poller: &Poller) -> io::Result<Ends> {
        let socket = pass::connect(&self.socket, Kind::Stream)?;
        let mut ends =
            Ends { inlet: Inlet::new(socket.try_clone()?), outlet: Outlet::new(socket)? };
        let mut follow = Vec::new();
        Request::Follow.encode(&mut follow);
        ends.outlet.push(&follow)?;
        poller.add(&ends.outlet, self.token, Interest::READ)?;
        Ok(ends)
    }

    /// Gives up the connection; it is made again a moment later. The loss has been told.
    pub(super) fn cut(&mut self, poller: &Poller, time: Duration) {
        if let State::Up(ends) = &self.state {
            let _ = poller.remove(&ends.outlet);
        }
        let next = time.saturating_add(FIRST);
        self.state = State::Away { since: time, next, pause: FIRST, said: true };
    }

    /// Sends notes; without a connection they are said again when there is one.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) fn push(&mut self, poller: &Poller, notes: &[u8]) -> io::Result<()> {
        let State::Up(ends) = &mut self.state else { return Ok(()) };
        ends.outlet.push(notes)?;
        ends.outlet.arm(poller, self.token, Interest::READ)
    }

    /// Reads once and gives every answer to `step`.
    ///
    /// # Errors
    /// The connection is lost, or queued says what it should not.
    pub(super) fn hear(&mut self, mut step: impl FnMut(Event<'_>)) -> io::Result<()> {
        let State::Up(ends) = &mut self.state else { return Ok(()) };
        if !ends.inlet.fill()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let heard = ends.inlet.frames(MAX_ANSWER, |frame| {
            step(match Answer::decode(frame)? {
                Answer::Entry(entry) => Event::Entry(entry),
                Answer::End => Event::Listed,
                Answer::Ack(serial) => Event::Ack(serial),
                Answer::Accepted(_)
                | Answer::Refused(..)
                | Answer::Paragraph(_)
                | Answer::Opened(_) => return Err(Malformed),
            });
            Ok(())
        });
        heard.map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))
    }
}
