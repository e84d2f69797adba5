//! make local deliveries, each as its user
//!
//! *Runs as* root (as the home's owner in a private home) · *hears* qmail-send · *opens*
//! `users/cdb`, `/etc/passwd` · *speaks to* queued (for letters), its children, each of which
//! becomes a user before it reads a letter or a user's file; those of users who have nothing but a
//! Maildir take several deliveries, and wait for the disk together

mod syncer;
mod verdict;
mod volume;
mod volumes;
mod word;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use base::address::split;
use base::limits;
use base::outcome::Outcome;
use store::users::{Directory, Stamp};
use sys::clock;
use sys::fd;
use sys::pass::{self, Kind};
use sys::spawn::{self, Fork};

use crate::spawn::{CEILING, Children, Crew, Desk, Letter, Member, Order, Spawner, Verdict, later};
use verdict::{clipped, crashed, judge};
use volume::Step;
use volumes::Volumes;
use word::{MESSAGE, Tag, Word, words};

/// Deliveries that one worker may have before it has begun them.
const AHEAD: usize = 16;
/// Deliveries of one worker, after which another takes over.
const JOBS: u32 = 10_000;
/// How long a worker takes further deliveries: what it knows of its user gets no older.
const AGE: Duration = Duration::from_secs(10);
/// How long an idle worker is kept.
const IDLE: Duration = Duration::from_secs(1);
/// How often idle and old workers are looked for.
const ROUND: Duration = Duration::from_millis(100);
/// A worker that says nothing for so long gets no further deliveries.
const SILENT: Duration = Duration::from_secs(1);
/// How long a delivery waits for a child of its recipient to turn out to be a worker, before it gets
/// a child of its own.
const YOUNG: Duration = Duration::from_millis(30);
/// Workers at a time, with those that wait for the disk only.
const WORKERS: usize = 3 * CEILING as usize;
/// With so few deliveries under way, a file is synced by itself: syncing a busy file system for a
/// letter or two takes longer.
const FEW: usize = 3;
/// How often a delivery is offered to workers that do not take it.
const OFFERS: u32 = 3;

pub(crate) fn main(args: &[OsString]) -> i32 {
    let Some(default) = args.get(1) else { return 100 };
    crate::spawn::serve("qmail-lspawn", |home| Lspawn {
        users: Directory::new(home),
        cdb: home.path("users/cdb"),
        stamp: None,
        default: default.as_bytes().to_vec(),
        children: Children::new(limits::LOCAL_OUTPUT),
        crew: Crew::new(),
        flights: BTreeMap::new(),
        volumes: Volumes::new(home),
        given: 0,
        held: VecDeque::new(),
        retired: Duration::ZERO,
        looked: false,
        orders: BTreeMap::new(),
    })
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
}

impl Spawner for Lspawn {
    fn start(&mut self, order: Order, letter: Letter, desk: &mut Desk) {
        let (local, _) = split(order.delivery().recipient);
        if local.is_empty() {
            // The trash address.
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
        again.into_iter().chain(crew).chain(held).min()
    }
}

impl Lspawn {
    /// Gives the delivery to a worker of its recipient, or to a new child.
    fn offer(&mut self, mut job: Job, desk: &mut Desk) {
        let now = clock::monotonic();
        let key = job.order.delivery().recipient.to_vec();
        if let Some(token) = self.worker(&key, &job, now) {
            return self.give(token, job, now, desk);
        }
        let young = |member: &Member<Job>| {
            member.device.is_none() && now.saturating_sub(member.hired) < YOUNG
        };
        let patient = *job.patience.get_or_insert(now.saturating_add(YOUNG)) > now;
        let waits = patient && job.offers == 0 && self.crew.find(&key, young).is_some();
        if waits || self.crew.len() >= WORKERS && !self.make_room(desk) {
            self.held.push_back(job);
            return;
        }
        self.count(&mut job);
        let slot = job.order.slot;
        if let Err(verdict) = self.fork(&key, job, now, desk) {
            desk.ended(slot, verdict);
        }
    }

    /// The job is handed out.
    fn count(&mut self, job: &mut Job) {
        self.given = self.given.saturating_add(1);
        job.number = self.given;
        job.offers = job.offers.saturating_add(1);
    }

    /// A worker that can take the job.
    fn worker(&self, key: &[u8], job: &Job, now: Duration) -> Option<u64> {
        self.crew.find(key, |member| {
            let silent = !member.jobs.is_empty() && now.saturating_sub(member.since) > SILENT;
            member.open && !silent && member.jobs.len() < AHEAD && job.offers < OFFERS
        })
    }

    fn give(&mut self, token: u64, mut job: Job, now: Duration, desk: &mut Desk) {
        self.count(&mut job);
        let Some(member) = self.crew.get(token) else { return };
        let mut message = Vec::new();
        Word::Job(job.letter.size, job.order.delivery()).encode(&mut message);
        let given = member.say(&message, &[job.letter.fd.as_fd()]);
        if member.jobs.is_empty() {
            member.since = now;
        }
        member.jobs.push_back(job);
        member.given = member.given.saturating_add(1);
        member.open = member.given < JOBS;
        if given.is_err() {
            self.lose(token, desk);
        }
    }

