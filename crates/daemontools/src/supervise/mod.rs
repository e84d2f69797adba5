//! supervise: start a service and start it again when it dies.
//!
//! *Runs as* whoever starts it, root as a rule · *hears* command bytes from `svc` on
//! `supervise/control`, and its service's newline · *opens* the files of `DIR/supervise` ·
//! *speaks to* its service, by signals.
//!
//! What to do is decided in `state`; here it is done. TERM and INT mean `dx`: stop the service, then
//! leave. Killed outright it leaves the service running; the next supervise adopts it (`heir`).

mod begin;
mod files;
mod heir;
mod launch;
mod settings;
mod state;
mod told;

use crate::look;
use crate::message::Voice;
use base::service::{End, Facts, Identity, NO_CODE, Ready, Status};
use base::tai::Label;
use files::Files;
use heir::{Left, Part};
use settings::Settings;
use state::{Action, Event, News, Now, State};
use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::path::Path;
use sys::poll::{self, Interest};
use sys::process::{self, Held};
use sys::signal::{self, Signal, Signals};
use sys::spawn;
use told::Told;

const VOICE: Voice = Voice("supervise");

/// `supervise dir`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let [_, dir] = args else { return VOICE.usage("supervise dir") };
    match Supervise::open(dir) {
        Ok(mut supervise) => supervise.run(),
        Err(code) => code,
    }
}

/// A supervise at work.
struct Supervise<'a> {
    dir: &'a OsStr,
    /// Who we are, for whoever wants to hear when we end.
    me: Option<Identity>,
    signals: Signals,
    files: Files,
    state: State,
    /// What an earlier supervise left running: not our child, so its end is heard here.
    adopted: Option<Held>,
    /// Where the service will say that it is ready, if it will.
    channel: Option<File>,
    /// Signals it was sent by command: a death by one of them is no news.
    asked: BTreeSet<i32>,
    /// The `./run` that was started last.
    run: Option<(u64, i64, i64)>,
    settings: Settings<'a>,
    told: Tellings,
}

/// Kinds of trouble, each told once.
#[derive(Debug, Default)]
struct Tellings {
    status: Told,
    fork: Told,
    run: Told,
    finish: Told,
    channel: Told,
    record: Told,
    wait: Told,
}

/// What a wait found.
#[derive(Clone, Copy, Debug)]
struct Found {
    signals: bool,
    control: bool,
    adopted: bool,
    channel: bool,
}

fn now() -> Now {
    Now { label: Label::at(sys::clock::now()), ticks: sys::clock::monotonic() }
}

impl<'a> Supervise<'a> {
    /// Everything before the service may be started; the exit code, after a message, on trouble.
    fn open(dir: &'a OsStr) -> Result<Self, i32> {
        // Whoever started us may have ignored it; then deaths would never be told.
        signal::default(Signal::Chld);
        let signals = Signals::catch(&[Signal::Chld, Signal::Term, Signal::Int])
            .map_err(|e| VOICE.fatal(&[&"unable to create pipe for ", &dir], Some(&e)))?;
        std::env::set_current_dir(dir)
            .map_err(|e| VOICE.fatal(&[&"unable to chdir to ", &dir], Some(&e)))?;
        let down = match std::fs::metadata("down") {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(e) => return Err(VOICE.fatal(&[&"unable to stat ", &dir, &"/down"], Some(&e))),
        };
        let files = Files::open(VOICE, dir)?;
        let left = heir::find().map_err(|e| {
            let words = "unable to tell whether the old service of ";
            VOICE.fatal(&[&words, &dir, &" still runs"], Some(&e))
        })?;
        let mut supervise = Supervise {
            dir,
            me: process::identity(std::process::id()).ok(),
            signals,
            files,
            state: State::new(down, now()),
            adopted: None,
            channel: None,
            asked: BTreeSet::new(),
            run: files::run_stamp(),
            settings: Settings::new(VOICE, dir),
            told: Tellings::default(),
        };
        supervise.inherit(left);
        supervise.write();
        supervise.files.say_ok(VOICE, dir)?;
        Ok(supervise)
    }

