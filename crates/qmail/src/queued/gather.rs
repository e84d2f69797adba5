//! When to begin a sync: at once if nobody else is likely to come, else when some have gathered.
//!
//! A sync costs the same for one letter as for many. While one is under way the next letters
//! gather by themselves, but a fast disk is done before many have come. How many came meanwhile
//! tells how busy it is, and that decides how many the next sync waits for: never for more than a
//! quarter of the clients that hand in letters, and never for long. A client that is alone never
//! waits.

use std::time::Duration;

/// The longest wait for others.
pub(super) const LONGEST: Duration = Duration::from_millis(1);
/// The most that a sync waits for.
const MOST: u32 = 16;
/// How many times what came during the last sync the next one waits for.
const FACTOR: u32 = 4;

/// Who waits for the disk.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// Promises wanted since the last sync was begun.
    waiting: u32,
    /// Since when the first of them waits.
    since: Option<Duration>,
    /// How many the next sync is to be for.
    target: u32,
}

impl Gather {
    /// Somebody waits for the disk.
    pub(super) fn came(&mut self, now: Duration) {
        self.waiting = self.waiting.saturating_add(1);
        self.since.get_or_insert(now);
    }

    /// A sync has begun, for everybody.
    pub(super) fn begun(&mut self) {
        (self.waiting, self.since) = (0, None);
    }

    /// It is done: who waits now came meanwhile.
    pub(super) fn landed(&mut self) {
        self.target = self.waiting.saturating_mul(FACTOR).max(self.target / 2).min(MOST);
    }

    /// Is it time for the next, with so many clients that hand in letters?
    pub(super) fn is_time(&self, now: Duration, clients: usize) -> bool {
        let Some(since) = self.since else { return false };
        let most = u32::try_from(clients / 4).unwrap_or(MOST).max(1);
        self.waiting >= self.target.min(most) || now.saturating_sub(since) >= LONGEST
    }

    /// When it is time at the latest.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.since.map(|since| since.saturating_add(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    #[test]
    fn who_is_alone_never_waits() {
        let mut gather = Gather::default();
        for _ in 0..9 {
            assert!(!gather.is_time(NOW, 100));
            gather.came(NOW);
            assert!(gather.is_time(NOW, 1) && gather.is_time(NOW, 100));
            gather.begun();
            gather.landed();
        }
    }

    #[test]
    fn many_wait_for_each_other_but_not_for_long() {
        let mut gather = Gather::default();
        gather.came(NOW);
        gather.begun();
        gather.came(NOW);
        gather.came(NOW);
        gather.landed();
        assert!(!gather.is_time(NOW, 100), "two came during one sync: wait for eight");
        assert!(gather.is_time(NOW, 9), "not for more than a quarter of the clients");
        assert!(gather.is_time(NOW.saturating_add(LONGEST), 100));
        for _ in 0..6 {
            gather.came(NOW);
        }
        assert!(gather.is_time(NOW, 100));
        assert_eq!(gather.deadline(), Some(NOW.saturating_add(LONGEST)));
    }
}
