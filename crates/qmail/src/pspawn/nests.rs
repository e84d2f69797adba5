//! Clean parents of qmail-pop3d, one for each account that reads its mail just now: each runs as
//! its user from the start, is handed the connections of that user only, and goes when it has had
//! nothing to do for a while. A session then costs a fork and no exec.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use base::limits;
use store::home::Home;
use store::users::Account;
use sys::brood::{Brood, Event};
use sys::signal::{self, Signal};
use sys::spawn::{Command, Status};

use super::child::environment;
use super::crowd::Key;

/// How long a clean parent waits for its account's next session.
const IDLE: Duration = Duration::from_secs(60);
/// How long a clean parent may leave a job untaken: it takes milliseconds, unless its user's home
/// does not answer or somebody has stopped it.
pub(super) const UNTAKEN: Duration = Duration::from_secs(20);

/// A mailbox to be opened.
#[derive(Debug)]
pub(super) struct Job {
    /// Who waits for the answer.
    pub(super) peer: u64,
    pub(super) account: Account,
    pub(super) connection: OwnedFd,
    /// Clean parents that did not take it.
    pub(super) tries: u32,
    /// Since when it waits for the one it is handed to.
    pub(super) since: Duration,
}

/// What became of a job or a session.
#[derive(Debug)]
pub(super) enum News {
    /// A child serves it.
    Served { peer: u64 },
    /// It must be handed over again. If `stillborn`, the clean parent died before it was ready.
    Again { job: Job, stillborn: bool },
    /// A session of this account is over.
    Closed(Key),
    /// A session was ended by a signal.
    Crashed { signal: u8, user: Vec<u8> },
}

/// The clean parent of one account.
#[derive(Debug)]
struct Nest {
    brood: Brood,
    key: Key,
    user: Vec<u8>,
    /// It takes new jobs: it is not retiring.
    takes: bool,
    jobs: BTreeMap<u64, Job>,
    sessions: usize,
    /// Since when it has nothing to do.
    since: Duration,
}

/// What tells one account from all others: all of it.
pub(super) fn key(account: &Account) -> Key {
    let (uid, gid) = (account.uid.to_le_bytes(), account.gid.to_le_bytes());
    [&uid[..], &gid, &account.user, b"\0", &account.home].concat()
}

/// All of them, by number.
#[derive(Debug, Default)]
pub(super) struct Nests {
    nests: BTreeMap<u64, Nest>,
    by_key: BTreeMap<Key, u64>,
    serial: u64,
}

impl Nests {
    /// Hands a job to its account's clean parent.
    ///
    /// # Errors
    /// The job, if there is none (`NotFound`), or if it cannot take it.
    pub(super) fn hand_over(&mut self, job: Job) -> Result<(), Box<(Job, io::Error)>> {
        let key = key(&job.account);
        let Some(nest) = self.by_key.get(&key).and_then(|number| self.nests.get_mut(number)) else {
            return Err(Box::new((job, io::ErrorKind::NotFound.into())));
        };
        match nest.brood.hand_over(self.serial, b"", &[job.connection.as_fd()]) {
            Ok(()) => {
                nest.jobs.insert(self.serial, job);
                self.serial = self.serial.wrapping_add(1);
                Ok(())
            }
            Err(err) => {
                if err.kind() != io::ErrorKind::WouldBlock {
                    nest.takes = false;
                    self.by_key.remove(&key);
                }
                Err(Box::new((job, err)))
            }
        }
    }

