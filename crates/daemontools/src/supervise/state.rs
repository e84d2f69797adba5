//! What supervise does next: a pure machine. Time comes as an argument, deeds go out as a list.

use crate::status::{Status, Want};
use base::tai::Label;
use std::time::Duration;
use sys::signal::Signal;

/// A service is not started sooner than this after its last start.
pub(super) const THROTTLE: Duration = Duration::from_secs(1);

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
    /// No process; to be started at this tick.
    Due(Duration),
    /// We asked for a process and have not heard yet.
    Starting,
    /// A process.
    Up { pid: u32, paused: bool },
}

/// Everything supervise remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    service: Service,
    want: Want,
    exiting: bool,
    /// When the pid last changed.
    since: Label,
    /// The tick before which nothing is started.
    earliest: Duration,
}

/// What happens to supervise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Everything is ready: begin.
    Begin,
    /// A byte from `supervise/control`.
    Command(u8),
    /// The process asked for runs.
    Started(u32),
    /// The process asked for could not be made.
    NotStarted,
    /// The service's process has ended.
    Died,
    /// The tick of `wake()` has come.
    Tick,
}

/// What supervise is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Start `./run`, then report `Started` or `NotStarted`.
    Start,
    /// Signal the service.
    Signal(Signal),
    /// Write the status file.
    Write,
    /// Exit 0.
    Leave,
}

impl State {
    /// At supervise's start: down, wanted up unless there is a `down` file.
    pub(super) fn new(down: bool, now: Now) -> Self {
        let want = if down { Want::Down } else { Want::Up };
        State {
            service: Service::Down,
            want,
            exiting: false,
            since: now.label,
            earliest: Duration::ZERO,
        }
    }

    /// At the start of a supervise that finds its forerunner's service alive: its life goes on,
    /// and what was wanted of it is still wanted.
    pub(super) fn adopted(old: &Status) -> Self {
        State {
            service: Service::Up { pid: old.pid, paused: old.paused },
            want: old.want,
            exiting: false,
            since: old.since,
            earliest: Duration::ZERO,
        }
    }

    /// What the status file is to say.
    pub(super) fn status(&self) -> Status {
        let (pid, paused) = match self.service {
            Service::Up { pid, paused } => (pid, paused),
            Service::Down | Service::Due(_) | Service::Starting => (0, false),
        };
        Status { since: self.since, pid, paused, want: self.want }
    }

    /// The service's pid, if it has one.
    pub(super) fn pid(&self) -> Option<u32> {
        match self.service {
            Service::Up { pid, .. } => Some(pid),
            Service::Down | Service::Due(_) | Service::Starting => None,
        }
    }

    /// The tick at which to report `Tick`.
    pub(super) fn wake(&self) -> Option<Duration> {
        match self.service {
            Service::Due(at) => Some(at),
            Service::Down | Service::Starting | Service::Up { .. } => None,
        }
    }

    /// One step.
    pub(super) fn step(mut self, event: Event, now: Now) -> (State, Vec<Action>) {
        let mut actions = Vec::new();
        match event {
            Event::Begin => {
                if self.want == Want::Up {
                    self.start(now, &mut actions);
                }
            }
            Event::Command(byte) => self.command(byte, now, &mut actions),
            Event::Started(pid) => {
                self.service = Service::Up { pid, paused: false };
                self.since = now.label;
                self.earliest = now.ticks.saturating_add(THROTTLE);
                actions.push(Action::Write);
            }
            Event::NotStarted => {
                self.earliest = now.ticks.saturating_add(THROTTLE);
                self.service = Service::Due(self.earliest);
            }
            Event::Died => self.died(now, &mut actions),
            Event::Tick => {
                if matches!(self.service, Service::Due(_)) {
                    self.start(now, &mut actions);
                }
            }
        }
        (self, actions)
    }

    /// Starts the service if it is down: at once, or when the last start is a second ago.
    fn start(&mut self, now: Now, actions: &mut Vec<Action>) {
        match self.service {
            Service::Up { .. } | Service::Starting => {}
            Service::Down | Service::Due(_) if now.ticks < self.earliest => {
                self.service = Service::Due(self.earliest);
            }
            Service::Down | Service::Due(_) => {
                self.service = Service::Starting;
                actions.push(Action::Start);
            }
        }
    }

    fn died(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.service = Service::Down;
        self.since = now.label;
        actions.push(Action::Write);
        if self.exiting {
            actions.push(Action::Leave);
        } else if self.want == Want::Up {
            self.start(now, actions);
        }
    }

