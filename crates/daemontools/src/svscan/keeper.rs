//! One supervise as svscan sees it: whose it is, and when to start it next.

use std::time::Duration;
use sys::spawn::Status;

/// No supervise is started sooner than this after its last start.
const THROTTLE: Duration = Duration::from_secs(1);
/// The same for one that gave up at once: it has said why, and once in a while is enough. Twice as
/// long each time, up to [`LONGEST`].
const RETRY: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);

/// The supervise of one directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// None runs; one may be started from this tick on. So many in a row gave up.
    Down { at: Duration, failures: u32 },
    /// Our child.
    Ours { pid: u32, started: Duration, failures: u32 },
    /// Another svscan, now dead, left one running: it holds the lock. Look again at this tick.
    Others(Duration),
}

impl Keeper {
    /// None has run yet.
    pub(super) const NEW: Keeper = Keeper::Down { at: Duration::ZERO, failures: 0 };

    /// Whether one is known to run.
    pub(super) fn alive(self) -> bool {
        !matches!(self, Keeper::Down { .. })
    }

    /// Our child's number.
    pub(super) fn pid(self) -> Option<u32> {
        match self {
            Keeper::Ours { pid, .. } => Some(pid),
            Keeper::Down { .. } | Keeper::Others(_) => None,
        }
    }

    /// The tick at which one may be started.
    pub(super) fn start_at(self) -> Option<Duration> {
        match self {
            Keeper::Down { at, .. } => Some(at),
            Keeper::Ours { .. } | Keeper::Others(_) => None,
        }
    }

    /// The tick at which to look whether somebody else's still runs.
    pub(super) fn look_at(self) -> Option<Duration> {
        match self {
            Keeper::Others(at) => Some(at),
            Keeper::Down { .. } | Keeper::Ours { .. } => None,
        }
    }

    /// One was started.
    pub(super) fn started(&mut self, pid: u32, now: Duration) {
        *self = Keeper::Ours { pid, started: now, failures: self.failures() };
    }

    /// None could be started.
    pub(super) fn failed(&mut self, now: Duration) {
        *self = Keeper::Down { at: now.saturating_add(RETRY), failures: self.failures() };
    }

    /// Somebody else's holds the lock; look again then.
    pub(super) fn held(&mut self, at: Duration) {
        *self = Keeper::Others(at);
    }

    /// Whoever was told to look after things wants no more waiting.
    pub(super) fn hurry(&mut self) {
        if let Keeper::Down { .. } = self {
            *self = Keeper::NEW;
        }
    }

    /// A child has ended; true if it was this one.
    pub(super) fn ended(&mut self, child: u32, status: Status, now: Duration) -> bool {
        let Keeper::Ours { pid, started, failures } = *self else { return false };
        if pid != child {
            return false;
        }
        let quick = now.saturating_sub(started) < RETRY;
        *self = if quick && matches!(status, Status::Exited(1..)) {
            let factor = 2_u32.saturating_pow(failures);
            let pause = RETRY.saturating_mul(factor).min(LONGEST);
            Keeper::Down { at: started.saturating_add(pause), failures: failures.saturating_add(1) }
        } else {
            Keeper::Down { at: started.saturating_add(THROTTLE).max(now), failures: 0 }
        };
        true
    }

    fn failures(self) -> u32 {
        match self {
            Keeper::Down { failures, .. } | Keeper::Ours { failures, .. } => failures,
            Keeper::Others(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// One started at 100 that ends then: when the next may start.
    fn after(status: Status, ended: Duration) -> Option<Duration> {
        let mut keeper = Keeper::NEW;
        keeper.started(7, secs(100));
        assert!(!keeper.ended(8, status, ended));
        assert!(keeper.alive() && keeper.ended(7, status, ended));
        keeper.start_at()
    }

    #[test]
    fn a_killed_supervise_is_started_at_once_or_a_second_after_its_start() {
        assert_eq!(after(Status::Killed(9), secs(200)), Some(secs(200)));
        assert_eq!(after(Status::Killed(9), secs(100)), Some(secs(101)));
        assert_eq!(after(Status::Exited(0), secs(100)), Some(secs(101)));
    }

    #[test]
    fn one_that_gave_up_at_once_waits_five_seconds_and_longer_each_time() {
        assert_eq!(after(Status::Exited(111), secs(100)), Some(secs(105)));
        assert_eq!(after(Status::Exited(111), secs(300)), Some(secs(300)));
        let (mut keeper, mut now, mut pauses) = (Keeper::NEW, secs(100), vec![]);
        for _ in 0..6 {
            keeper.started(7, now);
            keeper.ended(7, Status::Exited(111), now);
            let next = keeper.start_at().unwrap();
            pauses.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        keeper.hurry();
        assert_eq!(keeper, Keeper::NEW);
    }

    #[test]
    fn a_foreign_one_is_alive_and_looked_at_when_it_is_time() {
        let mut keeper = Keeper::NEW;
        assert!(!keeper.alive() && keeper.start_at().is_some());
        keeper.held(secs(2));
        assert!(keeper.alive());
        assert_eq!((keeper.start_at(), keeper.look_at()), (None, Some(secs(2))));
    }
}
