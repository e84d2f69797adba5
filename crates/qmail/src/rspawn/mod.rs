//! make remote deliveries, each host's in processes of its own
//!
//! *Runs as* qmailr · *hears* qmail-send · *opens* nothing · *speaks to* queued (for letters), a
//! clean parent qmail-remote that forks children, each of which makes deliveries to one host as long
//! as there are any (or, if `$QMAILREMOTE` names another program, to that program, once for each
//! delivery)

mod broods;
mod verdict;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use base::address::split;
use base::outcome::Outcome;
use base::{limits, text0};
use store::users::dotqmail::is_temporary;
use sys::pass::{self, Kind};
use sys::rlimit::{self, Resource};
use sys::spawn::Command;
use sys::{clock, fd};

use crate::spawn::{Channel, Children, Crew, Desk, Letter, Member, Order, Spawner, Verdict, later};
use broods::Broods;
use verdict::{crashed, judge, reported};

/// Descriptors that are no delivery's: pipes, queued, clean parents, with room to spare.
const OTHER_DESCRIPTORS: u64 = 64;
/// How often a job is offered to children that are gone before they take it.
const OFFERS: u32 = 3;
/// How long a clean parent that is behind may take to make room for a job.
const ROOM: Duration = Duration::from_secs(5);
/// The pause between two tries.
const AGAIN: Duration = Duration::from_millis(20);

pub(crate) fn main(_args: &[OsString]) -> i32 {
    let (deliveries, sessions) = places(take_descriptors());
    crate::spawn::serve("qmail-rspawn", deliveries, |home| {
        let other = std::env::var_os("QMAILREMOTE").filter(|program| !program.is_empty());
        let broods = Broods::new(home.path("bin/qmail-remote").into_os_string());
        let children = Children::new(limits::REPORT);
        let (crew, held, room) = (Crew::new(), VecDeque::new(), vec![0; 4 * limits::REPORT]);
        Rspawn { other, broods, sessions, crew, children, held, room }
    })
}

/// As many descriptors as can be used and may be had; how many there are.
fn take_descriptors() -> u64 {
    let each = u64::from(limits::REMOTE_DELIVERIES).saturating_add(limits::REMOTE_SESSIONS as u64);
    let wanted = each.saturating_add(OTHER_DESCRIPTORS);
    let soft = || rlimit::get(Resource::Nofile).map_or(0, |(soft, _)| soft);
    if soft() < wanted {
        // As far as the hard limit goes.
        let _less = rlimit::set_soft(Resource::Nofile, wanted);
    }
    soft()
}

/// How many deliveries, and how many children for them, there may be with so many descriptors:
/// each delivery has its letter, each child its channel. (With `$QMAILREMOTE` it is a pipe.)
fn places(descriptors: u64) -> (u32, usize) {
    let third = descriptors.saturating_sub(OTHER_DESCRIPTORS) / 3;
    let deliveries = u32::try_from(third).unwrap_or(u32::MAX);
    let sessions = usize::try_from(third.saturating_mul(2)).unwrap_or(usize::MAX);
    (deliveries.clamp(1, limits::REMOTE_DELIVERIES), sessions.clamp(1, limits::REMOTE_SESSIONS))
}

/// A delivery on its way to a child.
#[derive(Debug)]
struct Job {
    slot: u32,
    host: Vec<u8>,
    /// `host\0sender\0recipient\0`
    payload: Vec<u8>,
    letter: OwnedFd,
    /// How often it has been offered.
    offers: u32,
    /// The child has begun with it: nobody else may.
    taken: bool,
    /// Since when there is no room for it.
    held: Option<Duration>,
}

struct Rspawn {
    /// `$QMAILREMOTE`.
    other: Option<OsString>,
    broods: Broods,
    /// Children at a time, with a letter or without.
    sessions: usize,
    crew: Crew<Job>,
    /// Those of `$QMAILREMOTE`.
    children: Children,
    held: VecDeque<Job>,
    /// Room for what a child says.
    room: Vec<u8>,
}

impl Spawner for Rspawn {
    const HERE: bool = false;

    fn start(&mut self, order: Order, letter: Letter, desk: &mut Desk) {
        let letter = match letter.into_fd() {
            Ok(letter) => letter,
            Err(err) => return desk.ended(order.slot, unable(&err, false)),
        };
        let delivery = order.delivery();
        let host = split(delivery.recipient).1.unwrap_or_default();
        let fields = [host, delivery.sender, delivery.recipient];
        if let Some(program) = &self.other {
            match Self::run(program, fields, &letter) {
                Ok((pid, pipe)) => self.children.add(pid, order.slot, pipe, desk),
                Err(err) => desk.ended(order.slot, unable(&err, !is_temporary(&err))),
            }
            return;
        }
        let mut payload = Vec::new();
        fields.into_iter().for_each(|field| text0::put(&mut payload, field));
        let (slot, host) = (order.slot, host.to_ascii_lowercase());
        self.offer(Job { slot, host, payload, letter, offers: 0, taken: false, held: None }, desk);
    }

    fn ready(&mut self, token: u64, desk: &mut Desk) {
        if !self.children.ready(token, desk) && !self.broods.ready(token, desk) {
            self.hear(token, desk);
        }
    }

    fn reap(&mut self, _desk: &mut Desk) {
        self.children.reap();
    }

