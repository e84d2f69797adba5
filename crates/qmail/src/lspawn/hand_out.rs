//! Which worker, or which new child, gets a delivery; and which worker goes home.

use base::limits;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use store::users::Stamp;
use sys::pass::{self, Kind};
use sys::spawn::{self, Fork};
use sys::{clock, fd};

use crate::spawn::{Channel, Desk, Letter, Member, Verdict, later};

use super::verdict::late;
use super::word::Word;
use super::{JOBS, Job, Lspawn, OFFERS, worker};

/// Deliveries that one worker may have before it has begun them.
const AHEAD: usize = 16;
/// Bytes of letters that a worker may have before it has written them: more come as files, as its
/// channel has no room for them.
const HELD: usize = 64 << 10;
/// Letters are sent when there are so many bytes of them, though there may be more to say.
const GATHERED: usize = 24 << 10;
/// How long a worker takes further deliveries: what it knows of its user gets no older.
const AGE: Duration = Duration::from_secs(10);
/// How long an idle worker is kept.
pub(super) const IDLE: Duration = Duration::from_secs(1);
/// How long a delivery waits for a child of its recipient to turn out to be a worker, before it gets
/// a child of its own.
pub(super) const YOUNG: Duration = Duration::from_millis(30);
/// How often idle and old workers are looked for.
const ROUND: Duration = Duration::from_millis(100);
/// A worker that says nothing for so long gets no further deliveries.
const SILENT: Duration = Duration::from_secs(1);
/// However little a delivery may take, so long a worker may wait for its disk.
const STUCK: Duration = Duration::from_secs(60);
/// Workers at a time, with those that wait for the disk only.
const WORKERS: usize = 3 * limits::LOCAL_DELIVERIES as usize;

impl Lspawn {
    /// Gives the delivery to a worker of its recipient, or to a new child.
    pub(super) fn offer(&mut self, mut job: Job, desk: &mut Desk) {
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
        let Ok(given) = self.hand(token, &job) else {
            let verdict = later("qmail-spawn unable to open message. (#4.3.0)\n");
            return desk.ended(job.order.slot, verdict);
        };
        let Some(member) = self.crew.get(token) else { return };
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

    /// Small letters go with what else is said to the worker; what became of sending any other is
    /// the inner result.
    fn hand(&mut self, token: u64, job: &Job) -> io::Result<io::Result<()>> {
        let Some(member) = self.crew.get(token) else { return Ok(Ok(())) };
        let here = |letter: &Letter| match letter {
            Letter::Here(bytes) => bytes.len(),
            Letter::Open { .. } => 0,
        };
        let held = member.jobs.iter().map(|job| here(&job.letter)).sum::<usize>();
        match &job.letter {
            Letter::Here(bytes) if held.saturating_add(bytes.len()) <= HELD => {
                let message = self.letters.entry(token).or_default();
                Word::Letter(bytes, job.order.delivery()).encode(message);
                let enough = message.len() > GATHERED;
                Ok(if enough { self.post(token) } else { Ok(()) })
            }
            letter => {
                let fd = letter.fd()?;
                let mut message = Vec::new();
                Word::Job(letter.size(), job.order.delivery()).encode(&mut message);
                let given = self.post(token).and_then(|()| match self.crew.get(token) {
                    Some(member) => member.say(&message, &[fd.as_fd()]),
                    None => Ok(()),
                });
                Ok(given)
            }
        }
    }

    /// Sends a worker the letters that are gathered for it.
    fn post(&mut self, token: u64) -> io::Result<()> {
        match (self.letters.remove(&token), self.crew.get(token)) {
            (Some(message), Some(member)) => member.say(&message, &[]),
            _ => Ok(()),
        }
    }

    /// The child finds the users in memory if they can be read, and says so if they cannot. Workers
    /// of users who may have changed get no more to do.
    pub(super) fn look_at_users(&mut self) {
        if std::mem::replace(&mut self.looked, true) {
            return;
        }
        let stamp = std::fs::metadata(&self.cdb).ok().map(|meta| Stamp::of(&meta));
        if stamp != self.stamp {
            self.stamp = stamp;
            let _told_of_each_letter = self.users.refresh();
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
                if let Ok(ours) = Channel::watched(ours, desk) {
                    self.crew.hire(key, ours, job, now);
                }
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

    /// Gives up the workers that have said nothing for as long as a delivery may take: their disk does
    /// not answer. What they have is put off.
    fn give_up_stuck(&mut self, now: Duration, desk: &mut Desk) {
        let patience = self.patience.max(STUCK);
        let stuck = |member: &Member<Job>| {
            let busy = member.device.is_some() && !member.is_idle();
            busy && now.saturating_sub(member.since) > patience
        };
        let tokens = self.crew.iter().filter(|(_, member)| stuck(member)).map(|(token, _)| token);
        for token in tokens.collect::<Vec<u64>>() {
            let jobs = self.crew.get(token).map(|member| std::mem::take(&mut member.jobs));
            for job in jobs.into_iter().flatten() {
                desk.ended(job.order.slot, late(self.patience));
            }
            self.lose(token, desk);
        }
    }

    /// Sends home the workers that have nothing to do, and keeps new work from those that have done
    /// enough.
    pub(super) fn retire(&mut self, now: Duration, desk: &mut Desk) {
        if now < self.retired.saturating_add(ROUND) {
            return;
        }
        self.retired = now;
        self.give_up_stuck(now, desk);
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
