//! A program that is started again and again, each time for less than a fork costs.
//!
//! A fork copies the map of the memory, and after it every page that parent or child writes, only for
//! an exec to throw all of it away. Here a child has the parent's memory itself (`CLONE_VM`, clone(2)),
//! and all it needs was laid out for it before. Other than after `vfork` the parent goes on meanwhile:
//! what it must not touch until the child is another program is a [`Seat`] of its own, which the kernel
//! marks free (`CLONE_CHILD_CLEARTID`).

use super::pid;
use super::search::{c_string, candidates, first_that_runs};
use crate::fd;
use crate::signal::{self, Signal};
use nix::libc;
use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, OsString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

/// Children on their way to their program at once; whoever comes then is forked.
const SEATS: usize = 32;
/// Bytes of a child's stack: a few calls. Those never touched are never there.
const STACK: usize = 64 << 10;
/// What the longest pid takes in a line, bytes.
const DIGITS: usize = 10;

/// A program, ready to be started again and again.
///
/// Never freed: a child may still look at it when we end.
#[derive(Debug)]
pub struct Launcher {
    paths: &'static [CString],
    argv: &'static [CString],
    env: &'static [CString],
    seats: Vec<&'static Seat>,
}

/// A variable's name and its value, or `None`: it is not set.
pub type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// Where a child has what it needs.
struct Seat {
    /// Not 0: a child looks at the rest. The kernel clears it when that child has another memory, or
    /// is gone.
    taken: AtomicI32,
    /// Why the last child could not become its program: the kernel's number, until its end is told.
    failed: AtomicI32,
    /// Our own account of it, which no child looks at.
    pid: AtomicI32,
    brief: UnsafeCell<Brief>,
    stack: UnsafeCell<[u8; STACK]>,
}

// SAFETY: `brief` and `stack` are the child's while `taken` is not 0, and else the one thread's that
// has the only `Launcher` of this seat, by `&mut`.
unsafe impl Sync for Seat {}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").field("taken", &self.taken).field("pid", &self.pid).finish()
    }
}

/// What a child does: says its lines, takes its descriptors, becomes the program. It allocates
/// nothing, for our allocator is at work beside it.
#[derive(Default)]
struct Brief {
    /// The pieces of what it says; its pid comes between them.
    saying: Vec<Vec<u8>>,
    /// Room for that.
    said: Vec<u8>,
    /// What becomes its descriptors 0 and 1.
    conn: c_int,
    paths: &'static [CString],
    /// These and the null at their end point into strings that are never freed,
    argv: Vec<*const c_char>,
    /// and these into such, and into
    env: Vec<*const c_char>,
    _set: Vec<CString>,
}

impl Launcher {
    /// For the program `argv[0]`, sought through our own `$PATH` unless it holds a slash, with our own
    /// variables as they are now. `Unsupported` where the kernel cannot be asked without the C
    /// library, which keeps its account of errors in memory.
    pub fn new(argv: &[OsString]) -> io::Result<Self> {
        if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let program = argv.first().ok_or(io::ErrorKind::InvalidInput)?;
        let paths = candidates(program.as_bytes(), std::env::var_os("PATH").as_deref());
        let env = std::env::vars_os();
        let env = env.map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
        Ok(Self {
            paths: strings(paths.into_iter())?,
            argv: strings(argv.iter().map(|arg| arg.as_bytes().to_vec()))?,
            env: strings(env)?,
            seats: Vec::new(),
        })
    }

    /// Starts the program with other variables, of which a later change of a name holds, and with
    /// `conn` as its descriptors 0 and 1. Before that the child writes `saying` on descriptor 2, its
    /// pid between the pieces. It blocks no signals, and takes SIGCHLD, SIGTERM and SIGPIPE as the
    /// system does.
    ///
    /// `None`: too many are on their way already, or a string has a NUL inside; a fork may still do.
    /// For programs with one thread.
    pub fn start(
        &mut self,
        conn: BorrowedFd<'_>,
        changes: &[Change<'_>],
        saying: Vec<Vec<u8>>,
    ) -> Option<io::Result<u32>> {
        let set = set(changes).ok()?;
        let seat = self.seat()?;
        let kept = |pair: &&CString| changes.iter().all(|(name, _)| *name != name_of(pair));
        let pids = saying.len().saturating_mul(DIGITS);
        let room = saying.iter().map(Vec::len).sum::<usize>().saturating_add(pids);
        // SAFETY: the seat is free (`seat`), so no child looks at this, and only we have it.
        let brief = unsafe { &mut *seat.brief.get() };
        brief.said.clear();
        brief.said.reserve(room);
        brief.saying = saying;
        brief.conn = conn.as_raw_fd();
        brief.paths = self.paths;
        if brief.argv.is_empty() {
            brief.argv = pointers(self.argv);
        }
        brief.env = pointers(self.env.iter().filter(kept).chain(&set));
        brief._set = set;
        Some(seat.start())
    }

    /// Why a child of ours that has ended, with code 111, had not become the program; `None` if it had.
    /// To be asked of each that has ended.
    pub fn failure(&mut self, child: u32) -> Option<io::Error> {
        let child = i32::try_from(child).ok()?;
        let seat = self.seats.iter().find(|seat| seat.pid.load(Ordering::Relaxed) == child)?;
        seat.pid.store(0, Ordering::Relaxed);
        seat.taken.store(0, Ordering::Relaxed);
        let number = seat.failed.swap(0, Ordering::Acquire);
        (number != 0).then(|| io::Error::from_raw_os_error(number))
    }

    /// A free seat.
    fn seat(&mut self) -> Option<&'static Seat> {
        let free = self.seats.iter().copied().find(|seat| seat.is_free());
        if free.is_none() && self.seats.len() < SEATS {
            self.seats.push(Box::leak(Seat::new()));
            return self.seats.last().copied();
        }
        free
    }
}

