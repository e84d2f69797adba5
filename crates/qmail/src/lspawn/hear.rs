//! What workers and other children say, and what their ends mean.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use sys::clock;

use crate::spawn::{Desk, Verdict, later};

use super::verdict::{clipped, crashed, judge, late};
use super::word::{MESSAGE, Tag, Word, words};
use super::{Flight, JOBS, Job, Lspawn, OFFERS, Stage, done};

impl Lspawn {
    /// Hears all a worker has to say.
    pub(super) fn hear(&mut self, token: u64, desk: &mut Desk) {
        let mut room = std::mem::take(&mut self.room);
        room.resize(MESSAGE, 0);
        self.hear_all(token, &mut room, desk);
        self.room = room;
    }

    fn hear_all(&mut self, token: u64, room: &mut [u8], desk: &mut Desk) {
        while let Some(member) = self.crew.get(token) {
            let Some((length, fds)) = member.hear(room) else { return };
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
                    Word::Job(..) | Word::Letter(..) => {}
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
                    let device = flight.device;
                    if let Some(step) = self.volumes.shown(device, slot, true) {
                        self.take(device, step, desk);
                    }
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

    /// Nothing of it is waited for any more; least of all may the sync that it waited for end the
    /// delivery that gets its slot next.
    fn unwait(&mut self, slot: u32, flight: Flight) {
        match flight.stage {
            Stage::Staged | Stage::Shown => self.volumes.lost(flight.device, slot),
            Stage::Showing => drop(self.volumes.shown(flight.device, slot, false)),
            Stage::Alone => {}
        }
    }

    /// A worker is gone. What it had not begun others may take; what was written and not shown
    /// nobody will ever see; what readers can see goes on waiting for its sync.
    pub(super) fn lose(&mut self, token: u64, desk: &mut Desk) {
        let member = self.crew.dismiss(token, desk);
        self.letters.remove(&token);
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
    pub(super) fn end_children(&mut self, desk: &mut Desk) {
        for (slot, status, output) in self.children.ended() {
            self.child_ended(slot, judge(status, &output), desk);
        }
        for slot in self.children.late() {
            self.child_ended(slot, late(self.patience), desk);
        }
    }

    fn child_ended(&mut self, slot: u32, verdict: Verdict, desk: &mut Desk) {
        let first = |job: &Job| job.order.slot == slot;
        let token = self
            .crew
            .iter()
            .find_map(|(token, member)| member.jobs.front().is_some_and(first).then_some(token));
        if let Some(token) = token {
            // It may have said that it is a worker before it ended.
            self.hear(token, desk);
            if self.crew.get(token).is_none_or(|member| member.device.is_none()) {
                self.crew.dismiss(token, desk);
            }
        }
        desk.ended(slot, verdict);
    }
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
