//! What to do next: `(state, event, now) → (state, actions)`. No clock, no descriptor; a year of
//! retries is a loop in a test.
//!
//! A letter's recipients wait in their channel's [`Line`], fly, and are noted in queued. When each
//! is delivered or given up **and queued has acknowledged every note**, the letter leaves: by a
//! bounce if a recipient failed, by `qmail-clean` if none did.

mod change;
mod deliver;
mod enter;
mod leave;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use base::event::{Channel, Event as Log};
use base::limits;
use base::outcome::Outcome;
use base::time::Moment;
use base::wire::queue::Entry;
use store::users::{Domains, Routing};

use super::channel::Line;
use super::destination::share;
use super::letters::{Known, Letters, Writer};
use super::notes::Notes;
use super::policy::Policy;

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
    Cleaned(Known, bool),
    /// A bounce was queued, or not.
    Bounced(Known, Bounced),
    /// ALRM: everything is due now.
    Hurry,
    /// HUP: new `locals` and `virtualdomains`.
    Domains(Domains),
    /// HUP: new rules for destinations and senders.
    Policy(Policy),
    /// The wall clock was set this many microseconds forward (or, below zero, back).
    Jumped(i64),
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
    pub(super) clean: Vec<Known>,
    /// Letters that bounce, with their senders.
    pub(super) bounce: Vec<(Known, Vec<u8>)>,
}

impl Actions {
    /// Nothing is to be done.
    pub(super) fn is_empty(&self) -> bool {
        let [local, remote] = &self.deliver;
        let bytes = [&self.log, local, remote, &self.notes];
        bytes.iter().all(|b| b.is_empty()) && self.clean.is_empty() && self.bounce.is_empty()
    }

    /// Nothing is to be done any more; room is kept for the next turn, within bounds.
    pub(super) fn clear(&mut self) {
        let [local, remote] = &mut self.deliver;
        for bytes in [&mut self.log, local, remote, &mut self.notes] {
            bytes.clear();
            bytes.shrink_to(256 << 10);
        }
        self.clean.clear();
        self.bounce.clear();
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
    waiting: BinaryHeap<Reverse<(Moment, Known)>>,
    at_work: u32,
}

/// The connection to queued.
#[derive(Debug)]
enum Link {
    /// There is none.
    Away,
    /// It is new, and queued has yet to speak of these letters, which we know from before.
    Listing(HashMap<u64, u32>),
    /// Whatever we know queued knows.
    Up,
}

/// The state.
#[derive(Debug)]
pub(super) struct Schedule {
    routing: Routing,
    policy: Policy,
    lifetime: u64,
    discards_doubles: bool,
    seed: u64,
    letters: Letters,
    lines: [Line; 2],
    exits: [Exit; 2],
    notes: Notes,
    deliveries: u64,
    link: Link,
    exiting: bool,
    /// When to say again what queued has not acknowledged.
    repeat: Option<Moment>,
    /// The newest letter we ever heard of.
    newest: u64,
    /// How the clock was set since: the newest letter then, and by how much.
    jumps: Vec<(u64, i64)>,
    writer: Writer,
    /// A destination's name while it is looked up.
    name: Vec<u8>,
}

/// What the schedule goes by.
#[derive(Debug)]
pub(super) struct Rules {
    /// Where addresses lead.
    pub(super) routing: Routing,
    /// What an administrator says of destinations and senders.
    pub(super) policy: Policy,
    /// Deliveries at a time, local and remote; 0 holds the channel.
    pub(super) limits: [u32; 2],
    /// How long a letter is tried, seconds.
    pub(super) lifetime: u64,
    /// Nobody wants to hear of bounces that bounce.
    pub(super) discards_doubles: bool,
    /// A number that strangers do not know: which senders share a flow depends on it.
    pub(super) seed: u64,
}

/// The line of a channel.
fn line(lines: &mut [Line; 2], channel: Channel) -> &mut Line {
    let [local, remote] = lines;
    match channel {
        Channel::Local => local,
        Channel::Remote => remote,
    }
}

/// What is said of a destination: how many deliveries at a time, and until when it is paused.
fn rules(policy: &Policy, channel: Channel, limit: u32) -> impl Fn(&[u8]) -> (u32, Moment) {
    move |name| match channel {
        // Nobody here gets all places: a program that hangs would stop everybody's mail.
        Channel::Local => (share(limit), Moment::default()),
        Channel::Remote => (policy.most(name), policy.paused(name)),
    }
}

impl Schedule {
    /// An empty schedule; logs the first `status:` line.
    pub(super) fn new(rules: Rules, out: &mut Actions) -> Self {
        let Rules { routing, policy, limits: [local, remote], lifetime, discards_doubles, seed } =
            rules;
        let schedule = Self {
            routing,
            policy,
            lifetime,
            discards_doubles,
            seed,
            letters: Letters::default(),
            lines: [Line::new(Channel::Local, local), Line::new(Channel::Remote, remote)],
            exits: Default::default(),
            notes: Notes::new(),
            deliveries: 0,
            link: Link::Away,
            exiting: false,
            repeat: None,
            newest: 0,
            jumps: Vec::new(),
            writer: Writer::default(),
            name: Vec::new(),
        };
        schedule.status(out);
        schedule
    }

    /// One step: takes the event, then starts whatever is due and has room.
    pub(super) fn step(&mut self, event: Event<'_>, now: Moment, out: &mut Actions) {
        match event {
            Event::Entry(entry) => self.enter(&entry, now, out),
            Event::Listed => self.listed(out),
            Event::Unlinked => self.link = Link::Away,
            Event::Unwritten => self.unwritten(now, out),
            Event::Ack(serial) => self.acknowledged(serial, now, out),
            Event::Made(channel, slot) => self.made(channel, slot, now, out),
            Event::Report(channel, report) => self.report(channel, report, now, out),
            Event::Cleaned(letter, gone) => self.cleaned(letter, gone, now, out),
            Event::Bounced(letter, how) => self.bounced(letter, how, now, out),
            Event::Hurry => self.hurry(now),
            Event::Domains(domains) => self.routing.renew(domains),
            Event::Policy(policy) => self.renew(policy, now),
            Event::Jumped(by) => self.jumped(by, now),
            Event::Exit => self.exiting = true,
            Event::Lost(channel) => {
                self.exiting = true;
                line(&mut self.lines, channel).abandon();
            }
            Event::Wake => (),
        }
        if self.linked() && self.repeat.is_some_and(|due| due <= now) {
            self.say_again(out);
        }
        self.start_due(now, out);
        self.leave_due(now, out);
    }

    /// When [`Event::Wake`] is wanted; `None` if only events can change anything.
    pub(super) fn wake(&self) -> Option<Moment> {
        let shedding = self.lines.iter().any(|line| line.destinations.is_shedding());
        if shedding && self.may_start() {
            return Some(Moment::default());
        }
        let lines = self.lines.iter().filter(|_| !self.exiting).filter_map(Line::wake);
        let exits = self.exits.iter().zip([limits::CLEANS, limits::BOUNCES]);
        let exits = exits.filter(|(exit, most)| self.linked() && exit.at_work < *most);
        let exits = exits.filter_map(|(e, _)| e.waiting.peek().map(|Reverse((due, _))| *due));
        lines.chain(exits).chain(self.repeat.filter(|_| self.linked())).min()
    }

    /// Nothing runs, and every note is acknowledged.
    pub(super) fn quiet(&self) -> bool {
        self.notes.len() == 0 && !self.busy()
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

    fn linked(&self) -> bool {
        matches!(self.link, Link::Up)
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

#[cfg(test)]
mod tests;