impl Seat {
    fn new() -> Box<Self> {
        let (taken, failed, pid, brief) = Default::default();
        let stack = UnsafeCell::new([0; STACK]);
        Box::new(Self { taken, failed, pid, brief, stack })
    }

    /// Whether no child looks at it, nor is there a failure to be told of.
    fn is_free(&self) -> bool {
        let none = |number: &AtomicI32| number.load(Ordering::Acquire) == 0;
        none(&self.taken) && none(&self.failed)
    }

    /// Starts the child of a free seat whose brief is written.
    fn start(&'static self) -> io::Result<u32> {
        self.taken.store(1, Ordering::Release);
        let flags = libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
        let nowhere = ptr::null_mut::<c_void>();
        // SAFETY: the child runs `sit` on the seat's stack, from its aligned end downwards, and has
        // the seat for itself until the kernel clears `taken`; it touches nothing else that anybody
        // writes (see `Brief::follow`). Seats are never freed.
        let child = unsafe {
            let top = self.stack.get().cast::<u8>().add(STACK);
            let top = top.sub(top.addr() % 16).cast::<c_void>();
            let me = ptr::from_ref(self).cast_mut().cast::<c_void>();
            libc::clone(sit, top, flags, me, nowhere, nowhere, self.taken.as_ptr())
        };
        if child < 0 {
            let error = io::Error::last_os_error();
            self.taken.store(0, Ordering::Relaxed);
            return Err(error);
        }
        self.pid.store(child, Ordering::Relaxed);
        Ok(pid(nix::unistd::Pid::from_raw(child)))
    }
}

/// A child's whole life in our memory; what it returns is its exit code.
extern "C" fn sit(seat: *mut c_void) -> c_int {
    // SAFETY: `Seat::start` gave its own address, and seats are never freed.
    let seat = unsafe { &*seat.cast::<Seat>() };
    // SAFETY: `taken` is not 0: the brief is ours.
    let brief = unsafe { &mut *seat.brief.get() };
    let error = brief.follow();
    seat.failed.store(error.raw_os_error().unwrap_or(libc::EINVAL), Ordering::Release);
    111
}

impl Brief {
    /// Does it; returns only with the error that decided.
    ///
    /// Beside it our own thread runs on in the same memory: nothing here may allocate, lock, or look
    /// at what that thread writes; of the C library only what is a plain call of the kernel that does
    /// not fail.
    fn follow(&mut self) -> io::Error {
        signal::unblock_all();
        self.say();
        // SAFETY: the number is the child's copy of what `start` was lent.
        let conn = unsafe { BorrowedFd::borrow_raw(self.conn) };
        if let Err(error) = fd::place(conn, 0).and_then(|()| fd::place(conn, 1)) {
            return error;
        }
        for signal in [Signal::Chld, Signal::Term, Signal::Pipe] {
            signal::default(signal);
        }
        first_that_runs(self.paths, |path| execve(path, &self.argv, &self.env))
    }

    fn say(&mut self) {
        let mut room = [0; DIGITS];
        let pid =
            digits(rustix::process::getpid().as_raw_nonzero().get().unsigned_abs(), &mut room);
        for (place, piece) in self.saying.iter().enumerate() {
            // There is room: nothing moves.
            self.said.extend_from_slice(if place == 0 { b"" } else { pid });
            self.said.extend_from_slice(piece);
        }
        // Nobody is left to tell if that fails.
        let _ = fd::write_all(fd::stderr().as_fd(), &self.said);
    }
}

/// A number's decimal digits.
fn digits(mut number: u32, room: &mut [u8; DIGITS]) -> &[u8] {
    let mut from = room.len();
    for (at, digit) in room.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        from = at;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    room.get(from..).unwrap_or_default()
}

