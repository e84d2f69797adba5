//! svscan: start and watch a supervise for every service, and another for its log.
//!
//! *Runs as* whoever starts it, root as a rule, and as process 1 of a container · *hears* signals,
//! and changes of its directory · *opens* the directory and each service's pipe · *speaks to* the
//! supervises, when told to end.
//!
//! TERM, INT or QUIT: every service is stopped, then its log has met the end of its input, then
//! svscan exits 0. Killed outright it leaves everything running; the next svscan takes over. While
//! one is there a second one for the same directory gives up at once.

mod alone;
mod child;
mod descriptors;
mod farewell;
mod keeper;
mod orders;
mod orphans;
mod pipe;
mod post;
mod scan;
mod service;
mod systemd;
mod told;

use crate::message::{TEMPORARY, Voice};
use alone::Alone;
use orders::{Order, Programs};
use orphans::Orphans;
use service::Service;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;
use sys::clock::monotonic;
use sys::poll::{self, Interest};
use sys::signal::{self, Signal, Signals};
use sys::watch::Watch;
use systemd::Systemd;
use told::{Beyond, Told};

const VOICE: Voice = Voice("svscan");
/// A changed directory is read after this: who makes a service by hand needs a moment to put its
/// `log` there, and that is looked at once only.
const SETTLE: Duration = Duration::from_millis(300);
/// How often the end of services is looked for that are on their way out.
const FAREWELL: Duration = Duration::from_millis(100);
/// What process 1 gives to those that are left when the services are gone, before it takes all with
/// it.
const LEFTOVERS: Duration = Duration::from_secs(2);

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
    let signals = match Signals::catch(&orders::HEARD) {
        Ok(signals) => signals,
        Err(error) => return VOICE.fatal(&[&"unable to catch signals"], Some(&error)),
    };
    descriptors::take();
    let mut svscan = Svscan {
        signals,
        watch: Watch::on(Path::new(".")).ok(),
        services: BTreeMap::new(),
        programs: Programs::default(),
        orphans: Orphans::ours(),
        systemd: Systemd::here(),
        told: Told::default(),
        beyond: Beyond::default(),
        next: Duration::ZERO,
    };
    svscan.run();
    svscan.farewell()
}

/// A trouble with a name of the directory.
#[derive(Debug)]
struct Refusal {
    what: &'static str,
    /// What messages put behind the name.
    suffix: &'static str,
    error: io::Error,
}

/// A svscan at work.
struct Svscan {
    signals: Signals,
    /// None where the kernel cannot tell of changes: then the rescan finds them.
    watch: Option<Watch>,
    /// By device and inode.
    services: BTreeMap<(u64, u64), Service>,
    programs: Programs,
    /// If we are process 1.
    orphans: Option<Orphans>,
    systemd: Systemd,
    told: Told,
    /// Whether there are directories without room.
    beyond: Beyond,
    /// When to read the directory next.
    next: Duration,
}

/// What a wait ended with.
#[derive(Clone, Copy, Debug, Default)]
struct Woken {
    end: bool,
    scan: bool,
    retire: bool,
    changed: bool,
}

impl Svscan {
    /// Keeps the services until told to end.
    fn run(&mut self) {
        self.scan();
        self.systemd.ready();
        loop {
            let now = monotonic();
            if now >= self.due() {
                self.scan();
                continue;
            }
            let parting = self.part();
            self.systemd.round(now);
            let limit = self.limit(parting).saturating_sub(now).min(self.systemd.patience());
            let woken = self.wait(limit);
            if woken.end {
                return;
            }
            if woken.scan || woken.retire {
                self.services.values_mut().for_each(Service::hurry);
                self.scan();
            }
            if woken.retire {
                self.retire();
            }
            if woken.changed {
                self.next = self.next.min(monotonic().saturating_add(SETTLE));
            }
        }
    }

    /// When to scan if nothing happens: after the usual time, or when something is to be started. A
    /// service that was removed is then not started any more.
    fn due(&self) -> Duration {
        self.services.values().filter_map(Service::start_at).fold(self.next, Duration::min)
    }

    /// The tick to wait for.
    fn limit(&self, parting: bool) -> Duration {
        let look = self.services.values().filter_map(Service::look_at).min();
        let part = parting.then(|| monotonic().saturating_add(FAREWELL));
        look.into_iter().chain(part).fold(self.due(), Duration::min)
    }

