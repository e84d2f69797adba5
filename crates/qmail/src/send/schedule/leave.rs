//! Letters go out: through `qmail-clean`, or by a bounce that takes them along.

use std::cmp::Reverse;

use base::event::{Event as Log, Warning};
use base::limits;
use base::time::Moment;
use letter::bounce::Kind;

use super::{Actions, Bounced, Schedule, Way};
use crate::send::letters::{Known, Letter, Stage};

/// Seconds until a step that failed is tried again (qmail-send(8)).
const AGAIN: u64 = 123;

impl Schedule {
    pub(super) fn leave_if_settled(&mut self, known: Known, now: Moment, out: &mut Actions) {
        let Some(letter) = self.letters.get_mut(known) else { return };
        if letter.open > 0 || letter.unwritten > 0 || letter.stage != Stage::Here {
            return;
        }
        letter.stage = Stage::Leaving;
        let way = match (letter.failed, Kind::of(letter.sender())) {
            (false, _) => Way::Clean,
            (true, Kind::Triple) => {
                Log::TripleBounce(known.id).encode(&mut out.log);
                Way::Clean
            }
            (true, Kind::Double) if self.discards_doubles => {
                Log::DoubleBounce(known.id).encode(&mut out.log);
                Way::Clean
            }
            (true, Kind::Single(_) | Kind::Double) => Way::Bounce,
        };
        self.exit(way).waiting.push(Reverse((now, known)));
    }

    pub(super) fn leave_due(&mut self, now: Moment, out: &mut Actions) {
        while let Some(known) = self.pop_leaving(Way::Clean, limits::CLEANS, now) {
            out.clean.push(known);
        }
        while let Some(known) = self.pop_leaving(Way::Bounce, limits::BOUNCES, now) {
            let sender = self.letters.get(known).map(Letter::sender).unwrap_or_default();
            out.bounce.push((known, sender.to_vec()));
        }
    }

    /// The next letter whose turn it is on a way that has room, counted as being worked on.
    fn pop_leaving(&mut self, way: Way, most: u32, now: Moment) -> Option<Known> {
        while self.linked() {
            let exit = self.exit(way);
            let due = exit.waiting.peek().is_some_and(|Reverse((due, _))| *due <= now);
            if !due || exit.at_work >= most {
                return None;
            }
            let Reverse((_, known)) = exit.waiting.pop()?;
            if self.letters.get(known).is_some() {
                let exit = self.exit(way);
                exit.at_work = exit.at_work.saturating_add(1);
                return Some(known);
            }
        }
        None
    }

    pub(super) fn cleaned(&mut self, known: Known, gone: bool, now: Moment, out: &mut Actions) {
        let exit = self.exit(Way::Clean);
        exit.at_work = exit.at_work.saturating_sub(1);
        if gone {
            self.forget(known, out);
        } else {
            Log::Warning(Warning::Cleaning(known.id)).encode(&mut out.log);
            exit.waiting.push(Reverse((now.plus_secs(AGAIN), known)));
        }
    }

    pub(super) fn bounced(&mut self, known: Known, how: Bounced, now: Moment, out: &mut Actions) {
        let letter = known.id;
        let exit = self.exit(Way::Bounce);
        exit.at_work = exit.at_work.saturating_sub(1);
        let warning = match how {
            Bounced::Settled(qp) => {
                Log::Bounced { letter, qp }.encode(&mut out.log);
                return self.forget(known, out);
            }
            Bounced::Queued(qp) => {
                Log::Bounced { letter, qp }.encode(&mut out.log);
                self.exit(Way::Clean).waiting.push(Reverse((now, known)));
                return;
            }
            Bounced::Refused => Warning::Injecting,
            Bounced::NotStarted => Warning::StartingQueue,
        };
        exit.waiting.push(Reverse((now.plus_secs(AGAIN), known)));
        Log::Warning(warning).encode(&mut out.log);
    }

    pub(super) fn forget(&mut self, known: Known, out: &mut Actions) {
        if self.letters.forget(known) {
            Log::End(known.id).encode(&mut out.log);
        }
    }
}