    /// Takes over what an earlier supervise knew, and what it left running.
    fn inherit(&mut self, left: Option<Left>) {
        let old = look::facts(Path::new(".")).ok();
        // A count belongs to one boot, like the pids.
        let same_boot = |facts: &&Facts| match (&facts.supervise, &self.me) {
            (Some(then), Some(now)) => then.boot == now.boot,
            _ => false,
        };
        let mut state = self.state.clone();
        if let Some(facts) = old.as_ref().filter(same_boot) {
            state = state.after(facts);
        }
        if let Some(left) = left {
            let fresh = state.status();
            let was = old.as_ref().map_or(fresh, |old| old.status);
            state = match left.part {
                Part::Run => {
                    let ready = self.ready(old.as_ref(), left.pid);
                    // An earlier status is of a process before: its writer was killed just then.
                    let since = if was.pid == left.pid { was.since } else { fresh.since };
                    let paused = was.pid == left.pid && was.paused;
                    let status = Status { since, pid: left.pid, paused, want: was.want };
                    state.adopted(&status, ready)
                }
                Part::Finish => {
                    let limit = self.settings.finish_within();
                    let kill = limit.map(|limit| now().ticks.saturating_add(limit));
                    state.finishing(left.pid, &Status { pid: 0, ..was }, kill)
                }
            };
            self.adopted = Some(left.held);
        }
        self.state = state;
    }

    /// Whether a service that was left is ready; if it may still say so we listen.
    fn ready(&mut self, old: Option<&Facts>, pid: u32) -> Ready {
        match old.filter(|old| old.status.pid == pid).map(|old| old.ready) {
            Some(ready @ (Ready::Untold | Ready::Since(_))) => ready,
            Some(Ready::NotYet) | None => {
                self.channel = files::old_channel();
                if self.channel.is_some() { Ready::NotYet } else { Ready::Untold }
            }
        }
    }

    /// Supervises until told to exit.
    fn run(&mut self) -> i32 {
        let mut leave = self.handle(Event::Begin);
        while !leave {
            leave = match self.wait() {
                Ok(found) => self.look(found),
                Err(error) => {
                    if self.told.wait.news(&error) {
                        VOICE.warning(&[&"unable to wait for ", &self.dir], Some(&error));
                    }
                    sys::clock::sleep(state::THROTTLE);
                    false
                }
            };
        }
        self.write();
        0
    }

    /// Waits for a signal, a command, the end of what was adopted, the service's newline, or the
    /// next tick.
    fn wait(&self) -> io::Result<Found> {
        let limit = self.state.wake().map(|at| at.saturating_sub(sys::clock::monotonic()));
        let mut fds = vec![self.signals.as_fd(), self.files.control.as_fd()];
        fds.extend(self.adopted.as_ref().map(AsFd::as_fd));
        fds.extend(self.channel.as_ref().map(AsFd::as_fd));
        let mut ready = poll::ready(&fds, Interest::READ, limit)?.into_iter();
        let mut next = |is_there: bool| is_there && ready.next().unwrap_or(false);
        Ok(Found {
            signals: next(true),
            control: next(true),
            adopted: next(self.adopted.is_some()),
            channel: next(self.channel.is_some()),
        })
    }

    /// Turns what `wait` found into events; true when it is time to leave.
    fn look(&mut self, found: Found) -> bool {
        let due = self.state.wake().is_some_and(|at| sys::clock::monotonic() >= at);
        // Its newline before its death.
        (found.channel && self.hear())
            || (found.signals && self.take_signals())
            || (found.adopted && self.bury_adopted())
            || (found.control && self.take_commands())
            || (due && self.handle(Event::Tick { changed: self.run != files::run_stamp() }))
    }

    fn take_signals(&mut self) -> bool {
        let mut stop = false;
        while let Ok(Some(signal)) = self.signals.next() {
            stop |= matches!(signal, Signal::Term | Signal::Int);
        }
        // Children that are neither are some program's left to us by exec.
        while let Ok(Some((pid, status))) = spawn::reap() {
            let leave = if self.state.pid() == Some(pid) {
                self.bury(pid, status)
            } else if self.state.finish() == Some(pid) {
                self.handle(Event::Finished(status.code()))
            } else {
                false
            };
            if leave {
                return true;
            }
        }
        stop && (self.command(b'd') || self.command(b'x'))
    }

