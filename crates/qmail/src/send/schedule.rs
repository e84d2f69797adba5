//! What to do next: `(state, event, now) → (state, actions)`. No clock, no descriptor; a year of
//! retries is a loop in a test.
//!
//! A letter's recipients wait in their channel's [`Line`], fly, and are noted in queued. When each
//! is delivered or given up **and queued has acknowledged every note**, the letter leaves: by a
//! bounce if a recipient failed, by `qmail-clean` if none did.

mod deliver;
mod leave;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use base::event::{Channel, Event as Log};
use base::outcome::Outcome;
use base::time::Moment;
use base::wire::queue::{Entry, Progress};
use store::users::{Domains, Routing};

use super::channel::{Item, Line};
use super::letter::{Letter, Mark, Writer};
use super::rewrite;

/// Seconds until notes that could not be written are said again.
const REPEAT: u64 = 5;

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
    /// queued could not write a note (its disk is full); it does not say which.
    Unwritten,
    /// The delivery in this slot waits for the disk only.
    Made(Channel, u32),
    /// A spawner reports on a slot.
    Report(Channel, Report<'a>),
    /// `qmail-clean` has answered: is the letter forgotten?
    Cleaned(u64, bool),
    /// A bounce was queued, or not.
    Bounced(u64, Bounced),
    /// ALRM: everything is due now.
    Hurry,
    /// HUP: new `locals` and `virtualdomains`.
    Domains(Domains),
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
    routing: Routing,
    lifetime: u64,
    letters: BTreeMap<u64, Letter>,
    lines: [Line; 2],
    exits: [Exit; 2],
    notes: BTreeMap<u64, Pending>,
    serial: u64,
    deliveries: u64,
    linked: bool,
    exiting: bool,
    /// When to say again what queued has not acknowledged.
    repeat: Option<Moment>,
}

impl Schedule {
    /// An empty schedule with a channel limit each (0 holds it) and the lifetime of a letter in
    /// seconds; logs the first `status:` line.
    pub(super) fn new(
        routing: Routing,
        limits: [u32; 2],
        lifetime: u64,
        out: &mut Actions,
    ) -> Self {
        let schedule = Self {
            routing,
            lifetime,
            letters: BTreeMap::new(),
            lines: limits.map(Line::new),
            exits: Default::default(),
            notes: BTreeMap::new(),
            serial: 0,
            deliveries: 0,
            linked: false,
            exiting: false,
            repeat: None,
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
            Event::Unwritten => self.repeat = Some(now.plus_secs(REPEAT)),
            Event::Ack(serial) => self.acknowledged(serial, now, out),
            Event::Made(channel, slot) => self.made(channel, slot, out),
            Event::Report(channel, report) => self.report(channel, report, out),
            Event::Cleaned(letter, gone) => self.cleaned(letter, gone, now, out),
            Event::Bounced(letter, how) => self.bounced(letter, how, now, out),
            Event::Hurry => self.lines.iter_mut().for_each(|line| line.hurry(now)),
            Event::Domains(domains) => self.routing.renew(domains),
            Event::Exit => self.exiting = true,
            Event::Lost(channel) => {
                self.exiting = true;
                self.line(channel).abandon();
            }
            Event::Wake => (),
        }
        if self.linked && self.repeat.is_some_and(|due| due <= now) {
            self.say_again(out);
        }
        self.start_due(now, out);
        self.leave_due(now, out);
    }

    /// When [`Event::Wake`] is wanted; `None` if only events can change anything.
    pub(super) fn wake(&self) -> Option<Moment> {
        let lines = self.lines.iter().filter(|_| self.may_start()).filter_map(Line::wake);
        let exits = self.exits.iter().filter(|_| self.linked);
        let exits = exits.filter_map(|e| e.waiting.peek().map(|Reverse((due, _))| *due));
        lines.chain(exits).chain(self.repeat.filter(|_| self.linked)).min()
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
        !self.lines.iter().all(Line::idle)
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
            let (channel, address) = rewrite::channel(&self.routing, recipient);
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
        self.say_again(out);
    }

    /// Says every note again that is not acknowledged; queued takes each only once.
    fn say_again(&mut self, out: &mut Actions) {
        self.repeat = None;
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

#[cfg(test)]
mod tests;