    fn turn(&mut self, now: Duration, desk: &mut Desk) -> Option<Duration> {
        let left = self.children.hurry(now, desk);
        for (slot, status, output) in self.children.ended() {
            desk.ended(slot, judge(status, &output));
        }
        let held = std::mem::take(&mut self.held);
        held.into_iter().for_each(|job| self.offer(job, desk));
        let again = (!self.held.is_empty()).then_some(AGAIN);
        left.into_iter().chain(again).min()
    }
}

impl Rspawn {
    /// Runs another program in the place of ours, as stock runs qmail-remote.
    fn run(program: &OsStr, fields: [&[u8]; 3], letter: &OwnedFd) -> io::Result<(u32, OwnedFd)> {
        let (pipe, out) = fd::pipe()?;
        let command = Command::new(program).args(fields.map(OsStr::from_bytes));
        let command = command.fd(letter.as_fd(), 0).fd(out.as_fd(), 1).fd(out.as_fd(), 2);
        command.spawn().map(|pid| (pid, pipe))
    }

    /// Gives the delivery to a child that has an open session with its host, or to a new one.
    fn offer(&mut self, mut job: Job, desk: &mut Desk) {
        let now = clock::monotonic();
        let fits = |member: &Member<Job>| member.open && member.jobs.is_empty();
        if job.offers < OFFERS
            && let Some(token) = self.crew.find(&job.host, fits)
            && let Some(member) = self.crew.get(token)
        {
            job.offers = job.offers.saturating_add(1);
            let given = member.say(&job.payload, &[job.letter.as_fd()]);
            member.jobs.push_back(job);
            member.since = now;
            if given.is_err() {
                self.lose(token, desk);
            }
            return;
        }
        if self.crew.len() >= self.sessions {
            self.make_room(desk);
        }
        self.hire(job, now, desk);
    }

    /// Hangs up on the child that has been idle for longest.
    fn make_room(&mut self, desk: &Desk) {
        let idle = self.crew.iter().filter(|(_, member)| member.jobs.is_empty());
        if let Some((token, _)) = idle.min_by_key(|(_, member)| member.since) {
            self.crew.dismiss(token, desk);
        }
    }

    /// Has a new child forked for the job.
    fn hire(&mut self, mut job: Job, now: Duration, desk: &mut Desk) {
        match self.hand_over(&job, desk) {
            Ok(channel) => {
                job.offers = job.offers.saturating_add(1);
                let host = job.host.clone();
                self.crew.hire(&host, channel, job, now);
            }
            Err(err) if err.kind() == ErrorKind::WouldBlock => {
                let since = *job.held.get_or_insert(now);
                if now.saturating_sub(since) < ROOM {
                    self.held.push_back(job);
                } else {
                    desk.ended(job.slot, unable(&err, false));
                }
            }
            Err(err) => desk.ended(job.slot, unable(&err, false)),
        }
    }

    /// Hands the job to the clean parent. What is not watched by then it does not get: nobody would
    /// hear what becomes of it, and who is told that it failed would have it delivered again.
    fn hand_over(&mut self, job: &Job, desk: &mut Desk) -> io::Result<Channel> {
        let (ours, theirs) = pass::pair(Kind::Seqpacket)?;
        let channel = Channel::watched(ours, desk)?;
        let fds = [job.letter.as_fd(), theirs.as_fd()];
        match self.broods.take(&job.payload, &fds, desk) {
            Ok(()) => Ok(channel),
            Err(err) => {
                channel.unused(desk);
                Err(err)
            }
        }
    }

    /// Hears all a child has to say.
    fn hear(&mut self, token: u64, desk: &mut Desk) {
        while let Some(member) = self.crew.get(token) {
            let Some((length, _)) = member.hear(&mut self.room) else { return };
            let message = self.room.get(..length).unwrap_or_default();
            match message.split_first() {
                Some((b'a', [])) => {
                    if let Some(job) = member.jobs.front_mut() {
                        job.taken = true;
                    }
                }
                Some((b'R', items)) => {
                    member.open = true;
                    member.since = clock::monotonic();
                    if let Some(job) = member.jobs.pop_front() {
                        desk.ended(job.slot, reported(items));
                    }
                }
                _ => {
                    // Its clean parent may have said that it takes no more jobs.
                    self.broods.hear(desk);
                    return self.lose(token, desk);
                }
            }
        }
    }

    /// A child is gone. A job it has not begun goes to another.
    fn lose(&mut self, token: u64, desk: &mut Desk) {
        let Some(member) = self.crew.dismiss(token, desk) else { return };
        for job in member.jobs {
            if job.taken || job.offers >= OFFERS {
                desk.ended(job.slot, crashed());
            } else {
                self.offer(job, desk);
            }
        }
    }
}

fn unable(err: &io::Error, lasting: bool) -> Verdict {
    match err.kind() {
        // It was started, and was gone before it could take the job.
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => crashed(),
        _ if lasting => (Outcome::Never, b"Unable to run qmail-remote.\n".to_vec()),
        _ => later("Unable to run qmail-remote.\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_there_are_descriptors_for() {
        let plenty = (limits::REMOTE_DELIVERIES, limits::REMOTE_SESSIONS);
        assert_eq!(places(u64::MAX), plenty);
        assert_eq!(places(3 * 500 + OTHER_DESCRIPTORS), plenty);
        assert_eq!(places(1_024), (320, 640));
        assert_eq!(places(0), (1, 1));
    }
}
