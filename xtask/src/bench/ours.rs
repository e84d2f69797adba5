//! Ourselves, as `cargo xtask up` sets us up.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Peer, What};
use crate::clients::free_address;
use crate::tally::{Trouble, run};
use crate::up::{Server, Up};

/// A running server of ours.
pub(super) struct Ours {
    server: Server,
    smtp: String,
    pop3: String,
}

impl Ours {
    /// Starts a server in a home of its own with one account.
    pub(super) fn start(dir: &Path) -> Result<Self, Trouble> {
        let (smtp, pop3) = (free_address()?, free_address()?);
        let server = Up::at(&dir.join("ours"), smtp.clone(), pop3.clone()).start()?;
        let ours = Self { server, smtp, pop3 };
        ours.ctl(&["domain", "add", "bench.test"])?;
        let mut add = Command::new(ours.bin("qmailctl"));
        add.args(["user", "add", "bench@bench.test", "--password-stdin"]).stdin(Stdio::piped());
        let mut child = add.spawn().map_err(|e| e.to_string())?;
        let stdin = child.stdin.take();
        let wrote = stdin.map(|mut pipe| std::io::Write::write_all(&mut pipe, b"bench\n"));
        let added = child.wait().is_ok_and(|s| s.success()) && matches!(wrote, Some(Ok(())));
        if added { Ok(ours) } else { Err("the account could not be made".into()) }
    }

    fn bin(&self, name: &str) -> PathBuf {
        self.server.home.join("bin").join(name)
    }

    fn ctl(&self, args: &[&str]) -> Result<(), Trouble> {
        run(Command::new(self.bin("qmailctl")).args(args).stdout(Stdio::null()))
    }

    fn svc(&self, option: &str) -> Result<(), Trouble> {
        let service = self.server.home.join("service/qmail-send");
        run(Command::new(self.bin("svc")).arg(option).arg(service))
    }

    fn mailbox(&self) -> PathBuf {
        self.server.home.join("mail/bench.test/bench/Maildir/new")
    }

    /// Waits until what was held back is delivered, then empties the mailbox.
    fn drain(&mut self) -> Result<(), Trouble> {
        self.svc("-u")?;
        for _ in 0..3_000 {
            let out = Command::new(self.bin("qmail-qstat")).output().map_err(|e| e.to_string())?;
            if out.stdout.starts_with(b"messages in queue: 0\n") {
                empty(&self.mailbox().with_file_name("cur"), 0)?;
                return empty(&self.mailbox(), 0);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("the queue does not drain".into())
    }
}

impl Peer for Ours {
    fn name(&self) -> String {
        "qmail-rs".into()
    }

    fn address(&self, what: What) -> Option<&str> {
        Some(if what == What::Pop3 { &self.pop3 } else { &self.smtp })
    }

    fn ready(&mut self, what: What) -> Result<(), Trouble> {
        self.drain()?;
        match what {
            What::AcceptMany | What::AcceptOne => {
                self.svc("-d")?;
                std::thread::sleep(Duration::from_millis(500));
            }
            What::Local => {}
            What::Pop3 => {
                super::load::until_delivered(&self.smtp, self, 10)?;
            }
        }
        Ok(())
    }

    fn delivered(&self) -> u32 {
        count(&self.mailbox())
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.server.stop();
    }
}

/// How many entries a directory has.
pub(super) fn count(dir: &Path) -> u32 {
    std::fs::read_dir(dir).map_or(0, |entries| entries.count() as u32)
}

/// Removes all entries of a directory but `keep`.
pub(super) fn empty(dir: &Path, keep: usize) -> Result<(), Trouble> {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten().skip(keep) {
        std::fs::remove_file(entry.path()).map_err(|e| e.to_string())?;
    }
    Ok(())
}
