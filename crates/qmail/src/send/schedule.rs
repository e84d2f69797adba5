//! What to do next: `(state, event, now) → (state, actions)`. No clock, no descriptor; a year of
//! retries is a loop in a test.
//!
//! A letter's recipients wait in their channel's [`Line`], fly, and are noted in queued. When each
//! is delivered or given up **and queued has acknowledged every note**, the letter leaves: by a
//! bounce if a recipient failed, by `qmail-clean` if none did.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use base::event::{Channel, Event as Log, Warning};
use base::limits;
use base::outcome::Outcome;
use base::time::Moment;
use base::wire::queue::{Entry, Note, Progress, Request};
use base::wire::spawn::Delivery;
use letter::bounce::{self, Kind};

use super::channel::{Flight, Item, Line, retry};
use super::letter::{Letter, Mark, Writer};
use super::rewrite::{Rules, verp};

/// Seconds until a step that failed is tried again (spec `qmail-queue.md` §6).
const AGAIN: u64 = 123;

/// The report of a recipient that no pipe of ours can carry any more.
const TOO_LONG: &[u8] = b"Sorry, this address is too long once it is rewritten. (#5.1.3)\n";

/// What can happen.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// queued describes a letter.
    Entry(Entry<'a>),
    /// queued has described every old letter.
    Listed,
    /// The connection to queued is gone.
    Unlinked,
    /// queued has written this note.
    Ack(u64),
    /// A spawner reports on a slot.
    Report(Channel, Report<'a>),
    /// `qmail-clean` has answered: is the letter forgotten?
    Cleaned(u64, bool),
    /// A bounce was queued, or not.
    Bounced(u64, Bounced),
    /// ALRM: everything is due now.
    Hurry,
    /// HUP: new `locals` and `virtualdomains`.
    Domains(Vec<Vec<u8>>, Vec<(Vec<u8>, Vec<u8>)>),
    /// TERM, or `qmail-clean` is gone: start nothing more.
    Exit,
    /// The spawner of this channel is gone, and so are its reports: start nothing more.
    Lost(Channel),
    /// Time has passed, or output has been carried away.
    Wake,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report<'a> {
    /// The slot it ran in.
    pub(super) slot: u32,
    /// The outcome; `None` if the report is mangled.
    pub(super) outcome: Option<Outcome>,
    /// What it said.
    pub(super) text: &'a [u8],
}

/// What became of a bounce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bounced {
    /// Queued by this process, and the letter finished with it.
    Settled(u32),
    /// Queued by this process; the letter is still there (`$QMAILQUEUE`).
    Queued(u32),
    /// Not queued.
    Refused,
    /// Nobody could even be asked.
    NotStarted,
}

/// What to write where; the driver empties it.
#[derive(Debug, Default)]
pub(super) struct Actions {
    /// Whole lines for the log.
    pub(super) log: Vec<u8>,
    /// Frames for `qmail-lspawn` and `qmail-rspawn`.
    pub(super) deliver: [Vec<u8>; 2],
    /// Frames for queued.
    pub(super) notes: Vec<u8>,
    /// Letters for `qmail-clean` to have forgotten.
    pub(super) clean: Vec<u64>,
    /// Letters that bounce, with their senders.
    pub(super) bounce: Vec<(u64, Vec<u8>)>,
}

impl Actions {
    /// Nothing is to be done.
    pub(super) fn is_empty(&self) -> bool {
        let [local, remote] = &self.deliver;
        let bytes = [&self.log, local, remote, &self.notes];
        bytes.iter().all(|b| b.is_empty()) && self.clean.is_empty() && self.bounce.is_empty()
    }
}

/// The two ways out of the queue.
#[derive(Clone, Copy)]
enum Way {
    Clean,
    Bounce,
}

/// Letters on one way out: those whose turn will come, and how many are being worked on.
#[derive(Debug, Default)]
struct Exit {
    waiting: BinaryHeap<Reverse<(Moment, u64)>>,
    at_work: u32,
}

/// A note that queued has not acknowledged.
#[derive(Debug)]
struct Pending {
    letter: u64,
    frame: Box<[u8]>,
}

/// The state.
#[derive(Debug)]
pub(super) struct Schedule {
    rules: Rules,
    lifetime: u64,
    letters: BTreeMap<u64, Letter>,
    lines: [Line; 2],
    exits: [Exit; 2],
    notes: BTreeMap<u64, Pending>,
    serial: u64,
    deliveries: u64,
    linked: bool,
    exiting: bool,
}

impl Schedule {
    /// An empty schedule with a channel limit each (0 holds it) and the lifetime of a letter in
    /// seconds; logs the first `status:` line.
    pub(super) fn new(rules: Rules, limits: [u32; 2], lifetime: u64, out: &mut Actions) -> Self {
        let schedule = Self {
            rules,
            lifetime,
            letters: BTreeMap::new(),
            lines: limits.map(Line::new),
            exits: Default::default(),
            notes: BTreeMap::new(),
            serial: 0,
            deliveries: 0,
            linked: false,
            exiting: false,
        };
        schedule.status(out);
        schedule
    }

