//! The load that smtp-source makes.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use super::Peer;
use crate::tally::Trouble;

/// The length of a letter in bytes.
const LETTER: &str = "4096";
/// How long a measurement may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

/// So many letters over so many connections.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) letters: u32,
    pub(super) connections: u32,
    /// Many letters on each connection, or one.
    pub(super) kept: bool,
}

impl Load {
    /// Sends them; returns when the last one is acknowledged.
    pub(super) fn send(self, address: &str, to: &str) -> Result<(), Trouble> {
        let mut source = Command::new("/usr/sbin/smtp-source");
        source.args(["-s", &self.connections.to_string(), "-m", &self.letters.to_string()]);
        source.args(["-l", LETTER, "-f", "bench@example.net", "-t", to]);
        if self.kept {
            source.arg("-d");
        }
        let out = source.arg(format!("inet:{address}")).stdin(Stdio::null()).output();
        let out = out.map_err(|e| format!("smtp-source: {e}"))?;
        if out.status.success() {
            Ok(())
        } else {
            Err(format!("smtp-source to {address}: {}", String::from_utf8_lossy(&out.stderr)))
        }
    }

    /// Letters acknowledged per second.
    pub(super) fn accepted(self, address: &str, to: &str) -> Result<f64, Trouble> {
        let begun = Instant::now();
        self.send(address, to)?;
        Ok(f64::from(self.letters) / begun.elapsed().as_secs_f64())
    }

    /// Letters acknowledged and visible in the mailbox, per second.
    pub(super) fn delivered(self, address: &str, peer: &dyn Peer) -> Result<f64, Trouble> {
        let (begun, clock) = (Instant::now(), SystemTime::now());
        self.send(address, peer.recipient())?;
        let rate = until(begun, self.letters, || peer.delivered())
            .map_err(|got| format!("{}: only {got} delivered", peer.name()))?;
        // A large mailbox is counted seldom; its directory says when the last letter came.
        let took = peer.last_delivered().and_then(|last| last.duration_since(clock).ok());
        let exact = took.map(|took| f64::from(self.letters) / took.as_secs_f64());
        Ok(exact.filter(|exact| exact.is_finite()).map_or(rate, |exact| exact.max(rate)))
    }
}

/// Waits until so many have arrived; how many per second since `begun`.
///
/// # Errors
/// How many have, when patience is at its end.
pub(super) fn until(begun: Instant, wanted: u32, count: impl Fn() -> u32) -> Result<f64, u32> {
    loop {
        let arrived = count();
        if arrived >= wanted {
            return Ok(f64::from(wanted) / begun.elapsed().as_secs_f64());
        }
        if begun.elapsed() > PATIENCE {
            return Err(arrived);
        }
        // A large mailbox takes long to count: the measurement must not become the load.
        let pause = Duration::from_millis(10).max(Duration::from_micros(5 * u64::from(arrived)));
        std::thread::sleep(pause);
    }
}
