//! The loop: hear everybody, write what they said in one piece, sync once, answer all.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use base::limits;
use base::outcome::Outcome;
use base::wire::queue::Answer;
use store::disk::kernel::Kernel;
use store::queue::{Queue, Trouble};
use sys::poll::{Event, Interest, Poller};
use sys::signal::Signals;

use super::client::Client;
use super::crowd::ROUND;
use super::rights::Rules;
use super::warnings::Warnings;

/// Tokens below this are not clients.
pub(super) const LISTENER: u64 = 0;
const SIGNALS: u64 = 1;
const FIRST_CLIENT: u64 = 2;
/// Notes that nobody waits for are on disk after this time at the latest.
const LINGER: Duration = Duration::from_millis(100);
/// How often more events are asked for before a turn's batch is written.
const GATHER: u32 = 8;

pub(super) const DISK_FULL: &[u8] = b"qq write error or disk full (#4.3.0)";
pub(super) const TROUBLE: &[u8] = b"qq trouble creating files in queue (#4.3.0)";

/// Why the loop ended.
#[derive(Debug)]
pub(super) enum End {
    /// Asked to.
    Asked,
    /// The log cannot be written or synced.
    Broken(Trouble),
    /// The kernel would not wait for events.
    Poll(io::Error),
}

/// What one turn has gathered.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Somebody waits for the disk.
    pub(super) sync: bool,
    /// The log was appended to.
    pub(super) busy: bool,
    /// Clients with answers held back until the log is written.
    pub(super) held: Vec<u64>,
}

pub(super) struct Server {
    pub(super) queue: Queue<Kernel>,
    pub(super) rules: Rules,
    pub(super) turn: Turn,
    pub(super) follower: Option<u64>,
    pub(super) poller: Poller,
    pub(super) listener: OwnedFd,
    signals: Signals,
    pub(super) clients: BTreeMap<u64, Client>,
    /// Clients to hold at once.
    pub(super) most: usize,
    pub(super) next_token: u64,
    /// Bytes that the clients in the map make us hold.
    pub(super) weight: usize,
    /// Clients to which a list is being sent.
    pub(super) streaming: BTreeSet<u64>,
    /// Clients that said more than was heard.
    pub(super) stalled: BTreeSet<u64>,
    /// Since when written notes wait for a sync.
    unsynced: Option<Duration>,
    pub(super) deaf_until: Option<Duration>,
    pub(super) next_round: Duration,
    warnings: Warnings,
    /// The disk was full the last time something was tried.
    full: bool,
}

impl Server {
    pub(super) fn new(
        queue: Queue<Kernel>,
        rules: Rules,
        listener: OwnedFd,
        signals: Signals,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        sys::fd::set_nonblocking(&listener, true)?;
        poller.add(&listener, LISTENER, Interest::READ)?;
        poller.add(&signals, SIGNALS, Interest::READ)?;
        Ok(Self {
            queue,
            rules,
            turn: Turn::default(),
            follower: None,
            poller,
            listener,
            signals,
            clients: BTreeMap::new(),
            most: limits::QUEUED_CLIENTS,
            next_token: FIRST_CLIENT,
            weight: 0,
            streaming: BTreeSet::new(),
            stalled: BTreeSet::new(),
            unsynced: None,
            deaf_until: None,
            next_round: Duration::ZERO,
            warnings: Warnings::default(),
            full: false,
        })
    }