    /// Starts an account's clean parent, to be known by `number`; its socket.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(
        &mut self,
        home: &Home,
        account: &Account,
        number: u64,
        now: Duration,
    ) -> io::Result<impl AsFd> {
        let mut command = Command::new(home.path("bin/qmail-pop3d")).argv0("qmail-pop3d");
        command = command.arg("Maildir").env_clear().ids(account.ids());
        for (name, value) in environment(home, account) {
            command = command.env(name, value);
        }
        let (brood, key) = (Brood::start(command)?, key(account));
        let (user, jobs) = (account.user.clone(), BTreeMap::new());
        self.by_key.insert(key.clone(), number);
        let nest = Nest { brood, key, user, takes: true, jobs, sessions: 0, since: now };
        let nest = self.nests.entry(number).insert_entry(nest).into_mut();
        Ok(nest.brood.fd())
    }

    /// Puts everything a clean parent has to say into `news`.
    pub(super) fn hear(&mut self, number: u64, now: Duration, news: &mut Vec<News>) {
        let Some(nest) = self.nests.get_mut(&number) else { return };
        loop {
            match nest.brood.next() {
                Ok(Some(event)) => nest.note(event, now, news),
                Ok(None) => break,
                Err(_) => return self.bury(number, news),
            }
        }
        if !nest.takes {
            let idle = nest.is_idle();
            if self.by_key.get(&nest.key) == Some(&number) {
                self.by_key.remove(&nest.key);
            }
            if idle {
                self.bury(number, news);
            }
        }
    }

    /// A clean parent is gone, or may go. Its children serve on, and are not counted any more.
    fn bury(&mut self, number: u64, news: &mut Vec<News>) {
        let Some(nest) = self.nests.remove(&number) else { return };
        if self.by_key.get(&nest.key) == Some(&number) {
            self.by_key.remove(&nest.key);
        }
        let stillborn = !nest.brood.ready();
        news.extend(nest.jobs.into_values().map(|job| News::Again { job, stillborn }));
        news.extend((0..nest.sessions).map(|_| News::Closed(nest.key.clone())));
    }

    /// Lets go those that have had nothing to do for long, and the longest idle ones of too many.
    pub(super) fn thin_out(&mut self, now: Duration) {
        let idle = self.nests.iter().filter(|(_, nest)| nest.is_idle());
        let mut idle: Vec<_> = idle.map(|(number, nest)| (nest.since, *number)).collect();
        idle.sort_unstable();
        let many = idle.len().saturating_sub(limits::POP3_PARENTS_IDLE);
        for (n, (since, number)) in idle.into_iter().enumerate() {
            if n < many || now.saturating_sub(since) > IDLE {
                self.bury(number, &mut Vec::new());
            }
        }
    }

    /// Ends the clean parents that leave jobs untaken, or the programs that wait for these would
    /// wait for ever, until there is no place for others. What was handed over dies with them, so
    /// that nobody is served twice.
    pub(super) fn give_up(&mut self, now: Duration, news: &mut Vec<News>) {
        let stuck =
            |nest: &Nest| nest.jobs.values().any(|job| now.saturating_sub(job.since) > UNTAKEN);
        let numbers = self.nests.iter().filter(|(_, nest)| stuck(nest)).map(|(number, _)| *number);
        for number in numbers.collect::<Vec<_>>() {
            // One that has ended has said so: its pid may be another's by now.
            self.hear(number, now, news);
            if let Some(nest) = self.nests.get(&number).filter(|nest| stuck(nest)) {
                let _ = signal::kill(nest.brood.pid(), Signal::Kill);
                self.bury(number, news);
            }
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.nests.is_empty()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.nests.len()
    }
}

impl Nest {
    fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.sessions == 0
    }

    fn note(&mut self, event: Event, now: Duration, news: &mut Vec<News>) {
        match event {
            Event::Started { serial, .. } => {
                let Some(job) = self.jobs.remove(&serial) else { return };
                self.sessions = self.sessions.saturating_add(1);
                news.push(News::Served { peer: job.peer });
            }
            Event::Ended { status, .. } => {
                self.sessions = self.sessions.saturating_sub(1);
                self.since = now;
                news.push(News::Closed(self.key.clone()));
                match status {
                    Status::Exited(0) => {}
                    // A session that could not be: perhaps the next clean parent finds what this
                    // one does not.
                    Status::Exited(_) => self.takes = false,
                    Status::Killed(signal) => {
                        news.push(News::Crashed { signal, user: self.user.clone() });
                    }
                }
            }
            Event::Refused { serial, .. } => {
                let job = self.jobs.remove(&serial);
                news.extend(job.map(|job| News::Again { job, stillborn: false }));
            }
            Event::Retired => self.takes = false,
        }
    }
}