    fn command(&mut self, byte: u8, now: Now, actions: &mut Vec<Action>) {
        match byte {
            b'u' => self.bring_up(Want::Up, now, actions),
            b'o' => self.bring_up(Want::Once, now, actions),
            b'd' => self.bring_down(actions),
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
                if matches!(self.service, Service::Down | Service::Due(_)) {
                    actions.push(Action::Leave);
                }
            }
            _ => {}
        }
    }

    fn bring_up(&mut self, want: Want, now: Now, actions: &mut Vec<Action>) {
        self.want = want;
        actions.push(Action::Write);
        self.start(now, actions);
    }

    fn bring_down(&mut self, actions: &mut Vec<Action>) {
        self.want = Want::Down;
        if let Service::Due(_) = self.service {
            self.service = Service::Down;
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
mod tests {
    use super::Action::{Leave, Start, Write};
    use super::*;

    fn at(millis: u64) -> Now {
        let secs = 1_700_000_000 + millis / 1000;
        Now { label: Label::new(secs, 500), ticks: Duration::from_millis(100_000 + millis) }
    }

    /// Runs events given with their milliseconds and returns the last actions.
    fn play(state: State, events: &[(u64, Event)]) -> (State, Vec<Action>) {
        events
            .iter()
            .fold((state, Vec::new()), |(state, _), &(millis, event)| state.step(event, at(millis)))
    }

    fn up() -> State {
        play(State::new(false, at(0)), &[(0, Event::Begin), (0, Event::Started(7))]).0
    }

    fn signal(signal: Signal) -> Action {
        Action::Signal(signal)
    }

    #[test]
    fn it_starts_at_once_unless_a_down_file_says_no() {
        assert_eq!(State::new(false, at(0)).step(Event::Begin, at(0)).1, [Start]);
        assert_eq!(State::new(true, at(0)).step(Event::Begin, at(0)).1, []);
    }

    #[test]
    fn who_lived_longer_than_a_second_is_back_at_once() {
        assert_eq!(up().step(Event::Died, at(1000)).1, [Write, Start]);
    }

    #[test]
    fn who_died_at_once_is_back_a_second_after_its_start_and_no_sooner() {
        let (state, actions) = up().step(Event::Died, at(10));
        assert_eq!(actions, [Write]);
        assert_eq!(state.wake(), Some(at(1000).ticks));
        assert_eq!(state.clone().step(Event::Tick, at(999)).1, []);
        assert_eq!(state.step(Event::Tick, at(1000)).1, [Start]);
    }

    #[test]
    fn commands_are_heard_while_a_restart_is_due() {
        let (state, _) = up().step(Event::Died, at(10));
        let (state, actions) = state.step(Event::Command(b'd'), at(20));
        assert_eq!(actions, [Write]);
        assert_eq!((state.wake(), state.status().want), (None, Want::Down));
        let (state, actions) = state.step(Event::Command(b'u'), at(30));
        assert_eq!((actions, state.wake()), (vec![Write], Some(at(1000).ticks)));
        assert_eq!(state.step(Event::Command(b'x'), at(40)).1, [Write, Leave]);
    }

    #[test]
    fn down_means_term_and_cont_and_ends_a_pause() {
        let (state, actions) = play(up(), &[(1, Event::Command(b'p'))]);
        assert_eq!(actions, [signal(Signal::Stop), Write]);
        assert!(state.status().paused);
        let (state, actions) = state.step(Event::Command(b'd'), at(2));
        assert_eq!(actions, [signal(Signal::Term), signal(Signal::Cont), Write]);
        assert!(!state.status().paused);
        assert_eq!(state.step(Event::Died, at(3000)).1, [Write]);
    }

    #[test]
    fn once_is_not_started_again() {
        let (state, actions) = State::new(true, at(0)).step(Event::Command(b'o'), at(0));
        assert_eq!(actions, [Write, Start]);
        let (state, actions) = play(state, &[(0, Event::Started(7)), (5000, Event::Died)]);
        assert_eq!((actions, state.status().want), (vec![Write], Want::Once));
    }

    #[test]
    fn exit_waits_for_the_service_and_cannot_be_taken_back() {
        let (state, actions) = up().step(Event::Command(b'x'), at(1));
        assert_eq!(actions, [Write]);
        let (state, _) = state.step(Event::Command(b'u'), at(2));
        assert_eq!(state.step(Event::Died, at(5000)).1, [Write, Leave]);
    }

    #[test]
    fn up_and_exit_on_a_down_service_runs_it_once() {
        let (state, actions) = State::new(true, at(0)).step(Event::Command(b'u'), at(0));
        assert_eq!(actions, [Write, Start]);
        let (_, actions) = play(state, &[(0, Event::Started(7)), (0, Event::Command(b'x'))]);
        assert_eq!(actions, [Write]);
    }

    #[test]
    fn signals_go_to_a_process_only_and_write_nothing() {
        for (byte, sent) in [
            (b'h', Signal::Hup),
            (b'a', Signal::Alrm),
            (b'i', Signal::Int),
            (b't', Signal::Term),
            (b'k', Signal::Kill),
        ] {
            assert_eq!(up().step(Event::Command(byte), at(1)).1, [signal(sent)]);
            assert_eq!(State::new(true, at(0)).step(Event::Command(byte), at(1)).1, []);
        }
        assert_eq!(up().step(Event::Command(b'?'), at(1)).1, []);
    }

    #[test]
    fn a_pause_while_down_is_written_and_forgotten() {
        let (state, actions) = State::new(true, at(0)).step(Event::Command(b'p'), at(0));
        assert_eq!(actions, [Write]);
        assert!(!state.status().paused);
    }

    #[test]
    fn a_fork_that_failed_is_tried_again_in_a_second() {
        let (state, _) =
            play(State::new(false, at(0)), &[(0, Event::Begin), (0, Event::NotStarted)]);
        assert_eq!(state.wake(), Some(at(1000).ticks));
    }

    #[test]
    fn an_adopted_service_keeps_its_pid_its_age_and_what_was_wanted() {
        let old = Status { since: at(0).label, pid: 9, paused: true, want: Want::Down };
        let (state, actions) = State::adopted(&old).step(Event::Begin, at(9000));
        assert_eq!((state.status(), actions), (old, vec![]));
        assert_eq!(state.step(Event::Died, at(9001)).1, [Write]);
        let old = Status { want: Want::Up, ..old };
        assert_eq!(State::adopted(&old).step(Event::Died, at(9001)).1, [Write, Start]);
    }
}
