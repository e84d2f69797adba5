//! `cargo xtask fuzz`: every parser, machine and file reader of ours under libFuzzer.
//!
//! The targets and their seeds are in `fuzz/`. What a fuzzer learns (its corpus), its logs and what
//! it finds are kept outside the repository, so that the next run goes on where this one stopped.

mod engine;
mod report;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;

use crate::tally::{Ending, Tally, Trouble, passes, run};
use engine::{Plan, Shift};

/// Fuzz the parsers and machines.
#[derive(Args)]
pub(crate) struct Fuzz {
    /// The target; all of them if not given.
    target: Option<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60, conflicts_with = "hours")]
    seconds: u64,
    /// Hours for each target.
    #[arg(long)]
    hours: Option<f64>,
    /// Targets that run side by side.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Build with AddressSanitizer: slower, and finds what unsafe code does wrong.
    #[arg(long)]
    asan: bool,
    /// Where corpus, logs and findings are kept; below the user's cache if not given.
    #[arg(long)]
    keep: Option<PathBuf>,
}

impl Fuzz {
    /// Builds, runs each target its time, and prints what came of it. An error if there are findings.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        let targets = self.targets()?;
        if let Err(why) = install() {
            println!("SKIPPED fuzzing: cargo-fuzz is missing and cannot be installed: {why}");
            return Ok(());
        }
        let time = self.time()?;
        let jobs = self.jobs.clamp(1, targets.len());
        let keep = made(&self.keep.clone().map_or_else(cache, Ok)?)?;
        let total = time.mul_f64(targets.len().div_ceil(jobs) as f64);
        println!("{} targets, {time:?} each, {jobs} at a time: about {total:?}", targets.len());
        println!("corpus, logs and findings: {}", keep.display());
        let plan = Plan { binaries: self.build()?, keep, time, jobs };
        let shifts = engine::work(&plan, targets)?;
        print!("{}", report::table(&shifts, time));
        let findings: usize = shifts.iter().map(|shift: &Shift| shift.findings.len()).sum();
        if findings == 0 { Ok(()) } else { Err(format!("{findings} findings")) }
    }

    fn time(&self) -> Result<Duration, Trouble> {
        let Some(hours) = self.hours else { return Ok(Duration::from_secs(self.seconds.max(1))) };
        let seconds = hours * 3_600.0;
        Duration::try_from_secs_f64(seconds.max(1.0)).map_err(|e| format!("--hours {hours}: {e}"))
    }

    /// The targets wanted, as the manifest of `fuzz/` has them.
    fn targets(&self) -> Result<Vec<String>, Trouble> {
        let file = crate::root().join("fuzz/Cargo.toml");
        let text =
            std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let all: Vec<String> = text.split("[[bin]]").skip(1).filter_map(name).collect();
        match &self.target {
            None => Ok(all),
            Some(one) if all.contains(one) => Ok(vec![one.clone()]),
            Some(one) => Err(format!("there is no target {one}; there are {}", all.join(" "))),
        }
    }

    /// Builds every target; where the binaries are. libFuzzer's instrumentation is an unstable
    /// switch, so the stable compiler is told to take those, too.
    fn build(&self) -> Result<PathBuf, Trouble> {
        let dir = crate::root().join("target/fuzz");
        let sanitizer = if self.asan { "address" } else { "none" };
        let mut cargo = cargo();
        cargo.args(["fuzz", "build", "--fuzz-dir", "fuzz", "--features", "engine"]);
        cargo.args(["--sanitizer", sanitizer, "--codegen-units", "8", "--target-dir"]);
        run(cargo.arg(dir.join(sanitizer)).env("RUSTC_BOOTSTRAP", "1"))?;
        let host = crate::build::target()?;
        Ok(dir.join(sanitizer).join(host).join("release"))
    }
}

/// The name in one `[[bin]]` table.
fn name(table: &str) -> Option<String> {
    let line = table.lines().find_map(|line| line.strip_prefix("name = "))?;
    Some(line.trim().trim_matches('"').to_owned())
}

/// Cargo in the repository's root, but outside its workspace where `--fuzz-dir` says so.
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(crate::root());
    cargo
}

/// Makes sure there is cargo-fuzz.
fn install() -> Result<(), Trouble> {
    let mut asked = cargo();
    asked.args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if asked.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    run(cargo().args(["install", "cargo-fuzz", "--locked"]))
}

/// A directory that is there, by its full name: the fuzzers run elsewhere.
fn made(dir: &std::path::Path) -> Result<PathBuf, Trouble> {
    let made = std::fs::create_dir_all(dir).and_then(|()| dir.canonicalize());
    made.map_err(|e| format!("{}: {e}", dir.display()))
}

/// The user's cache directory for this.
fn cache() -> Result<PathBuf, Trouble> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let dir =
        cache.or_else(home).ok_or("neither HOME nor XDG_CACHE_HOME is set: use --keep DIR")?;
    Ok(dir.join("qmail-rs/fuzz"))
}

/// The part that belongs in every test run: the seeds and inputs made from them, without a fuzzer.
pub(crate) fn replay(tally: &mut Tally) {
    tally.check("fuzzing, replayed", || {
        let fmt = passes(cargo().args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]));
        let Ending::Passed = fmt else { return fmt };
        let target = crate::root().join("target");
        let mut lints = cargo();
        lints.args(["clippy", "--quiet", "--locked", "--manifest-path", "fuzz/Cargo.toml"]);
        lints.arg("--target-dir").arg(&target).args(["--all-targets", "--", "-D", "warnings"]);
        let lints = passes(&mut lints);
        let Ending::Passed = lints else { return lints };
        let mut cargo = cargo();
        cargo.args(["test", "--quiet", "--locked", "--manifest-path", "fuzz/Cargo.toml"]);
        cargo.args(["--test", "replay", "--target-dir"]).arg(target);
        passes(cargo.stdin(Stdio::null()))
    });
}
