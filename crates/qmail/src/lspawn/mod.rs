//! make local deliveries, each as its user
//!
//! *Runs as* root (as the home's owner in a private home) · *hears* qmail-send · *opens*
//! `users/cdb`, `/etc/passwd` · *speaks to* queued (for letters), its children, each of which
//! becomes a user before it reads a letter or a user's file; those of users who have nothing but a
//! Maildir take several deliveries, and wait for the disk together

mod hand_out;
mod hear;
mod syncer;
mod verdict;
mod volume;
mod volumes;
mod word;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use base::address::split;
use base::limits;
use base::outcome::Outcome;
use store::control::Control;
use store::home::Home;
use store::users::{Directory, Stamp};

use crate::spawn::{Children, Crew, Desk, Letter, Order, Spawner, Verdict};
use hand_out::{IDLE, YOUNG};
use volume::Step;
use volumes::Volumes;
use word::{Tag, Word};

/// Deliveries of one worker, after which another takes over.
const JOBS: u32 = 10_000;
/// With so few deliveries under way, a file is synced by itself: syncing a busy file system for a
/// letter or two takes longer.
const FEW: usize = 3;
/// How often a delivery is offered to workers that do not take it.
const OFFERS: u32 = 3;
/// The longest that a delivery may be allowed to take, in seconds: a week.
const LONGEST: u64 = 604_800;

pub(crate) fn main(args: &[OsString]) -> i32 {
    let Some(default) = args.get(1) else {
        sys::log::say(format_args!("usage: qmail-lspawn defaultdelivery"));
        return 100;
    };
    crate::spawn::serve("qmail-lspawn", limits::LOCAL_DELIVERIES, |home| {
        let patience = patience(home);
        Lspawn {
            users: Directory::new(home),
            cdb: home.path("users/cdb"),
            stamp: None,
            default: default.as_bytes().to_vec(),
            children: Children::new(limits::LOCAL_OUTPUT).patient(patience),
            patience,
            crew: Crew::new(),
            flights: BTreeMap::new(),
            volumes: Volumes::new(home),
            given: 0,
            held: VecDeque::new(),
            retired: Duration::ZERO,
            looked: false,
            orders: BTreeMap::new(),
            letters: BTreeMap::new(),
            room: Vec::new(),
        }
    })
}

/// How long a delivery may take: `control/timeoutlocal`. A file that cannot be used is named, and
/// deliveries go on.
fn patience(home: &Home) -> Duration {
    let seconds = Control::new(home).int("timeoutlocal", limits::LOCAL_SECONDS);
    let seconds = seconds.unwrap_or_else(|err| {
        sys::log::say(format_args!("warning: {err}"));
        limits::LOCAL_SECONDS
    });
    Duration::from_secs(seconds.clamp(1, LONGEST))
}

/// A delivery on its way to a worker.
#[derive(Debug)]
struct Job {
    order: Order,
    letter: Letter,
    /// How often it has been offered.
    offers: u32,
    /// Jobs are counted as they are handed out.
    number: u64,
    /// Until when it waits for a worker.
    patience: Option<Duration>,
}

/// How far a delivery that is made has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Staged,
    Showing,
    Shown,
    /// Its worker syncs it or takes it back.
    Alone,
}

/// A delivery that is made and waits for the disk.
#[derive(Clone, Copy, Debug)]
struct Flight {
    member: u64,
    device: u64,
    stage: Stage,
}

struct Lspawn {
    users: Directory,
    cdb: PathBuf,
    stamp: Option<Stamp>,
    default: Vec<u8>,
    children: Children,
    /// How long a child may take for a delivery.
    patience: Duration,
    crew: Crew<Job>,
    flights: BTreeMap<u32, Flight>,
    volumes: Volumes,
    /// Jobs handed out so far.
    given: u64,
    /// Jobs for which there is no room among the workers.
    held: VecDeque<Job>,
    /// When idle workers were last looked for.
    retired: Duration,
    /// Whether `users/cdb` has been looked at in this turn.
    looked: bool,
    /// What the workers are to be told at the end of the turn.
    orders: BTreeMap<(u64, Tag), Vec<u32>>,
    /// Small letters that workers are to be sent with that.
    letters: BTreeMap<u64, Vec<u8>>,
    /// Where what a worker says is received.
    room: Vec<u8>,
}

