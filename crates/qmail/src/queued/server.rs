//! The loop: hear everybody, write what they said in one piece, have it synced, answer those who
//! waited for it. It never stands still for the disk: see `helper`.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use base::limits;
use base::outcome::Outcome;
use base::wire::queue::Answer;
use store::disk::kernel::Kernel;
use store::queue::{Left, Queue, Trouble};
use sys::poll::{Event, Interest, Poller};
use sys::signal::Signals;

use super::client::{Client, Until};
use super::crowd::{PIECE, ROUND};
use super::gather::Gather;
use super::helper::Bell;
use super::rights::Rules;
use super::slots::Slots;
use super::warnings::{Refused, Room, Warnings};
use crate::leaving::Leaving;

/// Tokens that are not clients.
pub(super) const LISTENER: u64 = 0;
const SIGNALS: u64 = 1;
const BELL: u64 = 2;
/// Notes that nobody waits for are on disk after this time at the latest.
const LINGER: Duration = Duration::from_millis(100);
/// Time between two steps of carrying forward.
const STROLL: Duration = Duration::from_millis(5);
/// Time between two attempts to make a spare segment on a full disk.
const SIGH: Duration = Duration::from_secs(1);

pub(super) const DISK_FULL: &[u8] = b"qq write error or disk full (#4.3.0)";
pub(super) const REFUSAL: Answer<'static> = Answer::Refused(Outcome::Later, TROUBLE);
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

pub(super) struct Server {
    pub(super) queue: Queue<Kernel>,
    pub(super) rules: Rules,
    pub(super) follower: Option<u64>,
    /// Letters let go that the follower has been led past; whether it may have known them.
    pub(super) released: VecDeque<(u64, bool)>,
    pub(super) poller: Poller,
    pub(super) listener: OwnedFd,
    /// Where the listener's name is.
    pub(super) door: Option<PathBuf>,
    /// Told to stop, and on the way out.
    pub(super) leaving: Option<Leaving>,
    signals: Signals,
    /// Rings when work given away is done; none in a test.
    bell: Option<Bell>,
    pub(super) clients: Slots,
    /// Clients to hold at once.
    pub(super) most: usize,
    /// Clients that have handed in a letter.
    pub(super) handing_in: usize,
    /// Bytes that the clients in their places make us hold.
    pub(super) weight: usize,
    /// Room for what is read at a time.
    pub(super) piece: Vec<u8>,
    /// Clients to which a list is being sent.
    pub(super) streaming: Vec<u64>,
    /// One of them would take more at once.
    more_to_feed: bool,
    /// Clients that said more than was heard.
    pub(super) stalled: BTreeSet<u64>,
    /// The log was appended to since it was tended.
    pub(super) busy: bool,
    /// Clients with answers held back until the log is written.
    awaiting_write: Vec<u64>,
    /// Clients with answers held back until the log is on disk up to a record.
    awaiting_sync: VecDeque<(u64, u64)>,
    pub(super) gather: Gather,
    /// Since when written notes wait for a sync.
    unsynced: Option<Duration>,
    pub(super) deaf_until: Option<Duration>,
    pub(super) next_round: Duration,
    /// When the log is to be tended though nothing happens.
    next_tending: Option<Duration>,
    warnings: Warnings,
    /// The disk was full the last time something was tried.
    full: bool,
    /// What has been said of that.
    room: Room,
}

