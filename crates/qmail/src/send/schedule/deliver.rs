//! Deliveries: started when they are due and a place is free, noted when they end.

use base::event::{Channel, Event as Log, Warning};
use base::limits;
use base::outcome::Outcome;
use base::time::Moment;
use base::wire::queue::Note;
use base::wire::spawn::Delivery;
use letter::bounce;

use super::{Actions, Report, Schedule, line, rules};
use crate::send::channel::{Flight, retry};
use crate::send::destination::Gate;
use crate::send::lanes::Turn;
use crate::send::letters::{Known, Recipient, Stage};
use crate::send::notes::Kept;
use crate::send::rewrite::{destination, strip, verp};

/// The report of a recipient that no pipe of ours can carry any more.
const TOO_LONG: &[u8] = b"Sorry, this address is too long once it is rewritten. (#5.1.3)\n";
/// What is added to the last words of a destination that is down.
const NOT_AGAIN: &[u8] = b"I have not tried again since; this was said of an earlier letter.\n";
/// How many recipients of destinations that are down are put off in one step.
const SHED: usize = 64;

/// When a recipient is tried again, and whether it is tried again at all.
#[derive(Clone, Copy)]
struct Prospect {
    next: Moment,
    dying: bool,
}

impl Schedule {
    pub(super) fn may_start(&self) -> bool {
        self.linked() && !self.exiting && self.notes.len() < limits::NOTES_AWAITED
    }

    pub(super) fn start_due(&mut self, now: Moment, out: &mut Actions) {
        for channel in Channel::BOTH {
            line(&mut self.lines, channel).ripen(&mut self.letters, now);
            while self.may_start()
                && let Some(turn) = line(&mut self.lines, channel).next()
            {
                self.take_turn(channel, &turn, now, out);
            }
            for _ in 0..SHED {
                let line = line(&mut self.lines, channel);
                if !line.destinations.is_shedding() || !self.may_start() {
                    break;
                }
                let line = super::line(&mut self.lines, channel);
                let Some((destination, recipient)) = line.shed(now) else { break };
                self.put_off(channel, destination, recipient, now, out);
            }
        }
    }

    fn take_turn(&mut self, channel: Channel, turn: &Turn, now: Moment, out: &mut Actions) {
        let Recipient { letter: place, at } = turn.recipient;
        let Some(letter) = self.letters.at(place) else { return };
        let gone = letter.stage == Stage::Gone;
        let mut name = std::mem::take(&mut self.name);
        destination(channel, &self.routing, letter.recipient(at).1, &mut name);
        let line = line(&mut self.lines, channel);
        let rules = rules(&self.policy, channel, line.load().limit);
        let destination = line.destinations.find(&name, now, rules);
        self.name = name;
        if gone {
            self.letters.let_go(place); // queued forgot it while it waited
            return line.drop(turn, destination, now);
        }
        match line.admit(turn, destination, now) {
            Gate::Open => self.start(channel, turn, destination, now, out),
            Gate::Wait => (),
            Gate::PutOff => self.put_off(channel, destination, turn.recipient, now, out),
        }
    }

    fn prospect(&self, channel: Channel, letter: Known, birth: Moment, now: Moment) -> Prospect {
        let birth = self.aged(letter.id, birth);
        let dying = now > birth.plus_secs(self.lifetime);
        Prospect { next: retry(birth, now, channel), dying }
    }

    fn start(
        &mut self,
        channel: Channel,
        turn: &Turn,
        destination: u32,
        now: Moment,
        out: &mut Actions,
    ) {
        let Recipient { letter: place, at } = turn.recipient;
        let Some(slot) = line(&mut self.lines, channel).slot() else { return };
        let Some(letter) = self.letters.at_mut(place) else { return };
        let (birth, known) = (letter.birth, Known { id: letter.id, place });
        self.deliveries = self.deliveries.saturating_add(1);
        let delivery = self.deliveries;
        let (mark, recipient) = letter.recipient(at);
        Log::Starting { delivery, letter: known.id, channel, recipient }.encode(&mut out.log);
        let sender = verp(letter.sender(), recipient);
        let fits = sender.len() <= limits::ADDRESS && recipient.len() <= limits::ADDRESS;
        if let (true, [local, remote]) = (fits, &mut out.deliver) {
            let (perhaps, index, sender) = (mark.perhaps, mark.index, &sender[..]);
            let letter = known.id;
            Delivery { slot, letter, birth, index, perhaps, sender, recipient }.encode(
                match channel {
                    Channel::Local => local,
                    Channel::Remote => remote,
                },
            );
        }
        letter.attempted(at);
        let Prospect { next, dying } = self.prospect(channel, known, birth, now);
        line(&mut self.lines, channel).depart(Flight {
            letter: known,
            recipient: turn.recipient,
            delivery,
            began: now,
            next,
            dying,
            destination,
            lane: turn.lane,
            made: false,
        });
        self.status(out);
        if !fits {
            let report = Report { slot, outcome: Some(Outcome::Never), text: TOO_LONG };
            self.report(channel, report, now, out);
        }
    }

