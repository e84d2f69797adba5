//! The clock and the administrator change their minds.

use std::cmp::Reverse;

use base::event::Channel;
use base::time::Moment;

use super::{Schedule, line, rules};
use crate::send::policy::Policy;

/// Settings of the clock that are remembered: letters older than that many count as older or
/// younger than they are.
const JUMPS: usize = 64;

impl Schedule {
    pub(super) fn hurry(&mut self, now: Moment) {
        for channel in Channel::BOTH {
            let line = line(&mut self.lines, channel);
            line.hurry(rules(&self.policy, channel, line.load().limit), now);
        }
    }

    pub(super) fn renew(&mut self, policy: Policy, now: Moment) {
        self.policy = policy;
        for channel in Channel::BOTH {
            let line = line(&mut self.lines, channel);
            line.renew(rules(&self.policy, channel, line.load().limit), now);
        }
    }

    /// The clock was set: what we know waits as long as before, and is as old as before.
    pub(super) fn jumped(&mut self, by: i64, now: Moment) {
        for line in &mut self.lines {
            line.shift(now, |moment| shifted(moment, by));
        }
        for exit in &mut self.exits {
            let waiting = std::mem::take(&mut exit.waiting).into_iter();
            exit.waiting = waiting.map(|Reverse((at, k))| Reverse((shifted(at, by), k))).collect();
        }
        self.repeat = self.repeat.map(|at| shifted(at, by));
        if self.jumps.len() >= JUMPS {
            self.jumps.remove(0);
        }
        self.jumps.push((self.newest, by));
    }

    /// When a letter was born, told by the clock as it stands now.
    pub(super) fn aged(&self, id: u64, birth: Moment) -> Moment {
        let jumps = self.jumps.iter().filter(|(newest, _)| id <= *newest);
        jumps.fold(birth, |birth, &(_, by)| shifted(birth, by))
    }
}

pub(super) fn shifted(moment: Moment, by: i64) -> Moment {
    if by < 0 {
        Moment::from_micros(moment.micros().saturating_sub(by.unsigned_abs()))
    } else {
        moment.plus_micros(by.unsigned_abs())
    }
}
