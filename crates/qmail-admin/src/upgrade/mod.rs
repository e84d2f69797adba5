//! `qmailctl upgrade`: other binaries under services at work. No connection and no letter is lost.
//!
//! The binaries change by renames: whoever runs goes on with its own. Then every service becomes the
//! new version, one by one, in an order in which each finds those it needs: listeners keep their
//! socket and their sessions (HUP, see tcpserver), the others end what they have begun (TERM) while
//! those who ask them wait. One that is not ready within its time has all of it taken back: the old
//! binaries, and the old services. One that was cut off is finished, or taken back, by the next.
//! `judge` and `cut` decide; here it is done.

mod cut;
mod judge;
mod sight;
mod swap;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base::service::Status;
use base::tai::Label;
use clap::Args;
use store::home::Home;

use crate::install::{Source, is_running};
use crate::permissions::{append, enter, unless_there};
use crate::places::Places;
use crate::print::{complain, one_line, say};
use crate::{Trouble, facts, services, setup, steer};
pub(crate) use cut::unfinished_upgrade;
use cut::{Journal, Rest};
use judge::{Verdict, Watch};
use sight::{Kind, Look};
pub(crate) use swap::{BESIDE, is_begun};

/// Time between two looks at a service.
const AGAIN: Duration = Duration::from_millis(100);
/// What is said of a service that is not renewed.
const KEPT: &str = "left as it is";
/// What is said of a qmail-send with deliveries under way.
const LINGERS: &str =
    "the old one still finishes what it has begun; the new one starts when it is gone";

/// Put other binaries under the services at work.
#[derive(Args)]
pub(crate) struct Upgrade {
    /// Where the new binaries are; bin/.before in the home has the last ones. Left out, an upgrade
    /// that was cut off is finished, or taken back.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// How many seconds each service may take to be ready.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    limit: u64,
    /// Make every service start anew although no binary is another.
    #[arg(long)]
    anyway: bool,
}

impl Upgrade {
    /// Carries the command out.
    pub(crate) fn run(self, home: &Home) -> Result<(), Trouble> {
        let limit = Duration::from_secs(self.limit);
        let work = Work { home, places: Places::of(home), limit };
        match self.from {
            Some(from) => work.carry(&Source::open(Some(&from))?, self.anyway),
            None => work.resume(),
        }
    }
}

/// The same for an installation.
pub(crate) fn carry(home: &Home, source: &Source) -> Result<(), Trouble> {
    Work { home, places: Places::of(home), limit: Duration::from_secs(30) }.carry(source, false)
}

/// An upgrade under way.
struct Work<'a> {
    home: &'a Home,
    places: Places,
    limit: Duration,
}

