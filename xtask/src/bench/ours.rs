//! Ourselves, as `cargo xtask up` sets us up.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::mailbox::Mailbox;
use super::what::Stage;
use super::{Peer, pop3};
use crate::clients::free_address;
use crate::tally::{Trouble, run};
use crate::up::{Server, Up};

/// A running server of ours.
pub(super) struct Ours {
    server: Server,
    smtp: String,
    pop3: String,
    mailbox: Mailbox,
}

impl Ours {
    /// Starts a server in a home of its own with one account.
    pub(super) fn start(dir: &Path) -> Result<Self, Trouble> {
        let (smtp, pop3) = (free_address()?, free_address()?);
        let server = Up::at(&dir.join("ours"), smtp.clone(), pop3.clone()).start()?;
        let mailbox = Mailbox::at(server.home.join("mail/bench.test/bench/Maildir"));
        let ours = Self { server, smtp, pop3, mailbox };
        ours.ctl(&["domain", "add", "bench.test"])?;
        ours.add_account("bench@bench.test")?;
        Ok(ours)
    }

    /// Makes an account whose password is `bench`.
    pub(super) fn add_account(&self, address: &str) -> Result<(), Trouble> {
        let mut add = Command::new(self.bin("qmailctl"));
        add.args(["user", "add", address, "--password-stdin"]).stdin(Stdio::piped());
        let mut child = add.spawn().map_err(|e| e.to_string())?;
        let stdin = child.stdin.take();
        let wrote = stdin.map(|mut pipe| std::io::Write::write_all(&mut pipe, b"bench\n"));
        let added = child.wait().is_ok_and(|s| s.success()) && matches!(wrote, Some(Ok(())));
        if added { Ok(()) } else { Err(format!("{address} could not be made")) }
    }

    /// Lets deliveries begin that [`Stage::Held`] held back.
    pub(super) fn release(&self) -> Result<(), Trouble> {
        self.svc("qmail-send", "-u")?;
        self.wait_for("qmail-send", "up ")
    }

    /// The process whose descendants are all of the server.
    pub(super) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Stops and starts it; when it was started.
    pub(super) fn restart(&mut self) -> Result<std::time::Instant, Trouble> {
        self.restart_after(|_| Ok(()))
    }

    /// Stops it, does something with its home, and starts it; when it was started.
    pub(super) fn restart_after(
        &mut self,
        between: impl FnOnce(&Path) -> Result<(), Trouble>,
    ) -> Result<std::time::Instant, Trouble> {
        self.server.stop()?;
        between(&self.server.home)?;
        let begun = std::time::Instant::now();
        self.server = Server::launch(&self.server.home)?;
        Ok(begun)
    }

    /// Files anywhere under `queue/`.
    pub(super) fn queue_files(&self) -> usize {
        fn walk(dir: &Path) -> usize {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|e| if e.path().is_dir() { walk(&e.path()) } else { 1 }).sum()
        }
        walk(&self.server.home.join("queue"))
    }

    /// Whether queued's newest word in its log is that it serves a queue of so many letters.
    pub(super) fn says_ready(&self, letters: u32) -> bool {
        let log = std::fs::read_to_string(self.server.home.join("log/queued/current"));
        let wanted = format!("ready, letters in queue: {letters}");
        log.is_ok_and(|log| log.lines().last().is_some_and(|line| line.ends_with(&wanted)))
    }

    /// A program of the home.
    pub(super) fn bin(&self, name: &str) -> PathBuf {
        self.server.home.join("bin").join(name)
    }

    fn ctl(&self, args: &[&str]) -> Result<(), Trouble> {
        run(Command::new(self.bin("qmailctl")).args(args).stdout(Stdio::null()))
    }

    fn svc(&self, service: &str, option: &str) -> Result<(), Trouble> {
        let service = self.server.home.join("service").join(service);
        run(Command::new(self.bin("svc")).arg(option).arg(service))
    }

    /// Routes as the stage wants them; none elsewhere.
    fn route(&self, stage: &Stage) -> Result<(), Trouble> {
        let none = Vec::new();
        let routes = if let Stage::Relay(routes) = stage { routes } else { &none };
        let line = |(domain, to): &(Option<String>, String)| {
            format!("{}:{to}\n", domain.as_deref().unwrap_or_default())
        };
        let text: String = routes.iter().map(line).collect();
        let path = self.server.home.join("control/smtproutes");
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Throws the queue away, as `postsuper -d ALL` does for the peer.
    fn discard(&mut self) -> Result<(), Trouble> {
        for service in ["qmail-send", "queued"] {
            self.svc(service, "-d")?;
            self.wait_for(service, "down ")?;
        }
        for sub in ["log", "big"] {
            let dir = self.server.home.join("queue").join(sub);
            if dir.exists() {
                std::fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            }
        }
        for service in ["queued", "qmail-send"] {
            self.svc(service, "-u")?;
            self.wait_for(service, "up ")?;
        }
        for _ in 0..1_000 {
            let out = Command::new(self.bin("qmail-qstat")).output().map_err(|e| e.to_string())?;
            if out.stdout.starts_with(b"messages in queue: 0\n") {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("queued does not come back with an empty queue".into())
    }

    /// Waits until a service is up or down.
    fn wait_for(&self, service: &str, state: &str) -> Result<(), Trouble> {
        let dir = self.server.home.join("service").join(service);
        for _ in 0..3_000 {
            let out = Command::new(self.bin("svstat")).arg(&dir).output();
            let out = out.map_err(|e| e.to_string())?.stdout;
            if String::from_utf8_lossy(&out).contains(&format!(": {state}")) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{service} does not become {state}"))
    }
}

impl Peer for Ours {
    fn name(&self) -> String {
        "qmail-rs".into()
    }

    fn smtp(&self) -> Option<&str> {
        Some(&self.smtp)
    }

    fn pop3(&self) -> Option<&str> {
        Some(&self.pop3)
    }

    fn login(&self) -> (String, String) {
        (self.recipient().into(), "bench".into())
    }

    fn ready(&mut self, stage: &Stage) -> Result<(), Trouble> {
        self.discard()?;
        self.route(stage)?;
        if self.mailbox.ready(stage)? && matches!(stage, Stage::Mailbox { .. }) {
            pop3::try_again(&self.pop3, &self.login())?;
        }
        if *stage == Stage::Held {
            self.svc("qmail-send", "-d")?;
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }

    fn delivered(&self) -> u32 {
        self.mailbox.new_letters()
    }

    fn last_delivered(&self) -> Option<std::time::SystemTime> {
        self.mailbox.changed()
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.server.stop();
    }
}
