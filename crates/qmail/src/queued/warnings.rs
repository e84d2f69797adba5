//! Warnings that clients cause: nobody must be able to fill the log with them.

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

#[cfg(test)]
mod tests {
    use super::*;

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