impl Spawner for Lspawn {
    const HERE: bool = true;

    fn start(&mut self, order: Order, letter: Letter, desk: &mut Desk) {
        let (local, _) = split(order.delivery().recipient);
        if local.is_empty() {
            // Who writes to nobody wants it thrown away.
            desk.ended(order.slot, (Outcome::Done, Vec::new()));
            return;
        }
        self.look_at_users();
        self.offer(Job { order, letter, offers: 0, number: 0, patience: None }, desk);
    }

    fn ready(&mut self, token: u64, desk: &mut Desk) {
        if self.children.ready(token, desk) {
            return;
        }
        match self.volumes.ready(token, self.given, desk) {
            Some((device, steps)) => {
                steps.into_iter().for_each(|step| self.take(device, step, desk));
            }
            None => self.hear(token, desk),
        }
    }

    fn reap(&mut self, _desk: &mut Desk) {
        self.children.reap();
    }

    fn turn(&mut self, now: Duration, desk: &mut Desk) -> Option<Duration> {
        let late = self.children.hurry(now, desk);
        self.end_children(desk);
        self.looked = false;
        let held = std::mem::take(&mut self.held);
        held.into_iter().for_each(|job| self.offer(job, desk));
        let few = desk.len() <= FEW;
        let (steps, again) = self.volumes.turn(few, now, desk);
        steps.into_iter().for_each(|(device, step)| self.take(device, step, desk));
        self.tell(desk);
        self.retire(now, desk);
        let crew = (self.crew.len() > 0).then_some(IDLE / 2);
        let held = (!self.held.is_empty()).then_some(YOUNG);
        again.into_iter().chain(crew).chain(held).chain(late).min()
    }
}

impl Lspawn {
    /// The delivery waits for the disk no more.
    fn land(&mut self, slot: u32) -> Option<Flight> {
        let flight = self.flights.remove(&slot)?;
        if let Some(member) = self.crew.get(flight.member) {
            member.waiting = member.waiting.saturating_sub(1);
        }
        Some(flight)
    }

    /// Does what a file system's syncs ask for.
    fn take(&mut self, device: u64, step: Step, desk: &mut Desk) {
        let (tag, stage, slots) = match step {
            Step::Sync => return self.volumes.sync(device),
            Step::Show(slots) => (Tag::Show, Some(Stage::Showing), slots),
            Step::Alone(slots) => (Tag::Alone, Some(Stage::Alone), slots),
            Step::Withdraw(slots) => (Tag::Withdraw, Some(Stage::Alone), slots),
            Step::Over(slots) => (Tag::Over, None, slots),
        };
        for slot in slots {
            let Some(flight) = self.flights.get_mut(&slot) else { continue };
            self.orders.entry((flight.member, tag)).or_default().push(slot);
            match stage {
                Some(stage) => flight.stage = stage,
                None => {
                    self.land(slot);
                    desk.ended(slot, done());
                }
            }
        }
    }

    /// Tells every worker all there is to tell it, in one message.
    fn tell(&mut self, desk: &mut Desk) {
        for ((token, tag), slots) in std::mem::take(&mut self.orders) {
            Word::Slots(tag, slots).encode(self.letters.entry(token).or_default());
        }
        // What a lost worker had not begun is given to others, and they are to be told.
        while let Some((token, message)) = self.letters.pop_first() {
            let told = self.crew.get(token).map(|member| member.say(&message, &[]));
            if told.is_none_or(|told| told.is_err()) {
                self.lose(token, desk);
            }
        }
    }
}

/// The report of a delivery to one Maildir.
fn done() -> Verdict {
    (Outcome::Done, b"did 1+0+0\n".to_vec())
}