    /// Its destination is down: it is as if it had been tried, and its next attempt is when it
    /// would have been.
    fn put_off(
        &mut self,
        channel: Channel,
        destination: u32,
        recipient: Recipient,
        now: Moment,
        out: &mut Actions,
    ) {
        let Recipient { letter: place, at } = recipient;
        if self.letters.let_go(place) {
            return;
        }
        let Some(letter) = self.letters.at(place) else { return };
        let (known, birth) = (Known { id: letter.id, place }, letter.birth);
        self.deliveries = self.deliveries.saturating_add(1);
        let delivery = self.deliveries;
        let (_, address) = letter.recipient(at);
        Log::Starting { delivery, letter: known.id, channel, recipient: address }
            .encode(&mut out.log);
        let words = line(&mut self.lines, channel).destinations.last_words(destination);
        let text = [words, NOT_AGAIN].concat();
        let prospect = self.prospect(channel, known, birth, now);
        self.end(
            channel,
            delivery,
            (known, recipient),
            prospect,
            (Some(Outcome::Later), &text),
            out,
        );
    }

    pub(super) fn made(&mut self, channel: Channel, slot: u32, now: Moment, out: &mut Actions) {
        if !line(&mut self.lines, channel).made(slot, now) {
            Log::Warning(Warning::OutOfRange).encode(&mut out.log);
        }
    }

    pub(super) fn report(
        &mut self,
        channel: Channel,
        report: Report<'_>,
        now: Moment,
        out: &mut Actions,
    ) {
        let said = report.text.split(|&c| c == 0).next().unwrap_or_default();
        let verdict = (report.outcome, said);
        let Some(flight) = line(&mut self.lines, channel).land(report.slot, verdict, now) else {
            return Log::Warning(Warning::OutOfRange).encode(&mut out.log);
        };
        let Flight { letter, recipient, delivery, next, dying, .. } = flight;
        self.end(channel, delivery, (letter, recipient), Prospect { next, dying }, verdict, out);
        self.status(out);
    }

    /// A delivery has ended: logs it and notes what becomes of the recipient.
    fn end(
        &mut self,
        channel: Channel,
        delivery: u64,
        (known, recipient): (Known, Recipient),
        Prospect { next, dying }: Prospect,
        (outcome, said): (Option<Outcome>, &[u8]),
        out: &mut Actions,
    ) {
        let last = dying.then(|| [said, bounce::TOO_LONG].concat());
        let (outcome, text) = match (outcome, &last) {
            (Some(Outcome::Later), Some(last)) => (Some(Outcome::Never), &last[..]),
            _ => (outcome, said),
        };
        Log::Ended { delivery, outcome, text }.encode(&mut out.log);
        let Some(letter) = self.letters.get_mut(known) else {
            self.letters.let_go(known.place); // queued forgot it while it flew
            return;
        };
        letter.unwritten = letter.unwritten.saturating_add(1);
        let (mark, address) = letter.recipient(recipient.at);
        let paragraph;
        let note = match outcome {
            Some(Outcome::Done) => {
                letter.open = letter.open.saturating_sub(1);
                Note::Done
            }
            Some(Outcome::Never) => {
                paragraph = bounce::paragraph(strip(&self.routing, address), text);
                letter.open = letter.open.saturating_sub(1);
                letter.failed = true;
                Note::Failed(&paragraph)
            }
            Some(Outcome::Later) | None => {
                line(&mut self.lines, channel).wait(next, recipient);
                Note::Deferred(next)
            }
        };
        let linked = self.linked();
        let to = linked.then_some(&mut out.notes);
        self.notes.add(Kept::new(known, mark.index, note), to);
    }

    pub(super) fn acknowledged(&mut self, serial: u64, now: Moment, out: &mut Actions) {
        let Some(Kept { letter: known, .. }) = self.notes.remove(serial) else {
            return; // a note said twice is acknowledged twice
        };
        if let Some(letter) = self.letters.get_mut(known) {
            letter.unwritten = letter.unwritten.saturating_sub(1);
        }
        self.leave_if_settled(known, now, out);
    }
}