    /// Waits for a signal, a change, or the end of a supervise, at most `limit`; buries children.
    fn wait(&mut self, limit: Duration) -> Woken {
        let mut fds = vec![self.signals.as_fd()];
        fds.extend(self.watch.as_ref().map(AsFd::as_fd));
        let first = fds.len();
        fds.extend(self.services.values().flat_map(Service::fds));
        let ready = poll::ready(&fds, Interest::READ, Some(limit)).unwrap_or_else(|_| {
            // Nothing but lack of memory: no reason to spin.
            sys::clock::sleep(FAREWELL);
            Vec::new()
        });
        let mut ended = ready.into_iter().skip(first);
        for service in self.services.values_mut() {
            service.look(&mut ended);
        }
        let mut woken = self.hear();
        woken.changed = self.watch.as_ref().is_some_and(Watch::drain);
        woken
    }

    /// What signals ask for.
    fn hear(&mut self) -> Woken {
        let mut woken = Woken::default();
        while let Ok(Some(signal)) = self.signals.next() {
            if self.programs.run(signal) {
                continue;
            }
            match orders::order(signal) {
                Order::End => woken.end = true,
                Order::Reap => self.reap(),
                Order::Scan => woken.scan = true,
                Order::Retire => woken.retire = true,
                Order::Nothing => {}
            }
        }
        woken
    }

    /// Clears the pids of children that ended. As process 1 we are the parent of everybody whose
    /// parent is gone.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = sys::spawn::reap() {
            let now = monotonic();
            let mut services = self.services.values_mut();
            if !services.any(|service| service.ended(pid, status, now)) {
                self.programs.ended(pid);
            }
        }
    }

    /// Sends those on their way that are no longer in the directory.
    fn retire(&mut self) {
        for service in self.services.values_mut().filter(|service| !service.active) {
            service.leave();
        }
    }

    /// One step for each service on its way out; true while there is one to wait for. When one is gone
    /// the directory is read again: it may have come back.
    fn part(&mut self) -> bool {
        let (mut parting, now) = (false, monotonic());
        let wait = self.services.values().any(|service| service.holds_up(now));
        for service in self.services.values_mut().filter(|service| service.leaving()) {
            if wait && service.is_last() {
                parting = true;
            } else if step(service) {
                self.next = Duration::ZERO;
            } else {
                parting |= !service.overdue(now);
            }
        }
        parting
    }

    /// Ends every service and then its log, those that others need when they are down; 0 if all went.
    fn farewell(&mut self) -> i32 {
        let mut longest = [Duration::ZERO; 2];
        for service in self.services.values_mut() {
            let time = service.leave();
            let [first, last] = &mut longest;
            let one = if service.is_last() { last } else { first };
            *one = time.max(*one);
        }
        let longest = longest.into_iter().fold(LEFTOVERS, Duration::saturating_add);
        let until = monotonic().saturating_add(longest);
        self.systemd.stopping(longest.saturating_add(LEFTOVERS));
        self.reap();
        while self.part() && monotonic() < until {
            self.tell_orphans();
            self.wait(FAREWELL);
            self.systemd.round(monotonic());
        }
        let mut code = 0;
        for service in self.services.values_mut() {
            if service.lingers() {
                VOICE.warning(&[&"unable to end ", &service.name], None);
                code = TEMPORARY;
            }
        }
        if self.orphans.is_some() {
            self.last_rites();
        }
        code
    }

    /// When the services are down, those whose parents they were are told.
    fn tell_orphans(&mut self) {
        let Some(orphans) = &mut self.orphans else { return };
        if self.services.values().all(Service::is_down) {
            orphans.tell(&self.services.values().flat_map(Service::pids).collect());
        }
    }

    /// Process 1 of a container takes everybody with it: who is left is told, and gets a moment.
    fn last_rites(&mut self) {
        let until = monotonic().saturating_add(LEFTOVERS);
        let _ = signal::kill_everybody(Signal::Term);
        // Who sleeps wakes up to hear it; and while there is somebody this is no error.
        while signal::kill_everybody(Signal::Cont).is_ok() && monotonic() < until {
            self.wait(FAREWELL);
        }
    }
}

/// One step of a service's end; true when it is gone.
fn step(service: &mut Service) -> bool {
    let (gone, killed) = service.part_with();
    if let Some(suffix) = killed {
        let words = " did not end in its time: killed";
        VOICE.warning(&[&service.name, &suffix, &words], None);
    }
    gone
}
