//! `cargo xtask ledger`: clients that keep a ledger of what was acknowledged, while programs are
//! killed and stopped and the clock jumps: everything arrives, and once.

pub(crate) mod mail;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Args;

use self::mail::{Site, wait};
use crate::clients::{self, free_address};
use crate::faults::add_account;
use crate::faults::tracer::Tree;
use crate::tally::{Ending, Tally, Trouble};
use crate::up::Up;
use yard::Yard;

/// Clients at a time while the clock jumps.
const SENDERS: u32 = 4;
/// Time between two of a client's letters, and between two jumps.
const PAUSE: Duration = Duration::from_millis(20);
const BETWEEN: Duration = Duration::from_secs(2);
/// How long the server may take to come to rest at the end.
const WITHIN: Duration = Duration::from_secs(120);
const YEAR: i64 = 365 * 86_400;
/// Where the clock jumps to, in turn, in seconds from the true time.
const JUMPS: [i64; 8] = [YEAR, 0, -YEAR, 0, 3_600, -3_600, YEAR, -YEAR];
/// Programs that are killed between the jumps.
const VICTIMS: [&str; 5] =
    ["qmail-queued", "qmail-send", "qmail-lspawn", "qmail-smtpd", "qmail-pspawn"];

/// Kill programs, stop them and let the clock jump, under clients that keep a ledger.
#[derive(Args)]
pub(crate) struct Ledger {
    /// How often a program is killed.
    #[arg(long, default_value_t = 500)]
    kills: u32,
    /// How often the clock jumps, a program being killed after each jump.
    #[arg(long, default_value_t = 24)]
    jumps: u32,
}

impl Ledger {
    /// Runs both.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        let mut tally = Tally::default();
        if self.kills > 0 {
            clients::one(&mut tally, "45-kill.py", &[("KILLS", self.kills.to_string())]);
        }
        if self.jumps > 0 {
            tally.check("clock jumps", || jumps(self.jumps));
        }
        tally.verdict()
    }
}

/// Lets the clock jump under a server whose clients keep a ledger.
fn jumps(count: u32) -> Ending {
    let mut home = match Yard::made("qmail-rs-ledger") {
        Ok(home) => home,
        Err(why) => return Ending::Failed(why.to_string()),
    };
    let found = Jumping::start(&home).and_then(|jumping| jumping.play(count));
    match found {
        Ok(()) => Ending::Passed,
        Err(why) => {
            home.leave();
            Ending::Failed(format!("{why}; home kept in {}", home.display()))
        }
    }
}

/// A server whose clock is ours, and the ledger.
struct Jumping {
    tree: Tree,
    site: Site,
    next: AtomicU32,
    acknowledged: Mutex<BTreeSet<u32>>,
}

impl Jumping {
    fn start(home: &Path) -> Result<Self, Trouble> {
        let (smtp, pop3) = (free_address()?, free_address()?);
        Up::at(home, smtp.clone(), pop3.clone()).prepare()?;
        add_account(home, "ledger", "nobody guesses this")?;
        let svscan = home.join("bin/svscan");
        let tree = Tree::start(&[&svscan, &home.join("service")], home, true)?;
        let site = Site { home: home.into(), host: "mail.example.org".into(), smtp, pop3 };
        if !wait(WITHIN, || site.greets() && site.queued().is_some()) {
            return Err("the server does not come up".into());
        }
        let (next, acknowledged) = (AtomicU32::new(1), Mutex::new(BTreeSet::new()));
        Ok(Self { tree, site, next, acknowledged })
    }

    /// Sends until told to stop, noting each acknowledgement before it goes on.
    fn send(&self, stop: &AtomicBool) {
        let to = format!("ledger@{}", self.site.host);
        while !stop.load(Ordering::Relaxed) {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if self.site.send(n, "x@example.net", &to).is_ok() {
                self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(n);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn play(&self, count: u32) -> Result<(), Trouble> {
        let stop = AtomicBool::new(false);
        let mut killed = 0;
        std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| self.send(&stop));
            }
            for (jump, victim) in (0..count).zip(VICTIMS.iter().cycle()) {
                std::thread::sleep(BETWEEN);
                let shift = JUMPS.get(jump as usize % JUMPS.len()).copied().unwrap_or(0);
                self.tree.shift.store(shift, Ordering::Relaxed);
                std::thread::sleep(BETWEEN);
                killed += u32::from(self.kill(victim));
            }
            stop.store(true, Ordering::Relaxed);
        });
        let acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        println!("{count} jumps, {killed} kills, {} letters acknowledged", acknowledged.len());
        self.look(&acknowledged)
    }

    /// Kills one process of this name.
    fn kill(&self, name: &str) -> bool {
        let living = self.tree.watch().living.clone();
        let pid = living.iter().find(|(_, who)| *who == name).map(|(pid, _)| *pid);
        let pid = pid.and_then(|pid| u32::try_from(pid).ok());
        pid.is_some_and(|pid| sys::signal::kill(pid, sys::signal::Signal::Kill).is_ok())
    }

    /// Everything acknowledged is there once, whole.
    fn look(&self, acknowledged: &BTreeSet<u32>) -> Result<(), Trouble> {
        let mut missing = acknowledged.len();
        let settled = wait(WITHIN, || {
            let there = self.site.mailbox("ledger").letters;
            missing = acknowledged.iter().filter(|n| !there.contains_key(n)).count();
            if missing > 0 {
                self.site.try_now();
                std::thread::sleep(Duration::from_secs(1));
            }
            missing == 0 && self.site.queued() == Some(0)
        });
        let mailbox = self.site.mailbox("ledger");
        let far =
            mailbox.letters.values().flatten().filter(|path| is_of_another_year(path)).count();
        let doubled = mailbox.letters.values().filter(|paths| paths.len() > 1).count();
        println!(
            "{} in the Maildir ({far} dated a year off), {missing} lost, {} torn, {doubled} doubled, {:?} in the queue",
            mailbox.letters.len(),
            mailbox.torn.len(),
            self.site.queued()
        );
        if far == 0 {
            return Err("no letter shows that the clock has jumped".into());
        }
        if settled && doubled == 0 && mailbox.torn.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing} lost, {doubled} doubled, {} torn", mailbox.torn.len()))
        }
    }
}

/// Whether a Maildir file's name says that its letter came at another time than these months.
fn is_of_another_year(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let then = name.split('.').next().and_then(|seconds| seconds.parse().ok());
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs());
    then.is_some_and(|then: u64| then.abs_diff(now) > YEAR.unsigned_abs() / 2)
}

impl Drop for Jumping {
    fn drop(&mut self) {
        let _ = sys::signal::kill(self.tree.pid, sys::signal::Signal::Term);
        wait(Duration::from_secs(20), || self.tree.has_ended());
    }
}
