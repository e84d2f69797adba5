//! `cargo xtask bench`: us and the peers, in turns, on this machine, in one run.
//!
//! These machines are shared and noisy: single figures say little, the ratio of one run says more.
//! The peers come from Debian's packages and are configured as their modules say.

mod account;
mod batch;
mod beside;
mod census;
mod courier;
mod dovecot;
mod flushes;
mod guard;
mod held;
pub(crate) mod idle;
mod inject;
mod journal;
mod latency;
mod load;
mod mailbox;
mod million;
mod multilog;
mod ours;
mod pop3;
mod postfix;
mod rounds;
mod sink;
mod tcpserver;
mod what;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::host;
use crate::tally::Trouble;

use self::account::median;
use self::what::Stage;
use yard::Yard;

/// The measurements of ourselves alone.
const IDLE: &str = "idle";
const QUEUE: &str = "queue of a million";
const INJECT: &str = "inject while others are delivered";
const HELD: &str = "held connections, a process each";
/// Our multilog and tcpserver, and Debian's: no mail.
const MULTILOG: &str = "multilog beside Debian's";
const TCPSERVER: &str = "tcpserver beside Debian's";

/// Measure ourselves and the peers.
#[derive(Args, Clone)]
pub(crate) struct Bench {
    /// Only measurements whose title contains one of these (comma-separated); all if not given.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds; the table shows medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Letters in one measurement.
    #[arg(long, default_value_t = 10_000)]
    letters: u32,
    /// Letters in the sustained measurement.
    #[arg(long, default_value_t = 100_000)]
    sustained: u32,
    /// Letters in the large mailboxes.
    #[arg(long, default_value_t = 100_000)]
    mailbox: u32,
    /// Letters in the large queue.
    #[arg(long, default_value_t = 1_000_000)]
    queue: u32,
    /// Letters injected while others are delivered, by each program; 100,000 take half an hour.
    #[arg(long, default_value_t = 20_000)]
    injected: u32,
    /// Connections held at once, each by a process.
    #[arg(long, default_value_t = 20_000)]
    held: u32,
    /// POP3 sessions in one measurement.
    #[arg(long, default_value_t = 3_000)]
    sessions: u32,
    /// Everything on an ext4 of its own with a journal, in an image on this disk.
    #[arg(long)]
    journal: bool,
    /// Where the servers' files lie; a directory for temporary files if not given.
    #[arg(long, value_name = "DIR")]
    at: Option<PathBuf>,
    /// Measure here: the child of the command that cleans up.
    #[arg(long, value_name = "DIR", hide = true)]
    within: Option<PathBuf>,
}

/// A mail server that can be measured.
pub(crate) trait Peer {
    /// Its name in the table.
    fn name(&self) -> String;
    /// Where it hears SMTP, if it does.
    fn smtp(&self) -> Option<&str> {
        None
    }
    /// Where it hears POP3, if it does.
    fn pop3(&self) -> Option<&str> {
        None
    }
    /// Gets ready: the mailbox empty or filled, deliveries held or not, routes set.
    fn ready(&mut self, stage: &Stage) -> Result<(), Trouble>;
    /// Letters in the mailbox.
    fn delivered(&self) -> u32;
    /// When the last of them came, by the file system's own account.
    fn last_delivered(&self) -> Option<std::time::SystemTime> {
        None
    }
    /// Whom local letters are for.
    fn recipient(&self) -> &'static str {
        "bench@bench.test"
    }
    /// Name and password of the POP3 account.
    fn login(&self) -> (String, String) {
        ("bench".into(), "bench".into())
    }
}

