//! A tree of processes watched at every system call (`ptrace`), so that one call of one program can
//! be made to fail, to come up short or to be the program's last; and so that the time of day can be
//! shifted for them alone.
//!
//! A failing call is not made: its path or descriptor is replaced by a bad one, and what it answers
//! by the error wanted. A short one is really made, with half the bytes. Filters of system calls
//! stay in force, as the call's number is never changed.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::libc::user_regs_struct as Regs;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::calls::{self, Call, Shape};
use super::vdso;
use crate::tally::Trouble;

/// The entry of the auxiliary vector that says where the kernel's fast clock is.
const SYSINFO: i64 = 33;
/// `mov eax, 228; syscall; ret`: `clock_gettime` as a call of the kernel.
const SLOW_CLOCK: i64 = i64::from_le_bytes([0xb8, 0xe4, 0, 0, 0, 0x0f, 0x05, 0xc3]);
/// `clock_gettime`, and the two clocks that tell the time of day.
const CLOCK_GETTIME: u64 = 228;
const REALTIME: [u64; 2] = [0, 5];
/// Where in its home the first process's own words go.
pub(crate) const LOG: &str = "svscan.log";
/// ptrace's event for a stop that is no signal of anybody's.
const EVENT_STOP: i32 = 128;

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The call fails with this error.
    Errno(i32),
    /// It moves half the bytes.
    Short,
    /// The process is killed before it.
    Kill,
}

/// A call of a program: the `nth` of this name since counting began.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub who: String,
    pub call: &'static str,
    pub nth: u32,
}

/// What the session and the tracer share.
#[derive(Default)]
pub(crate) struct Watch {
    /// Calls so far, by program and name.
    pub counts: BTreeMap<(String, &'static str), u32>,
    /// What is to happen at which call, once.
    pub armed: Option<(Point, Fault)>,
    /// Where it happened, in words.
    pub hit: Option<String>,
    /// Whoever started the process it happened to was gone by then.
    pub orphan: bool,
    /// Programs that were killed or ended with an error, in words.
    pub ends: Vec<String>,
    /// The programs that run.
    pub living: BTreeMap<i32, String>,
}

/// A tree of processes under watch.
pub(crate) struct Tree {
    /// The first process.
    pub pid: u32,
    watch: Arc<Mutex<Watch>>,
    /// Seconds to add to the time of day; see [`Tree::start`].
    pub shift: Arc<AtomicI64>,
    thread: Option<JoinHandle<()>>,
}

impl Tree {
    /// Starts a program under watch. With `shifted` its time of day, and that of all it starts, is
    /// the machine's plus [`Tree::shift`]: the kernel's fast clock is made slow for them, and what
    /// that answers is changed. (File times and timers are not.)
    pub(crate) fn start(args: &[&Path], home: &Path, shifted: bool) -> Result<Self, Trouble> {
        let clock = if shifted { Some(vdso::clock().ok_or("no fast clock")?) } else { None };
        let watch = Arc::new(Mutex::new(Watch::default()));
        let shift = Arc::new(AtomicI64::new(0));
        let (tell, told) = std::sync::mpsc::channel();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read go && exec \"$@\" </dev/null", "sh"]).args(args);
        command.current_dir(home).stdin(Stdio::piped());
        let log = std::fs::File::create(home.join(LOG)).map_err(|e| e.to_string())?;
        command.stderr(log.try_clone().map_err(|e| e.to_string())?).stdout(log);
        command.env("PATH", format!("{}:/usr/bin:/bin", home.join("bin").display()));
        let tracer = Tracer {
            watch: Arc::clone(&watch),
            shift: Arc::clone(&shift),
            clock,
            processes: HashMap::new(),
        };
        // ptrace answers only to the thread that began it.
        let thread = std::thread::spawn(move || {
            let mut tracer = tracer;
            let seized = seize(&mut command);
            let first = seized.as_ref().ok().copied();
            let _ = tell.send(seized);
            if let Some(first) = first {
                tracer.watch_all(first);
            }
        });
        let pid = told.recv().map_err(|e| e.to_string())??;
        let pid = u32::try_from(pid.as_raw()).map_err(|e| e.to_string())?;
        Ok(Self { pid, watch, shift, thread: Some(thread) })
    }

    /// What is shared with the tracer.
    pub(crate) fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the first process has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // Whoever is still watched dies with the tracer.
        if !self.has_ended() {
            let _ = sys::signal::kill(self.pid, sys::signal::Signal::Kill);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts the command, which waits for a line, and takes hold of it.
fn seize(command: &mut Command) -> Result<Pid, Trouble> {
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(|e| e.to_string())?);
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    let held = ptrace::seize(pid, options).and_then(|()| ptrace::interrupt(pid));
    if let Err(e) = held {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("ptrace: {e}"));
    }
    let go = child.stdin.take().map(|mut stdin| stdin.write_all(b"go\n"));
    go.ok_or("no pipe")?.map_err(|e| e.to_string())?;
    Ok(pid)
}

