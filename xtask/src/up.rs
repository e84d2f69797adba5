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
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long they may take to stop before they are told again, louder: svscan has 122 s itself.
const STOP_WITHIN: Duration = Duration::from_secs(130);

/// Build, set up a home if there is none, and run everything in the foreground.
#[derive(Args, Clone)]
pub(crate) struct Up {
    /// The home: control files, queue, mail, logs. Made if it is not there.
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// The host's own name (`control/me`); only used when the home is made.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Where to hear SMTP; kept as it is if not given, 127.0.0.1:2525 in a new home.
    #[arg(long, value_name = "ADDR:PORT")]
    smtp: Option<String>,
    /// Where to hear POP3; kept as it is if not given, 127.0.0.1:2110 in a new home.
    #[arg(long, value_name = "ADDR:PORT")]
    pop3: Option<String>,
}

/// Where a home hears.
struct Heard {
    smtp: String,
    pop3: String,
}

impl Up {
    /// For tests: a home and its two addresses.
    pub(crate) fn at(home: &Path, smtp: String, pop3: String) -> Self {
        let host = Some("mail.example.org".into());
        Self { home: Some(home.into()), host, smtp: Some(smtp), pop3: Some(pop3) }
    }

    /// Builds, sets up, runs until TERM, INT or HUP, then stops everything in order.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        let stop = [Signal::Int, Signal::Term, Signal::Hup];
        let signals = Signals::catch(&stop).map_err(|e| format!("signals: {e}"))?;
        let heard = heard(&self.home()?, &self)?;
        let mut server = self.start()?;
        self.tell(&heard);
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
        let home = self.home()?;
        not_running(&home)?;
        let heard = heard(&home, self)?;
        let binaries = build::release()?;
        build::install(&binaries, &home.join("bin"))?;
        let mut setup = Command::new(home.join("bin/qmail-admin"));
        setup.args(["qmailctl", "--home"]).arg(&home).arg("setup");
        // A run script that is there is only written anew for an address that was given.
        if self.smtp.is_some() || !script(&home, "qmail-smtpd").exists() {
            setup.args(["--smtp", &heard.smtp]);
        }
        if self.pop3.is_some() || !script(&home, "qmail-pop3d").exists() {
            setup.args(["--pop3", &heard.pop3]);
        }
        if let Some(host) = &self.host {
            setup.args(["--host", host]);
        }
        run(&mut setup)?;
        Ok(home)
    }

    /// Builds and starts; returns once mail is accepted.
    pub(crate) fn start(&self) -> Result<Server, Trouble> {
        let home = self.prepare()?;
        let heard = heard(&home, self)?;
        // Who answers there later is then ours, not a server that was there before.
        free(&heard.smtp, "--smtp")?;
        free(&heard.pop3, "--pop3")?;
        let mut server = Server::launch(&home)?;
        let ready = server.wait_ready(&heard.smtp, b"220 ").and_then(|()| {
            server.wait_ready(&heard.pop3, b"+OK ")?;
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
    fn tell(&self, heard: &Heard) {
        let home = self.home().unwrap_or_default();
        let (user, password) = account(&home).unwrap_or_default();
        let (host, port) = heard.smtp.rsplit_once(':').unwrap_or((&heard.smtp, "25"));
        let (_, pop3_port) = heard.pop3.rsplit_once(':').unwrap_or((&heard.pop3, "110"));
        println!("ready: SMTP on {}, POP3 on {}, home {}", heard.smtp, heard.pop3, home.display());
        println!();
        println!(
            "  send     telnet {host} {port}     (MAIL FROM:<you@example.net>, RCPT TO:<{user}>)"
        );
        println!("  fetch    telnet {host} {pop3_port}     (USER {user}, PASS {password})");
        println!("  or       curl -u {user}:{password} pop3://{}/", heard.pop3);
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

/// Fails if a svscan is at work in a home: a second server would disturb it.
fn not_running(home: &Path) -> Result<(), Trouble> {
    let lock = home.join("service/.svscan.lock");
    let Ok(file) = std::fs::File::open(&lock) else { return Ok(()) };
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => {
            let pid = std::fs::read_to_string(&lock).unwrap_or_default();
            let (home, pid) = (home.display(), pid.trim_end());
            Err(format!("{home}: already running, pid {pid}; stop it with: kill {pid}"))
        }
        _ => Ok(()),
    }
}

/// A service's run script.
fn script(home: &Path, service: &str) -> PathBuf {
    home.join("service").join(service).join("run")
}

/// Where a home hears: as it was told now, else as its run scripts say, else where new ones do.
fn heard(home: &Path, up: &Up) -> Result<Heard, Trouble> {
    let at = |given: &Option<String>, option, service, new: &str| {
        let run = script(home, service);
        match (given, std::fs::read_to_string(&run)) {
            (Some(given), _) => Ok(given.clone()),
            (None, Ok(text)) => address(&text).ok_or_else(|| {
                format!("{} names no address and port: say {option} ADDR:PORT", run.display())
            }),
            (None, Err(_)) => Ok(new.into()),
        }
    };
    Ok(Heard {
        smtp: at(&up.smtp, "--smtp", "qmail-smtpd", "127.0.0.1:2525")?,
        pop3: at(&up.pop3, "--pop3", "qmail-pop3d", "127.0.0.1:2110")?,
    })
}

/// The address that a run script has tcpserver listen on: a host's number and a port.
fn address(script: &str) -> Option<String> {
    let words: Vec<&str> = script.split_whitespace().collect();
    words.windows(2).find_map(|words| {
        let [host, port] = words else { return None };
        let host = match *host {
            "0" => "0.0.0.0",
            ":0" => "::",
            host => host,
        };
        let port: std::num::NonZeroU16 = port.parse().ok()?;
        Some(std::net::SocketAddr::new(host.parse().ok()?, port.get()).to_string())
    })
}

/// Fails if an address cannot be listened on, because somebody else does, say.
fn free(address: &str, option: &str) -> Result<(), Trouble> {
    match std::net::TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(format!(
            "{address} is taken by another server: stop that one, or say {option} ADDR:PORT"
        )),
        Err(error) => Err(format!("{address}: {error}: say {option} ADDR:PORT")),
    }
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
            // First of all, or else another one's greeting would do.
            let greeted = greeted(address, greeting);
            if let Some(status) = self.child.try_wait().map_err(|e| e.to_string())? {
                return Err(format!("svscan ended: {status}"));
            }
            if greeted {
                return Ok(());
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

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn the_address_is_read_from_a_run_script() {
        let smtp = "tcpserver -v -c \"$MAX\" -b 128 -x r.cdb 127.0.0.1 2525 '/a b/qmail-smtpd'\n";
        assert_eq!(address(smtp).as_deref(), Some("127.0.0.1:2525"));
        let pop3 = "tcpserver -v -b 128 -u 0 -g 0 0 110 /h/bin/qmail-popup \"$LOCAL\"\n";
        assert_eq!(address(pop3).as_deref(), Some("0.0.0.0:110"));
        assert_eq!(address("tcpserver ::1 110 qmail-popup").as_deref(), Some("[::1]:110"));
        assert_eq!(address("tcpserver $A smtp qmail-smtpd"), None);
    }

    #[test]
    fn a_home_at_work_is_left_alone() {
        let home = Yard::new("up");
        std::fs::create_dir_all(home.join("service")).unwrap();
        assert_eq!(not_running(&home), Ok(()));
        let lock = home.join("service/.svscan.lock");
        std::fs::write(&lock, "17\n").unwrap();
        let held = std::fs::File::open(&lock).unwrap();
        assert_eq!(not_running(&home), Ok(()));
        held.lock().unwrap();
        assert!(not_running(&home).unwrap_err().contains("already running, pid 17"));
    }

    #[test]
    fn an_address_that_is_taken_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let why = free(&address, "--smtp").unwrap_err();
        assert!(why.starts_with(&address) && why.contains("--smtp"), "{why}");
        drop(taken);
        assert_eq!(free(&address, "--smtp"), Ok(()));
    }
}
