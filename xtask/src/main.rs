//! The workshop: everything that is done to the house rather than in it.
#![forbid(unsafe_code)]

mod arrows;
mod bench;
mod blocks;
mod book;
mod build;
mod clients;
mod compat;
mod crash;
mod faults;
mod fuzz;
mod host;
mod install;
mod ledger;
mod limit;
mod man;
mod package;
mod rooms;
mod tally;
mod test;
mod up;
mod walk;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What the workshop can do.
#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build, run, test and measure qmail-rs")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build, set up a home and run the whole mail server in the foreground.
    Up(up::Up),
    /// Run every check and test; the last line counts them.
    Test(test::Test),
    /// The same as `test`: what the build server runs.
    Ci(test::Test),
    /// Check the dependency arrows between the crates.
    Arrows,
    /// Check the budget of lines per file.
    Rooms,
    /// Check that the functions ARCHITECTURE.md walks through exist.
    Walk,
    /// Check that every program has its page in the manual; write what is made from its own table.
    Man(man::Man),
    /// Check that the book names every page and that no link is dead.
    Book(book::Book),
    /// Rehearse power cuts: the simulator, then (as root) real file systems on a logged disk.
    Crash(crash::Crash),
    /// Fuzz the parsers and machines, each for its time; `fuzz --hours 1` is the long run.
    Fuzz(fuzz::Fuzz),
    /// Make every file system call of the programs fail once, and see that nothing is lost.
    Faults(faults::Faults),
    /// Kill programs, stop them and let the clock jump, under clients that keep a ledger.
    Ledger(ledger::Ledger),
    /// Measure ourselves and the peers, in turns, in one run.
    Bench(Box<bench::Bench>),
    /// Hold connections, as a part of the benchmark.
    #[command(hide = true)]
    Strangers(bench::idle::Hold),
    /// Drive a running server with real clients.
    Clients(clients::Clients),
    /// Build, and put the mail system into this machine (as root), or into another root directory.
    Install(install::Install),
    /// Take it out of this machine again; mail and settings stay.
    Uninstall(install::Uninstall),
    /// Build a Debian package.
    Deb(package::Deb),
    /// Try the package, old to new under load, in a Debian of its own; and rate the unit.
    Package(package::Package),
    /// Play the steps that say what stock qmail shows; write or check their table.
    Compat(compat::Compat),
    /// Play the steps that say what daemontools and ucspi-tcp show, against ours and Debian's.
    Caretakers(compat::caretakers::Caretakers),
}

/// The repository's root.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.clone(), PathBuf::from)
}

fn main() -> ExitCode {
    let done = match Args::parse().task {
        Task::Up(up) => up.run(),
        Task::Test(test) | Task::Ci(test) => test.run(),
        Task::Arrows => tally::single("arrows", arrows::check),
        Task::Rooms => tally::single("rooms", rooms::check),
        Task::Walk => tally::single("walk", walk::check),
        Task::Man(man) => man.run(),
        Task::Book(book) => book.run(),
        Task::Crash(crash) => crash.run(),
        Task::Fuzz(fuzz) => fuzz.run(),
        Task::Faults(faults) => faults.run(),
        Task::Ledger(ledger) => ledger.run(),
        Task::Bench(bench) => bench.run(),
        Task::Strangers(hold) => hold.run(),
        Task::Clients(clients) => clients.run(),
        Task::Compat(compat) => compat.run(),
        Task::Install(install) => install.run(),
        Task::Uninstall(uninstall) => uninstall.run(),
        Task::Deb(deb) => deb.run(),
        Task::Package(package) => package.run(),
        Task::Caretakers(caretakers) => caretakers.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            if !why.is_empty() {
                eprintln!("xtask: {why}");
            }
            ExitCode::FAILURE
        }
    }
}
