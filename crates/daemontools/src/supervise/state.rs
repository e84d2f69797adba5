//! What supervise does next: a pure machine. Time comes as an argument, deeds go out as a list.

use base::service::{End, Facts, Identity, Ready, Status, Want};
use base::tai::Label;
use std::time::Duration;
use sys::signal::Signal;

/// A service is not started sooner than this after its last start.
pub(super) const THROTTLE: Duration = Duration::from_secs(1);
/// The same for one that fails again and again.
const SLOW: Duration = Duration::from_secs(5);
/// So many runs in a row, each ended within [`THROTTLE`] of its start, are "again and again".
const PATIENCE: u32 = 10;
/// The exit code by which `finish` says that the service must not be started again (as in s6).
const NEVER_AGAIN: u8 = 125;

/// When something happens: for the status file and for intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Now {
    /// The wall clock's label.
    pub(super) label: Label,
    /// Time since boot.
    pub(super) ticks: Duration,
}

/// The service itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    /// No process.
    Down,
    /// No process; to be started at this tick, or if `./run` is another one by `look`.
    Due { at: Duration, look: Duration },
    /// We asked for a process and have not heard yet.
    Starting,
    /// A process; after `kill` it is killed.
    Up { pid: u32, paused: bool, ready: Ready, kill: Option<Duration> },
    /// It ended; we asked for `./finish` and have not heard yet.
    Ended,
    /// `./finish` runs; after `kill` it is killed.
    Finishing { pid: u32, kill: Option<Duration> },
}

/// Everything supervise remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    service: Service,
    want: Want,
    exiting: bool,
    /// When the pid last changed.
    since: Label,
    /// The tick of the last start.
    started: Duration,
    /// The tick before which nothing is started.
    earliest: Duration,
    /// Runs in a row that ended at once.
    quick: u32,
    starts: u64,
    last: Option<(End, Label)>,
    failed: bool,
    /// "Once" was said while `./finish` was still at work.
    once_more: bool,
}

/// What happens to supervise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Everything is ready: begin.
    Begin,
    /// A byte from `supervise/control`, but `d`.
    Command(u8),
    /// The byte `d`, and how long the service may take over it.
    Down(Option<Duration>),
    /// The process asked for runs; it will say when it is ready, or will not.
    Started { pid: u32, tells: bool },
    /// The process asked for could not be made.
    NotStarted,
    /// The process asked for could not become `./run`.
    NotRun,
    /// There is no directory any more.
    Removed,
    /// The service says that it can be used.
    Ready,
    /// The service's process has ended.
    Died(End),
    /// `./finish` runs, and how long it may.
    FinishStarted { pid: u32, limit: Option<Duration> },
    /// It has ended with this code, if with any; or there is none.
    Finished(Option<u8>),
    /// The tick of `wake()` has come; `./run` is not the one that was started last, or it is.
    Tick { changed: bool },
}

/// What is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It ended at once for the tenth time.
    Slow(End),
    /// It did not end in the time it was given, and was killed.
    Killed,
    /// The same of `./finish`.
    FinishKilled,
    /// `./finish` said never again.
    Failed,
}

/// What supervise is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Start `./run`, then report `Started`, `NotStarted`, `NotRun` or `Removed`.
    Start,
    /// Start `./finish`, then report `FinishStarted` or `Finished`.
    Finish(End),
    /// Signal the service.
    Signal(Signal),
    /// Kill `./finish` and what it started.
    KillFinish,
    /// Write the status files.
    Write,
    /// Tell the log.
    Tell(News),
    /// Exit 0.
    Leave,
}

impl State {
    /// At supervise's start: down, wanted up unless there is a `down` file.
    pub(super) fn new(down: bool, now: Now) -> Self {
        State {
            service: Service::Down,
            want: if down { Want::Down } else { Want::Up },
            exiting: false,
            since: now.label,
            started: Duration::ZERO,
            earliest: Duration::ZERO,
            quick: 0,
            starts: 0,
            last: None,
            failed: false,
            once_more: false,
        }
    }

    /// The same, with an earlier supervise's count and memory of how the last run ended.
    pub(super) fn after(mut self, old: &Facts) -> Self {
        (self.starts, self.last) = (old.starts, old.last);
        self
    }

    /// At the start of a supervise that finds its forerunner's service alive: its life goes on,
    /// and what was wanted of it is still wanted.
    pub(super) fn adopted(self, old: &Status, ready: Ready) -> Self {
        let service = Service::Up { pid: old.pid, paused: old.paused, ready, kill: None };
        State { service, want: old.want, since: old.since, ..self }
    }

    /// The same if it finds `./finish` running.
    pub(super) fn finishing(self, pid: u32, old: &Status, kill: Option<Duration>) -> Self {
        let service = Service::Finishing { pid, kill };
        State { service, want: old.want, since: old.since, ..self }
    }

