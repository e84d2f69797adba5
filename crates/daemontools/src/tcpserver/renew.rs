//! HUP: the listener becomes what lies on the disk now, and no client notices.
//!
//! First a *trial*: a child becomes the new tcpserver on our socket, accepts nobody, and ends with 0
//! once its program has said that it serves. If it does not, we stay what we are and say so. Else we
//! fork: the new process, the *remainder*, keeps those who wait and those who are served, and goes
//! with the last of them; we become the new program, with the same pid, so that supervise sees
//! nothing, and with the same socket, so that no connection is refused meanwhile.

use super::lobby::Lobby;
use super::server::{Means, Server};
use super::source::Source;
use crate::message::TEMPORARY;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};
use sys::poll::Interest;
use sys::process::Held;
use sys::renew;
use sys::signal::{self, Signal};
use sys::spawn::{self, Fork, Status};

/// The variable that names our socket to the new program.
pub(super) const VARIABLE: &str = "TCPSERVER_LISTENER";
/// How long a trial may take.
const TRIAL: Duration = Duration::from_secs(20);
/// How often a remainder looks whether the listener it comes from is still there.
const LOOK: Duration = Duration::from_secs(1);

/// How far a listener is on its way to its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// Nobody has asked.
    Unasked,
    /// A trial is under way, in this process, until then at the latest.
    Trying { pid: u32, until: Instant },
    /// We are what is left of the listener with this pid.
    Remainder { listener: u32 },
    /// We could not become the new one, and have given away what we had.
    Failed,
}

/// What to do after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    EndTrial(u32),
    End(i32),
}

impl Renewal {
    /// When to look again though nothing happens.
    pub(super) fn due(self, now: Instant) -> Option<Instant> {
        match self {
            Self::Trying { until, .. } => Some(until),
            Self::Remainder { .. } => now.checked_add(LOOK),
            Self::Unasked | Self::Failed => None,
        }
    }

    /// Judges: `idle` if nobody is left, `parent` our parent's pid just now.
    fn next(self, now: Instant, idle: bool, parent: u32) -> Next {
        match self {
            Self::Trying { pid, until } if now >= until => Next::EndTrial(pid),
            Self::Remainder { .. } if idle => Next::End(0),
            // As the listener itself does at its end: sessions go on, those who wait do not.
            Self::Remainder { listener } if listener != parent => Next::End(0),
            Self::Failed => Next::End(111),
            Self::Unasked | Self::Trying { .. } | Self::Remainder { .. } => Next::GoOn,
        }
    }
}