    /// The child finds the users in memory if they can be read, and says so if they cannot. Workers
    /// of users who may have changed get no more to do.
    fn look_at_users(&mut self) {
        if std::mem::replace(&mut self.looked, true) {
            return;
        }
        let stamp = std::fs::metadata(&self.cdb).ok().map(|meta| Stamp::of(&meta));
        if stamp != self.stamp {
            self.stamp = stamp;
            self.users.refresh();
            let tokens: Vec<u64> = self.crew.iter().map(|(token, _)| token).collect();
            for token in tokens {
                if let Some(member) = self.crew.get(token) {
                    member.open = false;
                    member.given = JOBS;
                }
            }
        }
    }

    fn fork(
        &mut self,
        key: &[u8],
        job: Job,
        now: Duration,
        desk: &mut Desk,
    ) -> Result<(), Verdict> {
        let (pipe, out) =
            fd::pipe().map_err(|_| later("qmail-spawn unable to create pipe. (#4.3.0)\n"))?;
        let unable = |_| later("qmail-spawn unable to fork. (#4.3.0)\n");
        let (ours, theirs) = pass::pair(Kind::Seqpacket).map_err(unable)?;
        match spawn::fork().map_err(unable)? {
            Fork::Parent(pid) => {
                let slot = job.order.slot;
                self.children.add(pid, slot, pipe, desk);
                let _without = self.crew.hire(key, ours, job, now, desk);
                Ok(())
            }
            Fork::Child => {
                let (users, delivery) = (&mut self.users, job.order.delivery());
                let letter = &job.letter;
                spawn::exit(worker::run(users, &self.default, &delivery, letter, &out, &theirs))
            }
        }
    }

    /// Sends home the worker that has been idle for longest; false if none is idle.
    fn make_room(&mut self, desk: &mut Desk) -> bool {
        let idle = self.crew.iter().filter(|(_, member)| member.is_idle());
        let Some((token, _)) = idle.min_by_key(|(_, member)| member.since) else { return false };
        self.crew.dismiss(token, desk);
        true
    }

    /// The delivery waits for the disk no more.
    fn land(&mut self, slot: u32) -> Option<Flight> {
        let flight = self.flights.remove(&slot)?;
        if let Some(member) = self.crew.get(flight.member) {
            member.waiting = member.waiting.saturating_sub(1);
        }
        Some(flight)
    }

    /// Hears all a worker has to say.
    fn hear(&mut self, token: u64, desk: &mut Desk) {
        let mut room = vec![0; MESSAGE];
        while let Some(member) = self.crew.get(token) {
            let Some((length, fds)) = member.hear(&mut room) else { return };
            member.since = clock::monotonic();
            let words = words(room.get(..length).unwrap_or_default()).unwrap_or_default();
            if words.is_empty() {
                // It is gone, or it says what no worker says.
                return self.lose(token, desk);
            }
            let mut fds = fds.into_iter();
            for word in words {
                match word {
                    Word::Open(device) => self.open(token, device, fds.next(), desk),
                    Word::Slots(tag, slots) => {
                        slots.into_iter().for_each(|slot| self.said(token, tag, slot, desk));
                    }
                    Word::Failed { slot, outcome, text } => {
                        self.ended(token, slot, (outcome, clipped(text)), desk);
                    }
                    Word::Job(..) => {}
                }
            }
        }
    }

    /// A child has turned out to be a worker.
    fn open(&mut self, token: u64, device: u64, dir: Option<OwnedFd>, desk: &mut Desk) {
        let Some(member) = self.crew.get(token) else { return };
        member.open = member.given < JOBS;
        member.device = Some(device);
        if let Some(job) = member.jobs.front() {
            self.children.disown(job.order.slot, desk);
        }
        if let Some(dir) = dir {
            self.volumes.enter(device, &dir, self.given, desk);
        }
    }

    /// What a worker says of one delivery.
    fn said(&mut self, token: u64, tag: Tag, slot: u32, desk: &mut Desk) {
        match tag {
            Tag::Staged => self.staged(token, slot, desk),
            Tag::Shown => {
                let Some(flight) = self.flights.get_mut(&slot) else { return };
                if (flight.member, flight.stage) == (token, Stage::Showing) {
                    flight.stage = Stage::Shown;
                    self.volumes.shown(flight.device, slot, true);
                }
            }
            Tag::Done => self.ended(token, slot, done(), desk),
            Tag::Withdrawn => {
                self.ended(token, slot, later("Unable to sync maildir. (#4.3.0)\n"), desk);
            }
            Tag::NotMine => {
                let Some(member) = self.crew.get(token) else { return };
                // Its mailbox has changed: it finishes what it has begun.
                (member.open, member.given) = (false, JOBS);
                match take(&mut member.jobs, slot) {
                    Some(job) if job.offers > OFFERS => desk.ended(slot, changing()),
                    Some(job) => self.offer(job, desk),
                    None => {}
                }
            }
            Tag::Show | Tag::Over | Tag::Alone | Tag::Withdraw => {}
        }
    }