impl Bench {
    /// Runs every measurement in turns and prints the table; nothing is left when it ends, nor when
    /// INT, TERM or HUP ends it.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        if let Some(place) = &self.within {
            return self.measure(place);
        }
        if sys::user::euid() != 0 {
            return Err("the peers can only be started by root".into());
        }
        println!("measuring:\n  {}", self.titles()?.join("\n  "));
        if self.compares() {
            let packages = ["postfix", "dovecot-pop3d", "courier-base", "courier-authlib-userdb"];
            host::apt(&[&["install", "--yes", "--no-install-recommends"][..], &packages].concat());
        }
        let guard = guard::Guard::begin()?;
        let dir = self.place().map_err(|e| format!("a place to measure: {e}"))?;
        let mount = if self.journal { Some(journal::Journal::mount(&dir)?) } else { None };
        let place = mount.as_ref().map_or(&*dir, |mount| mount.place());
        let done = guard.run("--within", place);
        drop(mount);
        done
    }

    /// A directory for all that is measured.
    fn place(&self) -> std::io::Result<Yard> {
        let name = "qmail-rs-bench";
        let Some(at) = &self.at else { return Yard::made(name) };
        std::fs::create_dir_all(at)?;
        Yard::made_in(at, name)
    }

    /// Whether a measurement is among those asked for.
    fn wants(&self, title: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| title.contains(only.as_str()))
    }

    /// Whether the peers are measured.
    fn compares(&self) -> bool {
        what::ALL.iter().any(|what| self.wants(what.title()))
    }

    /// What is to be measured.
    fn titles(&self) -> Result<Vec<&'static str>, Trouble> {
        let others = [IDLE, QUEUE, INJECT, HELD, MULTILOG, TCPSERVER];
        let all = || what::ALL.iter().map(|what| what.title()).chain(others);
        let chosen: Vec<_> = all().filter(|title| self.wants(title)).collect();
        if chosen.is_empty() {
            let all: Vec<_> = all().collect();
            return Err(format!("--only has no title of these:\n  {}", all.join("\n  ")));
        }
        Ok(chosen)
    }

    fn measure(&self, dir: &Path) -> Result<(), Trouble> {
        println!("{}; {} rounds, medians (lowest to highest)", machine(dir), self.rounds);
        if self.compares() {
            self.compare(dir)?;
        }
        if self.wants(IDLE) {
            idle::report(&dir.join("idle"))?;
        }
        if self.wants(QUEUE) {
            million::report(&dir.join("queue"), self.queue)?;
        }
        if self.wants(INJECT) {
            inject::report(&dir.join("inject"), 5 * self.letters, self.injected)?;
        }
        if self.wants(HELD) {
            held::report(&dir.join("held"), self.held)?;
        }
        if self.wants(TCPSERVER) {
            tcpserver::report(&dir.join("tcpserver"), self.rounds)?;
        }
        if self.wants(MULTILOG) {
            multilog::report(&dir.join("multilog"), self.rounds)?;
        }
        Ok(())
    }

    /// Us and the peers, in turns.
    fn compare(&self, dir: &Path) -> Result<(), Trouble> {
        let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(ours::Ours::start(dir)?)];
        peers.push(Box::new(postfix::Postfix::start(&dir.join("postfix"))?));
        for reuse in [false, true] {
            peers.push(Box::new(dovecot::Dovecot::start(dir, reuse)?));
        }
        match courier::Courier::start(&dir.join("courier")) {
            Ok(courier) => peers.push(Box::new(courier)),
            Err(why) => println!("without Courier: {why}"),
        }
        for what in what::ALL.into_iter().filter(|what| self.wants(what.title())) {
            rounds::compare(what, self, &mut peers, dir)?;
        }
        Ok(())
    }
}

/// Processors, kernel and file system, in a line.
fn machine(dir: &Path) -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut df = std::process::Command::new("findmnt");
    let kind = df.args(["-n", "-o", "FSTYPE,OPTIONS", "-T"]).arg(dir).output();
    let kind = kind.map(|o| o.stdout).unwrap_or_default();
    let kind = String::from_utf8_lossy(&kind).split_whitespace().collect::<Vec<_>>().join(" ");
    let journal = if journal::has(dir) { "with a journal" } else { "without a journal" };
    format!("{cores} processors, Linux {}, {kind}, {journal}", kernel.trim())
}