impl Server<'_> {
    /// Whether we only finish what was begun.
    pub(super) fn is_remainder(&self) -> bool {
        matches!(self.renewal, Renewal::Remainder { .. })
    }

    /// HUP came. One trial at a time is enough.
    pub(super) fn begin_renewal(&mut self) {
        if self.renewal != Renewal::Unasked {
            return;
        }
        self.options.log.flush();
        let started = renew::try_out(VARIABLE, self.sock.as_fd());
        match (started, Instant::now().checked_add(TRIAL)) {
            (Ok(pid), Some(until)) => self.renewal = Renewal::Trying { pid, until },
            (Ok(pid), None) => drop(signal::kill(pid, Signal::Kill)),
            (Err(error), _) => {
                self.options.warning(&[&"staying what it is, unable to try the new"], Some(&error));
            }
        }
    }

    /// A child has ended: whether it was the trial.
    pub(super) fn trial_ended(&mut self, ended: u32, status: Status) -> io::Result<bool> {
        let Renewal::Trying { pid, .. } = self.renewal else { return Ok(false) };
        if pid != ended {
            return Ok(false);
        }
        self.renewal = Renewal::Unasked;
        if status == Status::Exited(0) {
            self.renew()?;
        } else {
            let why = format!("staying what it is: the new tcpserver or its program {status}");
            self.options.warning(&[&why], None);
        }
        Ok(true)
    }

    /// We end, and a trial with us: it holds our socket, so that nobody else could listen there.
    pub(super) fn end_trial(&mut self) {
        if let Renewal::Trying { pid, .. } = self.renewal
            && signal::kill(pid, Signal::Kill).is_ok()
        {
            let _ = spawn::wait(pid);
            self.renewal = Renewal::Unasked;
        }
    }

    /// Becomes the new one; the remainder returns.
    fn renew(&mut self) -> io::Result<()> {
        self.options.tell(b"tcpserver: becoming the new version\n");
        self.options.log.flush();
        if matches!(self.means, Means::Clean(_)) || !self.lobby_is_empty() {
            match spawn::fork() {
                Ok(Fork::Child) => return self.remain(),
                Ok(Fork::Parent(_)) => {}
                Err(error) => {
                    self.options.warning(&[&"staying what it is, unable to fork"], Some(&error));
                    return Ok(());
                }
            }
        }
        let error = renew::become_new(VARIABLE, &self.sock);
        self.options.warning(&[&"unable to become the new version, starting anew"], Some(&error));
        self.renewal = Renewal::Failed;
        Ok(())
    }

    /// We are the remainder from now on: without the socket, and with signals of our own.
    fn remain(&mut self) -> io::Result<()> {
        self.renewal = Renewal::Remainder { listener: std::os::unix::process::parent_id() };
        self.poller.remove(&self.sock)?;
        self.sock = OwnedFd::from(std::fs::File::open("/dev/null")?);
        self.listening = false;
        self.pause = None;
        // The poller asks for the signals of the process that added them.
        self.poller.remove(&self.signals)?;
        self.poller.add(&self.signals, Source::Signals.number(), Interest::READ)?;
        match &mut self.means {
            Means::Clean(front) => front.nursery.part_with_regulars(),
            // They are the listener's children, and stay so.
            Means::Fork(children) => {
                children.clear();
                self.crowd.forget();
            }
        }
        Ok(())
    }

    /// Whether no proxy's connection waits.
    fn lobby_is_empty(&self) -> bool {
        self.lobby.as_ref().is_none_or(Lobby::is_empty)
    }

    /// At the end of a turn: the exit code if we are done.
    pub(super) fn look_at_renewal(&mut self) -> Option<i32> {
        if self.renewal == Renewal::Unasked {
            return None;
        }
        let idle = match &self.means {
            Means::Clean(front) => front.lounge.oldest().is_none() && front.nursery.is_idle(),
            Means::Fork(children) => children.is_empty(),
        };
        let idle = idle && self.lobby_is_empty();
        match self.renewal.next(Instant::now(), idle, std::os::unix::process::parent_id()) {
            Next::GoOn => None,
            Next::EndTrial(pid) => {
                // Its end is then told as any other.
                let _ = signal::kill(pid, Signal::Kill);
                self.renewal = Renewal::Trying { pid, until: far() };
                None
            }
            Next::End(code) => Some(code),
        }
    }

    /// A trial: 0 once the program serves. Its forerunner is held, if it can be.
    pub(super) fn prove(&mut self, forerunner: Option<&Held>) -> i32 {
        let poller = Rc::clone(&self.poller);
        let Means::Clean(front) = &mut self.means else { return 0 };
        // Killed, it cannot end us. If it cannot be held, our time is short all the same.
        if let Some(held) = forerunner {
            let _ = poller.add(held, Source::Forerunner.number(), Interest::READ);
        }
        let until = Instant::now().checked_add(TRIAL);
        let mut events = Vec::new();
        while !front.nursery.open() {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_none_or(|left| left.is_zero()) || poller.wait(&mut events, left).is_err() {
                return 111;
            }
            for event in &events {
                match Source::from_number(event.token) {
                    // Nothing was handed over: there is no other news than its end.
                    Source::Parent(pid) if !front.nursery.hear(pid).is_empty() => return 111,
                    Source::Forerunner => return 111,
                    _ => {}
                }
            }
        }
        0
    }
}

/// Takes hold of who wants a trial, before anything is begun for it: an end later on is noticed. `None`
/// if it cannot be held; the error is the exit code if it has ended already.
pub(super) fn hold(forerunner: Option<u32>) -> Result<Option<Held>, i32> {
    let pid = forerunner.unwrap_or_else(std::os::unix::process::parent_id);
    let held = Held::open(pid).ok();
    // While it is our parent its number has not come to mean another one.
    if std::os::unix::process::parent_id() == pid { Ok(held) } else { Err(TEMPORARY) }
}

/// A moment that is not waited for.
fn far() -> Instant {
    let now = Instant::now();
    now.checked_add(Duration::from_secs(86_400)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_for_one_that_is_gone_ends_before_it_begins() {
        let parent = std::os::unix::process::parent_id();
        assert!(hold(None).is_ok_and(|held| held.is_some_and(|held| !held.ended())));
        assert!(hold(Some(parent)).is_ok_and(|held| held.is_some()));
        // Nobody is its own parent.
        assert_eq!(hold(Some(std::process::id())).err(), Some(TEMPORARY));
        assert_eq!(hold(Some(0)).err(), Some(TEMPORARY));
    }

    #[test]
    fn a_trial_has_its_time_and_a_remainder_its_guests() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let trying = Renewal::Trying { pid: 7, until: later };
        assert_eq!(trying.next(now, true, 1), Next::GoOn);
        assert_eq!(trying.next(later, false, 1), Next::EndTrial(7));
        let remainder = Renewal::Remainder { listener: 5 };
        assert_eq!(remainder.next(now, false, 5), Next::GoOn);
        assert_eq!(remainder.next(now, true, 5), Next::End(0));
        assert_eq!(remainder.next(now, false, 1), Next::End(0));
        assert_eq!(Renewal::Unasked.next(later, true, 1), Next::GoOn);
        assert_eq!(Renewal::Failed.next(now, false, 1), Next::End(111));
    }
}