    fn bury(&mut self, pid: u32, status: spawn::Status) -> bool {
        let asked = std::mem::take(&mut self.asked);
        let end = match status {
            spawn::Status::Exited(code) => End { code: code.into(), signal: 0 },
            spawn::Status::Killed(signal) => {
                if !asked.contains(&i32::from(signal)) {
                    files::log(VOICE, self.dir, &format!(": child {pid} {status}"));
                }
                End { code: NO_CODE, signal }
            }
        };
        self.handle(Event::Died(end))
    }

    fn bury_adopted(&mut self) -> bool {
        self.adopted = None;
        self.asked.clear();
        // Who is not its parent is not told how it ended.
        let unseen = Event::Died(End { code: NO_CODE, signal: 0 });
        self.handle(if self.state.pid().is_some() { unseen } else { Event::Finished(None) })
    }

    /// The service says something on its channel: a newline means that it is ready. If it closes the
    /// channel without one it will never say so.
    fn hear(&mut self) -> bool {
        let mut buf = [0; 64];
        let got = match self.channel.as_ref().map(|channel| sys::fd::read(channel, &mut buf)) {
            Some(Ok(got)) => buf.get(..got).unwrap_or_default(),
            Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => return false,
            Some(Err(_)) | None => &[],
        };
        let ready = got.contains(&b'\n');
        if ready || got.is_empty() {
            self.channel = None;
        }
        ready && self.handle(Event::Ready)
    }

    fn take_commands(&mut self) -> bool {
        let mut buf = [0; 64];
        // Errors are only "nothing there after all": the writer's end is ours.
        let got = sys::fd::read(&self.files.control, &mut buf).unwrap_or(0);
        buf.iter().take(got).any(|&byte| self.command(byte))
    }

    fn command(&mut self, byte: u8) -> bool {
        let event = match byte {
            b'd' => Event::Down(self.settings.kill_after()),
            _ => Event::Command(byte),
        };
        self.handle(event)
    }

    /// Steps, and does what follows from it; true when it is time to leave.
    fn handle(&mut self, event: Event) -> bool {
        let mut events = VecDeque::from([event]);
        let mut leave = false;
        while let Some(event) = events.pop_front() {
            let (state, actions) = self.state.clone().step(event, now());
            self.state = state;
            for action in actions {
                match action {
                    Action::Start => events.push_back(self.start()),
                    Action::Finish(end) => events.push_back(self.finish(end)),
                    Action::Signal(signal) => self.signal(signal),
                    Action::KillFinish => self.kill_finish(),
                    Action::Write => self.write(),
                    Action::Tell(news) => self.tell(news),
                    Action::Leave => leave = true,
                }
            }
        }
        leave
    }

    fn write(&mut self) {
        let facts = self.state.facts(self.me.clone());
        files::write_status(VOICE, self.dir, &facts, &mut self.told.status);
    }

    /// Signals the service. It may have ended a moment ago; then its end is what comes next.
    fn signal(&mut self, signal: Signal) {
        self.asked.insert(signal.number());
        let _ = match (&self.adopted, self.state.pid()) {
            (Some(held), _) => held.signal(signal),
            (None, Some(pid)) => signal::kill(pid, signal),
            (None, None) => Ok(()),
        };
    }

    fn kill_finish(&self) {
        let _ = match (&self.adopted, self.state.finish()) {
            (Some(held), _) => held.signal(Signal::Kill),
            (None, Some(pid)) => signal::kill_group(pid, Signal::Kill),
            (None, None) => Ok(()),
        };
    }

    fn tell(&self, news: News) {
        let text = match news {
            News::Slow(end) => format!(
                ": run ends within a second of its start again and again ({end}): from now on \
                 it is started every 5 seconds, or when it has changed"
            ),
            News::Killed => ": run did not end in its time (timeout-kill): killed".to_owned(),
            News::FinishKilled => ": finish did not end in its time: killed".to_owned(),
            News::Failed => ": finish said never again (exit code 125): it stays down".to_owned(),
        };
        files::log(VOICE, self.dir, &text);
    }
}
