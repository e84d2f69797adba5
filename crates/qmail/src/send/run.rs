//! The loop: hear what happened, step, carry out. It decides nothing.

mod hear;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use base::event::{Alert, Channel, Event as Log, Warning};
use letter::bounce::Names;
use store::control::Control;
use store::home::Home;
use sys::clock;
use sys::poll::{Interest, Poller};
use sys::signal::Signals;

use super::courier::{Courier, Errand};
use super::helper::Helper;
use super::letters::Known;
use super::link::Link;
use super::pipe::Inlet;
use super::schedule::{Actions, Bounced, Event, Rules, Schedule};
use super::settings::Settings;

/// What a descriptor in the poller is. Each helper has two: what it says, then what it is told.
const SIGNALS: u64 = 0;
const QUEUED: u64 = 1;
const LOCAL: u64 = 2;
const LOCAL_COMMANDS: u64 = 3;
const REMOTE: u64 = 4;
const REMOTE_COMMANDS: u64 = 5;
const CLEAN: u64 = 6;
const CLEAN_REQUESTS: u64 = 7;
/// The bounce of letter N has this much more than N.
const BOUNCES: u64 = 16;

/// The longest wait: the wall clock may be set while we sleep.
const NAP: Duration = Duration::from_secs(60);
/// The wall clock may go astray from the other by this much before we say that it was set.
const ASTRAY: i64 = 60_000_000;
/// After TERM, and with every delivery ended, how long queued may take to write the last notes.
const GRACE: Duration = Duration::from_secs(30);

/// What qmail-start and the kernel gave us.
#[derive(Debug)]
pub(super) struct Wiring {
    /// Commands to, and reports from, `qmail-lspawn` and `qmail-rspawn`.
    pub(super) spawners: [(OwnedFd, Inlet); 2],
    /// Requests to, and answers from, `qmail-clean`.
    pub(super) clean: (OwnedFd, Inlet),
    /// TERM, ALRM, HUP.
    pub(super) signals: Signals,
    /// Held as long as we live.
    pub(super) mutex: File,
}

/// The running program.
#[derive(Debug)]
pub(super) struct Run {
    home: Home,
    control: Control,
    names: Names,
    schedule: Schedule,
    out: Actions,
    /// What is being carried out.
    doing: Actions,
    /// How far the wall clock is ahead of the time since boot, microseconds.
    ahead: i64,
    poller: Poller,
    signals: Signals,
    spawners: [Helper; 2],
    clean: Helper,
    /// Letters qmail-clean has yet to answer for, in order.
    asked: VecDeque<Known>,
    link: Link,
    couriers: Vec<(Known, Courier)>,
    /// What to exit with, and by when at the latest (since boot), once we are to end.
    ending: Option<(i32, Option<Duration>)>,
    _mutex: File,
}

impl Run {
    /// Everything in place, nothing done yet.
    ///
    /// # Errors
    /// The kernel refuses a descriptor.
    pub(super) fn new(
        home: Home,
        control: Control,
        settings: Settings,
        limits: [u32; 2],
        wiring: Wiring,
    ) -> io::Result<Self> {
        let Wiring { spawners: [local, remote], clean, signals, mutex } = wiring;
        let poller = Poller::new()?;
        poller.add(&signals, SIGNALS, Interest::READ)?;
        let mut out = Actions::default();
        let Settings { routing, policy, lifetime, names, .. } = settings;
        let seed = sys::random::number()?;
        let discards_doubles = names.double_to.is_empty();
        let rules = Rules { routing, policy, limits, lifetime, discards_doubles, seed };
        let schedule = Schedule::new(rules, &mut out);
        let link = Link::new(home.path("queue/queued"), QUEUED, clock::monotonic());
        let spawners = [Helper::new(local, LOCAL, &poller)?, Helper::new(remote, REMOTE, &poller)?];
        let clean = Helper::new(clean, CLEAN, &poller)?;
        let (asked, couriers) = (VecDeque::new(), Vec::new());
        let (ending, _mutex) = (None, mutex);
        let (doing, ahead) = (Actions::default(), ahead());
        Ok(Self {
            home,
            control,
            names,
            schedule,
            out,
            doing,
            ahead,
            poller,
            signals,
            spawners,
            clean,
            asked,
            link,
            couriers,
            ending,
            _mutex,
        })
    }

