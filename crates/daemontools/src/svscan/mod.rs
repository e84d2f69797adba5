//! svscan: start and watch a supervise for every service, and another for its log.
//!
//! *Runs as* whoever starts it, root as a rule · *hears* signals, and changes of its directory ·
//! *opens* the directory and each service's pipe · *speaks to* the supervises, when told to end.
//!
//! TERM or INT: every service is stopped, then its log has met the end of its input, then svscan
//! exits 0. Killed outright it leaves everything running; the next svscan takes over. While one is
//! there a second one for the same directory gives up at once.

mod alone;
mod child;
mod farewell;
mod keeper;
mod pipe;
mod service;

use crate::message::{TEMPORARY, Voice};
use alone::Alone;
use farewell::Stage;
use service::Service;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;
use sys::clock::monotonic;
use sys::dir::Dir;
use sys::poll::{self, Interest};
use sys::signal::{self, Signal, Signals};
use sys::watch::Watch;

const VOICE: Voice = Voice("svscan");
/// The directory is read at least this often.
const RESCAN: Duration = Duration::from_secs(5);
/// A changed directory is read after this: who makes a service by hand needs a moment to put its
/// `log` there, and that is looked at once only.
const SETTLE: Duration = Duration::from_millis(300);
/// How often the end of the last services is looked for.
const FAREWELL: Duration = Duration::from_millis(100);
/// The longest end: a little more than every stage of the longest farewell.
const GOODBYE: Duration = Duration::from_secs(45);
/// Services kept at once.
const SERVICES: usize = 1000;
/// Names looked at in the directory.
const NAMES: usize = 100_000;

/// `svscan [dir]`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    if let Some(dir) = args.get(1)
        && let Err(error) = std::env::set_current_dir(dir)
    {
        return VOICE.fatal(&[&"unable to chdir to ", dir], Some(&error));
    }
    let _lock = match alone::take(Path::new(".")) {
        Alone::Yes(lock) => Some(lock),
        Alone::No(pid) => {
            return VOICE.fatal(&[&"already running in this directory, pid ", &pid], None);
        }
        Alone::Unknown(error) => {
            VOICE.warning(&[&"unable to lock the directory, going on"], Some(&error));
            None
        }
    };
    // Whoever started us may have ignored it; then deaths would never be told.
    signal::default(Signal::Chld);
    let signals = match Signals::catch(&[Signal::Chld, Signal::Term, Signal::Int]) {
        Ok(signals) => signals,
        Err(error) => return VOICE.fatal(&[&"unable to catch signals"], Some(&error)),
    };
    let mut scan = Svscan { signals, watch: Watch::on(Path::new(".")).ok(), services: Vec::new() };
    scan.run();
    scan.farewell()
}

/// A svscan at work.
struct Svscan {
    signals: Signals,
    /// None where the kernel cannot tell of changes: then the rescan finds them.
    watch: Option<Watch>,
    services: Vec<Service>,
}

/// What a wait ended with.
#[derive(Clone, Copy, Debug, Default)]
struct Woken {
    end: bool,
    child: bool,
    changed: bool,
}

impl Svscan {
    /// Scans until told to end.
    fn run(&mut self) {
        let mut next = Duration::ZERO;
        loop {
            let now = monotonic();
            if now >= next {
                self.scan();
                next = self.next_scan();
                continue;
            }
            let woken = self.wait(next.saturating_sub(now));
            if woken.end {
                return;
            }
            if woken.child {
                self.reap();
                next = self.next_scan().min(next);
            }
            if woken.changed {
                next = next.min(monotonic().saturating_add(SETTLE));
            }
        }
    }

    /// When to scan next if nothing happens: after the usual time, or when a supervise is due.
    fn next_scan(&self) -> Duration {
        let usual = monotonic().saturating_add(RESCAN);
        self.services.iter().filter_map(Service::wake).fold(usual, Duration::min)
    }

    /// Waits for a signal or a change, at most `limit`; buries children.
    fn wait(&self, limit: Duration) -> Woken {
        let mut fds = vec![self.signals.as_fd()];
        fds.extend(self.watch.as_ref().map(AsFd::as_fd));
        if poll::ready(&fds, Interest::READ, Some(limit)).is_err() {
            // Nothing but lack of memory: no reason to spin.
            sys::clock::sleep(FAREWELL);
        }
        let mut woken = Woken::default();
        while let Ok(Some(signal)) = self.signals.next() {
            woken.end |= signal != Signal::Chld;
            woken.child |= signal == Signal::Chld;
        }
        woken.changed = self.watch.as_ref().is_some_and(Watch::drain);
        woken
    }

    /// Clears the pids of children that ended.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = sys::spawn::reap() {
            let now = monotonic();
            for service in &mut self.services {
                service.ended(pid, status, now);
            }
        }
    }

    /// Reads the directory, starts what is not running, forgets what is gone.
    fn scan(&mut self) {
        self.reap();
        for service in &mut self.services {
            service.active = false;
        }
        match Dir::open(".").and_then(|dir| Ok((dir.names(NAMES)?, dir))) {
            Ok((names, dir)) => {
                for name in names.iter().filter(|name| !name.as_bytes().starts_with(b".")) {
                    self.look(&dir, name);
                }
                self.services.retain_mut(|service| service.active || service.lingers());
            }
            Err(error) => VOICE.warning(&[&"unable to read directory"], Some(&error)),
        }
    }

    /// One name of the directory.
    fn look(&mut self, dir: &Dir, name: &OsStr) {
        let stat = match dir.stat(name) {
            Ok(stat) if stat.directory => stat,
            Ok(_) => return,
            Err(error) => return VOICE.warning(&[&"unable to stat ", &name], Some(&error)),
        };
        let known = self.services.iter().position(|each| each.identity == stat.identity);
        if known.is_none() {
            if self.services.len() >= SERVICES {
                let words = ": running too many services";
                return VOICE.warning(&[&"unable to start ", &name, &words], None);
            }
            let Some(service) = Service::discover(dir, name, stat.identity) else { return };
            self.services.push(service);
        }
        let at = known.unwrap_or(self.services.len().saturating_sub(1));
        if let Some(service) = self.services.get_mut(at).filter(|service| !service.active) {
            service.active = true;
            service.keep(name);
        }
    }

    /// Ends every service and then its log; 0 if all went.
    fn farewell(&mut self) -> i32 {
        let until = monotonic().saturating_add(GOODBYE);
        let mut again = true;
        while again && monotonic() < until {
            self.reap();
            again = false;
            for service in &mut self.services {
                again |= service.part_with() != Stage::Gone;
            }
            if again {
                self.wait(FAREWELL);
            }
        }
        let mut code = 0;
        for service in &mut self.services {
            if service.lingers() {
                VOICE.warning(&[&"unable to end ", &service.name], None);
                code = TEMPORARY;
            }
        }
        code
    }
}

/// Trouble while a service is taken up, as a warning.
fn refuse(what: &'static str, name: &OsStr, suffix: &'static str, error: &io::Error) {
    VOICE.warning(&[&what, &name, &suffix], Some(error));
}