impl Server {
    pub(super) fn new(
        queue: Queue<Kernel>,
        rules: Rules,
        listener: OwnedFd,
        signals: Signals,
        bell: Option<Bell>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        sys::fd::set_nonblocking(&listener, true)?;
        poller.add(&listener, LISTENER, Interest::READ)?;
        poller.add(&signals, SIGNALS, Interest::READ)?;
        if let Some(bell) = &bell {
            poller.add(bell, BELL, Interest::READ)?;
        }
        Ok(Self {
            queue,
            rules,
            follower: None,
            released: VecDeque::new(),
            poller,
            listener,
            door: None,
            leaving: None,
            signals,
            bell,
            clients: Slots::default(),
            most: limits::QUEUED_CLIENTS,
            handing_in: 0,
            weight: 0,
            piece: vec![0; PIECE],
            streaming: Vec::new(),
            more_to_feed: false,
            stalled: BTreeSet::new(),
            busy: false,
            awaiting_write: Vec::new(),
            awaiting_sync: VecDeque::new(),
            gather: Gather::default(),
            unsynced: None,
            deaf_until: None,
            next_round: Duration::ZERO,
            next_tending: Some(Duration::ZERO),
            warnings: Warnings::default(),
            full: false,
            room: Room::default(),
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

    /// Writes and answers what has been taken: a client cut off before its answer would hand in
    /// again a letter that is in the queue.
    pub(super) fn stop(&mut self) -> End {
        match self.queue.commit() {
            Ok(()) => {
                self.release_written();
                self.release_synced();
                End::Asked
            }
            Err(trouble) => {
                self.refuse_waiting();
                End::Broken(trouble)
            }
        }
    }

    /// One turn; false if it was the last: a signal has asked to stop, and nobody is in the middle
    /// of something, or it has asked twice.
    fn turn(&mut self) -> Result<bool, End> {
        for token in std::mem::take(&mut self.stalled) {
            self.resume(token).map_err(End::Broken)?;
        }
        let mut events = Vec::new();
        let at_once = self.more_to_feed || !self.stalled.is_empty();
        let limit = if at_once { Duration::ZERO } else { self.patience() };
        let limit = if self.leaving.is_some() { limit.min(Leaving::patience()) } else { limit };
        self.poller.wait(&mut events, Some(limit)).map_err(End::Poll)?;
        for event in &events {
            if !self.event(*event)? {
                return Ok(false);
            }
        }
        self.settle().map_err(End::Broken)?;
        self.round();
        Ok(!self.may_leave(!events.is_empty()))
    }

    /// How long nothing needs to be done by itself.
    fn patience(&self) -> Duration {
        let now = sys::clock::monotonic();
        let sync = self.unsynced.map(|since| since.saturating_add(LINGER));
        let gathered = self.gather.deadline();
        // While a sync is under way the bell tells when the next may begin.
        let sync = [sync, gathered].into_iter().flatten().min();
        let sync = sync.filter(|_| !self.queue.is_syncing());
        let times = [sync, self.deaf_until, self.next_tending, Some(self.next_round)];
        times.into_iter().flatten().min().map_or(ROUND, |at| at.saturating_sub(now))
    }

    fn event(&mut self, event: Event) -> Result<bool, End> {
        match event.token {
            LISTENER => self.accept(),
            SIGNALS => {
                let asked = matches!(self.signals.next(), Ok(Some(_)));
                if asked && self.leaving.is_some() {
                    return Ok(false);
                }
                if asked {
                    self.begin_to_leave();
                }
            }
            BELL => self.hear_bell().map_err(End::Broken)?,
            token => self.client_event(token, event).map_err(End::Broken)?,
        }
        Ok(true)
    }

    /// Work given away is done.
    fn hear_bell(&mut self) -> Result<(), Trouble> {
        if let Some(bell) = &self.bell {
            bell.heard();
        }
        let before = self.queue.synced();
        while let Err(trouble) = self.queue.poll() {
            let Trouble::Full(_) = trouble else { return Err(trouble) };
            // It was a spare, made ahead of need: nobody has been refused anything for it.
            self.full = true;
            self.next_tending = Some(sys::clock::monotonic().saturating_add(SIGH));
        }
        if self.queue.synced() > before {
            self.gather.landed();
            self.release_synced();
        }
        for news in self.queue.take_secured() {
            self.secured(news)?;
        }
        for Left { file, error } in self.queue.take_left() {
            let (file, why) = (file.display(), sys::errno::text(&error));
            log(format_args!(
                "warning: unable to remove queue/{file}, a spare file of the log: {why}; it stays \
                 until qmail-queued starts again"
            ));
        }
        Ok(())
    }

    /// Keeps an answer back until the log has come so far, behind those that wait already. An
    /// answer for [`Until::Now`] that waits for no other goes out with this turn.
    pub(super) fn hold(
        &mut self,
        token: u64,
        client: &mut Client,
        until: Until,
        answer: Answer<'static>,
    ) {
        self.hold_with(token, client, until, answer, None);
    }

    /// The same of an answer that may carry a descriptor.
    pub(super) fn hold_with(
        &mut self,
        token: u64,
        client: &mut Client,
        until: Until,
        answer: Answer<'static>,
        fd: Option<OwnedFd>,
    ) {
        client.hold(until, answer, fd);
        match until {
            Until::Now => {}
            Until::Written(_) => {
                if self.awaiting_write.last() != Some(&token) {
                    self.awaiting_write.push(token);
                }
            }
            // What is on disk already is not waited for: no sync would ever begin for it.
            Until::Synced(at) if at <= self.queue.synced() => {}
            Until::Synced(at) => {
                self.awaiting_sync.push_back((at, token));
                self.gather.came(sys::clock::monotonic());
            }
        }
        client.release(self.queue.written(), self.queue.synced());
    }

    /// Writes what somebody waits for; begins a sync if it is time; tends the log.
    pub(super) fn settle(&mut self) -> Result<(), Trouble> {
        // The queue itself has waited for a sync, as it does when it has no room: the bell does not
        // tell of it any more.
        if self.awaiting_sync.front().is_some_and(|(at, _)| *at <= self.queue.synced()) {
            self.release_synced();
            if self.awaiting_sync.is_empty() {
                self.gather.begun();
            }
        }
        if !self.awaiting_write.is_empty() {
            self.queue.flush()?;
            self.release_written();
        }
        let now = sys::clock::monotonic();
        let late = self.unsynced.is_some_and(|since| now.saturating_sub(since) >= LINGER);
        if (late || self.gather.is_time(now, self.handing_in)) && self.queue.begin_sync()? {
            self.gather.begun();
            self.unsynced = None;
        }
        self.unsynced = if self.queue.is_dirty() { self.unsynced.or(Some(now)) } else { None };
        self.more_to_feed = self.feed();
        let due = self.next_tending.is_some_and(|at| now >= at);
        if due || (self.busy && !self.full) {
            self.tend(now)?;
        }
        Ok(())
    }

    /// Answers those who waited for the log to be written.
    fn release_written(&mut self) {
        let (written, synced) = (self.queue.written(), self.queue.synced());
        let mut waiting = std::mem::take(&mut self.awaiting_write);
        waiting.retain(|&token| {
            self.with_client(token, |client| client.release(written, synced));
            self.clients.get_mut(token).is_some_and(|client| client.waits_for_write(written))
        });
        self.awaiting_write.append(&mut waiting);
    }

    /// Answers those who waited for the disk.
    fn release_synced(&mut self) {
        let (written, synced) = (self.queue.written(), self.queue.synced());
        while let Some((_, token)) = self.awaiting_sync.pop_front_if(|(at, _)| *at <= synced) {
            self.with_client(token, |client| client.release(written, synced));
        }
    }

    /// Quiet work on the log.
    fn tend(&mut self, now: Duration) -> Result<(), Trouble> {
        self.busy = false;
        self.next_tending = None;
        match self.queue.tend() {
            Ok(more) => {
                self.full = false;
                self.next_tending = more.then(|| now.saturating_add(STROLL));
            }
            Err(Trouble::Full(_)) => self.full = true,
            Err(broken) => return Err(broken),
        }
        if self.full {
            self.next_tending = Some(now.saturating_add(SIGH));
        }
        if self.queue.is_dirty() && self.unsynced.is_none() {
            self.unsynced = Some(now);
        }
        Ok(())
    }

    /// The log is to be tended in the next turn, whatever happens.
    pub(super) fn tend_soon(&mut self) {
        self.next_tending = self.next_tending.or(Some(Duration::ZERO));
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

    /// Says that something was refused because the disk is full.
    pub(super) fn refused(&mut self, what: Refused, error: &io::Error) {
        self.full = true;
        let why = sys::errno::text(error);
        if let Some(line) = self.room.refused(sys::clock::monotonic(), what, why) {
            log(format_args!("{line}"));
        }
    }

    /// Says, if it was said that letters are refused, that one has been accepted.
    pub(super) fn accepted(&mut self) {
        if let Some(line) = self.room.accepted() {
            log(format_args!("{line}"));
        }
    }

    /// Nothing can be promised any more: who waits for a promise hears `Z`.
    fn refuse_waiting(&mut self) {
        let waiting = self.awaiting_sync.drain(..).map(|(_, token)| token);
        let waiting: BTreeSet<u64> = waiting.chain(self.awaiting_write.drain(..)).collect();
        for token in waiting {
            self.with_client(token, |client| client.refuse(&REFUSAL));
        }
    }
}

/// One line for the log.
pub(super) fn log(line: std::fmt::Arguments<'_>) {
    let line = format!("qmail-queued: {line}\n");
    sys::log::put(io::stderr(), line.as_bytes());
}
