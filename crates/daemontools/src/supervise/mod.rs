//! supervise: start a service and start it again when it dies.
//!
//! *Runs as* whoever starts it, root as a rule · *hears* command bytes from `svc` on
//! `supervise/control` · *opens* the files of `DIR/supervise` · *speaks to* its service, by signals.
//!
//! What to do is decided in `state`; here it is done. TERM and INT mean `dx`: stop the service, then
//! leave. Killed outright it leaves the service running; the next supervise adopts it (`heir`).

mod files;
mod heir;
mod state;

use crate::message::Voice;
use crate::status::{Status, Want};
use base::tai::Label;
use files::Files;
use state::{Action, Event, Now, State};
use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use sys::poll::{self, Interest};
use sys::process::Held;
use sys::signal::{self, Signal, Signals};
use sys::spawn::{self, Fork};

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
    signals: Signals,
    files: Files,
    state: State,
    /// The service of an earlier supervise: not our child, so its end is heard here.
    adopted: Option<Held>,
    /// Signals it was sent by command: a death by one of them is no news.
    asked: BTreeSet<i32>,
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
        let mut files = Files::open(VOICE, dir)?;
        let (state, adopted) = match heir::find() {
            Ok(None) => (State::new(down, now()), None),
            Ok(Some((pid, held))) => (State::adopted(&left(pid, down)), Some(held)),
            Err(e) => {
                return Err(VOICE.fatal(
                    &[&"unable to tell whether the old service of ", &dir, &" still runs"],
                    Some(&e),
                ));
            }
        };
        files::write_status(VOICE, dir, &state.status());
        files.say_ok(VOICE, dir)?;
        Ok(Supervise { dir, signals, files, state, adopted, asked: BTreeSet::new() })
    }

    /// Supervises until told to exit.
    fn run(&mut self) -> i32 {
        let mut leave = self.handle(Event::Begin);
        while !leave {
            leave = match self.wait() {
                Ok(ready) => self.look(ready),
                Err(error) => {
                    VOICE.warning(&[&"unable to wait for ", &self.dir], Some(&error));
                    sys::clock::sleep(state::THROTTLE);
                    false
                }
            };
        }
        files::write_status(VOICE, self.dir, &self.state.status());
        0
    }

    /// Waits for a signal, a command, the end of an adopted service, or the tick of a start.
    fn wait(&self) -> io::Result<[bool; 3]> {
        let limit = self.state.wake().map(|at| at.saturating_sub(sys::clock::monotonic()));
        let mut fds = vec![self.signals.as_fd(), self.files.control.as_fd()];
        fds.extend(self.adopted.as_ref().map(AsFd::as_fd));
        let mut ready = poll::ready(&fds, Interest::READ, limit)?.into_iter();
        Ok([(); 3].map(|()| ready.next().unwrap_or(false)))
    }

    /// Turns what `wait` found into events; true when it is time to leave.
    fn look(&mut self, [signals, control, adopted]: [bool; 3]) -> bool {
        let due = self.state.wake().is_some_and(|at| sys::clock::monotonic() >= at);
        (signals && self.take_signals())
            || (adopted && self.bury_adopted())
            || (control && self.take_commands())
            || (due && self.handle(Event::Tick))
    }

    fn take_signals(&mut self) -> bool {
        let mut stop = false;
        while let Ok(Some(signal)) = self.signals.next() {
            stop |= matches!(signal, Signal::Term | Signal::Int);
        }
        // Children that are not the service are some program's left to us by exec.
        while let Ok(Some((pid, status))) = spawn::reap() {
            if self.state.pid() != Some(pid) {
                continue;
            }
            let asked = std::mem::take(&mut self.asked);
            if let spawn::Status::Killed(signal) = status
                && !asked.contains(&i32::from(signal))
            {
                files::log(VOICE, self.dir, &format!(": child {pid} {status}"));
            }
            if self.handle(Event::Died) {
                return true;
            }
        }
        stop && (self.handle(Event::Command(b'd')) || self.handle(Event::Command(b'x')))
    }

    fn bury_adopted(&mut self) -> bool {
        self.adopted = None;
        self.handle(Event::Died)
    }

    fn take_commands(&mut self) -> bool {
        let mut buf = [0; 64];
        // Errors are only "nothing there after all": the writer's end is ours.
        let got = sys::fd::read(&self.files.control, &mut buf).unwrap_or(0);
        buf.iter().take(got).any(|&byte| self.handle(Event::Command(byte)))
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
                    Action::Start => events.push_back(start(self.dir)),
                    Action::Signal(signal) => self.signal(signal),
                    Action::Write => {
                        files::write_status(VOICE, self.dir, &self.state.status());
                    }
                    Action::Leave => leave = true,
                }
            }
        }
        leave
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
}

/// The status of a service left running, as the earlier supervise had it.
fn left(pid: u32, down: bool) -> Status {
    let fresh = State::new(down, now()).status();
    match files::read_status() {
        Some(old) if old.pid == pid => old,
        // It was killed between starting the service and writing so.
        Some(old) => Status { pid, want: old.want, ..fresh },
        None => Status { pid, want: if down { Want::Down } else { Want::Up }, ..fresh },
    }
}

/// Makes the service's process.
fn start(dir: &OsStr) -> Event {
    match spawn::fork() {
        Ok(Fork::Parent(pid)) => Event::Started(pid),
        Ok(Fork::Child) => become_service(dir),
        Err(error) => {
            VOICE.warning(
                &[&"unable to fork for ", &dir, &", trying again in a second"],
                Some(&error),
            );
            Event::NotStarted
        }
    }
}

/// The child: says who it is, then becomes `./run`.
fn become_service(dir: &OsStr) -> ! {
    if let Err(error) = heir::record() {
        VOICE.warning(&[&"unable to write ", &dir, &"/supervise/service"], Some(&error));
    }
    signal::unblock_all();
    signal::default(Signal::Pipe);
    let error = spawn::exec("./run".as_ref(), &["./run".into()], None);
    spawn::exit(VOICE.fatal(&[&"unable to start ", &dir, &"/run"], Some(&error)))
}