    /// What the status file is to say.
    pub(super) fn status(&self) -> Status {
        let (pid, paused) = match self.service {
            Service::Up { pid, paused, .. } => (pid, paused),
            Service::Down
            | Service::Due { .. }
            | Service::Starting
            | Service::Ended
            | Service::Finishing { .. } => (0, false),
        };
        Status { since: self.since, pid, paused, want: self.want }
    }

    /// What the file beside it is to say.
    pub(super) fn facts(&self, supervise: Option<Identity>) -> Facts {
        Facts {
            supervise,
            status: self.status(),
            ready: self.ready(),
            finish: self.finish().unwrap_or(0),
            starts: self.starts,
            last: self.last,
            failed: self.failed,
        }
    }

    /// What the service says of itself.
    fn ready(&self) -> Ready {
        match self.service {
            Service::Up { ready, .. } => ready,
            Service::Down
            | Service::Due { .. }
            | Service::Starting
            | Service::Ended
            | Service::Finishing { .. } => Ready::Untold,
        }
    }

    /// The service's pid, if it has one.
    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.status().pid).filter(|pid| *pid != 0)
    }

    /// The pid of `./finish`, if it runs.
    pub(super) fn finish(&self) -> Option<u32> {
        match self.service {
            Service::Finishing { pid, .. } => Some(pid),
            Service::Down
            | Service::Due { .. }
            | Service::Starting
            | Service::Up { .. }
            | Service::Ended => None,
        }
    }

    /// The tick at which to report `Tick`.
    pub(super) fn wake(&self) -> Option<Duration> {
        match self.service {
            Service::Due { at, look } => Some(at.min(look)),
            Service::Up { kill, .. } | Service::Finishing { kill, .. } => kill,
            Service::Down | Service::Starting | Service::Ended => None,
        }
    }

    /// One step.
    pub(super) fn step(mut self, event: Event, now: Now) -> (State, Vec<Action>) {
        let mut actions = Vec::new();
        match event {
            Event::Begin if self.want == Want::Up => self.start(now, &mut actions),
            Event::Begin => {}
            Event::Command(byte) => self.command(byte, now, &mut actions),
            Event::Down(limit) => self.bring_down(limit, now, &mut actions),
            Event::Started { pid, tells } => self.up(pid, tells, now, &mut actions),
            Event::NotStarted => {
                self.earliest = now.ticks.saturating_add(THROTTLE);
                self.due(now);
            }
            Event::NotRun => self.not_run(now, &mut actions),
            Event::Removed => {
                self.service = Service::Down;
                actions.push(Action::Leave);
            }
            Event::Ready => self.usable(now, &mut actions),
            Event::Died(end) => self.died(end, now, &mut actions),
            Event::FinishStarted { pid, limit } => {
                let kill = limit.map(|limit| now.ticks.saturating_add(limit));
                self.service = Service::Finishing { pid, kill };
                actions.push(Action::Write);
            }
            Event::Finished(code) => self.finished(code, now, &mut actions),
            Event::Tick { changed } => self.tick(changed, now, &mut actions),
        }
        (self, actions)
    }

    /// Starts the service if it is down: at once, or when the last start is long enough ago.
    fn start(&mut self, now: Now, actions: &mut Vec<Action>) {
        match self.service {
            Service::Down | Service::Due { .. } if now.ticks < self.earliest => self.due(now),
            Service::Down | Service::Due { .. } => {
                self.service = Service::Starting;
                self.once_more = false;
                actions.push(Action::Start);
            }
            // What has not ended yet is followed by its next life when it has.
            Service::Up { .. } | Service::Starting | Service::Ended | Service::Finishing { .. } => {
            }
        }
    }

    /// To be started as soon as it may. Where that is not within the usual second, a changed `./run`
    /// is a reason not to wait longer.
    fn due(&mut self, now: Now) {
        let look = now.ticks.saturating_add(THROTTLE).min(self.earliest);
        self.service = Service::Due { at: self.earliest, look };
    }

    fn up(&mut self, pid: u32, tells: bool, now: Now, actions: &mut Vec<Action>) {
        let ready = if tells { Ready::NotYet } else { Ready::Untold };
        self.service = Service::Up { pid, paused: false, ready, kill: None };
        self.since = now.label;
        self.started = now.ticks;
        self.earliest = now.ticks.saturating_add(THROTTLE);
        self.starts = self.starts.saturating_add(1);
        actions.push(Action::Write);
    }

    fn not_run(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.service = Service::Down;
        self.started = now.ticks;
        self.hurry_less(true);
        if self.exiting {
            actions.push(Action::Leave);
        } else if self.want == Want::Up {
            self.due(now);
        }
    }

    /// Sets when the next start may be, by how the last one went.
    fn hurry_less(&mut self, at_once: bool) {
        self.quick = if at_once { self.quick.saturating_add(1) } else { 0 };
        let pause = if self.quick >= PATIENCE { SLOW } else { THROTTLE };
        self.earliest = self.started.saturating_add(pause);
    }

    fn usable(&mut self, now: Now, actions: &mut Vec<Action>) {
        if let Service::Up { ready: ready @ Ready::NotYet, .. } = &mut self.service {
            *ready = Ready::Since(now.label);
            actions.push(Action::Write);
        }
    }

    fn died(&mut self, end: End, now: Now, actions: &mut Vec<Action>) {
        let asked = matches!(self.service, Service::Up { kill: Some(_), .. });
        self.service = Service::Ended;
        self.since = now.label;
        self.last = Some((end, now.label));
        let lived = now.ticks.saturating_sub(self.started);
        self.hurry_less(lived < THROTTLE && !asked);
        if self.quick == PATIENCE && self.want == Want::Up && !self.exiting {
            actions.push(Action::Tell(News::Slow(end)));
        }
        // The files say that it is down when they can also say whether `./finish` runs.
        actions.push(Action::Finish(end));
    }

    fn finished(&mut self, code: Option<u8>, now: Now, actions: &mut Vec<Action>) {
        self.service = Service::Down;
        if code == Some(NEVER_AGAIN) {
            (self.want, self.failed) = (Want::Down, true);
            actions.push(Action::Tell(News::Failed));
        }
        actions.push(Action::Write);
        if self.exiting {
            actions.push(Action::Leave);
        } else if self.want == Want::Up || self.once_more {
            self.start(now, actions);
        }
    }

    fn tick(&mut self, changed: bool, now: Now, actions: &mut Vec<Action>) {
        match &mut self.service {
            Service::Due { at, look } => {
                if changed {
                    (self.quick, self.earliest) = (0, now.ticks);
                } else if now.ticks < *at {
                    *look = now.ticks.saturating_add(THROTTLE);
                    return;
                }
                self.start(now, actions);
            }
            Service::Up { kill, .. } if kill.is_some_and(|at| now.ticks >= at) => {
                *kill = None;
                actions.extend([Action::Signal(Signal::Kill), Action::Tell(News::Killed)]);
            }
            Service::Finishing { kill, .. } if kill.is_some_and(|at| now.ticks >= at) => {
                *kill = None;
                actions.extend([Action::KillFinish, Action::Tell(News::FinishKilled)]);
            }
            Service::Down
            | Service::Starting
            | Service::Up { .. }
            | Service::Ended
            | Service::Finishing { .. } => {}
        }
    }

    fn command(&mut self, byte: u8, now: Now, actions: &mut Vec<Action>) {
        match byte {
            b'u' => self.bring_up(Want::Up, now, actions),
            b'o' => self.bring_up(Want::Once, now, actions),
            b'p' => self.pause(true, Signal::Stop, actions),
            b'c' => self.pause(false, Signal::Cont, actions),
            b'h' => self.signal(Signal::Hup, actions),
            b'a' => self.signal(Signal::Alrm, actions),
            b'i' => self.signal(Signal::Int, actions),
            b't' => self.signal(Signal::Term, actions),
            b'k' => self.signal(Signal::Kill, actions),
            b'x' => {
                self.exiting = true;
                actions.push(Action::Write);
                if matches!(self.service, Service::Down | Service::Due { .. }) {
                    actions.push(Action::Leave);
                }
            }
            _ => {}
        }
    }

    fn bring_up(&mut self, want: Want, now: Now, actions: &mut Vec<Action>) {
        self.want = want;
        self.failed = false;
        self.once_more = want == Want::Once && self.finish().is_some();
        // Somebody is looking after it: what went wrong before is no reason to wait longer.
        self.quick = 0;
        self.earliest = self.earliest.min(self.started.saturating_add(THROTTLE));
        if let Service::Up { kill, .. } = &mut self.service {
            *kill = None;
        }
        actions.push(Action::Write);
        self.start(now, actions);
    }

    fn bring_down(&mut self, limit: Option<Duration>, now: Now, actions: &mut Vec<Action>) {
        self.want = Want::Down;
        self.once_more = false;
        if let Service::Due { .. } = self.service {
            self.service = Service::Down;
        }
        if let Service::Up { kill: kill @ None, .. } = &mut self.service {
            *kill = limit.map(|limit| now.ticks.saturating_add(limit));
        }
        self.signal(Signal::Term, actions);
        self.pause(false, Signal::Cont, actions);
    }

    fn pause(&mut self, stop: bool, signal: Signal, actions: &mut Vec<Action>) {
        if let Service::Up { paused, .. } = &mut self.service {
            *paused = stop;
            actions.push(Action::Signal(signal));
        }
        actions.push(Action::Write);
    }

    fn signal(&self, signal: Signal, actions: &mut Vec<Action>) {
        if self.pid().is_some() {
            actions.push(Action::Signal(signal));
        }
    }
}

#[cfg(test)]
mod tests;