    /// One step: takes the event, then starts whatever is due and has room.
    pub(super) fn step(&mut self, event: Event<'_>, now: Moment, out: &mut Actions) {
        match event {
            Event::Entry(entry) => self.enter(&entry, now, out),
            Event::Listed => self.listed(out),
            Event::Unlinked => self.unlinked(),
            Event::Ack(serial) => self.acknowledged(serial, now, out),
            Event::Report(channel, report) => self.report(channel, report, out),
            Event::Cleaned(letter, gone) => self.cleaned(letter, gone, now, out),
            Event::Bounced(letter, how) => self.bounced(letter, how, now, out),
            Event::Hurry => self.lines.iter_mut().for_each(|line| line.hurry(now)),
            Event::Domains(locals, virtuals) => self.rules.domains(locals, virtuals),
            Event::Exit => self.exiting = true,
            Event::Lost(channel) => {
                self.exiting = true;
                self.line(channel).abandon();
            }
            Event::Wake => (),
        }
        self.start_due(now, out);
        self.leave_due(now, out);
    }

    /// When [`Event::Wake`] is wanted; `None` if only events can change anything.
    pub(super) fn wake(&self) -> Option<Moment> {
        let lines = self.lines.iter().filter(|_| self.may_start()).filter_map(Line::wake);
        let exits = self.exits.iter().filter(|_| self.linked);
        lines.chain(exits.filter_map(|e| e.waiting.peek().map(|Reverse((due, _))| *due))).min()
    }

    /// Nothing runs, and every note is acknowledged.
    pub(super) fn quiet(&self) -> bool {
        self.notes.is_empty() && !self.busy()
    }

    /// After [`Event::Exit`]: nothing runs, nothing waits to be written, nobody is on the way out.
    pub(super) fn over(&self, now: Moment) -> bool {
        let leaving = |e: &Exit| {
            e.at_work > 0 || e.waiting.peek().is_some_and(|Reverse((due, _))| *due <= now)
        };
        self.exiting && self.quiet() && !self.exits.iter().any(leaving)
    }

    /// Deliveries are running.
    pub(super) fn busy(&self) -> bool {
        self.lines.iter().any(|line| line.load().running > 0)
    }

    fn line(&mut self, channel: Channel) -> &mut Line {
        let [local, remote] = &mut self.lines;
        match channel {
            Channel::Local => local,
            Channel::Remote => remote,
        }
    }

    fn exit(&mut self, way: Way) -> &mut Exit {
        let [clean, bounce] = &mut self.exits;
        match way {
            Way::Clean => clean,
            Way::Bounce => bounce,
        }
    }

    fn status(&self, out: &mut Actions) {
        let [local, remote] = &self.lines;
        let (local, remote) = (local.load(), remote.load());
        Log::Status { local, remote, exiting: self.exiting }.encode(&mut out.log);
    }
}

/// Letters come in.
impl Schedule {
    fn enter(&mut self, entry: &Entry<'_>, now: Moment, out: &mut Actions) {
        if let Some(known) = self.letters.get_mut(&entry.id) {
            known.listed = true;
            return;
        }
        announce(entry, &mut out.log);
        let mut writer = Writer::new(
            entry.envelope.sender(),
            entry.envelope.as_bytes().len().saturating_add(64),
        );
        let (mut open, mut failed) = (0_u32, false);
        for (index, (recipient, progress)) in
            (0..).zip(entry.envelope.recipients().zip(entry.progress()))
        {
            let due = match progress {
                Progress::Waiting => now,
                Progress::Deferred(at) => at,
                Progress::Done => continue,
                Progress::Failed => {
                    failed = true;
                    continue;
                }
            };
            let (channel, address) = self.rules.rewrite(recipient);
            let at = writer.put(Mark { channel, perhaps: entry.old }, &address);
            self.line(channel).wait(Item { due, letter: entry.id, index, at });
            open = open.saturating_add(1);
        }
        let mut letter = writer.finish(entry.birth);
        (letter.open, letter.failed) = (open, failed);
        self.letters.insert(entry.id, letter);
        self.leave_if_settled(entry.id, now, out);
    }

    fn unlinked(&mut self) {
        self.linked = false;
        self.letters.values_mut().for_each(|letter| letter.listed = false);
    }

    /// Forgets what queued no longer knows, and says again what it has not acknowledged.
    fn listed(&mut self, out: &mut Actions) {
        self.linked = true;
        let letters = &mut self.letters;
        letters.retain(|&id, letter| {
            if !letter.listed {
                Log::End(id).encode(&mut out.log);
            }
            letter.listed
        });
        self.notes.retain(|_, note| letters.contains_key(&note.letter));
        for note in self.notes.values() {
            out.notes.extend_from_slice(&note.frame);
        }
    }
}

