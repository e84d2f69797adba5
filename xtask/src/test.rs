//! `cargo xtask test`: every check and test there is, cheapest first; the last line counts them.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;

use crate::tally::{self, Ending, Tally, Trouble};
use crate::{
    arrows, book, build, clients, compat, crash, faults, fuzz, host, limit, man, package, rooms,
    walk,
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
        limit::begin();
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

/// How long they may take, built first.
const UNIT_TESTS: Duration = Duration::from_secs(50 * 60);

/// Runs cargo's tests and adds their counts; a run that does not finish is one failure.
fn unit_tests(tally: &mut Tally) {
    println!("=== unit and session tests");
    let args = ["test", "--workspace", "--locked", "--no-fail-fast"];
    let begun = Instant::now();
    let out = limit::output(cargo(&args).stdin(Stdio::null()), UNIT_TESTS);
    println!("({} s)", begun.elapsed().as_secs());
    let (status, text) = match out {
        Ok(out) => out,
        Err(why) => return tally.check("cargo test", || Ending::Failed(why)),
    };
    let before = tally.to_string();
    let [passed, failed, skipped] = outcome(&text);
    tally.add(passed, failed, skipped);
    for why in text.lines().filter(|line| line.starts_with(SKIPPED)) {
        println!("{why}");
    }
    let unheard = tally.to_string() == before;
    if !status.success() || unheard {
        print!("{text}");
        tally.check("cargo test", || Ending::Failed(status.to_string()));
    }
}

/// What a test says that cannot be tried here; to the harness it has passed.
const SKIPPED: &str = "skipped: ";

/// How many tests passed, failed and were skipped or ignored in all runs of `text`.
fn outcome(text: &str) -> [u64; 3] {
    let (mut all, mut skipped) = ([0_u64; 3], 0);
    for line in text.lines() {
        for (sum, count) in all.iter_mut().zip(counts(line).unwrap_or_default()) {
            *sum += count;
        }
        skipped += u64::from(line.starts_with(SKIPPED));
    }
    let [passed, failed, ignored] = all;
    [passed.saturating_sub(skipped), failed, ignored + skipped]
}

/// The numbers of a line `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn counts(line: &str) -> Option<[u64; 3]> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut numbers = rest.split("; ").map_while(|part| part.split(' ').next()?.parse().ok());
    Some([numbers.next()?, numbers.next()?, numbers.next()?])
}

#[cfg(test)]
mod tests {
    use super::{counts, outcome};

    #[test]
    fn the_result_line_of_the_test_runner_is_understood() {
        let line =
            "test result: FAILED. 30 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(counts(line), Some([30, 2, 1]));
        assert_eq!(counts("running 3 tests"), None);
    }

    #[test]
    fn a_test_that_could_not_be_tried_has_not_passed() {
        let text = "running 3 tests\ntest a ... ok\ntest b ... \nskipped: no namespaces\nok\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured\n\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\n";
        assert_eq!(outcome(text), [4, 0, 2]);
    }
}
