//! How long a client may take.

use std::time::Duration;

/// Below this many bytes a second a letter that takes longer than one timeout is given up.
const SLOWEST: u64 = 500;
/// No session lasts longer.
const SESSION: Duration = Duration::from_secs(24 * 3_600);

/// The deadlines of a session. Moments are [`sys::clock::monotonic`]'s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// `control/timeoutsmtpd`: the longest silence, and the longest time for one command.
    timeout: Duration,
    opened: Duration,
    /// When what is awaited now began to be awaited: one command, or one whole letter.
    since: Duration,
    /// Bytes that came since then.
    bytes: u64,
}

impl Patience {
    /// A session begins; `timeout` is in seconds.
    pub(crate) fn new(timeout: u64, now: Duration) -> Self {
        let timeout = Duration::from_secs(timeout.max(1));
        Self { timeout, opened: now, since: now, bytes: 0 }
    }

    /// The longest silence.
    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What was awaited is here; something new is awaited.
    pub(crate) fn renew(&mut self, now: Duration) {
        (self.since, self.bytes) = (now, 0);
    }

    /// Bytes came.
    pub(crate) fn heard(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// How long the next read may wait; zero if it is over. `letter`: the bytes earn time.
    pub(crate) fn left(&self, letter: bool, now: Duration) -> Duration {
        let earned = if letter { self.bytes / SLOWEST } else { 0 };
        let end =
            self.since.saturating_add(self.timeout).saturating_add(Duration::from_secs(earned));
        let end = end.min(self.opened.saturating_add(SESSION));
        end.saturating_sub(now).min(self.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_command_that_trickles_in_runs_out_of_time() {
        let mut patience = Patience::new(1_200, at(0));
        patience.heard(900);
        assert_eq!(patience.left(false, at(1_199)), at(1));
        assert_eq!(patience.left(false, at(1_200)), at(0));
        patience.renew(at(1_200));
        assert_eq!(patience.left(false, at(1_201)), at(1_199));
    }

    #[test]
    fn a_letter_earns_time_by_its_bytes_but_not_for_ever() {
        let mut patience = Patience::new(1_200, at(0));
        patience.heard(500 * 100);
        assert_eq!(patience.left(true, at(1_250)), at(50));
        patience.heard(usize::MAX);
        assert_eq!(patience.left(true, at(80_000)), at(1_200));
        assert_eq!(patience.left(true, at(86_400)), at(0));
    }
}