    /// Runs until TERM, or until a helper is lost; the exit code.
    pub(super) fn run(mut self) -> i32 {
        let mut events = Vec::new();
        loop {
            self.carry_out();
            if let Some(code) = self.ended() {
                self.log(Log::Exiting);
                super::say(&self.out.log);
                return code;
            }
            if self.poller.wait(&mut events, Some(self.nap())).is_err() {
                self.log(Log::Warning(Warning::Select));
                clock::sleep(Duration::from_secs(1));
            }
            self.look_at_the_clock();
            for event in &events {
                self.hear(*event);
            }
            if self.link.mend(&self.poller, clock::monotonic()) {
                self.log(Log::Alert(Alert::NoQueued));
            }
            self.step(Event::Wake);
        }
    }

    fn step(&mut self, event: Event<'_>) {
        self.schedule.step(event, clock::now(), &mut self.out);
    }

    /// Sleep shorter than [`NAP`] sees to it that a clock that was set is noticed.
    fn look_at_the_clock(&mut self) {
        let ahead = ahead();
        let by = ahead.saturating_sub(self.ahead);
        if by.abs() > ASTRAY {
            self.ahead = ahead;
            self.step(Event::Jumped(by));
        }
    }

    fn log(&mut self, event: Log<'_>) {
        event.encode(&mut self.out.log);
    }

    /// How long nothing but an event can change anything.
    fn nap(&self) -> Duration {
        let now = clock::now();
        let wake = self.schedule.wake().map(|due| Duration::from_micros(due.since(now)));
        let time = clock::monotonic();
        let mend = self.link.due().map(|due| due.saturating_sub(time));
        let end = self.ending.and_then(|(_, by)| by).map(|by| by.saturating_sub(time));
        [wake, mend, end].into_iter().flatten().fold(NAP, Duration::min)
    }

    /// The exit code if all is done that can be done.
    fn ended(&mut self) -> Option<i32> {
        let (code, by) = self.ending?;
        if self.schedule.over(clock::now()) || (code != 0 && self.schedule.quiet()) {
            return Some(code);
        }
        if self.schedule.busy() {
            return None; // a running delivery is always heard out
        }
        let time = clock::monotonic();
        let by = by.unwrap_or_else(|| time.saturating_add(GRACE));
        self.ending = Some((code, Some(by)));
        (time >= by).then_some(code)
    }

    fn end(&mut self, code: i32) {
        let (before, by) = self.ending.unwrap_or((0, None));
        self.ending = Some((before.max(code), by));
    }
}

/// How far the wall clock is ahead of the time since boot, microseconds.
fn ahead() -> i64 {
    let time = i64::try_from(clock::monotonic().as_micros()).unwrap_or(i64::MAX);
    i64::try_from(clock::now().micros()).unwrap_or(i64::MAX).saturating_sub(time)
}

fn spawner(spawners: &mut [Helper; 2], channel: Channel) -> &mut Helper {
    let [local, remote] = spawners;
    match channel {
        Channel::Local => local,
        Channel::Remote => remote,
    }
}

/// What to do.
impl Run {
    fn carry_out(&mut self) {
        loop {
            let mut out = std::mem::replace(&mut self.out, std::mem::take(&mut self.doing));
            super::say(&out.log);
            for (channel, frames) in Channel::BOTH.into_iter().zip(&out.deliver) {
                if spawner(&mut self.spawners, channel).tell(frames, &self.poller).is_err() {
                    self.lose_spawner(channel);
                }
            }
            if let Err(err) = self.link.push(&self.poller, &out.notes) {
                self.lose_queued(&err);
            }
            self.ask_clean(&out.clean);
            for (letter, sender) in &out.bounce {
                self.send_courier(*letter, sender);
            }
            out.clear();
            self.doing = out;
            if self.out.is_empty() {
                return;
            }
        }
    }

    fn ask_clean(&mut self, letters: &[Known]) {
        let requests: String =
            letters.iter().map(|letter| format!("foop/{}\0", letter.id)).collect();
        self.asked.extend(letters);
        if self.clean.tell(requests.as_bytes(), &self.poller).is_err() {
            self.lose_clean();
        }
    }

    fn send_courier(&mut self, known: Known, sender: &[u8]) {
        let (home, names, now, letter) = (&self.home, &self.names, clock::now(), known.id);
        let sent = Courier::send(Errand { home, names, letter, sender, now }).and_then(|courier| {
            self.poller.add(&courier, letter.saturating_add(BOUNCES), Interest::READ)?;
            Ok(courier)
        });
        match sent {
            Ok(courier) => self.couriers.push((known, courier)),
            Err(err) => {
                let why = format!("unable to start a process: {}", sys::errno::text(&err));
                self.log(Log::Warning(Warning::Bounce { letter, why: &why }));
                self.step(Event::Bounced(known, Bounced::NotStarted));
            }
        }
    }
}
