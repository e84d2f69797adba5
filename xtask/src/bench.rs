//! `cargo xtask bench`: us and the peers, in turns, on this machine, in one run.
//!
//! These machines are shared and noisy: single figures say little, the ratio of one run says more.
//! The peers come from Debian's packages and are configured as their modules say.

mod dovecot;
mod load;
mod ours;
mod postfix;

use std::path::Path;

use clap::Args;

use crate::host;
use crate::tally::Trouble;

/// Measure ourselves and the peers.
#[derive(Args)]
pub(crate) struct Bench {
    /// Rounds; the table shows medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Letters in one measurement.
    #[arg(long, default_value_t = 4_000)]
    letters: u32,
    /// POP3 sessions in one measurement.
    #[arg(long, default_value_t = 1_000)]
    sessions: u32,
}

/// A mail server that can be measured. All figures are per second.
pub(crate) trait Peer {
    /// Its name in the table.
    fn name(&self) -> String;
    /// Where it hears SMTP and POP3, if it does.
    fn address(&self, what: What) -> Option<&str>;
    /// Gets ready: an empty mailbox, deliveries held or not.
    fn ready(&mut self, what: What) -> Result<(), Trouble>;
    /// Letters in the mailbox.
    fn delivered(&self) -> u32;
    /// Whom letters are for.
    fn recipient(&self) -> &'static str {
        "bench@bench.test"
    }
    /// Name and password of the POP3 account.
    fn login(&self) -> (String, String) {
        (self.recipient().into(), "bench".into())
    }
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Letters acknowledged, many on each connection, deliveries held.
    AcceptMany,
    /// Letters acknowledged, one on each connection, deliveries held.
    AcceptOne,
    /// Letters acknowledged and all visible in the Maildir.
    Local,
    /// POP3 sessions: login, STAT, UIDL on ten letters.
    Pop3,
}

const ALL: [What; 4] = [What::AcceptMany, What::AcceptOne, What::Local, What::Pop3];

/// Connections at a time in every measurement.
const CONNECTIONS: u32 = 20;

impl What {
    const fn title(self) -> &'static str {
        match self {
            Self::AcceptMany => "accept, 20 connections, many letters each, letters/s",
            Self::AcceptOne => "accept, 20 connections, one letter each, letters/s",
            Self::Local => "accepted and in the Maildir, 20 connections, letters/s",
            Self::Pop3 => "POP3 login+STAT+UIDL on 10 letters, 20 connections, sessions/s",
        }
    }
}

impl Bench {
    /// Runs every measurement in turns and prints the table.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        if sys::user::euid() != 0 {
            return Err("the peers can only be started by root".into());
        }
        host::apt(&["install", "--yes", "--no-install-recommends", "postfix", "dovecot-pop3d"]);
        let dir = std::env::temp_dir().join(format!("qmail-rs-bench.{}", std::process::id()));
        let done = self.measure(&dir);
        let _ = std::fs::remove_dir_all(&dir);
        done
    }

    fn measure(&self, dir: &Path) -> Result<(), Trouble> {
        std::fs::create_dir_all(dir).map_err(|e| e.to_string())?;
        let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(ours::Ours::start(dir)?)];
        peers.push(Box::new(postfix::Postfix::start(&dir.join("postfix"))?));
        for reuse in [false, true] {
            peers.push(Box::new(dovecot::Dovecot::start(dir, reuse)?));
        }
        println!("{}; {} rounds, medians (lowest to highest)", machine(dir), self.rounds);
        for what in ALL {
            self.one(what, &mut peers)?;
        }
        Ok(())
    }

    /// One measurement: every peer that can, in turns, `rounds` times.
    fn one(&self, what: What, peers: &mut [Box<dyn Peer>]) -> Result<(), Trouble> {
        let mut figures: Vec<Vec<f64>> = peers.iter().map(|_| Vec::new()).collect();
        for _ in 0..self.rounds {
            for (peer, figures) in peers.iter_mut().zip(&mut figures) {
                if peer.address(what).is_some() {
                    figures.push(self.rate(what, peer.as_mut())?);
                }
            }
        }
        println!("\n{}", what.title());
        let ours = median(figures.first().map_or(&[], Vec::as_slice));
        for (peer, figures) in peers.iter().zip(&figures).filter(|(_, f)| !f.is_empty()) {
            let low = figures.iter().copied().fold(f64::MAX, f64::min);
            let high = figures.iter().copied().fold(0.0, f64::max);
            let (name, mid) = (peer.name(), median(figures));
            println!(
                "  {name:34} {mid:9.0} ({low:.0} to {high:.0})   ours / it {:6.2}",
                ours / mid
            );
        }
        Ok(())
    }

    fn rate(&self, what: What, peer: &mut dyn Peer) -> Result<f64, Trouble> {
        peer.ready(what)?;
        let address = peer.address(what).ok_or("it does not serve this")?.to_owned();
        match what {
            What::AcceptMany => load::accept(&address, peer.recipient(), self.letters, true),
            What::AcceptOne => load::accept(&address, peer.recipient(), self.letters, false),
            What::Local => load::until_delivered(&address, peer, self.letters),
            What::Pop3 => load::pop3(&address, &peer.login(), self.sessions, CONNECTIONS),
        }
    }
}

/// The middle of some figures.
fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Processors, kernel and file system, in a line.
fn machine(dir: &Path) -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut stat = std::process::Command::new("stat");
    let kind =
        stat.args(["-f", "-c", "%T"]).arg(dir).output().map(|o| o.stdout).unwrap_or_default();
    let kind = String::from_utf8_lossy(&kind).trim().to_owned();
    format!("{cores} processors, Linux {}, {kind}", kernel.trim())
}
