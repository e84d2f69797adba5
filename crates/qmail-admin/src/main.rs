//! For people: `qmailctl`, which sets a home up, keeps its domains and accounts, and steers it.
#![forbid(unsafe_code)]

mod accounts;
mod assign;
mod belongings;
mod binaries;
mod completion;
mod domains;
mod facts;
mod history;
mod install;
mod instcheck;
mod mailbox;
mod manual;
mod moving;
mod pauses;
mod permissions;
mod places;
mod postmasters;
mod print;
mod progress;
mod reload;
mod scripts;
mod selftest;
mod services;
mod settings;
mod setup;
mod sources;
mod steer;
mod upgrade;
mod words;

use std::ffi::OsString;
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
    /// Put it into this machine: accounts, home, services, boot, sendmail; or complete that.
    Install(Box<install::Install>),
    /// Take it out of this machine; mail, queue and settings stay.
    Uninstall(install::Uninstall),
    /// Put another version under the services at work; one that does not become ready goes again.
    Upgrade(upgrade::Upgrade),
    /// Add a domain whose mail is delivered here.
    #[command(subcommand)]
    Domain(domains::Domain),
    /// Add or list accounts.
    #[command(subcommand)]
    User(accounts::User),
    /// Look whether this installation is in order: directories, services and their scripts, programs,
    /// secrets, control files, mailboxes and aliases with owner and mode, users/cdb, every domain's
    /// postmaster. What is not is named with what mends it.
    Check {
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Test this machine.
    #[command(subcommand)]
    Selftest(selftest::Selftest),
    /// Print what teaches a shell to complete these commands.
    Completions {
        /// Which shell.
        shell: completion::Shell,
    },
    /// Print what can stand in the place of the last word.
    #[command(hide = true)]
    Complete {
        /// The words up to the cursor.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Print the part of the manual page that is made from these commands.
    #[command(hide = true)]
    Manual,
    #[command(flatten)]
    Steer(steer::Steer),
}

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let links = ["qmailctl", "help"];
    if !is_named(args.first(), links[0]) && links.iter().any(|link| is_named(args.get(1), link)) {
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
    match run(args).and_then(|code| print::heard().map(|()| code)) {
        Ok(code) => code,
        Err(why) => {
            print::complain(format_args!("qmailctl: fatal: {why}"));
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

fn run(mut args: Args) -> Result<ExitCode, Trouble> {
    // Names and links made of it are read elsewhere.
    if let Some(dir) = &mut args.home {
        *dir = std::path::absolute(&*dir).map_err(|e| format!("--home {}: {e}", dir.display()))?;
    }
    let home = || match &args.home {
        Some(dir) => Home::at(dir).map_err(|e| e.to_string()),
        None => Home::find().map_err(|e| e.to_string()),
    };
    let done = match args.task {
        // What needs no home, or makes it.
        Task::Setup(setup) => return setup.run(args.home.as_deref()).map(|()| ExitCode::SUCCESS),
        Task::Install(install) => install.run(args.home.as_deref()),
        Task::Uninstall(uninstall) => uninstall.run(args.home.as_deref()),
        Task::Upgrade(upgrade) => upgrade.run(&owned(home()?)?),
        Task::Selftest(selftest) => return selftest.run(),
        Task::Manual => manual::print(),
        Task::Completions { shell } => completion::teach(shell),
        // Whoever presses a key is told what he may see.
        Task::Complete { words } => completion::complete(home().ok().as_ref(), &words),
        Task::Domain(domain) => domain.run(&owned(home()?)?),
        Task::User(user) => user.run(&owned(home()?)?),
        Task::Check { json } => return instcheck::check(&owned(home()?)?, json),
        Task::Steer(steer) => return steer.run(&owned(home()?)?),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// A home, and this program its owner.
fn owned(home: Home) -> Result<Home, Trouble> {
    become_owner(&home).map(|()| home)
}
