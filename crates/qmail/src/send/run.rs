//! The loop: hear what happened, step, carry out. It decides nothing.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use base::event::{Alert, Channel, Event as Log, Warning};
use base::wire::Malformed;
use base::wire::spawn::{MAX_REPORT, Report};
use letter::bounce::Names;
use store::control::Control;
use store::home::Home;
use store::users::Domains;
use sys::clock;
use sys::poll::{Event as Ready, Interest, Poller};
use sys::signal::{Signal, Signals};
use sys::spawn::{self, Status};

use super::courier::{Courier, Errand};
use super::letters::Known;
use super::link::Link;
use super::pipe::{Inlet, Outlet};
use super::policy::Policy;
use super::schedule::{self, Actions, Bounced, Event, Rules, Schedule};
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
/// How long the kernel may take to tell how a helper ended whose pipe broke.
const TOLL: Duration = Duration::from_millis(500);
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

/// A helper's two pipes; gone once one of them broke.
#[derive(Debug)]
struct Helper {
    token: u64,
    ends: Option<(Outlet, Inlet)>,
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

/// What happened.
impl Run {
    fn hear(&mut self, event: Ready) {
        match event.token {
            SIGNALS => self.hear_signals(),
            QUEUED => self.hear_queued(),
            CLEAN => self.hear_clean(),
            LOCAL => self.hear_spawner(Channel::Local),
            REMOTE => self.hear_spawner(Channel::Remote),
            LOCAL_COMMANDS if event.hangup => self.lose_spawner(Channel::Local),
            REMOTE_COMMANDS if event.hangup => self.lose_spawner(Channel::Remote),
            CLEAN_REQUESTS if event.hangup => self.lose_clean(),
            // Room to write: `carry_out` uses it.
            token if token < BOUNCES => (),
            token => self.hear_courier(token.saturating_sub(BOUNCES)),
        }
    }

    fn hear_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.next() {
            match signal {
                Signal::Alrm => self.step(Event::Hurry),
                Signal::Hup => self.reread(),
                _ => {
                    self.step(Event::Exit);
                    self.end(0);
                }
            }
        }
    }

    /// What cannot be used changes nothing.
    fn reread(&mut self) {
        if !self.home.root().is_dir() {
            return self.log(Log::Alert(Alert::RereadHome));
        }
        match Domains::load(&self.control) {
            Ok(domains) => self.step(Event::Domains(domains)),
            Err(err) => self.log(Log::Alert(Alert::Reread(&format!("{}: {err}", err.file())))),
        }
        match Policy::load(&self.control) {
            Ok(policy) => self.step(Event::Policy(policy)),
            Err(bad) => {
                self.log(Log::Alert(Alert::Reread(&format!("{}: {}", bad.file, bad.why))));
            }
        }
    }

    fn hear_queued(&mut self) {
        let (schedule, out, now) = (&mut self.schedule, &mut self.out, clock::now());
        let heard = self.link.hear(|event| schedule.step(event, now, out));
        if let Err(err) = heard {
            self.lose_queued(&err);
        }
    }

    fn lose_queued(&mut self, err: &io::Error) {
        if err.kind() == io::ErrorKind::InvalidData {
            self.log(Log::Warning(Warning::Unknown("queue/queued")));
        }
        if let Some(alert) = self.link.cut(&self.poller, clock::monotonic()) {
            self.log(Log::Alert(alert));
        }
        self.step(Event::Unlinked);
    }

    fn hear_spawner(&mut self, channel: Channel) {
        let helper = spawner(&mut self.spawners, channel);
        let (schedule, out, now) = (&mut self.schedule, &mut self.out, clock::now());
        let heard = helper.hear(|inlet| {
            inlet.frames(MAX_REPORT, |frame| {
                let event = match Report::decode(frame)? {
                    Report::Ceiling(_) => return Err(Malformed),
                    Report::Made(slot) => Event::Made(channel, slot),
                    Report::Ended { slot, outcome, text } => {
                        Event::Report(channel, schedule::Report { slot, outcome, text })
                    }
                };
                schedule.step(event, now, out);
                Ok(())
            })
        });
        if heard.is_err() {
            self.lose_spawner(channel);
        }
    }

