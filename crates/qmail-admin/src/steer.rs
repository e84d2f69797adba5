//! Steering the running services: what Life with qmail's `qmailctl` does, in its words.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Subcommand;
use store::home::Home;

use crate::moving::Moving;
use crate::print::say;
use crate::{Trouble, pauses, setup};

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
    /// Show the state of every service and count the queue.
    Stat,
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
    Queue {
        #[command(subcommand)]
        moving: Option<Moving>,
    },
}

impl Steer {
    /// Carries the command out.
    pub(crate) fn run(self, home: &Home) -> Result<ExitCode, Trouble> {
        let front = ["qmail-smtpd", "qmail-pop3d"];
        match self {
            Self::Start => {
                say!("Starting qmail");
                let mut all: Vec<&str> = vec!["queued", "pspawn", "qmail-send"];
                all.extend(front);
                for name in all {
                    if supervised(home, name)? {
                        svc(home, "-u", &[name, &logger(name)])?;
                    }
                }
                mark(home, true);
            }
            Self::Stop => stop(home)?,
            Self::Restart => {
                check(home, "not restarted")?;
                say!("Restarting qmail:\n* Stopping qmail-smtpd.");
                svc(home, "-d", &front)?;
                // A paused one would get its TERM only when it goes on.
                svc(home, "-c", &["qmail-send", "qmail-smtpd", "qmail-pop3d"])?;
                say!("* Sending qmail-send SIGTERM and restarting.");
                svc(home, "-t", &["qmail-send"])?;
                say!("* Restarting qmail-smtpd.");
                svc(home, "-u", &front)?;
            }
            Self::Doqueue => {
                say!("Flushing timeout table and sending ALRM signal to qmail-send.");
                forget_slow_hosts(home)?;
                svc(home, "-a", &["qmail-send"])?;
            }
            Self::Reload => {
                check(home, "not reloaded")?;
                say!("Sending HUP signal to qmail-send.");
                svc(home, "-h", &["qmail-send"])?;
            }
            Self::Stat => return stat(home),
            Self::Pause { domain: None, .. } => each(home, "-p", "Pausing")?,
            Self::Pause { domain: Some(domain), duration } => {
                pauses::pause(home, &domain, &duration)?;
            }
            Self::Resume { domain } => pauses::resume(home, &domain)?,
            Self::Cont => each(home, "-c", "Continuing")?,
            Self::Cdb => {
                setup::compile_rules(home)?;
                say!("Reloaded {}.", home.path("service/qmail-smtpd/rules").display());
            }
            Self::Queue { moving: Some(moving) } => return moving.run(home),
            Self::Queue { moving: None } => {
                let counted = bin(home, "qmail-qstat", &[])?;
                tell_pauses(home)?;
                let listed = bin(home, "qmail-qread", &[])?;
                return Ok(if counted && listed { ExitCode::SUCCESS } else { 111.into() });
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn logger(name: &str) -> String {
    format!("{name}/log")
}

/// Strangers first, then deliveries; queued stays, so that local programs can still queue.
fn stop(home: &Home) -> Result<(), Trouble> {
    say!("Stopping qmail...");
    for name in ["qmail-smtpd", "qmail-pop3d", "qmail-send"] {
        say!("  {name}");
        svc(home, "-d", &[name])?;
    }
    mark(home, false);
    Ok(())
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

/// The same command for the three services whose names people know.
fn each(home: &Home, command: &str, word: &str) -> Result<(), Trouble> {
    for name in ["qmail-send", "qmail-smtpd", "qmail-pop3d"] {
        say!("{word} {name}");
        svc(home, command, &[name])?;
    }
    Ok(())
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
    let role = home.roles().map_err(|e| e.to_string())?.qmails;
    let send: PathBuf = home.path("bin/qmail-send");
    let good = match home.is_private() {
        true => bin(home, "qmail-send", &["check".into()]),
        false => {
            let role = format!("{}:{}", role.uid, role.gid);
            bin(home, "setuidgid", &[role.into(), send, "check".into()])
        }
    };
    match good? {
        true => Ok(()),
        false => Err(format!("{undone}: mend the file first; what was read before is in force")),
    }
}

/// Whether a supervise watches a service; says so if none does.
fn supervised(home: &Home, name: &str) -> Result<bool, Trouble> {
    let supervised = bin(home, "svok", &[path(home, name)])?;
    if !supervised {
        say!("{name} supervise not running");
    }
    Ok(supervised)
}

/// The state of every service and of the queue; 111 if something that should be up is not.
fn stat(home: &Home) -> Result<ExitCode, Trouble> {
    let mut services = Vec::new();
    let dir = home.path("service");
    let entries = std::fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    for entry in entries.flatten().filter(|e| !e.file_name().as_encoded_bytes().starts_with(b".")) {
        services.push(entry.path());
        services.push(entry.path().join("log"));
    }
    services.sort();
    bin(home, "svstat", &services)?;
    tell_pauses(home)?;
    Ok(if bin(home, "qmail-qstat", &[])? { ExitCode::SUCCESS } else { 111.into() })
}

/// Shows the pauses; if that cannot be done the rest is shown all the same.
fn tell_pauses(home: &Home) -> Result<(), Trouble> {
    match pauses::all(home) {
        Ok(pauses) => pauses::show(&pauses),
        Err(why) => {
            let _ = std::io::stdout().flush();
            // With stderr closed too there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "qmailctl: warning: {why}");
            Ok(())
        }
    }
}

/// Where a service's directory lies.
fn path(home: &Home, name: &str) -> PathBuf {
    home.path("service").join(name)
}

/// Writes a command to the services' control FIFOs.
pub(crate) fn svc(home: &Home, command: &str, names: &[&str]) -> Result<(), Trouble> {
    let mut args = vec![PathBuf::from(command)];
    args.extend(names.iter().map(|name| path(home, name)));
    bin(home, "svc", &args).map(drop)
}

/// Runs one of the home's own programs; whether it succeeded.
fn bin(home: &Home, name: &str, args: &[PathBuf]) -> Result<bool, Trouble> {
    let _ = std::io::stdout().flush();
    let program = home.path("bin").join(name);
    let status = Command::new(&program).args(args).env("QMAILHOME", home.root()).status();
    status.map(|s| s.success()).map_err(|e| format!("{}: {e}", program.display()))
}
