//! Letters come in, as queued describes them, and after a break are told from those we know.

use std::collections::HashMap;

use base::event::{Alert, Channel, Event as Log};
use base::fnv;
use base::time::Moment;
use base::wire::queue::{Entry, Progress};

use super::{Actions, Link, Schedule, line};
use crate::send::channel::farthest;
use crate::send::lanes::{FLOWS, Lane};
use crate::send::letters::{Known, Letter, Mark, Recipient};
use crate::send::policy::Class;
use crate::send::rewrite;

/// Seconds until notes that could not be written are said again.
const REPEAT: u64 = 5;

impl Schedule {
    pub(super) fn enter(&mut self, entry: &Entry<'_>, now: Moment, out: &mut Actions) {
        if self.is_known(entry.id) {
            return;
        }
        announce(entry, &mut out.log);
        self.newest = self.newest.max(entry.id);
        let sender = entry.envelope.sender();
        let class = self.policy.class(sender, entry.envelope.recipients().count());
        let flow = flow(self.seed, sender);
        let letter = Letter::new(entry.id, entry.birth, flow);
        let Some(known) = self.letters.insert(letter) else { return };
        self.writer.begin(sender);
        let (mut open, mut failed) = (0_u32, false);
        for (index, (recipient, progress)) in
            (0..).zip(entry.envelope.recipients().zip(entry.progress()))
        {
            if matches!(progress, Progress::Done | Progress::Failed) {
                failed |= progress == Progress::Failed;
                continue;
            }
            let (channel, address) = rewrite::channel(&self.routing, recipient);
            let at = self.writer.put(Mark { channel, perhaps: entry.old, index }, &address);
            let recipient = Recipient { letter: known.place, at };
            let due = match progress {
                Progress::Deferred(due) => Some(self.sensible(due, channel, now)),
                _ => None,
            };
            let line = line(&mut self.lines, channel);
            match due {
                Some(due) => line.wait(due, recipient),
                None => line.queue(lane(class), flow, recipient),
            }
            open = open.saturating_add(1);
        }
        if let Some(letter) = self.letters.get_mut(known) {
            letter.fill(self.writer.finish(), open, failed);
        }
        self.leave_if_settled(known, now, out);
    }

    /// Whether queued speaks of a letter that we know from before the connection was made anew.
    /// If we know none, whatever it says is complete as it comes, and may start at once.
    fn is_known(&mut self, id: u64) -> bool {
        if matches!(self.link, Link::Away) {
            let known: HashMap<_, _> = self.letters.iter().map(|k| (k.id, k.place)).collect();
            self.link = if known.is_empty() { Link::Up } else { Link::Listing(known) };
        }
        match &mut self.link {
            Link::Listing(known) => known.remove(&id).is_some(),
            Link::Away | Link::Up => false,
        }
    }

    /// Forgets what queued no longer knows, and says again what it has not acknowledged.
    pub(super) fn listed(&mut self, out: &mut Actions) {
        let lost: Vec<Known> = match std::mem::replace(&mut self.link, Link::Up) {
            Link::Up => return,
            Link::Away => self.letters.iter().collect(),
            Link::Listing(known) => {
                known.into_iter().map(|(id, place)| Known { id, place }).collect()
            }
        };
        for known in lost {
            self.forget(known, out);
        }
        let letters = &self.letters;
        self.notes.retain(|note| letters.get(note.letter).is_some());
        self.say_again(out);
    }

    /// queued's disk is full. If it is a failure's only words that wait, who reads logs should
    /// know, as of stock's own (once until they are said again).
    pub(super) fn unwritten(&mut self, now: Moment, out: &mut Actions) {
        if self.repeat.is_none() && self.notes.has_failure() {
            Log::Alert(Alert::Append).encode(&mut out.log);
        }
        self.repeat = Some(now.plus_secs(REPEAT));
    }

    pub(super) fn say_again(&mut self, out: &mut Actions) {
        self.repeat = None;
        self.notes.say_again(&mut out.notes);
    }

    /// When an attempt is due that queued has on record: never farther away than any can be, also
    /// if the clock was set back since.
    fn sensible(&self, due: Moment, channel: Channel, now: Moment) -> Moment {
        let most = farthest(self.lifetime, channel).saturating_mul(1_000_000);
        if due.since(now) <= most { due } else { now.plus_micros(due.since(now) % most) }
    }
}

fn lane(class: Class) -> Lane {
    match class {
        Class::People => Lane::People,
        Class::Bounces => Lane::Bounces,
        Class::Lists => Lane::Lists,
    }
}

/// Which flow a sender falls into (FNV-1a, begun with the seed).
fn flow(seed: u64, sender: &[u8]) -> u8 {
    let hash = fnv::hash(seed ^ fnv::BASIS, sender.iter().copied());
    ((hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 % FLOWS
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