    /// A worker has written a letter.
    fn staged(&mut self, token: u64, slot: u32, desk: &mut Desk) {
        let Some(member) = self.crew.get(token) else { return };
        let Some(device) = member.device else { return };
        let Some(job) = take(&mut member.jobs, slot) else { return };
        desk.made(slot);
        member.waiting = member.waiting.saturating_add(1);
        self.flights.insert(slot, Flight { member: token, device, stage: Stage::Staged });
        if let Some(step) = self.volumes.staged(device, slot, job.number) {
            self.take(device, step, desk);
        }
    }

    /// A delivery has ended, as its worker says.
    fn ended(&mut self, token: u64, slot: u32, verdict: Verdict, desk: &mut Desk) {
        let had = match self.crew.get(token) {
            Some(member) => take(&mut member.jobs, slot).is_some(),
            None => false,
        };
        let flew = self.flights.get(&slot).is_some_and(|flight| flight.member == token);
        if flew && let Some(flight) = self.land(slot) {
            self.unwait(slot, flight);
        }
        if had || flew {
            desk.ended(slot, verdict);
        }
    }

    /// Nothing of it is waited for any more.
    fn unwait(&mut self, slot: u32, flight: Flight) {
        match flight.stage {
            Stage::Staged => self.volumes.lost(flight.device, slot),
            Stage::Showing => self.volumes.shown(flight.device, slot, false),
            Stage::Shown | Stage::Alone => {}
        }
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
        let mut messages: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for ((token, tag), slots) in std::mem::take(&mut self.orders) {
            Word::Slots(tag, slots).encode(messages.entry(token).or_default());
        }
        for (token, message) in messages {
            let told = self.crew.get(token).map(|member| member.say(&message, &[]));
            if told.is_none_or(|told| told.is_err()) {
                self.lose(token, desk);
            }
        }
    }

    /// A worker is gone. What it had not begun others may take; what was written and not shown
    /// nobody will ever see; what readers can see goes on waiting for its sync.
    fn lose(&mut self, token: u64, desk: &mut Desk) {
        let member = self.crew.dismiss(token, desk);
        let of_it =
            |_: &u32, flight: &mut Flight| flight.member == token && flight.stage != Stage::Shown;
        let lost: Vec<(u32, Flight)> = self.flights.extract_if(.., of_it).collect();
        for (slot, flight) in lost {
            self.unwait(slot, flight);
            desk.ended(slot, crashed());
        }
        let Some(member) = member else { return };
        let mut jobs = member.jobs.into_iter();
        if member.device.is_none() {
            // A child that was no worker: its exit code tells.
            return;
        }
        if let Some(job) = jobs.next() {
            desk.ended(job.order.slot, crashed());
        }
        jobs.for_each(|job| self.offer(job, desk));
    }

    /// Reports the children that were no workers.
    fn end_children(&mut self, desk: &mut Desk) {
        for (slot, status, output) in self.children.ended() {
            let first = |job: &Job| job.order.slot == slot;
            let token = self.crew.iter().find_map(|(token, member)| {
                member.jobs.front().is_some_and(first).then_some(token)
            });
            if let Some(token) = token {
                // It may have said that it is a worker before it ended.
                self.hear(token, desk);
                if self.crew.get(token).is_none_or(|member| member.device.is_none()) {
                    self.crew.dismiss(token, desk);
                }
            }
            desk.ended(slot, judge(status, &output));
        }
    }

    /// Sends home the workers that have nothing to do, and keeps new work from those that have done
    /// enough.
    fn retire(&mut self, now: Duration, desk: &mut Desk) {
        if now < self.retired.saturating_add(ROUND) {
            return;
        }
        self.retired = now;
        let mut idle = Vec::new();
        let mut old = Vec::new();
        for (token, member) in self.crew.iter().filter(|(_, member)| member.device.is_some()) {
            let over = !member.open || now.saturating_sub(member.since) > IDLE;
            if over && member.is_idle() {
                idle.push(token);
            }
            if member.open && now.saturating_sub(member.hired) > AGE {
                old.push(token);
            }
        }
        for token in old {
            if let Some(member) = self.crew.get(token) {
                member.open = false;
            }
        }
        for token in idle {
            self.crew.dismiss(token, desk);
        }
    }
}

/// The report of a delivery to one Maildir.
fn done() -> Verdict {
    (Outcome::Done, b"did 1+0+0\n".to_vec())
}

/// The report of a delivery that nobody takes: the mailbox is another one each time.
fn changing() -> Verdict {
    later("Temporary error on maildir delivery. (#4.3.0)\n")
}

/// Takes the delivery of a slot out of a worker's.
fn take(jobs: &mut VecDeque<Job>, slot: u32) -> Option<Job> {
    let at = jobs.iter().position(|job| job.order.slot == slot)?;
    jobs.remove(at)
}
