//! Steering the running services: what Life with qmail's `qmailctl` does, in its words.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Subcommand;
use store::home::Home;

use crate::moving::Moving;
use crate::places::Places;
use crate::print::tell;
use crate::{Trouble, facts, pauses, reload, services, settings};

/// The commands, as administrators know them.
#[derive(Subcommand)]
pub(crate) enum Steer {
    /// Start mail service (SMTP connections accepted, mail goes out).
    Start,
    /// Stop mail service (SMTP connections refused, nothing goes out).
    Stop,
    /// Stop and restart SMTP, send qmail-send a TERM and restart it.
    Restart,
    /// Try every queued letter now.
    #[command(visible_aliases = ["alrm", "flush"])]
    Doqueue,
    /// Make qmail-send read again which domains are ours, and its rules for destinations.
    #[command(visible_alias = "hup")]
    Reload,
    /// Show the state of every service, what became of it before, and count the queue.
    Stat {
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Stop the programs where they stand (connections wait, nothing leaves); or, with a domain,
    /// hold mail to that domain alone (.domain: to those below it).
    Pause {
        /// The domain.
        domain: Option<String>,
        /// For how long, as in "for 2h"; else until it is resumed.
        #[arg(value_names = ["for", "DURATION"], num_args = 0..=2)]
        duration: Vec<String>,
    },
    /// Send mail to a paused domain again.
    Resume {
        /// The domain.
        domain: String,
    },
    /// Let paused programs go on.
    Cont,
    /// Compile the rules for SMTP connections.
    Cdb,
    /// Count and list the letters in the queue; or move a whole queue.
    #[command(args_conflicts_with_subcommands = true)]
    Queue {
        /// As one JSON object.
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        moving: Option<Moving>,
    },
}

impl Steer {
    /// Carries the command out.
    pub(crate) fn run(self, home: &Home) -> Result<ExitCode, Trouble> {
        let places = Places::of(home);
        match self {
            Self::Start => start(home, &places)?,
            Self::Stop => stop(home, &places)?,
            Self::Restart => restart(home, &places)?,
            Self::Doqueue => {
                tell!("Flushing timeout table and sending ALRM signal to qmail-send.");
                forget_slow_hosts(home)?;
                svc(home, "-a", &["qmail-send"])?;
                heard(home, &places, &["qmail-send"])?;
            }
            Self::Reload => {
                reload::reload(home)?;
                heard(home, &places, &["qmail-send"])?;
            }
            Self::Stat { json } => return facts::stat(home, &places, json),
            Self::Pause { domain: None, .. } => each(home, &places, "-p", "Pausing")?,
            Self::Pause { domain: Some(domain), duration } => {
                pauses::pause(home, &domain, &duration)?;
            }
            Self::Resume { domain } => pauses::resume(home, &domain)?,
            Self::Cont => each(home, &places, "-c", "Continuing")?,
            Self::Cdb => {
                services::compile_rules(home, &places)?;
                tell!("Reloaded {}.", places.rules.display());
            }
            Self::Queue { moving: Some(moving), .. } => return moving.run(home),
            Self::Queue { moving: None, json } => return facts::queue(home, json),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn logger(name: &str) -> String {
    format!("{name}/log")
}

/// Those of our services that are set up here. The two that no mail system is without always count.
fn set_up(places: &Places) -> impl Iterator<Item = &'static str> {
    services::NAMES.into_iter().filter(|&name| {
        matches!(name, "qmail-send" | "qmail-smtpd") || places.service(name).exists()
    })
}

/// Of these, those that strangers are heard by.
fn front(places: &Places) -> Vec<&'static str> {
    set_up(places).filter(|name| matches!(*name, "qmail-smtpd" | "qmail-pop3d")).collect()
}

/// Everything up, the loggers too.
fn start(home: &Home, places: &Places) -> Result<(), Trouble> {
    tell!("Starting qmail");
    for name in set_up(places) {
        if supervised(home, places, name)? {
            svc(home, "-u", &[name, &logger(name)])?;
        } else {
            tell!("{name} supervise not running");
        }
    }
    mark(home, true);
    heard(home, places, &set_up(places).collect::<Vec<_>>())
}

/// Strangers first, then deliveries; queued stays, so that local programs can still queue.
fn stop(home: &Home, places: &Places) -> Result<(), Trouble> {
    tell!("Stopping qmail...");
    for name in front(places).into_iter().chain(["qmail-send"]) {
        tell!("  {name}");
        svc(home, "-d", &[name])?;
    }
    mark(home, false);
    heard(home, places, &[&front(places)[..], &["qmail-send"]].concat())
}

fn restart(home: &Home, places: &Places) -> Result<(), Trouble> {
    check_all(home, "not restarted")?;
    let front = front(places);
    tell!("Restarting qmail:");
    tell!("* Stopping qmail-smtpd.");
    svc(home, "-d", &front)?;
    // A paused one would get its TERM only when it goes on.
    svc(home, "-c", &["qmail-send"])?;
    svc(home, "-c", &front)?;
    tell!("* Sending qmail-send SIGTERM and restarting.");
    svc(home, "-t", &["qmail-send"])?;
    for name in &front {
        tell!("* Restarting {name}.");
    }
    svc(home, "-u", &front)?;
    heard(home, places, &[&front[..], &["qmail-send"]].concat())
}

/// Where a system's start scripts keep a file for each service that is up, the file `qmail`.
fn mark(home: &Home, up: bool) {
    let dir = Path::new("/var/lock/subsys");
    if home.is_private() || !dir.is_dir() {
        return;
    }
    let file = dir.join("qmail");
    // It is a note for scripts: mail comes and goes without it.
    let _ = match up {
        true => std::fs::OpenOptions::new().append(true).create(true).open(file).map(drop),
        false => std::fs::remove_file(file),
    };
}

/// The same command for the services whose names people know.
fn each(home: &Home, places: &Places, command: &str, word: &str) -> Result<(), Trouble> {
    for name in ["qmail-send"].into_iter().chain(front(places)) {
        tell!("{word} {name}");
        svc(home, command, &[name])?;
    }
    heard(home, places, &[&["qmail-send"], &front(places)[..]].concat())
}

/// Has the table of hosts that timed out zeroed, by the role that owns it.
fn forget_slow_hosts(home: &Home) -> Result<(), Trouble> {
    let tcpok = home.path("bin/qmail-tcpok");
    if home.is_private() {
        return bin(home, "qmail-tcpok", &[]).map(drop);
    }
    let role = home.roles().map_err(|e| e.to_string())?.qmailr;
    bin(home, "setuidgid", &[format!("{}:{}", role.uid, role.gid).into(), tcpok]).map(drop)
}

/// Has qmail-send, as the role that will, read its control files as at a start; what it cannot use
/// it says itself, and what is `undone` for it is the trouble.
pub(crate) fn check(home: &Home, undone: &str) -> Result<(), Trouble> {
    check_with(home, &[home.path("bin/qmail-send")], undone)
}

/// The same, and what the others read: a server that cannot use a file sends everybody away.
pub(crate) fn check_all(home: &Home, undone: &str) -> Result<(), Trouble> {
    check(home, undone)?;
    match settings::unusable(home).join("; ") {
        none if none.is_empty() => Ok(()),
        found => Err(format!("{undone}: {found}")),
    }
}

/// What [`check`] does with another qmail-send: its words.
pub(crate) fn check_with(home: &Home, send: &[PathBuf], undone: &str) -> Result<(), Trouble> {
    let role = home.roles().map_err(|e| e.to_string())?.qmails;
    let mut words = send.to_vec();
    words.push("check".into());
    if !home.is_private() {
        let role = format!("{}:{}", role.uid, role.gid);
        words.splice(0..0, [home.path("bin/setuidgid"), role.into()]);
    }
    let Some((name, args)) = words.split_first() else { return Ok(()) };
    // A whole path stays what it is.
    match bin(home, &name.to_string_lossy(), args)? {
        true => Ok(()),
        false => Err(format!("{undone}: mend the file first; what was read before is in force")),
    }
}

/// Whether a supervise watches a service.
fn supervised(home: &Home, places: &Places, name: &str) -> Result<bool, Trouble> {
    bin(home, "svok", &[places.service(name)])
}

/// A command that nobody was there to hear is no success. That a host has no qmail-smtpd at all may be
/// meant.
fn heard(home: &Home, places: &Places, names: &[&str]) -> Result<(), Trouble> {
    let mut deaf = Vec::new();
    for name in names {
        let meant = *name == "qmail-send" || places.service(name).exists();
        if meant && !supervised(home, places, name)? {
            deaf.push(*name);
        }
    }
    match deaf.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "no supervise watches {} (mend: start svscan on {})",
            deaf.join(", "),
            places.scanned.display()
        )),
    }
}

/// Writes a command to the services' control FIFOs.
pub(crate) fn svc(home: &Home, command: &str, names: &[&str]) -> Result<(), Trouble> {
    let places = Places::of(home);
    let mut args = vec![PathBuf::from(command)];
    args.extend(names.iter().map(|name| places.service(name)));
    bin(home, "svc", &args).map(drop)
}

/// Runs one of the home's own programs; whether it succeeded.
pub(crate) fn bin(home: &Home, name: &str, args: &[PathBuf]) -> Result<bool, Trouble> {
    let _ = std::io::stdout().flush();
    let mut program = program(home, name);
    let status = program.args(args).status();
    status
        .map(|s| s.success())
        .map_err(|e| format!("{}: {e}", home.path("bin").join(name).display()))
}

/// One of the home's own programs, which shall know whose it is.
pub(crate) fn program(home: &Home, name: &str) -> Command {
    let mut program = Command::new(home.path("bin").join(name));
    program.env("QMAILHOME", home.root());
    program
}