    fn lose_spawner(&mut self, channel: Channel) {
        if !spawner(&mut self.spawners, channel).close(&self.poller) {
            return;
        }
        self.log(Log::Alert(Alert::LostSpawn));
        self.bury(match channel {
            Channel::Local => "qmail-lspawn",
            Channel::Remote => "qmail-rspawn",
        });
        self.step(Event::Lost(channel));
        self.end(111);
    }

    fn hear_clean(&mut self) {
        let mut answers = Vec::new();
        let heard = self.clean.hear(|inlet| {
            answers = inlet.bytes();
            Ok(())
        });
        for answer in answers {
            if let Some(letter) = self.asked.pop_front() {
                self.step(Event::Cleaned(letter, answer == b'+'));
            }
        }
        if heard.is_err() {
            self.lose_clean();
        }
    }

    fn lose_clean(&mut self) {
        if !self.clean.close(&self.poller) {
            return;
        }
        self.log(Log::Alert(Alert::LostClean));
        self.bury("qmail-clean");
        self.step(Event::Exit);
        self.end(111);
    }

    /// Says how a helper ended whose pipe broke; the kernel may tell a moment later.
    fn bury(&mut self, program: &str) {
        let until = clock::monotonic().saturating_add(TOLL);
        while clock::monotonic() < until {
            match spawn::reap() {
                Ok(Some((child, _))) if self.couriers.iter().any(|(_, c)| c.pid() == child) => {}
                Ok(Some((child, status))) => {
                    let how = status.to_string();
                    return self.log(Log::Alert(Alert::Ended { program, child, how: &how }));
                }
                Ok(None) => clock::sleep(TOLL / 50),
                Err(_) => return,
            }
        }
    }

    fn hear_courier(&mut self, letter: u64) {
        let Some(at) = self.couriers.iter().position(|(known, _)| known.id == letter) else {
            return;
        };
        let back = self.couriers.get_mut(at).and_then(|(_, courier)| courier.back());
        let Some((how, status)) = back else { return };
        let (known, courier) = self.couriers.swap_remove(at);
        let _ = self.poller.remove(&courier);
        if let Some(status @ Status::Killed(_)) = status {
            let why = format!("child {} {status}", courier.pid());
            self.log(Log::Warning(Warning::Bounce { letter: known.id, why: &why }));
        }
        self.step(Event::Bounced(known, how));
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

impl Helper {
    fn new((commands, inlet): (OwnedFd, Inlet), token: u64, poller: &Poller) -> io::Result<Self> {
        inlet.nonblocking()?;
        let outlet = Outlet::new(commands)?;
        poller.add(&inlet, token, Interest::READ)?;
        poller.add(&outlet, token.saturating_add(1), Interest::NONE)?;
        Ok(Self { token, ends: Some((outlet, inlet)) })
    }

    /// Reads once and has `read` take what is there.
    ///
    /// # Errors
    /// The helper is gone, or talks nonsense; what it said before is read.
    fn hear(&mut self, read: impl FnOnce(&mut Inlet) -> Result<(), Malformed>) -> io::Result<()> {
        let Some((_, inlet)) = &mut self.ends else { return Ok(()) };
        let more = inlet.fill();
        read(inlet).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))?;
        if more? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Sends commands; to one that is gone, none.
    ///
    /// # Errors
    /// The helper is gone.
    fn tell(&mut self, commands: &[u8], poller: &Poller) -> io::Result<()> {
        let Some((outlet, _)) = &mut self.ends else { return Ok(()) };
        outlet.push(commands)?;
        outlet.arm(poller, self.token.saturating_add(1), Interest::NONE)
    }

    /// Whether they were open: both ends of a helper that dies are heard of at once.
    fn close(&mut self, poller: &Poller) -> bool {
        let Some((outlet, inlet)) = self.ends.take() else { return false };
        let _ = poller.remove(&outlet);
        let _ = poller.remove(&inlet);
        true
    }
}
