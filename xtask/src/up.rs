//! `cargo xtask up`: from a clone to a running mail server in one command.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use clap::Args;
use sys::signal::{Signal, Signals};

use crate::build;
use crate::tally::{Trouble, run};

/// How long the programs may take to accept mail.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long they may take to stop before they are told again, louder.
const STOP_WITHIN: Duration = Duration::from_secs(40);

/// Build, set up a home if there is none, and run everything in the foreground.
#[derive(Args, Clone)]
pub(crate) struct Up {
    /// The home: control files, queue, mail, logs. Made if it is not there.
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// The host's own name (`control/me`); only used when the home is made.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Where to hear SMTP.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:2525")]
    smtp: String,
    /// Where to hear POP3.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:2110")]
    pop3: String,
}

impl Up {
    /// For tests: a home and its two addresses.
    pub(crate) fn at(home: &Path, smtp: String, pop3: String) -> Self {
        Self { home: Some(home.into()), host: Some("mail.example.org".into()), smtp, pop3 }
    }

    /// Builds, sets up, runs until TERM, INT or HUP, then stops everything in order.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        let stop = [Signal::Int, Signal::Term, Signal::Hup];
        let signals = Signals::catch(&stop).map_err(|e| format!("signals: {e}"))?;
        let mut server = self.start()?;
        self.tell();
        while signals.next().map_err(|e| format!("signals: {e}"))?.is_none() {
            if let Some(status) = server.child.try_wait().map_err(|e| e.to_string())? {
                return Err(format!("svscan ended by itself: {status}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        println!("stopping");
        server.stop()
    }

    /// Builds and sets up a home; starts nothing.
    pub(crate) fn prepare(&self) -> Result<PathBuf, Trouble> {
        let binaries = build::release()?;
        let home = self.home()?;
        build::install(&binaries, &home.join("bin"))?;
        let mut setup = Command::new(home.join("bin/qmail-admin"));
        setup.args(["qmailctl", "--home"]).arg(&home).arg("setup");
        setup.args(["--smtp", &self.smtp, "--pop3", &self.pop3]);
        if let Some(host) = &self.host {
            setup.args(["--host", host]);
        }
        run(&mut setup)?;
        Ok(home)
    }

    /// Builds and starts; returns once mail is accepted.
    pub(crate) fn start(&self) -> Result<Server, Trouble> {
        let mut server = Server::launch(&self.prepare()?)?;
        let ready = server.wait_ready(&self.smtp, b"220 ").and_then(|()| {
            server.wait_ready(&self.pop3, b"+OK ")?;
            server.wait_queue()
        });
        match ready {
            Ok(()) => Ok(server),
            Err(why) => server.stop().and(Err(why)),
        }
    }

    /// The home as an absolute path.
    ///
    /// Beside the sources unless root would put it where its own unprivileged programs cannot go
    /// (a clone under `/root`).
    fn home(&self) -> Result<PathBuf, Trouble> {
        if let Some(home) = &self.home {
            return std::path::absolute(home).map_err(|e| format!("{}: {e}", home.display()));
        }
        let beside = crate::root().join("var");
        if sys::user::euid() != 0 || crate::root().ancestors().all(others_may_pass) {
            return Ok(beside);
        }
        let home = PathBuf::from("/var/lib/qmail-rs");
        println!("{} is closed to other users: the home is {}", beside.display(), home.display());
        Ok(home)
    }

    /// Says that mail is accepted and how to try it.
    fn tell(&self) {
        let home = self.home().unwrap_or_default();
        let (user, password) = account(&home).unwrap_or_default();
        let (host, port) = self.smtp.rsplit_once(':').unwrap_or((&self.smtp, "25"));
        let (_, pop3_port) = self.pop3.rsplit_once(':').unwrap_or((&self.pop3, "110"));
        println!("ready: SMTP on {}, POP3 on {}, home {}", self.smtp, self.pop3, home.display());
        println!();
        println!(
            "  send     telnet {host} {port}     (MAIL FROM:<you@example.net>, RCPT TO:<{user}>)"
        );
        println!("  fetch    telnet {host} {pop3_port}     (USER {user}, PASS {password})");
        println!("  or       curl -u {user}:{password} pop3://{}/", self.pop3);
        println!("  steer    {}/bin/qmailctl stat", home.display());
        println!("  logs     tail -f {}/log/*/current", home.display());
        println!("  stop     Ctrl-C");
        let _ = std::io::stdout().flush();
    }
}

/// The first account's name and password, as setup wrote them.
pub(crate) fn account(home: &Path) -> Option<(String, String)> {
    let text = std::fs::read_to_string(home.join("account")).ok()?;
    let (name, password) = text.trim_end().split_once(':')?;
    Some((name.into(), password.into()))
}

/// Any user may pass through this directory.
fn others_may_pass(dir: &Path) -> bool {
    std::fs::metadata(dir).is_ok_and(|m| m.mode() & 0o001 != 0)
}

/// A running mail server.
pub(crate) struct Server {
    child: Child,
    /// Its home.
    pub home: PathBuf,
}

impl Server {
    /// Starts svscan in a home that is set up; waits for nothing.
    pub(crate) fn launch(home: &Path) -> Result<Self, Trouble> {
        let mut svscan = Command::new(home.join("bin/svscan"));
        svscan.arg(home.join("service")).current_dir(home).process_group(0);
        svscan.env("PATH", format!("{}:/usr/bin:/bin", home.join("bin").display()));
        let child = svscan.spawn().map_err(|e| format!("svscan: {e}"))?;
        Ok(Self { child, home: home.into() })
    }

    /// The process id of svscan, whose descendants are all of the server.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a connection is greeted.
    fn wait_ready(&mut self, address: &str, greeting: &[u8]) -> Result<(), Trouble> {
        let until = Instant::now() + READY_WITHIN;
        while Instant::now() < until {
            if greeted(address, greeting) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().map_err(|e| e.to_string())? {
                return Err(format!("svscan ended: {status}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!(
            "no greeting on {address} within {READY_WITHIN:?}; see {}/log",
            self.home.display()
        ))
    }

    /// Waits until queued answers.
    fn wait_queue(&self) -> Result<(), Trouble> {
        let until = Instant::now() + READY_WITHIN;
        while Instant::now() < until {
            let asked = Command::new(self.home.join("bin/qmail-qstat")).output();
            if asked.is_ok_and(|out| out.status.success()) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("the queue does not answer; see {}/log/queued/current", self.home.display()))
    }

    /// Tells svscan to stop everything and waits for it.
    pub(crate) fn stop(&mut self) -> Result<(), Trouble> {
        let _ = sys::signal::kill(self.child.id(), Signal::Term);
        let until = Instant::now() + STOP_WITHIN;
        while Instant::now() < until {
            if self.child.try_wait().map_err(|e| e.to_string())?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        Err(format!("svscan did not stop within {STOP_WITHIN:?}"))
    }
}

/// Whether a connection to `address` is answered with `greeting` at once.
fn greeted(address: &str, greeting: &[u8]) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut got = [0; 4];
    stream.read_exact(&mut got).is_ok() && got == *greeting
}