/// execve(2) without the C library, whose account of errors is in the memory of our thread. `argv` and
/// `env` end with a null.
fn execve(path: &CStr, argv: &[*const c_char], env: &[*const c_char]) -> io::Error {
    let (path, argv, env) = (path.as_ptr(), argv.as_ptr(), env.as_ptr());
    let said: isize;
    // SAFETY: execve reads strings and lists that live as long as their seat; it writes no memory, and
    // returns only a negative error number.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") libc::SYS_execve as isize => said, in("rdi") path,
            in("rsi") argv, in("rdx") env, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("svc 0", in("x8") libc::SYS_execve, inlateout("x0") path => said,
            in("x1") argv, in("x2") env, options(nostack));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = (path, argv, env);
        said = -(libc::ENOSYS as isize);
    }
    io::Error::from_raw_os_error(i32::try_from(said.unsigned_abs()).unwrap_or(libc::EINVAL))
}

/// The variables that changes leave, each once.
fn set(changes: &[Change<'_>]) -> io::Result<Vec<CString>> {
    let mut set: Vec<CString> = Vec::with_capacity(changes.len());
    for &(name, value) in changes {
        set.retain(|pair| name_of(pair) != name);
        if let Some(value) = value {
            set.push(c_string([name, b"=", value].concat())?);
        }
    }
    Ok(set)
}

/// Strings that are never freed.
fn strings(all: impl Iterator<Item = Vec<u8>>) -> io::Result<&'static [CString]> {
    Ok(Vec::leak(all.map(c_string).collect::<io::Result<_>>()?))
}

/// The addresses of strings, with a null at the end: as execve(2) wants them.
fn pointers<'a>(strings: impl IntoIterator<Item = &'a CString>) -> Vec<*const c_char> {
    strings.into_iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// The name in `NAME=VALUE`.
fn name_of(pair: &CStr) -> &[u8] {
    pair.to_bytes().split(|&byte| byte == b'=').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spawn::{Status, wait};

    fn launcher(argv: &[&str]) -> Launcher {
        Launcher::new(&argv.iter().map(OsString::from).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_program_gets_our_variables_with_the_changes_and_each_name_once() {
        let mut launcher =
            launcher(&["sh", "-c", "echo $PATH:$A:${B-none}:$C >&0; env | grep -c ^A="]);
        let changes: [Change<'_>; 4] =
            [(b"A", Some(b"1")), (b"B", None), (b"A", Some(b"2")), (b"C", Some(b"x=y"))];
        let (out, end) = fd::pipe().unwrap();
        let pid = launcher.start(end.as_fd(), &changes, Vec::new()).unwrap().unwrap();
        drop(end);
        let want = format!("{}:2:none:x=y\n1\n", std::env::var("PATH").unwrap());
        assert_eq!(fd::read_to_end(&out, 10_000).unwrap(), want.as_bytes());
        assert_eq!(wait(pid).unwrap(), Status::Exited(0));
        assert!(launcher.failure(pid).is_none());
        assert!(launcher.start(out.as_fd(), &[(b"A", Some(b"\0"))], Vec::new()).is_none());
    }

    #[test]
    fn a_program_that_is_not_there_is_told_of_when_its_child_has_ended() {
        let mut launcher = launcher(&["/no/such/program"]);
        for _ in 0..3 * SEATS {
            let pid = launcher.start(fd::stderr(), &[], Vec::new()).unwrap().unwrap();
            assert_eq!(wait(pid).unwrap(), Status::Exited(111));
            assert_eq!(launcher.failure(pid).unwrap().kind(), io::ErrorKind::NotFound);
            assert!(launcher.failure(pid).is_none());
        }
        assert_eq!(launcher.seats.len(), 1);
        let more = (0..=SEATS).map(|_| launcher.start(fd::stderr(), &[], Vec::new()));
        let pids: Vec<_> = more.flatten().map(Result::unwrap).collect();
        assert_eq!(pids.len(), SEATS, "a failure that was not told of keeps its seat");
        for pid in pids {
            wait(pid).unwrap();
            assert!(launcher.failure(pid).is_some());
        }
    }

    #[test]
    fn many_at_once_and_a_parent_that_goes_on_disturb_nobody() {
        let mut launcher = launcher(&["sh", "-c", "exit $CODE"]);
        let mut started = Vec::new();
        for code in 0..200_u32 {
            let text = format!("{}", code % 100);
            let change: [Change<'_>; 1] = [(b"CODE", Some(text.as_bytes()))];
            let pid = loop {
                match launcher.start(fd::stderr(), &change, Vec::new()) {
                    Some(pid) => break pid.unwrap(),
                    None => std::thread::yield_now(),
                }
            };
            started.push((pid, code % 100));
        }
        for (pid, code) in started {
            assert_eq!(wait(pid).unwrap().raw(), code as i32 * 256);
            assert!(launcher.failure(pid).is_none());
        }
    }

    #[test]
    fn a_name_that_was_set_and_is_taken_back_is_not_set() {
        assert!(set(&[(b"A", Some(b"1")), (b"A", None)]).unwrap().is_empty());
        assert_eq!(name_of(c"AB=C=D"), b"AB");
    }

    #[test]
    fn a_pid_is_written_as_people_write_it() {
        for number in [0, 7, 10, 32_768, u32::MAX] {
            assert_eq!(digits(number, &mut [0; DIGITS]), number.to_string().as_bytes());
        }
    }
}