/// One process (or thread) under watch.
#[derive(Default)]
struct Process {
    /// The program it runs; `NAME child` if it was forked and never became another.
    who: String,
    /// Between a call's two stops: its registers as they were, and what to answer.
    inside: Option<(Regs, Option<i32>)>,
}

struct Tracer {
    watch: Arc<Mutex<Watch>>,
    shift: Arc<AtomicI64>,
    /// Where the fast clock's code is in the kernel's page of code, if the time is shifted.
    clock: Option<u64>,
    processes: HashMap<i32, Process>,
}

impl Tracer {
    /// Watches until the first process has ended.
    fn watch_all(&mut self, first: Pid) {
        let children = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            match waitpid(None, Some(children)) {
                Err(Errno::ECHILD) => return,
                Err(_) | Ok(WaitStatus::Continued(_) | WaitStatus::StillAlive) => {}
                Ok(WaitStatus::PtraceSyscall(pid)) => {
                    self.at_call(pid);
                    let _ = ptrace::syscall(pid, None);
                }
                Ok(WaitStatus::PtraceEvent(pid, _, event)) => {
                    self.at_event(pid, event);
                    let _ = ptrace::syscall(pid, None);
                }
                Ok(WaitStatus::Stopped(pid, signal)) => {
                    let _ = ptrace::syscall(pid, signal);
                }
                Ok(WaitStatus::Exited(pid, code)) => {
                    self.ended(pid, (code != 0).then(|| format!("exit {code}")));
                    if pid == first {
                        return;
                    }
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    self.ended(pid, Some(format!("{signal}")));
                    if pid == first {
                        return;
                    }
                }
            }
        }
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&mut self, pid: Pid, how: Option<String>) {
        let gone = self.processes.remove(&pid.as_raw());
        self.watch().living.remove(&pid.as_raw());
        let Some((process, how)) = gone.zip(how) else { return };
        let end = format!("{}: {how}", process.who);
        let mut watch = self.watch();
        // Threads end together.
        if how.starts_with("exit") || watch.ends.last() != Some(&end) {
            watch.ends.push(end);
        }
    }

    fn at_event(&mut self, pid: Pid, event: i32) {
        if event == EVENT_STOP {
            self.process(pid);
        } else if event == nix::libc::PTRACE_EVENT_EXEC {
            let who = program(pid).unwrap_or_default();
            self.process(pid).who.clone_from(&who);
            self.watch().living.insert(pid.as_raw(), who);
            if let Some(clock) = self.clock {
                let _ = slow_clock(pid, clock);
            }
        }
    }

    /// What is known of a process; a new one is named after its parent.
    fn process(&mut self, pid: Pid) -> &mut Process {
        if !self.processes.contains_key(&pid.as_raw()) {
            let who = self.descent(pid);
            self.processes.insert(pid.as_raw(), Process { who, inside: None });
        }
        self.processes.entry(pid.as_raw()).or_default()
    }

    /// The name of a process that was just forked.
    fn descent(&self, pid: Pid) -> String {
        let field = |name: &str| field(pid, name);
        let who = |pid: Option<i32>| self.processes.get(&pid?).map(|process| process.who.clone());
        let leader = field("Tgid:").filter(|&leader| leader != pid.as_raw());
        match (who(leader), who(field("PPid:"))) {
            (Some(same), _) => same,
            (None, Some(parent)) if parent.ends_with(" child") => parent,
            (None, Some(parent)) => format!("{parent} child"),
            (None, None) => "?".into(),
        }
    }

    /// At a call's entry decides what becomes of it; at its exit carries that out.
    fn at_call(&mut self, pid: Pid) {
        let Ok(regs) = ptrace::getregs(pid) else { return };
        match self.process(pid).inside.take() {
            // What began before the watch did shows its exit only.
            None if regs.rax != i64::from(-nix::libc::ENOSYS).cast_unsigned() => {}
            None => {
                let answer = self.enter(pid, &regs);
                self.process(pid).inside = Some((regs, answer));
            }
            Some((before, answer)) => {
                if answer.is_some() {
                    leave(pid, &before, regs, answer);
                } else if self.clock.is_some() {
                    self.shift_clock(pid, &before);
                }
            }
        }
    }

    /// Counts a call; if it is the one, spoils it. Says what is to be answered: an error, or (0)
    /// whatever the changed call answers.
    fn enter(&self, pid: Pid, regs: &Regs) -> Option<i32> {
        let call = calls::find(regs.orig_rax)?;
        let who = self.processes.get(&pid.as_raw()).map(|p| p.who.clone())?;
        if !is_ours(&who) {
            return None;
        }
        let file = file_of(pid, call, regs)?;
        let mut watch = self.watch();
        let count = watch.counts.entry((who.clone(), call.name)).or_insert(0);
        *count += 1;
        let here = Point { who, call: call.name, nth: *count };
        let (_, fault) = watch.armed.take_if(|(point, _)| *point == here)?;
        watch.hit = Some(format!("{} {} {file}", here.who, call.name));
        watch.orphan = field(pid, "PPid:").is_none_or(|pid| !self.processes.contains_key(&pid));
        drop(watch);
        spoil(pid, call, *regs, fault)
    }

    /// Adds the shift to a time of day that was just read.
    fn shift_clock(&self, pid: Pid, before: &Regs) {
        let shift = self.shift.load(Ordering::Relaxed);
        if shift == 0 || before.orig_rax != CLOCK_GETTIME || !REALTIME.contains(&before.rdi) {
            return;
        }
        let at = before.rsi as ptrace::AddressType;
        if let Ok(seconds) = ptrace::read(pid, at) {
            let _ = ptrace::write(pid, at, seconds.saturating_add(shift));
        }
    }
}

