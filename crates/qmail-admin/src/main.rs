//! For people: `qmailctl`, which sets a home up, keeps its domains and accounts, and steers it.
#![forbid(unsafe_code)]

mod accounts;
mod assign;
mod domains;
mod instcheck;
mod moving;
mod pauses;
mod permissions;
mod print;
mod scripts;
mod selftest;
mod setup;
mod steer;
mod words;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use store::home::Home;

/// What went wrong, in words for an administrator: which file, and how to mend it.
type Trouble = String;

/// Sets up and steers a qmail-rs home.
#[derive(Parser)]
#[command(name = "qmailctl", version, about)]
struct Args {
    /// The home; else the one this program stands in, else /var/qmail.
    #[arg(long, global = true, value_name = "DIR")]
    home: Option<PathBuf>,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make the home, or complete it: settings that are there are kept.
    Setup(setup::Setup),
    /// Add a domain whose mail is delivered here.
    #[command(subcommand)]
    Domain(domains::Domain),
    /// Add or list accounts.
    #[command(subcommand)]
    User(accounts::User),
    /// Look whether everything in the home is there, with its owner, mode and type.
    Check,
    /// Test this machine.
    #[command(subcommand)]
    Selftest(selftest::Selftest),
    #[command(flatten)]
    Steer(steer::Steer),
}

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    if !is_named(args.first(), "qmailctl") && args.len() > 1 {
        args.remove(0);
    }
    if is_named(args.first(), "help") {
        let told = print::line(format_args!("{:16} set up and steer the mail system", "qmailctl"));
        return if told.is_ok() { ExitCode::SUCCESS } else { 111.into() };
    }
    let args = match words::read(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    match run(args) {
        Ok(code) => code,
        Err(why) => {
            // With stderr closed too there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "qmailctl: fatal: {why}");
            ExitCode::from(111)
        }
    }
}

/// In somebody's private home root works as that somebody: what it writes must stay theirs, and
/// what they left there must not lead root astray.
fn become_owner(home: &Home) -> Result<(), Trouble> {
    if sys::user::euid() == home.owner() {
        return Ok(());
    }
    if sys::user::euid() != 0 {
        let owner = if home.is_private() { "its owner" } else { "root" };
        return Err(format!("{}: only {owner} may do this", home.root().display()));
    }
    sys::user::drop_to(&home.owner_ids()).map_err(|e| format!("unable to become its owner: {e}"))
}

/// Whether a path's last component is `name`.
fn is_named(path: Option<&OsString>, name: &str) -> bool {
    path.is_some_and(|p| Path::new(p).file_name().is_some_and(|last| last == name))
}

fn run(args: Args) -> Result<ExitCode, Trouble> {
    if let Task::Setup(setup) = args.task {
        return setup.run(args.home.as_deref()).map(|()| ExitCode::SUCCESS);
    }
    if let Task::Selftest(selftest) = args.task {
        return selftest.run();
    }
    let home = match args.home {
        Some(dir) => Home::at(std::path::absolute(&dir).map_err(|e| e.to_string())?),
        None => Home::find(),
    };
    let home = home.map_err(|e| e.to_string())?;
    become_owner(&home)?;
    match args.task {
        Task::Setup(_) | Task::Selftest(_) => Ok(ExitCode::SUCCESS),
        Task::Domain(domain) => domain.run(&home).map(|()| ExitCode::SUCCESS),
        Task::User(user) => user.run(&home).map(|()| ExitCode::SUCCESS),
        Task::Check => instcheck::check(&home),
        Task::Steer(steer) => steer.run(&home),
    }
}