    /// Runs until told to stop or until nothing can be promised any more.
    pub(super) fn run(mut self) -> End {
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return self.stop(),
                Err(End::Broken(trouble)) => {
                    self.refuse_waiting();
                    return End::Broken(trouble);
                }
                Err(end) => return end,
            }
        }
    }

    /// Writes and answers what this turn has taken: a client cut off before its answer would hand
    /// in again a letter that is in the queue.
    pub(super) fn stop(&mut self) -> End {
        self.turn.sync = true;
        match self.settle() {
            Ok(()) => End::Asked,
            Err(trouble) => {
                self.refuse_waiting();
                End::Broken(trouble)
            }
        }
    }

    /// One turn; false if a signal asked to stop.
    fn turn(&mut self) -> Result<bool, End> {
        for token in std::mem::take(&mut self.stalled) {
            self.resume(token).map_err(End::Broken)?;
        }
        let mut events = Vec::new();
        let mut limit = if self.turn.held.is_empty() { self.patience() } else { Duration::ZERO };
        for _ in 0..GATHER {
            self.poller.wait(&mut events, Some(limit)).map_err(End::Poll)?;
            if events.is_empty() {
                break;
            }
            for event in &events {
                if !self.event(*event)? {
                    return Ok(false);
                }
            }
            limit = Duration::ZERO;
        }
        self.settle().map_err(End::Broken)?;
        self.round();
        Ok(true)
    }

    /// How long nothing needs to be done by itself.
    fn patience(&self) -> Duration {
        let now = sys::clock::monotonic();
        let sync = self.unsynced.map(|since| since.saturating_add(LINGER));
        let times = [sync, self.deaf_until, Some(self.next_round)];
        times.into_iter().flatten().min().map_or(ROUND, |at| at.saturating_sub(now))
    }

    fn event(&mut self, event: Event) -> Result<bool, End> {
        match event.token {
            LISTENER => self.accept(),
            SIGNALS => return Ok(!matches!(self.signals.next(), Ok(Some(_)))),
            token => self.client_event(token, event).map_err(End::Broken)?,
        }
        Ok(true)
    }

    /// Keeps an answer back until this turn's records are written.
    pub(super) fn hold(&mut self, token: u64, client: &mut Client, answer: &Answer<'_>) {
        if client.held.is_empty() {
            self.turn.held.push(token);
        }
        client.held.push(answer);
    }

    /// Writes and, if somebody waits for it, syncs; then lets the answers go.
    fn settle(&mut self) -> Result<(), Trouble> {
        let now = sys::clock::monotonic();
        let late = self.unsynced.is_some_and(|since| now.saturating_sub(since) >= LINGER);
        if self.turn.sync || late {
            self.queue.commit()?;
        } else if self.turn.busy {
            self.queue.flush()?;
        }
        self.unsynced = if self.queue.is_dirty() { self.unsynced.or(Some(now)) } else { None };
        let Turn { busy, held, .. } = std::mem::take(&mut self.turn);
        for token in held {
            self.with_client(token, |client| {
                client.promises = 0;
                client.out.take(&mut client.held);
            });
        }
        self.feed();
        if busy || self.full {
            self.tend(now)?;
        }
        Ok(())
    }

    /// Quiet work on the log.
    fn tend(&mut self, now: Duration) -> Result<(), Trouble> {
        match self.queue.tend() {
            Ok(_) => {}
            Err(Trouble::Full(error)) => self.say_full(Some(&error)),
            Err(broken) => return Err(broken),
        }
        if self.queue.is_dirty() && self.unsynced.is_none() {
            self.unsynced = Some(now);
        }
        Ok(())
    }

    /// Warns of what a client brought about, but does not let it fill the log.
    pub(super) fn warn(&mut self, what: std::fmt::Arguments<'_>) {
        if let Some(line) = self.warnings.line(sys::clock::monotonic(), what) {
            log(format_args!("{line}"));
        }
    }

    /// Says how many warnings were left out.
    pub(super) fn warn_of_rest(&mut self, now: Duration) {
        if let Some(line) = self.warnings.rest(now) {
            log(format_args!("{line}"));
        }
    }

    /// Says once that the disk is full, and once that it is not.
    pub(super) fn say_full(&mut self, error: Option<&io::Error>) {
        match error {
            Some(error) if !self.full => log(format_args!(
                "alert: new letters are refused, there is no room for the queue: {}",
                sys::errno::text(error)
            )),
            None if self.full => log(format_args!("there is room again; letters are accepted")),
            _ => {}
        }
        self.full = error.is_some();
    }

    /// Nothing can be promised any more: who waits for a promise hears `Z`.
    fn refuse_waiting(&mut self) {
        for token in std::mem::take(&mut self.turn.held) {
            self.with_client(token, |client| {
                for _ in 0..client.promises {
                    client.out.push(&Answer::Refused(Outcome::Later, TROUBLE));
                }
            });
        }
    }
}

/// One line for the log.
pub(super) fn log(line: std::fmt::Arguments<'_>) {
    let line = format!("qmail-queued: {line}\n");
    // There is nowhere to complain about a lost log.
    let _ = sys::fd::write_all(io::stderr(), line.as_bytes());
}
