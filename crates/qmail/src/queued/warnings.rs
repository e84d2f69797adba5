//! Warnings that clients or a full disk cause: nothing must be able to fill the log with them.

use std::fmt;
use std::time::Duration;

/// One line in this time at most.
const APART: Duration = Duration::from_secs(1);

/// When the next line may be said, and how many were not.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    next: Duration,
    unsaid: u64,
}

impl Warnings {
    /// The line to log for this, unless one was logged a moment ago.
    pub(super) fn line(&mut self, now: Duration, what: fmt::Arguments<'_>) -> Option<String> {
        if now < self.next {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.next = now.saturating_add(APART);
        Some(match std::mem::take(&mut self.unsaid) {
            0 => format!("warning: {what}"),
            unsaid => format!("warning: {what} (warnings left out before: {unsaid})"),
        })
    }

    /// The line to log for those that were left out, once it may be.
    pub(super) fn rest(&mut self, now: Duration) -> Option<String> {
        if self.unsaid == 0 || now < self.next {
            return None;
        }
        let unsaid = std::mem::take(&mut self.unsaid);
        self.line(now, format_args!("warnings about clients left out: {unsaid}"))
    }
}

/// A full disk and its end are said once in this time at most.
const PAIR: Duration = Duration::from_secs(10);

/// What there was no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A new letter.
    Letter,
    /// What has become of one that is there.
    Note,
}

/// What has been said of a full disk.
#[derive(Debug, Default)]
pub(super) struct Room {
    said: bool,
    next: Duration,
}

impl Room {
    /// The line to log for something refused, if it has not been said.
    pub(super) fn refused(&mut self, now: Duration, what: Refused, why: &str) -> Option<String> {
        if self.said || now < self.next {
            return None;
        }
        (self.said, self.next) = (true, now.saturating_add(PAIR));
        let what = match what {
            Refused::Letter => "new letters are refused",
            Refused::Note => "what became of letters is not taken down",
        };
        Some(format!("alert: {what}, there is no room for the queue: {why}"))
    }

    /// The line to log for a letter accepted, if the last word was another.
    pub(super) fn accepted(&mut self) -> Option<&'static str> {
        std::mem::take(&mut self.said).then_some("there is room again; letters are accepted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_once_and_its_end_once_and_both_no_more_than_once_in_ten_seconds() {
        let mut room = Room::default();
        assert_eq!(room.accepted(), None, "nothing was refused");
        let mut said = Vec::new();
        for ms in (0..25_000).step_by(5) {
            let now = Duration::from_millis(60_000 + ms);
            said.extend(room.refused(now, Refused::Letter, "disk full").map(|line| (ms, line)));
            // Every other letter is small enough.
            said.extend(room.accepted().map(|line| (ms, line.to_owned())));
        }
        let alert = "alert: new letters are refused, there is no room for the queue: disk full";
        let clear = "there is room again; letters are accepted";
        let wanted = [0, 10_000, 20_000].into_iter().flat_map(|ms| [(ms, alert), (ms, clear)]);
        assert!(said.iter().map(|(ms, line)| (*ms, &line[..])).eq(wanted), "{said:?}");
    }

    #[test]
    fn a_flood_of_warnings_is_a_line_a_second_and_a_count() {
        let mut warnings = Warnings::default();
        let mut at = |ms| warnings.line(Duration::from_millis(ms), format_args!("x"));
        assert_eq!(at(5_000), Some("warning: x".into()));
        assert_eq!((at(5_001), at(5_999)), (None, None));
        assert_eq!(at(6_000), Some("warning: x (warnings left out before: 2)".into()));
        assert_eq!(
            (at(6_001), at(7_000)),
            (None, Some("warning: x (warnings left out before: 1)".into()))
        );
        assert_eq!(at(7_500), None);
        assert_eq!(warnings.rest(Duration::from_millis(7_999)), None);
        let rest = warnings.rest(Duration::from_millis(8_000));
        assert_eq!(rest, Some("warning: warnings about clients left out: 1".into()));
        assert_eq!(warnings.rest(Duration::from_secs(99)), None);
    }
}
