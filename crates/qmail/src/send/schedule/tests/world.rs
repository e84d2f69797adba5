//! A queue that is a map, spawners that are lists, and the scheduler between them.

use super::*;

/// A letter as the queue on disk has it.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) birth: Moment,
    pub(super) old: bool,
    pub(super) envelope: Vec<u8>,
    pub(super) progress: Vec<Progress>,
    pub(super) paragraphs: Vec<Vec<u8>>,
}

/// A delivery under way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flying {
    pub(super) channel: Channel,
    pub(super) slot: u32,
    pub(super) letter: u64,
    pub(super) index: u32,
    pub(super) perhaps: bool,
    pub(super) sender: Vec<u8>,
    pub(super) recipient: Vec<u8>,
}

/// Everything around the scheduler.
pub(super) struct World {
    pub(super) schedule: Schedule,
    pub(super) now: Moment,
    pub(super) disk: BTreeMap<u64, Stored>,
    pub(super) flying: Vec<Flying>,
    pub(super) unacked: Vec<u64>,
    pub(super) cleaning: Vec<Known>,
    pub(super) bouncing: Vec<(Known, Vec<u8>)>,
    pub(super) log: String,
}

pub(super) fn routing() -> Routing {
    Routing {
        locals: Set::from_lines([&b"here"[..]]),
        virtualdomains: Map::from_lines([&b"v.org:vu"[..]]),
        envnoathost: b"here".to_vec(),
        ..Routing::default()
    }
}

/// What the spawners are told.
pub(super) fn deliveries(out: &Actions) -> Vec<Flying> {
    let mut flying = Vec::new();
    for (channel, bytes) in Channel::BOTH.into_iter().zip(&out.deliver) {
        let mut bytes = &bytes[..];
        while let Some((frame, used)) = frame::take(bytes, MAX_DELIVERY).unwrap() {
            let d = Delivery::decode(frame).unwrap();
            flying.push(Flying {
                channel,
                slot: d.slot,
                letter: d.letter,
                index: d.index,
                perhaps: d.perhaps,
                sender: d.sender.to_vec(),
                recipient: d.recipient.to_vec(),
            });
            bytes = &bytes[used..];
        }
    }
    flying
}

impl World {
    pub(super) fn new(local: u32, remote: u32) -> Self {
        let mut out = Actions::default();
        let (routing, policy, limits) = (routing(), Policy::default(), [local, remote]);
        let rules =
            Rules { routing, policy, limits, lifetime: 604_800, discards_doubles: false, seed: 7 };
        let schedule = Schedule::new(rules, &mut out);
        let mut world = Self {
            schedule,
            now: Moment::from_secs(1_000_000_000),
            disk: BTreeMap::new(),
            flying: Vec::new(),
            unacked: Vec::new(),
            cleaning: Vec::new(),
            bouncing: Vec::new(),
            log: String::new(),
        };
        world.carry(out);
        world
    }

    pub(super) fn linked(local: u32, remote: u32) -> Self {
        let mut world = Self::new(local, remote);
        world.step(Event::Listed);
        world.log.clear();
        world
    }

    pub(super) fn step(&mut self, event: Event<'_>) {
        let mut out = Actions::default();
        self.schedule.step(event, self.now, &mut out);
        self.carry(out);
    }

    pub(super) fn carry(&mut self, out: Actions) {
        self.log.push_str(std::str::from_utf8(&out.log).unwrap());
        for flying in deliveries(&out) {
            let twice = |f: &Flying| (f.channel, f.slot) == (flying.channel, flying.slot);
            assert!(!self.flying.iter().any(twice), "slot used twice");
            self.flying.push(flying);
        }
        let mut bytes = &out.notes[..];
        while let Some((frame, used)) = frame::take(bytes, MAX_REQUEST).unwrap() {
            let Request::Note { serial, letter, index, note } = Request::decode(frame).unwrap()
            else {
                panic!("only notes are sent");
            };
            self.write_note(letter, index, note);
            self.unacked.push(serial);
            bytes = &bytes[used..];
        }
        self.cleaning.extend(out.clean);
        self.bouncing.extend(out.bounce);
    }

    pub(super) fn write_note(&mut self, letter: u64, index: u32, note: Note<'_>) {
        let Some(stored) = self.disk.get_mut(&letter) else { return };
        let place = &mut stored.progress[index as usize];
        let settled = matches!(place, Progress::Done | Progress::Failed);
        match note {
            _ if settled => (),
            Note::Done => *place = Progress::Done,
            Note::Deferred(at) => *place = Progress::Deferred(at),
            Note::Failed(paragraph) => {
                *place = Progress::Failed;
                stored.paragraphs.push(paragraph.to_vec());
            }
        }
    }

    pub(super) fn store(&mut self, id: u64, sender: &str, recipients: &[&str]) {
        let mut envelope = Vec::new();
        for field in std::iter::once(&sender).chain(recipients) {
            base::text0::put(&mut envelope, field.as_bytes());
        }
        let progress = vec![Progress::Waiting; recipients.len()];
        let birth = self.now;
        let stored = Stored { birth, old: false, envelope, progress, paragraphs: Vec::new() };
        self.disk.insert(id, stored);
    }

    pub(super) fn tell(&mut self, id: u64) {
        let s = self.disk[&id].clone();
        let block = progress_block(s.progress.iter().copied());
        let envelope = Envelope::new(&s.envelope).unwrap();
        let entry = Entry::new(id, s.birth, 249, 0, 28543, s.old, envelope, &block).unwrap();
        self.step(Event::Entry(entry));
    }

    pub(super) fn arrive(&mut self, id: u64, sender: &str, recipients: &[&str]) {
        self.store(id, sender, recipients);
        self.tell(id);
    }

    /// Ends the oldest delivery (or that at `at`).
    pub(super) fn land(&mut self, at: usize, outcome: Outcome, text: &str) -> Flying {
        let f = self.flying.remove(at);
        let report = Report { slot: f.slot, outcome: Some(outcome), text: text.as_bytes() };
        self.step(Event::Report(f.channel, report));
        f
    }

    pub(super) fn ack_all(&mut self) {
        for serial in std::mem::take(&mut self.unacked) {
            self.step(Event::Ack(serial));
        }
    }

    pub(super) fn clean_all(&mut self) {
        for known in std::mem::take(&mut self.cleaning) {
            self.disk.remove(&known.id);
            self.step(Event::Cleaned(known, true));
        }
    }

    /// The letter whose bounce is to be queued.
    pub(super) fn bouncing(&mut self) -> Known {
        let (known, _) = self.bouncing.remove(0);
        known
    }

    pub(super) fn lines(&self, word: &str) -> usize {
        self.log.lines().filter(|line| line.contains(word)).count()
    }

    /// Lets time pass until something is wanted.
    pub(super) fn sleep(&mut self) {
        self.now = self.schedule.wake().unwrap().max(self.now);
        self.step(Event::Wake);
    }
}