/// A number of a process's status.
fn field(pid: Pid, name: &str) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Changes a call that is about to be made.
fn spoil(pid: Pid, call: &Call, mut regs: Regs, fault: Fault) -> Option<i32> {
    match (fault, call.shape) {
        (Fault::Kill, _) => {
            let _ = kill(pid, Signal::SIGKILL);
            return None;
        }
        // A descriptor is gone even if closing it fails.
        (Fault::Errno(errno), Shape::Close) => return Some(errno),
        (Fault::Errno(_), Shape::Path(at)) => set_argument(&mut regs, at, |_| 0),
        (Fault::Errno(_), Shape::Fd(at) | Shape::Bytes(at, _)) => {
            set_argument(&mut regs, at, |_| u64::MAX);
        }
        (Fault::Short, Shape::Bytes(_, count)) => set_argument(&mut regs, count, |n| n.div_ceil(2)),
        (Fault::Short, _) => return None,
    }
    ptrace::setregs(pid, regs).ok()?;
    Some(if let Fault::Errno(errno) = fault { errno } else { 0 })
}

/// Puts back what was changed, and answers.
fn leave(pid: Pid, before: &Regs, mut regs: Regs, answer: Option<i32>) {
    for at in 0..6 {
        let was = argument(before, at);
        set_argument(&mut regs, at, |_| was);
    }
    if let Some(errno @ 1..) = answer {
        regs.rax = i64::from(-errno).cast_unsigned();
    }
    let _ = ptrace::setregs(pid, regs);
}

fn argument(regs: &Regs, at: usize) -> u64 {
    match at {
        0 => regs.rdi,
        1 => regs.rsi,
        2 => regs.rdx,
        3 => regs.r10,
        4 => regs.r8,
        _ => regs.r9,
    }
}

fn set_argument(regs: &mut Regs, at: usize, to: impl Fn(u64) -> u64) {
    let place = match at {
        0 => &mut regs.rdi,
        1 => &mut regs.rsi,
        2 => &mut regs.rdx,
        3 => &mut regs.r10,
        4 => &mut regs.r8,
        _ => &mut regs.r9,
    };
    *place = to(*place);
}

/// The file a call is about, as far as it is on a disk.
fn file_of(pid: Pid, call: &Call, regs: &Regs) -> Option<String> {
    let at = match call.shape {
        Shape::Path(at) => return path_at(pid, argument(regs, at)),
        Shape::Fd(at) | Shape::Bytes(at, _) => at,
        Shape::Close => 0,
    };
    let link = format!("/proc/{pid}/fd/{}", argument(regs, at) & 0xffff_ffff);
    let target = std::fs::read_link(link).ok()?.to_string_lossy().into_owned();
    (target.starts_with('/') && !is_device(&target)).then_some(target)
}

/// What only looks like a file.
fn is_device(path: &str) -> bool {
    ["/dev/null", "/dev/urandom", "/proc/", "/memfd:", "/sys/"]
        .iter()
        .any(|dir| path.starts_with(dir))
}

/// A path in a process's memory; an empty one names a descriptor's file.
fn path_at(pid: Pid, address: u64) -> Option<String> {
    let mut bytes = [0; 256];
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let got = memory.read_at(&mut bytes, address).ok()?;
    let path = bytes.get(..got)?.split(|&c| c == 0).next()?;
    let path = String::from_utf8_lossy(path).into_owned();
    (!is_device(&path)).then_some(path)
}

/// The programs that handle letters; not the shell of a run script, nor who starts them.
fn is_ours(who: &str) -> bool {
    who.starts_with("qmail-") || who.starts_with("tcpserver") || who.starts_with("multilog")
}

/// The program a process has just become.
fn program(pid: Pid) -> Option<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = line.split(|&c| c == 0).next()?;
    let name = first.rsplit(|&c| c == b'/').next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// Makes the kernel's fast clock of a program that was just started a slow one, which asks the
/// kernel: its code, which the kernel puts into every process, is replaced in this one.
fn slow_clock(pid: Pid, offset: u64) -> nix::Result<()> {
    let mut at = ptrace::getregs(pid)?.rsp;
    let mut next = || {
        let word = ptrace::read(pid, at as ptrace::AddressType);
        at += 8;
        word
    };
    let arguments = next()?;
    for _ in 0..=arguments {
        next()?;
    }
    while next()? != 0 {}
    loop {
        match (next()?, next()?) {
            (0, _) => return Ok(()),
            (SYSINFO, base) => {
                let at = base.cast_unsigned().wrapping_add(offset) as ptrace::AddressType;
                return ptrace::write(pid, at, SLOW_CLOCK);
            }
            _ => {}
        }
    }
}
