//! One supervise as svscan sees it: whose it is, and when to start it next.

use std::time::Duration;
use sys::spawn::Status;

/// No supervise is started sooner than this after its last start.
const THROTTLE: Duration = Duration::from_secs(1);
/// The same for one that gave up at once: it has said why, and once in a while is enough.
const RETRY: Duration = Duration::from_secs(5);
/// How often we look whether another svscan's supervise has ended.
const CHECK: Duration = Duration::from_secs(1);

/// The supervise of one directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// None runs; one may be started from this tick on.
    Down(Duration),
    /// Our child.
    Ours { pid: u32, started: Duration },
    /// Another svscan, now dead, left one running: it holds the lock. Look again at this tick.
    Others(Duration),
}

impl Keeper {
    /// None has run yet.
    pub(super) const NEW: Keeper = Keeper::Down(Duration::ZERO);

    /// Whether one is known to run.
    pub(super) fn alive(self) -> bool {
        !matches!(self, Keeper::Down(_))
    }

    /// Whether it is time to start one, if the lock is free.
    pub(super) fn due(self, now: Duration) -> bool {
        self.wake().is_some_and(|at| now >= at)
    }

    /// The tick at which something is to be done.
    pub(super) fn wake(self) -> Option<Duration> {
        match self {
            Keeper::Down(at) | Keeper::Others(at) => Some(at),
            Keeper::Ours { .. } => None,
        }
    }

    /// One was started.
    pub(super) fn started(&mut self, pid: u32, now: Duration) {
        *self = Keeper::Ours { pid, started: now };
    }

    /// None could be started.
    pub(super) fn failed(&mut self, now: Duration) {
        *self = Keeper::Down(now.saturating_add(RETRY));
    }

    /// Somebody else's holds the lock.
    pub(super) fn held(&mut self, now: Duration) {
        *self = Keeper::Others(now.saturating_add(CHECK));
    }

    /// A child has ended; true if it was this one.
    pub(super) fn ended(&mut self, child: u32, status: Status, now: Duration) -> bool {
        let Keeper::Ours { pid, started } = *self else { return false };
        if pid != child {
            return false;
        }
        let gave_up = matches!(status, Status::Exited(1..));
        let pause = if gave_up { RETRY } else { THROTTLE };
        *self = Keeper::Down(started.saturating_add(pause).max(now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn after(status: Status, ended: Duration) -> Keeper {
        let mut keeper = Keeper::NEW;
        keeper.started(7, secs(100));
        assert!(!keeper.ended(8, status, ended));
        assert!(keeper.ended(7, status, ended));
        keeper
    }

    #[test]
    fn a_killed_supervise_is_started_at_once_or_a_second_after_its_start() {
        assert_eq!(after(Status::Killed(9), secs(200)), Keeper::Down(secs(200)));
        assert_eq!(after(Status::Killed(9), secs(100)), Keeper::Down(secs(101)));
        assert_eq!(after(Status::Exited(0), secs(100)), Keeper::Down(secs(101)));
    }

    #[test]
    fn one_that_gave_up_at_once_waits_five_seconds() {
        assert_eq!(after(Status::Exited(111), secs(100)), Keeper::Down(secs(105)));
        assert_eq!(after(Status::Exited(111), secs(300)), Keeper::Down(secs(300)));
    }

    #[test]
    fn a_foreign_one_is_looked_at_every_second() {
        let mut keeper = Keeper::NEW;
        assert!(keeper.due(secs(1)) && !keeper.alive());
        keeper.held(secs(1));
        assert!(keeper.alive() && !keeper.due(secs(1)) && keeper.due(secs(2)));
    }
}
