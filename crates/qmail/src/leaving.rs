//! How a server that others rely on leaves when it is told to stop: nobody new is let in, and who is
//! in the middle of something may finish it, for a moment. Whoever starts it again, as at an upgrade,
//! then disturbs nobody: clients look for its successor for longer than that.

use std::time::Duration;

/// How long what is under way is waited for.
const GRACE: Duration = Duration::from_secs(3);
/// Nothing has been said for so long: who was about to speak has found the door closed.
const SILENCE: Duration = Duration::from_millis(20);

/// On the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaving {
    /// Since when.
    since: Duration,
    /// When a client was last heard.
    heard: Duration,
}

impl Leaving {
    /// From now on.
    pub(crate) fn new(now: Duration) -> Self {
        Self { since: now, heard: now }
    }

    /// After a turn in which clients were heard or not, with some of them in the middle of
    /// something or not: whether to go now.
    pub(crate) fn is_over(&mut self, now: Duration, heard: bool, busy: bool) -> bool {
        if heard || busy {
            self.heard = now;
        }
        let past = |since: Duration, limit| now.saturating_sub(since) >= limit;
        past(self.since, GRACE) || past(self.heard, SILENCE)
    }

    /// How long to wait for the next event at most.
    pub(crate) const fn patience() -> Duration {
        Duration::from_millis(5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_under_way_are_waited_for_but_not_for_ever() {
        let at = Duration::from_millis;
        let mut leaving = Leaving::new(at(1000));
        assert!(!leaving.is_over(at(1010), false, false));
        assert!(!leaving.is_over(at(1019), true, false), "somebody spoke");
        assert!(!leaving.is_over(at(1030), false, false));
        assert!(leaving.is_over(at(1039), false, false));
        let mut leaving = Leaving::new(at(1000));
        assert!(!leaving.is_over(at(2500), false, true), "a letter is coming");
        assert!(leaving.is_over(at(4000), false, true), "it has had its time");
    }
}
