//! What time it is, and waiting.

use base::time::Moment;
use nix::libc;
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

/// How many minutes east of UTC the local time was at a moment: `$TZ`, else the system's zone; 0 if
/// nobody knows.
pub fn zone(at: Moment) -> i32 {
    let Ok(secs) = libc::time_t::try_from(at.secs()) else { return 0 };
    let mut local = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to our own memory, and a zeroed `tm` is one.
    let offset = unsafe {
        libc::localtime_r(&secs, local.as_mut_ptr());
        local.assume_init().tm_gmtoff
    };
    i32::try_from(offset / 60).unwrap_or(0)
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
