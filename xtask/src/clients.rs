//! The installed programs, driven by clients nobody here wrote: one script a scenario, under
//! `tests/clients/`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::tally::{Ending, Tally, Trouble};
use crate::up::{self, Server, Up};
use crate::{host, limit};

/// Exit code of a script that cannot be tried here.
const SKIP: i32 = 77;
/// How long a script may take.
const SCRIPT: Duration = Duration::from_secs(20 * 60);

/// Run the client scripts against a server of their own.
#[derive(Args)]
pub(crate) struct Clients {
    /// Only scripts whose name contains this.
    only: Option<String>,
}

impl Clients {
    /// Starts a server in a home of its own, runs the scripts, stops it.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        let mut tally = Tally::default();
        host::prepare(host::CLIENTS);
        all(&mut tally, self.only.as_deref());
        tally.verdict()
    }
}

/// Runs every script (or those whose name contains `only`), counting each.
pub(crate) fn all(tally: &mut Tally, only: Option<&str>) {
    let mut yard = match Yard::open() {
        Ok(yard) => yard,
        Err(why) => return tally.check("start the server", || Ending::Failed(why)),
    };
    for script in scripts() {
        let name = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if only.is_none_or(|only| name.contains(only)) {
            tally.check(&format!("clients/{name}"), || yard.play(&script));
        }
    }
    tally.check("stop the server", || yard.close());
}

/// Runs one script against a server of its own, with more in its environment.
pub(crate) fn one(tally: &mut Tally, name: &str, more: &[(&str, String)]) {
    host::prepare(host::CLIENTS);
    let mut yard = match Yard::open() {
        Ok(yard) => yard,
        Err(why) => return tally.check("start the server", || Ending::Failed(why)),
    };
    yard.more = more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let script = crate::root().join("tests/clients").join(name);
    tally.check(&format!("clients/{name}"), || yard.play(&script));
    tally.check("stop the server", || yard.close());
}

/// The scripts, in the order of their names.
fn scripts() -> Vec<PathBuf> {
    let dir = crate::root().join("tests/clients");
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut scripts: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| is_script(p)).collect();
    scripts.sort();
    scripts
}

/// Scripts begin with two digits; what does not is a part of several.
fn is_script(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.as_bytes().iter().take(2).all(u8::is_ascii_digit)
}

/// A server in a home of its own, and where it hears.
struct Yard {
    server: Server,
    home: yard::Yard,
    smtp: String,
    pop3: String,
    /// What else the scripts find in their environment.
    more: Vec<(String, String)>,
}

impl Yard {
    /// Somebody else may take a port between its choice and its use: then others are chosen.
    fn open() -> Result<Self, Trouble> {
        Self::tried().or_else(|_| Self::tried()).or_else(|_| Self::tried())
    }

    fn tried() -> Result<Self, Trouble> {
        let home = yard::Yard::made("qmail-rs-clients").map_err(|e| e.to_string())?;
        let (smtp, pop3) = (free_address()?, free_address()?);
        let server = Up::at(&home, smtp.clone(), pop3.clone()).start()?;
        Ok(Self { server, home, smtp, pop3, more: Vec::new() })
    }

    /// Runs one script with what it needs to know in its environment.
    fn play(&mut self, script: &Path) -> Ending {
        let (user, password) = up::account(&self.home).unwrap_or_default();
        let mut command = host::unsignalled(script);
        command.current_dir(crate::root().join("tests/clients"));
        for (name, address) in [("SMTP", &self.smtp), ("POP3", &self.pop3)] {
            let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
            command.env(format!("{name}_HOST"), host).env(format!("{name}_PORT"), port);
        }
        command.env("QMAIL_HOME", &self.home).env("SVSCAN", self.server.pid().to_string());
        command.env("MAIL_USER", user).env("MAIL_PASSWORD", password);
        command.envs(self.more.iter().map(|(name, value)| (name, value)));
        match limit::status(&mut command, SCRIPT) {
            Err(why) => {
                self.home.leave();
                Ending::Failed(format!("{why}; home kept in {}", self.home.display()))
            }
            Ok(status) if status.success() => Ending::Passed,
            Ok(status) if status.code() == Some(SKIP) => Ending::Skipped("see above".into()),
            Ok(status) => {
                self.home.leave();
                Ending::Failed(format!("{status}; home kept in {}", self.home.display()))
            }
        }
    }

    /// Stops the server; the home goes with it if it stopped cleanly.
    fn close(&mut self) -> Ending {
        match self.server.stop() {
            Err(why) => {
                self.home.leave();
                Ending::Failed(format!("{why}; home kept in {}", self.home.display()))
            }
            Ok(()) => Ending::Passed,
        }
    }
}

/// A loopback address nobody listens on just now.
pub(crate) fn free_address() -> Result<String, Trouble> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    listener.local_addr().map(|a| a.to_string()).map_err(|e| e.to_string())
}
