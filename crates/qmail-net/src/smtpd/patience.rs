//! How long a client may take.

use std::time::Duration;

use base::limits;

/// Below this many bytes a second a letter that takes longer than one timeout is given up.
const SLOWEST: u64 = 500;
/// No session lasts longer.
const SESSION: Duration = Duration::from_secs(24 * 3_600);

/// The deadlines of a session. Moments are [`sys::clock::monotonic`]'s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// `control/timeoutsmtpd`, or less: the longest silence, and the longest time for one command.
    timeout: Duration,
    /// The longest silence inside a letter, and the time it has besides what its bytes earn.
    letter: Duration,
    /// Places are short.
    hurried: bool,
    opened: Duration,
    /// When the session began, or the last letter was taken.
    fruit: Duration,
    /// When what is awaited now began to be awaited: one command, or one whole letter.
    since: Duration,
    /// Bytes that came since then.
    bytes: u64,
}

impl Patience {
    /// A session begins; `timeout` is in seconds.
    pub(crate) fn new(timeout: u64, hurried: bool, now: Duration) -> Self {
        let own = Duration::from_secs(timeout.max(1));
        let (timeout, letter) = match hurried {
            true => (own.min(limits::HURRIED_COMMAND), own.min(limits::HURRIED_SESSION)),
            false => (own, own),
        };
        Self { timeout, letter, hurried, opened: now, fruit: now, since: now, bytes: 0 }
    }

    /// Whether places are short.
    pub(crate) const fn hurried(&self) -> bool {
        self.hurried
    }

    /// How long the client may take to hear something, and the longest silence between commands.
    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What was awaited is here; something new is awaited.
    pub(crate) fn renew(&mut self, now: Duration) {
        (self.since, self.bytes) = (now, 0);
    }

    /// A letter was taken.
    pub(crate) fn reward(&mut self, now: Duration) {
        self.fruit = now;
    }

    /// Bytes came.
    pub(crate) fn heard(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// How long the next read may wait; zero if it is over. `letter`: the bytes earn time.
    pub(crate) fn left(&self, letter: bool, now: Duration) -> Duration {
        let (silence, earned) =
            if letter { (self.letter, self.bytes / SLOWEST) } else { (self.timeout, 0) };
        let mut end =
            self.since.saturating_add(silence).saturating_add(Duration::from_secs(earned));
        let life = if self.hurried { limits::HURRIED_LIFE } else { SESSION };
        end = end.min(self.opened.saturating_add(life));
        if self.hurried && !letter {
            end = end.min(self.fruit.saturating_add(limits::HURRIED_SESSION));
        }
        end.saturating_sub(now).min(silence)
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
        let mut patience = Patience::new(1_200, false, at(0));
        patience.heard(900);
        assert_eq!(patience.left(false, at(1_199)), at(1));
        assert_eq!(patience.left(false, at(1_200)), at(0));
        patience.renew(at(1_200));
        assert_eq!(patience.left(false, at(1_201)), at(1_199));
    }

    #[test]
    fn a_letter_earns_time_by_its_bytes_but_not_for_ever() {
        let mut patience = Patience::new(1_200, false, at(0));
        patience.heard(500 * 100);
        assert_eq!(patience.left(true, at(1_250)), at(50));
        patience.heard(usize::MAX);
        assert_eq!(patience.left(true, at(80_000)), at(1_200));
        assert_eq!(patience.left(true, at(86_400)), at(0));
    }

    #[test]
    fn who_is_hurried_has_seconds_for_a_command_and_a_minute_for_a_letter() {
        let mut patience = Patience::new(1_200, true, at(0));
        assert_eq!(patience.left(false, at(3)), at(7));
        for now in (9..60).step_by(9) {
            patience.renew(at(now));
        }
        assert_eq!(patience.left(false, at(59)), at(1));
        assert_eq!(patience.left(false, at(60)), at(0));
        patience.renew(at(59));
        assert_eq!(patience.left(true, at(100)), at(19));
        patience.heard(500 * 30);
        assert_eq!(patience.left(true, at(120)), at(29));
        patience.renew(at(121));
        assert_eq!(patience.left(false, at(121)), at(0));
        patience.reward(at(121));
        assert_eq!(patience.left(false, at(121)), at(10));
        let own = Patience::new(5, true, at(0));
        assert_eq!((own.left(false, at(0)), own.left(true, at(0))), (at(5), at(5)));
    }

    #[test]
    fn no_hurried_session_lasts_whatever_it_brings() {
        let mut patience = Patience::new(1_200, true, at(0));
        patience.heard(usize::MAX);
        patience.reward(at(595));
        assert_eq!(patience.left(true, at(590)), at(10));
        patience.renew(at(596));
        assert_eq!(patience.left(false, at(596)), at(4));
    }
}
