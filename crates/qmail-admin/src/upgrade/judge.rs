//! How one service comes on: a pure machine. What is seen and the time are its arguments.

use std::time::Duration;

use super::sight::Kind;

/// The services that every home has, each after those it needs.
const ORDER: [&str; 5] = ["queued", "pspawn", "qmail-send", "qmail-smtpd", "qmail-pop3d"];
/// One that has been ready for so long stays so.
const SETTLED: Duration = Duration::from_secs(1);

/// Whether every home has this one.
pub(super) fn is_known(name: &str) -> bool {
    ORDER.contains(&name)
}

/// The services there are, each after those it needs: a site's own, which need ours, last.
pub(super) fn ordered(mut names: Vec<String>) -> Vec<String> {
    let place = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
    names.sort_by(|one, other| (place(one), one).cmp(&(place(other), other)));
    names
}

/// What a look at a service shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The one there was before.
    Old,
    /// Nobody.
    Down,
    /// Another; its pid.
    New(u32),
}

impl Seen {
    /// Whether it is another one.
    pub(super) const fn is_new(self) -> bool {
        matches!(self, Self::New(_))
    }
}

/// What to make of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again.
    Wait,
    /// The new one serves.
    Ready,
    /// The old one has not ended yet, and has every right to.
    Lingers,
    /// It will not do, for this reason.
    Failed(String),
}

/// A service being watched.
#[derive(Debug)]
pub(super) struct Watch {
    kind: Kind,
    limit: Duration,
    /// When the old one was seen last.
    old: Duration,
    /// The new one, ready since then.
    ready: Option<(u32, Duration)>,
}

impl Watch {
    /// It has just been told; each of its two ways may take so long: to end, and to be ready.
    pub(super) fn new(kind: Kind, limit: Duration) -> Self {
        Self { kind, limit, old: Duration::ZERO, ready: None }
    }

    /// One look, so long after it was told.
    pub(super) fn judge(&mut self, seen: Seen, ready: bool, now: Duration) -> Verdict {
        let waited = now.saturating_sub(self.old);
        match seen {
            Seen::Old => {
                self.old = now;
                self.judge_old(now)
            }
            Seen::New(pid) if ready => match self.ready {
                Some((known, since)) if known == pid => match now.saturating_sub(since) {
                    stood if stood >= SETTLED => Verdict::Ready,
                    _ => Verdict::Wait,
                },
                _ if waited > self.limit => self.failed("does not stay up"),
                _ => {
                    self.ready = Some((pid, now));
                    Verdict::Wait
                }
            },
            Seen::New(_) | Seen::Down => {
                self.ready = None;
                match waited > self.limit {
                    true => self.failed("did not become ready"),
                    false => Verdict::Wait,
                }
            }
        }
    }

    fn judge_old(&self, now: Duration) -> Verdict {
        match self.kind {
            _ if now <= self.limit => Verdict::Wait,
            // Deliveries may take as long as a day; until they are done nothing else can be.
            Kind::Finishes => Verdict::Lingers,
            Kind::Ends => self.failed("does not end"),
            Kind::Listens => self.failed("did not become the new version"),
        }
    }

    fn failed(&self, what: &str) -> Verdict {
        Verdict::Failed(format!("{what} within {} seconds", self.limit.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sites_own_services_come_after_those_they_need() {
        let names = ["qmail-qmtpd", "qmail-send", "extra", "queued"].map(str::to_owned).to_vec();
        assert_eq!(ordered(names), ["queued", "qmail-send", "extra", "qmail-qmtpd"]);
    }

    const LIMIT: Duration = Duration::from_secs(30);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_new_one_that_stays_ready_for_a_second_is_ready() {
        let mut watch = Watch::new(Kind::Ends, LIMIT);
        assert_eq!(watch.judge(Seen::Old, false, at(100)), Verdict::Wait);
        assert_eq!(watch.judge(Seen::Down, false, at(200)), Verdict::Wait);
        assert_eq!(watch.judge(Seen::New(7), true, at(300)), Verdict::Wait);
        assert_eq!(watch.judge(Seen::New(7), true, at(1200)), Verdict::Wait);
        assert_eq!(watch.judge(Seen::New(7), true, at(1300)), Verdict::Ready);
    }

    #[test]
    fn one_that_dies_again_and_again_is_never_ready() {
        let mut watch = Watch::new(Kind::Ends, LIMIT);
        let mut verdict = Verdict::Wait;
        for n in 1..40 {
            assert_eq!(verdict, Verdict::Wait);
            verdict = watch.judge(Seen::New(n), true, at(u64::from(n) * 900));
            if verdict != Verdict::Wait {
                break;
            }
            verdict = watch.judge(Seen::Down, false, at(u64::from(n) * 900 + 500));
            if verdict != Verdict::Wait {
                break;
            }
        }
        assert!(matches!(verdict, Verdict::Failed(_)), "{verdict:?}");
    }

    #[test]
    fn the_time_to_be_ready_begins_when_the_old_one_is_gone() {
        let mut watch = Watch::new(Kind::Ends, LIMIT);
        assert_eq!(watch.judge(Seen::Old, false, at(29_000)), Verdict::Wait);
        assert_eq!(watch.judge(Seen::Down, false, at(58_000)), Verdict::Wait);
        let late = watch.judge(Seen::Down, false, at(59_100));
        assert_eq!(late, Verdict::Failed("did not become ready within 30 seconds".into()));
    }

    #[test]
    fn deliveries_may_take_their_time_and_nobody_else() {
        let old = |kind| Watch::new(kind, LIMIT).judge(Seen::Old, false, at(30_001));
        assert_eq!(old(Kind::Finishes), Verdict::Lingers);
        assert!(matches!(old(Kind::Ends), Verdict::Failed(_)));
        assert!(matches!(old(Kind::Listens), Verdict::Failed(_)));
    }
}
