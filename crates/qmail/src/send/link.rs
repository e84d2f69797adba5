//! The connection to queued: followed while it stands, made again when it breaks.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use base::event::Alert;
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
    Away(Away),
}

/// Without a connection. Times are since boot.
#[derive(Clone, Copy, Debug)]
struct Away {
    since: Duration,
    next: Duration,
    pause: Duration,
    said: bool,
}

/// With one.
#[derive(Debug)]
struct Ends {
    inlet: Inlet,
    outlet: Outlet,
    /// As things stood before, as long as queued has said nothing: one that takes connections
    /// only to end them is as good as away.
    silent: Option<Away>,
}

impl Link {
    /// No connection yet, and one due at once; `time` is since boot.
    pub(super) fn new(socket: PathBuf, token: u64, time: Duration) -> Self {
        let state = State::Away(Away { since: time, next: time, pause: FIRST, said: false });
        Self { socket, token, state }
    }

    /// When [`Link::mend`] is wanted.
    pub(super) fn due(&self) -> Option<Duration> {
        match self.state {
            State::Up(_) => None,
            State::Away(Away { next, .. }) => Some(next),
        }
    }

    /// Connects if it is time; true if the administrator should hear that queued is not there.
    pub(super) fn mend(&mut self, poller: &Poller, time: Duration) -> bool {
        let State::Away(away) = self.state else { return false };
        if time < away.next {
            return false;
        }
        if let Ok(ends) = self.connect(poller, away) {
            self.state = State::Up(Box::new(ends));
            return false;
        }
        let (later, late) = away.later(time);
        self.state = State::Away(later);
        late
    }

    fn connect(&self, poller: &Poller, away: Away) -> io::Result<Ends> {
        // One whose queue is full is as good as away: reports and deliveries do not wait for it.
        let socket = pass::connect_now(&self.socket, Kind::Stream)?;
        let inlet = Inlet::new(socket.try_clone()?);
        let mut ends = Ends { inlet, outlet: Outlet::new(socket)?, silent: Some(away) };
        let mut follow = Vec::new();
        Request::Follow.encode(&mut follow);
        ends.outlet.push(&follow)?;
        poller.add(&ends.outlet, self.token, Interest::READ)?;
        Ok(ends)
    }

    /// Gives up the connection; it is made again a moment later. What to tell the administrator.
    pub(super) fn cut(&mut self, poller: &Poller, time: Duration) -> Option<Alert<'static>> {
        let State::Up(ends) = &self.state else { return None };
        let _ = poller.remove(&ends.outlet);
        let (away, alert) = match ends.silent {
            Some(away) => {
                let (later, late) = away.later(time);
                (later, late.then_some(Alert::NoQueued))
            }
            None => {
                let next = time.saturating_add(FIRST);
                (Away { since: time, next, pause: FIRST, said: true }, Some(Alert::LostQueued))
            }
        };
        self.state = State::Away(away);
        alert
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
        let silent = &mut ends.silent;
        let heard = ends.inlet.frames(MAX_ANSWER, |frame| {
            *silent = None;
            step(match Answer::decode(frame)? {
                Answer::Entry(entry) => Event::Entry(entry),
                Answer::End => Event::Listed,
                Answer::Ack(serial) => Event::Ack(serial),
                Answer::Refused(..) => Event::Unwritten,
                Answer::Accepted(_)
                | Answer::Paragraph(_)
                | Answer::Opened(_)
                | Answer::Fetched(_)
                | Answer::Held(_) => {
                    return Err(Malformed);
                }
            });
            Ok(())
        });
        heard.map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))
    }
}

impl Away {
    /// Another attempt has failed. True if it is time to say so.
    fn later(self, time: Duration) -> (Self, bool) {
        let late = !self.said && time.saturating_sub(self.since) >= PATIENCE;
        let next = time.saturating_add(self.pause);
        let pause = self.pause.saturating_mul(2).min(PAUSE);
        (Self { next, pause, said: self.said || late, ..self }, late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn attempts_come_every_second_at_last_and_the_absence_is_told_once() {
        let start = Duration::from_secs(100);
        let mut away = Away { since: start, next: start, pause: FIRST, said: false };
        let (mut pauses, mut told) = (Vec::new(), 0);
        while away.next < start + Duration::from_secs(20) {
            let (later, late) = away.later(away.next);
            pauses.push((later.next - away.next).as_millis());
            told += u32::from(late);
            away = later;
        }
        assert_eq!(pauses.get(..5), Some(&[100, 200, 400, 800, 1000][..]));
        assert_eq!((pauses.last(), told), (Some(&1000), 1));
    }
    #[test]
    fn a_queued_that_takes_no_connections_is_not_waited_for() {
        let yard = Yard::new("send-link");
        let path = yard.join("socket");
        let _listener = pass::listen(&path, Kind::Stream, 0o600, 0).unwrap();
        let mut taken = Vec::new();
        while let Ok(sock) = pass::connect_now(&path, Kind::Stream) {
            taken.push(sock);
        }
        let (mut link, begun) = (Link::new(path.clone(), 1, FIRST), std::time::Instant::now());
        assert!(!link.mend(&Poller::new().unwrap(), FIRST));
        assert!(begun.elapsed() < Duration::from_secs(60) && link.due().is_some());
    }
}
