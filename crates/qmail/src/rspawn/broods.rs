//! The clean parents that make deliveries: one takes jobs, older ones finish theirs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use sys::brood::{Brood, Event};
use sys::poll::{self, Interest};
use sys::spawn::Status;

use crate::spawn::Ending;

/// How long a busy clean parent may take to make room for a job.
const ROOM: Duration = Duration::from_secs(5);
/// How often a job that was refused is offered to another clean parent.
const OFFERS: u32 = 3;

/// A delivery as it is handed over: `host\0sender\0recipient\0`, the letter and the report's pipe.
pub(super) struct Job {
    pub(super) slot: u32,
    pub(super) payload: Vec<u8>,
    pub(super) letter: OwnedFd,
    pub(super) out: OwnedFd,
}

/// A job some clean parent has.
struct Given {
    slot: u32,
    brood: u64,
    offers: u32,
    /// Kept until it has started: it may yet be refused. Then our end of its pipe is closed.
    job: Option<Job>,
}

/// All clean parents of this process.
pub(super) struct Broods {
    program: OsString,
    next_brood: u64,
    next_job: u64,
    /// The one that takes jobs.
    current: Option<(u64, Brood)>,
    /// Those that only finish.
    retired: Vec<(u64, Brood)>,
    given: BTreeMap<u64, Given>,
}

impl Broods {
    pub(super) fn new(program: OsString) -> Self {
        let (current, retired, given) = (None, Vec::new(), BTreeMap::new());
        Self { program, next_brood: 0, next_job: 0, current, retired, given }
    }

    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.current.iter().chain(&self.retired).map(|(_, brood)| brood.fd()).collect()
    }

    /// Hands a job over; a clean parent that is gone is replaced once.
    pub(super) fn take(&mut self, job: Job) -> io::Result<()> {
        self.offer(job, 1).map_err(|(_, err)| err)
    }

    fn offer(&mut self, job: Job, offers: u32) -> Result<(), (Job, io::Error)> {
        let serial = self.next_job;
        self.next_job = serial.wrapping_add(1);
        let attempt = self.attempt(serial, &job).or_else(|_| {
            self.retire();
            self.attempt(serial, &job)
        });
        match attempt {
            Ok(brood) => {
                let given = Given { slot: job.slot, brood, offers, job: Some(job) };
                self.given.insert(serial, given);
                Ok(())
            }
            Err(err) => Err((job, err)),
        }
    }

    /// The number of the clean parent that has taken the job.
    fn attempt(&mut self, serial: u64, job: &Job) -> io::Result<u64> {
        let (number, brood) = match self.current.take() {
            Some(current) => current,
            None => {
                let number = self.next_brood;
                self.next_brood = number.wrapping_add(1);
                (number, Brood::spawn(&self.program, &[], &[], None)?)
            }
        };
        let (_, brood) = self.current.insert((number, brood));
        let fds = [job.letter.as_fd(), job.out.as_fd()];
        match brood.hand_over(serial, &job.payload, &fds) {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                poll::ready(&[brood.fd()], Interest::WRITE, Some(ROOM))?;
                brood.hand_over(serial, &job.payload, &fds)?;
            }
            handed => handed?,
        }
        Ok(number)
    }

    /// The current one takes no more jobs.
    fn retire(&mut self) {
        self.retired.extend(self.current.take());
    }

    /// The deliveries that have ended: by themselves, or because their clean parent is gone.
    pub(super) fn endings(&mut self) -> Vec<(u32, Ending)> {
        let mut endings = Vec::new();
        let numbers: Vec<u64> = self.current.iter().chain(&self.retired).map(|b| b.0).collect();
        for number in numbers {
            while let Some(event) = self.next(number, &mut endings) {
                self.heed(number, event, &mut endings);
            }
        }
        endings
    }

    /// The next event of one clean parent; if it is gone, nobody sees the ends of its children,
    /// which may yet hand their letters over.
    fn next(&mut self, number: u64, endings: &mut Vec<(u32, Ending)>) -> Option<Event> {
        let mut all = self.current.iter().chain(&self.retired);
        let (_, brood) = all.find(|(n, _)| *n == number)?;
        if let Ok(event) = brood.next() {
            return event;
        }
        self.current.take_if(|(n, _)| *n == number);
        self.retired.retain(|(n, _)| *n != number);
        let lost = self.given.extract_if(.., |_, given| given.brood == number);
        endings.extend(lost.map(|(_, given)| (given.slot, Ending::Lost)));
        None
    }

    fn heed(&mut self, number: u64, event: Event, endings: &mut Vec<(u32, Ending)>) {
        match event {
            Event::Started { serial, .. } => {
                if let Some(given) = self.given.get_mut(&serial) {
                    given.job = None;
                }
            }
            Event::Ended { serial, status } => {
                let given = self.given.remove(&serial);
                endings.extend(given.map(|given| (given.slot, Ending::Known(status))));
            }
            Event::Refused { serial, .. } => self.refused(serial, endings),
            Event::Retired => {
                if self.current.as_ref().is_some_and(|(n, _)| *n == number) {
                    self.retire();
                }
            }
        }
    }

    /// Offers a refused job to another clean parent, but not for ever.
    fn refused(&mut self, serial: u64, endings: &mut Vec<(u32, Ending)>) {
        let Some(Given { slot, brood, offers, job }) = self.given.remove(&serial) else { return };
        if self.current.as_ref().is_some_and(|(n, _)| *n == brood) {
            self.retire();
        }
        let again = match job.filter(|_| offers < OFFERS) {
            Some(job) => self.offer(job, offers.saturating_add(1)).is_ok(),
            None => false,
        };
        if !again {
            endings.push((slot, Ending::Known(Status::Exited(111))));
        }
    }
}
