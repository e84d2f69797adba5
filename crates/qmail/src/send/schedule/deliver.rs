//! Deliveries: started when they are due and a slot is free, noted when they end.

use base::event::{Channel, Event as Log, Warning};
use base::limits;
use base::outcome::Outcome;
use base::time::Moment;
use base::wire::queue::{Note, Request};
use base::wire::spawn::Delivery;
use letter::bounce;

use super::{Actions, Pending, Report, Schedule};
use crate::send::channel::{Flight, Item, retry};
use crate::send::rewrite::{strip, verp};

/// The report of a recipient that no pipe of ours can carry any more.
const TOO_LONG: &[u8] = b"Sorry, this address is too long once it is rewritten. (#5.1.3)\n";

impl Schedule {
    pub(super) fn may_start(&self) -> bool {
        self.linked && !self.exiting && self.notes.len() < limits::NOTES_AWAITED
    }

    pub(super) fn start_due(&mut self, now: Moment, out: &mut Actions) {
        for channel in Channel::BOTH {
            while self.may_start()
                && let Some((slot, item)) = self.line(channel).pop_due(now)
            {
                self.start(channel, slot, item, now, out);
            }
        }
    }

    fn start(&mut self, channel: Channel, slot: u32, item: Item, now: Moment, out: &mut Actions) {
        let Some(letter) = self.letters.get_mut(&item.letter) else {
            return; // queued forgot it while it waited
        };
        let birth = letter.birth;
        self.deliveries = self.deliveries.saturating_add(1);
        let delivery = self.deliveries;
        let (mark, recipient) = letter.recipient(item.at);
        Log::Starting { delivery, letter: item.letter, channel, recipient }.encode(&mut out.log);
        let sender = verp(letter.sender(), recipient);
        let fits = sender.len() <= limits::ADDRESS && recipient.len() <= limits::ADDRESS;
        if let (true, [local, remote]) = (fits, &mut out.deliver) {
            let (perhaps, sender) = (mark.perhaps, &sender[..]);
            let Item { letter, index, .. } = item;
            Delivery { slot, letter, birth, index, perhaps, sender, recipient }.encode(
                match channel {
                    Channel::Local => local,
                    Channel::Remote => remote,
                },
            );
        }
        letter.attempted(item.at);
        let dying = now > birth.plus_secs(self.lifetime);
        let flight =
            Flight { item, delivery, next: retry(birth, now, channel), dying, made: false };
        self.line(channel).depart(slot, flight);
        self.status(out);
        if !fits {
            let report = Report { slot, outcome: Some(Outcome::Never), text: TOO_LONG };
            self.report(channel, report, out);
        }
    }

    pub(super) fn made(&mut self, channel: Channel, slot: u32, out: &mut Actions) {
        if !self.line(channel).made(slot) {
            Log::Warning(Warning::OutOfRange).encode(&mut out.log);
        }
    }

    pub(super) fn report(&mut self, channel: Channel, report: Report<'_>, out: &mut Actions) {
        let Some(flight) = self.line(channel).land(report.slot) else {
            return Log::Warning(Warning::OutOfRange).encode(&mut out.log);
        };
        let said = report.text.split(|&c| c == 0).next().unwrap_or_default();
        let (outcome, text) = match report.outcome {
            Some(Outcome::Later) if flight.dying => {
                (Some(Outcome::Never), &[said, bounce::TOO_LONG].concat()[..])
            }
            outcome => (outcome, said),
        };
        Log::Ended { delivery: flight.delivery, outcome, text }.encode(&mut out.log);
        self.settle(channel, flight, outcome, text, out);
        self.status(out);
    }

    fn settle(
        &mut self,
        channel: Channel,
        flight: Flight,
        outcome: Option<Outcome>,
        text: &[u8],
        out: &mut Actions,
    ) {
        let item = flight.item;
        let Some(letter) = self.letters.get_mut(&item.letter) else {
            return; // queued forgot it while it flew
        };
        match outcome {
            Some(Outcome::Done) => {
                letter.open = letter.open.saturating_sub(1);
                self.note(item, Note::Done, out);
            }
            Some(Outcome::Never) => {
                letter.open = letter.open.saturating_sub(1);
                letter.failed = true;
                let (_, recipient) = letter.recipient(item.at);
                let paragraph = bounce::paragraph(strip(&self.routing, recipient), text);
                self.note(item, Note::Failed(&paragraph), out);
            }
            Some(Outcome::Later) | None => {
                self.note(item, Note::Deferred(flight.next), out);
                self.line(channel).wait(Item { due: flight.next, ..item });
            }
        }
    }

    fn note(&mut self, item: Item, note: Note<'_>, out: &mut Actions) {
        self.serial = self.serial.saturating_add(1);
        let (serial, letter, index) = (self.serial, item.letter, item.index);
        let mut frame = Vec::new();
        Request::Note { serial, letter, index, note }.encode(&mut frame);
        if self.linked {
            out.notes.extend_from_slice(&frame);
        }
        self.notes.insert(serial, Pending { letter, frame: frame.into_boxed_slice() });
        if let Some(letter) = self.letters.get_mut(&letter) {
            letter.unwritten = letter.unwritten.saturating_add(1);
        }
    }

    pub(super) fn acknowledged(&mut self, serial: u64, now: Moment, out: &mut Actions) {
        let Some(Pending { letter: id, .. }) = self.notes.remove(&serial) else {
            return; // a note said twice is acknowledged twice
        };
        if let Some(letter) = self.letters.get_mut(&id) {
            letter.unwritten = letter.unwritten.saturating_sub(1);
        }
        self.leave_if_settled(id, now, out);
    }
}