/// Says that a letter is new. A letter from an earlier run is announced again if no recipient of
/// it was ever reported on: that run may have died before it had said so.
fn announce(entry: &Entry<'_>, log: &mut Vec<u8>) {
    if entry.old && entry.progress().any(|progress| progress != Progress::Waiting) {
        return;
    }
    let Entry { id: letter, size: bytes, pid: qp, uid, .. } = *entry;
    Log::New(letter).encode(log);
    Log::Info { letter, bytes, from: entry.envelope.sender(), qp, uid }.encode(log);
}

/// Deliveries.
impl Schedule {
    fn may_start(&self) -> bool {
        self.linked && !self.exiting && self.notes.len() < limits::NOTES_AWAITED
    }

    fn start_due(&mut self, now: Moment, out: &mut Actions) {
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
        let flight = Flight { item, delivery, next: retry(birth, now, channel), dying };
        self.line(channel).depart(slot, flight);
        self.status(out);
        if !fits {
            let report = Report { slot, outcome: Some(Outcome::Never), text: TOO_LONG };
            self.report(channel, report, out);
        }
    }

    fn report(&mut self, channel: Channel, report: Report<'_>, out: &mut Actions) {
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
                let paragraph = bounce::paragraph(self.rules.strip(recipient), text);
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

    fn acknowledged(&mut self, serial: u64, now: Moment, out: &mut Actions) {
        let Some(Pending { letter: id, .. }) = self.notes.remove(&serial) else {
            return; // a note said twice is acknowledged twice
        };
        if let Some(letter) = self.letters.get_mut(&id) {
            letter.unwritten = letter.unwritten.saturating_sub(1);
        }
        self.leave_if_settled(id, now, out);
    }
}

/// Letters go out.
impl Schedule {
    fn leave_if_settled(&mut self, id: u64, now: Moment, out: &mut Actions) {
        let Some(letter) = self.letters.get_mut(&id) else { return };
        if letter.open > 0 || letter.unwritten > 0 || letter.leaving {
            return;
        }
        letter.leaving = true;
        let way = match (letter.failed, Kind::of(letter.sender())) {
            (false, _) => Way::Clean,
            (true, Kind::Triple) => {
                Log::TripleBounce(id).encode(&mut out.log);
                Way::Clean
            }
            (true, Kind::Single(_) | Kind::Double) => Way::Bounce,
        };
        self.exit(way).waiting.push(Reverse((now, id)));
    }

    fn leave_due(&mut self, now: Moment, out: &mut Actions) {
        while let Some(id) = self.pop_leaving(Way::Clean, limits::CLEANS, now) {
            out.clean.push(id);
        }
        while let Some(id) = self.pop_leaving(Way::Bounce, limits::BOUNCES, now) {
            let sender = self.letters.get(&id).map(Letter::sender).unwrap_or_default();
            out.bounce.push((id, sender.to_vec()));
        }
    }

    /// The next letter whose turn it is on a way that has room, counted as being worked on.
    fn pop_leaving(&mut self, way: Way, most: u32, now: Moment) -> Option<u64> {
        while self.linked {
            let exit = self.exit(way);
            let due = exit.waiting.peek().is_some_and(|Reverse((due, _))| *due <= now);
            if !due || exit.at_work >= most {
                return None;
            }
            let Reverse((_, id)) = exit.waiting.pop()?;
            if self.letters.contains_key(&id) {
                let exit = self.exit(way);
                exit.at_work = exit.at_work.saturating_add(1);
                return Some(id);
            }
        }
        None
    }

    fn cleaned(&mut self, id: u64, gone: bool, now: Moment, out: &mut Actions) {
        let exit = self.exit(Way::Clean);
        exit.at_work = exit.at_work.saturating_sub(1);
        if gone {
            self.forget(id, out);
        } else {
            Log::Warning(Warning::Cleaning(id)).encode(&mut out.log);
            exit.waiting.push(Reverse((now.plus_secs(AGAIN), id)));
        }
    }

    fn bounced(&mut self, id: u64, how: Bounced, now: Moment, out: &mut Actions) {
        let exit = self.exit(Way::Bounce);
        exit.at_work = exit.at_work.saturating_sub(1);
        let warning = match how {
            Bounced::Settled(qp) => {
                Log::Bounced { letter: id, qp }.encode(&mut out.log);
                return self.forget(id, out);
            }
            Bounced::Queued(qp) => {
                Log::Bounced { letter: id, qp }.encode(&mut out.log);
                self.exit(Way::Clean).waiting.push(Reverse((now, id)));
                return;
            }
            Bounced::Refused => Warning::Injecting,
            Bounced::NotStarted => Warning::StartingQueue,
        };
        exit.waiting.push(Reverse((now.plus_secs(AGAIN), id)));
        Log::Warning(warning).encode(&mut out.log);
    }

    fn forget(&mut self, id: u64, out: &mut Actions) {
        if self.letters.remove(&id).is_some() {
            Log::End(id).encode(&mut out.log);
        }
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
