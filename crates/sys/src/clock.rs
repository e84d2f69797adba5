//! What time it is, and waiting.

use base::time::Moment;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::Duration;

/// The wall clock, to the microsecond; the epoch itself if the clock stands before 1970.
pub fn now() -> Moment {
    let since = duration(clock_gettime(ClockId::Realtime));
    Moment::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Time since boot, never set back: for timeouts and intervals.
pub fn monotonic() -> Duration {
    duration(clock_gettime(ClockId::Boottime))
}

/// Waits; a signal does not end the wait early.
pub fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// The kernel's pair as a `Duration`; zero if it is negative.
fn duration(at: Timespec) -> Duration {
    let secs = u64::try_from(at.tv_sec).unwrap_or(0);
    Duration::new(secs, u32::try_from(at.tv_nsec).unwrap_or(0))
}
