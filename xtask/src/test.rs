//! `cargo xtask test`: every check and test there is, cheapest first; the last line counts them.

use std::process::{Command, Stdio};

use clap::Args;

use crate::tally::{self, Ending, Tally, Trouble};
use crate::{
    arrows, book, build, clients, compat, crash, faults, fuzz, host, man, package, rooms, walk,
};

/// Run every check and test.
#[derive(Args)]
pub(crate) struct Test {
    /// Leave out what needs the installed programs and other people's clients.
    #[arg(long)]
    quick: bool,
}

impl Test {
    /// Runs everything, stopping at nothing, and prints the count as the last line.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        let mut tally = Tally::default();
        tally.check("formatting", || cargo_passes(&["fmt", "--all", "--check"]));
        tally.check("clippy", || {
            let all = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet"];
            cargo_passes(&[&all[..], &["--", "-D", "warnings"]].concat())
        });
        tally.check("arrows", arrows::check);
        tally.check("rooms", rooms::check);
        tally.check("walk", walk::check);
        tally.check("man", man::check);
        tally.check("book", book::check);
        tally.check("compat table", compat::table::check);
        unit_tests(&mut tally);
        fuzz::replay(&mut tally);
        crash::bounded(&mut tally);
        faults::bounded(&mut tally);
        if self.quick {
            tally.check("compat and clients", || Ending::Skipped("--quick".into()));
        } else {
            host::prepare(host::CLIENTS);
            match build::release() {
                Ok(binaries) => {
                    compat::all(&mut tally, &binaries, "");
                    compat::caretakers::all(&mut tally, &binaries);
                }
                Err(why) => tally.check("compat", || Ending::Failed(why)),
            }
            clients::all(&mut tally, None);
            package::all(&mut tally, None);
        }
        tally.verdict()
    }
}

/// A cargo command in the workspace.
fn cargo(args: &[&str]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(crate::root()).args(args);
    cargo
}

fn cargo_passes(args: &[&str]) -> Ending {
    tally::passes(&mut cargo(args))
}

/// Runs cargo's tests and adds their counts; a run that does not finish is one failure.
fn unit_tests(tally: &mut Tally) {
    println!("=== unit and session tests");
    let args = ["test", "--workspace", "--locked", "--no-fail-fast"];
    let out = cargo(&args).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let Ok(out) = out else {
        return tally.check("cargo test", || Ending::Failed("cargo could not be run".into()));
    };
    let text = String::from_utf8_lossy(&out.stdout);
    let before = tally.to_string();
    for line in text.lines() {
        if let Some([passed, failed, ignored]) = counts(line) {
            tally.add(passed, failed, ignored);
        }
    }
    let unheard = tally.to_string() == before;
    if !out.status.success() || unheard {
        print!("{text}");
        tally.check("cargo test", || Ending::Failed(out.status.to_string()));
    }
}

/// The numbers of a line `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn counts(line: &str) -> Option<[u64; 3]> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut numbers = rest.split("; ").map_while(|part| part.split(' ').next()?.parse().ok());
    Some([numbers.next()?, numbers.next()?, numbers.next()?])
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn the_result_line_of_the_test_runner_is_understood() {
        let line =
            "test result: FAILED. 30 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(counts(line), Some([30, 2, 1]));
        assert_eq!(counts("running 3 tests"), None);
    }
}
