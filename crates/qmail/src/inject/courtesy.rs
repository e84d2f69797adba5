//! Who starts one qmail-inject after the other leaves the processors to who delivers.
//!
//! What an injection costs is mostly the start of a process, which nobody but its caller decides on.
//! Several callers in loops would take the processors from a handful of programs that deliver. So
//! the process that has handed in its letter ends a little later when others wait for a processor:
//! the letter is safe by then, and its caller is held up, not the mail.

use std::time::Duration;

/// For each process that waits for a processor.
const EACH: Duration = Duration::from_millis(4);
/// However many wait.
const MOST: Duration = Duration::from_millis(20);

/// Waits, if processors are short.
pub(super) fn make_way() {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = std::fs::read("/proc/loadavg").unwrap_or_default();
    let pause = pause(&load, u32::try_from(processors).unwrap_or(u32::MAX));
    if !pause.is_zero() {
        sys::clock::sleep(pause);
    }
}

/// How long, by what `/proc/loadavg` says (proc(5)): `0.20 0.18 0.12 3/80 11206`, 3 of 80 run or
/// wait for their turn, this process among them.
fn pause(load: &[u8], processors: u32) -> Duration {
    let running =
        load.split(|&c| c == b' ').nth(3).and_then(|field| field.split(|&c| c == b'/').next());
    let running = running.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok());
    EACH.saturating_mul(running.unwrap_or(0).saturating_sub(processors)).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_would_take_a_processor_from_others_waits_and_not_for_long() {
        let pause = |load: &[u8]| pause(load, 2).as_millis();
        assert_eq!(pause(b"0.20 0.18 0.12 1/80 11206\n"), 0);
        assert_eq!(pause(b"0.20 0.18 0.12 2/80 11206\n"), 0);
        assert_eq!(pause(b"0.20 0.18 0.12 4/80 11206\n"), 8);
        assert_eq!(pause(b"9.20 9.18 9.12 4000000/80 11206\n"), 20);
        assert_eq!(pause(b""), 0);
        assert_eq!(pause(b"a b c d"), 0);
    }
}