impl Work<'_> {
    fn carry(&self, source: &Source, anyway: bool) -> Result<(), Trouble> {
        let _alone = swap::lock(self.home)?;
        let bin = self.home.path("bin");
        let (stale, cut) = (source.stale(&bin)?, cut::found(self.home));
        if stale.is_empty() && !anyway && cut.is_none() {
            say!("{} has these binaries already", bin.display());
            self.farewell();
            return Ok(());
        }
        let names = self.at_work()?;
        let journal = Journal::new(source)?;
        self.accepts(source, &stale)?;
        if let Some(cut) = &cut {
            self.log(&format!("the upgrade to {} was cut off: this one takes its place", cut.to));
        }
        let put = || swap::put(self.home, &stale, &journal);
        self.go(&journal.from, names.as_deref(), cut.is_some(), put)
    }

    /// Finishes the upgrade that was cut off if the new version is at hand as a whole; else goes back.
    fn resume(&self) -> Result<(), Trouble> {
        let _alone = swap::lock(self.home)?;
        let Some(cut) = cut::found(self.home) else {
            return Err("no upgrade was cut off; say where new binaries are: --from DIR".into());
        };
        swap::unstage(self.home);
        let names = self.at_work()?;
        match cut.rest {
            Rest::Finish(missing) => {
                self.log(&format!("the upgrade to {} was cut off: finishing it", cut.to));
                self.go(&cut.to, names.as_deref(), true, || swap::place(self.home, &missing))
            }
            Rest::Back => {
                let why =
                    format!("the upgrade to {} was cut off, and not all of it is here", cut.to);
                self.log(&format!("{why}: putting the old version back"));
                swap::back(self.home)?;
                if let Some(names) = &names {
                    self.renew_all(names, true).map_err(|(_, why)| why)?;
                }
                swap::forget(self.home)?;
                self.log("the old version is back");
                Ok(())
            }
        }
    }

    /// The services to be renewed; none if nothing runs.
    fn at_work(&self) -> Result<Option<Vec<String>>, Trouble> {
        is_running(self.home)
            .then(|| self.none_is_paused().and_then(|()| self.services()))
            .transpose()
    }

    /// A paused service can become nothing, neither the new version nor the old one again.
    fn none_is_paused(&self) -> Result<(), Trouble> {
        for service in facts::scanned(&self.places)? {
            let status = fs::read(service.join("supervise/status")).unwrap_or_default();
            if Status::decode(&status).is_some_and(|status| status.paused && status.pid != 0) {
                let cont = self.home.path("bin/qmailctl");
                let (service, cont) = (service.display(), cont.display());
                return Err(format!(
                    "{service} is paused: nothing was changed (mend: {cont} cont)"
                ));
            }
        }
        Ok(())
    }

    /// Has the new version put in its place, and the services become it; after a `cut` any of them may
    /// be a new one already.
    fn go(
        &self,
        to: &str,
        names: Option<&[String]>,
        cut: bool,
        put: impl FnOnce() -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let running = names.unwrap_or_default();
        if let Err(why) = put().and_then(|()| self.complete(running)) {
            if !is_begun(self.home) {
                swap::discard(self.home);
                return Err(format!("{why}; nothing was changed"));
            }
            if cut {
                return Err(self.take_back(running, &why));
            }
            return Err(match swap::back(self.home).and_then(|()| swap::forget(self.home)) {
                Ok(()) => format!("{why}; the old version is back, no service has noticed"),
                Err(also) => format!("{why}; and the old version cannot be put back: {also}"),
            });
        }
        if names.is_none() {
            swap::settle(self.home)?;
            self.farewell();
            say!("put into {}; nothing runs", self.home.path("bin").display());
            return Ok(());
        }
        self.log(&format!("upgrade to the binaries of {to}"));
        match self.renew_all(running, false) {
            Ok(()) => {
                swap::settle(self.home)?;
                self.farewell();
                self.log("upgrade done");
                Ok(())
            }
            Err((at, why)) => {
                let touched = running.get(..=at).filter(|_| !cut).unwrap_or(running);
                Err(self.take_back(touched, &why))
            }
        }
    }

    /// Whether the new version takes the settings as they are, asked before anything is touched.
    fn accepts(&self, source: &Source, stale: &[&str]) -> Result<(), Trouble> {
        let staged = swap::stage(self.home, source, stale);
        let send = [swap::staged(self.home, "qmail"), "qmail-send".into()];
        let accepted = staged
            .and_then(|()| steer::check_with(self.home, &send, "not upgraded"))
            .and_then(|()| swap::accept(self.home));
        if accepted.is_err() {
            swap::unstage(self.home);
        }
        accepted
    }

    /// The links to new programs; and whether the new version can tell how the services are.
    fn complete(&self, names: &[String]) -> Result<(), Trouble> {
        setup::links(self.home)?;
        names.iter().try_for_each(|name| Look::at(self.home, &self.places, name).map(drop))
    }

    /// What the services have not that this version's setup gives them. The upgrade is done without it,
    /// and `check` tells of it.
    fn farewell(&self) {
        let Ok(roles) = self.home.roles() else { return };
        for (path, text) in services::farewell(self.home, &roles, &self.places) {
            match unless_there(&path, text) {
                Ok(()) => self.log(&format!("made {}", path.display())),
                Err(why) => self.log(&format!("{why} (mend: qmailctl setup)")),
            }
        }
    }

    /// The services there are, in their order, a site's own among them. Where svscan looks at other
    /// people's too, those are left out; but if one runs a program of this home's it is named.
    fn services(&self) -> Result<Vec<String>, Trouble> {
        let mut names = Vec::new();
        for service in facts::scanned(&self.places)? {
            let Some(name) = service.file_name().map(|n| n.to_string_lossy().into_owned()) else {
                continue;
            };
            if judge::is_known(&name) || facts::is_within(self.home, &self.places, &service) {
                names.push(name);
            } else if let Ok(Look::Up(service)) = Look::at(self.home, &self.places, &name)
                && service.is_ours(self.home, &name)
            {
                let (svc, kind) = (self.home.path("bin/svc"), Kind::of(&name, Some(&service)));
                self.log(&format!(
                    "{name}: runs a program of this home but lies elsewhere, {KEPT}; this renews it: \
                     {} {} {}",
                    svc.display(),
                    kind.command(),
                    self.places.service(&name).display()
                ));
            }
        }
        Ok(judge::ordered(names))
    }

    /// Renews the services named, one by one; which one was not ready, and why.
    fn renew_all(&self, names: &[String], touched: bool) -> Result<(), (usize, Trouble)> {
        for (at, name) in names.iter().enumerate() {
            self.renew(name, touched && judge::is_known(name)).map_err(|why| (at, why))?;
        }
        self.renew_loggers(names);
        Ok(())
    }

    /// Puts the old version back: its binaries, then every service that has been touched.
    fn take_back(&self, touched: &[String], why: &str) -> Trouble {
        self.log(&format!("upgrade failed: {why}; putting the old version back"));
        if let Err(also) = swap::back(self.home) {
            return format!("{why}; and the old version cannot be put back: {also}");
        }
        match self.renew_all(touched, true) {
            Ok(()) => {
                self.log("the old version is back");
                let kept = swap::forget(self.home).err();
                let also = kept.map_or_else(String::new, |also| format!("; but {also}"));
                format!("{why}; the old version is back{also}")
            }
            Err((_, also)) => {
                self.log(&format!("of the old version, put back: {also}"));
                let again = "qmailctl upgrade tries that again";
                format!("{why}; the old version was put back, but {also} ({again})")
            }
        }
    }

    /// One service: told to become the new version, and watched until it is ready. One that was
    /// `touched` is ours whatever it runs just now.
    fn renew(&self, name: &str, touched: bool) -> Result<(), Trouble> {
        let before = match Look::at(self.home, &self.places, name)? {
            Look::Absent => return Ok(()),
            Look::Down => None,
            Look::Up(service) if touched || service.is_ours(self.home, name) => Some(service),
            Look::Up(_) => {
                self.log(&format!("{name}: not a program of this home, {KEPT}"));
                return Ok(());
            }
        };
        let (kind, begun) = (Kind::of(name, before.as_deref()), Instant::now());
        if before.is_some() {
            let (svc, service) = (self.home.path("bin/svc"), self.places.service(name));
            if !steer::bin(self.home, "svc", &[kind.command().into(), service])? {
                return Err(format!("{} cannot tell {name} of it", svc.display()));
            }
        }
        let mut watch = Watch::new(kind, self.limit);
        loop {
            let now = Look::at(self.home, &self.places, name)?;
            let seen = sight::compare(self.home, before.as_deref(), &now);
            let ready = seen.is_new() && sight::is_ready(self.home, &self.places, name);
            match watch.judge(seen, ready, begun.elapsed()) {
                Verdict::Wait => sys::clock::sleep(AGAIN),
                Verdict::Failed(why) => {
                    let log = self.places.log(name);
                    return Err(format!("{name} {why}, see {}/current", log.display()));
                }
                Verdict::Ready => {
                    let took = begun.elapsed().as_secs_f64();
                    self.log(&format!("{name}: ready after {took:.1} s"));
                    return Ok(());
                }
                Verdict::Lingers => {
                    self.log(&format!("{name}: {LINGERS}"));
                    return Ok(());
                }
            }
        }
    }

    /// The loggers take no part in mail: they are told, and their supervises see to the rest.
    fn renew_loggers(&self, names: &[String]) {
        for name in names {
            let log = format!("{name}/log");
            if self.places.service(&log).exists() {
                let _ = steer::svc(self.home, "-t", &[&log]);
            }
        }
    }

    /// Says what happens, here and in the log of upgrades.
    fn log(&self, what: &str) {
        // With standard output closed the log still has it.
        let _ = crate::print::line(format_args!("{what}"));
        let label = Label::at(sys::clock::now()).print();
        let what = one_line(format_args!("{what}"));
        let line = format!("{} {what}\n", String::from_utf8_lossy(&label));
        // Always in the home: where the guide has logs the directory is a role's, and this is root's.
        let written = enter(&self.home.path("log"))
            .and_then(|dir| append(&dir, Path::new("upgrade"), self.home.owner(), &line));
        if let Err(error) = written {
            complain(format_args!("qmailctl: warning: the log of upgrades: {error}"));
        }
    }
}
