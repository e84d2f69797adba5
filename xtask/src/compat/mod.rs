//! The steps of `tests/compat/`: what stock qmail shows, played against our programs, or against an
//! original that somebody installed.

mod compare;
mod items;
mod normal;
mod original;
mod play;
mod stage;
mod steps;
pub(crate) mod table;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc;

use clap::Args;

use self::compare::Saw;
use self::normal::Places;
use self::original::Original;
use self::stage::{Stage, Whose};
use self::steps::{Script, Step};
use crate::build;
use crate::tally::{Ending, Tally, Trouble};

/// Files that are played at once: most of the time a step waits.
const AT_ONCE: usize = 4;

/// Play the steps of tests/compat.
#[derive(Args)]
pub(crate) struct Compat {
    /// Only files whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Programs that are built already; else they are built now.
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Play them against the original qmail in this directory, too (as root; what is its own is put
    /// aside meanwhile, but better it is one for trying), and show every difference between it, the
    /// expectation and us.
    #[arg(long, value_name = "DIR")]
    qmail: Option<PathBuf>,
    /// With --qmail: another directory with programs that go with it.
    #[arg(long, value_name = "DIR", requires = "qmail")]
    path: Vec<PathBuf>,
    /// Write docs/compat.md instead.
    #[arg(long)]
    table: bool,
}

impl Compat {
    /// Plays, or writes the table.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        if self.table {
            return table::write();
        }
        let binaries = match self.binaries {
            Some(dir) => {
                std::path::absolute(&dir).map_err(|e| format!("{}: {e}", dir.display()))?
            }
            None => build::release()?,
        };
        let only = self.only.as_deref().unwrap_or_default();
        if let Some(dir) = self.qmail {
            let original = Original::open(&dir, &self.path)?;
            return against(&original, &binaries, only);
        }
        let mut tally = Tally::default();
        all(&mut tally, &binaries, only);
        tally.verdict()
    }
}

/// One file of steps, read.
struct Read {
    /// `inject-options.steps`.
    name: String,
    script: Script,
}

impl Read {
    /// `tests/compat/NAME:LINE`.
    fn place(&self, line: usize) -> String {
        format!("tests/compat/{}:{line}", self.name)
    }
}

/// What was seen of a file's steps: nothing where one was not played.
struct Seen {
    steps: Vec<Option<Saw>>,
    places: Places,
}

/// Plays every file whose name contains `only` against our programs and counts the steps.
pub(crate) fn all(tally: &mut Tally, binaries: &Path, only: &str) {
    let files = match (files(only), yard(binaries)) {
        (Ok(files), Ok(yard)) => {
            played(tally, &files, &yard);
            let _ = std::fs::remove_dir_all(yard);
            files
        }
        (Err(why), _) | (_, Err(why)) => {
            return tally.check("compat", || Ending::Failed(why));
        }
    };
    let steps: usize = files.iter().map(|file| file.script.steps.len()).sum();
    println!("{steps} steps in {} files", files.len());
}

/// Plays files, some at once, and counts their steps as they come.
fn played(tally: &mut Tally, files: &[Read], yard: &Path) {
    let next = Mutex::new(files.iter());
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let (tell, next) = (tell.clone(), &next);
            scope.spawn(move || {
                while let Some(file) = next.lock().ok().and_then(|mut next| next.next()) {
                    let seen = perform(file, yard, Whose::Ours);
                    if tell.send((file, seen)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        for (file, seen) in told {
            count(tally, file, seen);
        }
    });
}

/// Says and counts how one file's steps ended.
fn count(tally: &mut Tally, file: &Read, seen: Result<Seen, Trouble>) {
    println!("=== compat/{}", file.name);
    let steps = &file.script.steps;
    let seen = match seen {
        Ok(seen) => seen,
        Err(why) => {
            println!("FAILED {}: {why}", file.name);
            return tally.add(0, steps.len() as u64, 0);
        }
    };
    let mut counts = [0; 3];
    for (step, saw) in steps.iter().zip(&seen.steps) {
        let Some(saw) = saw else {
            counts[2] += 1;
            continue;
        };
        let found = compare::differences(&step.expected, saw, &seen.places);
        counts[usize::from(!found.is_empty())] += 1;
        if !found.is_empty() {
            show(file, step, &found);
        }
    }
    let [passed, failed, skipped] = counts;
    if skipped > 0 {
        println!("SKIPPED {} steps of {}: they need root", skipped, file.name);
    }
    println!("{passed} of {} steps as expected", passed + failed);
    tally.add(passed, failed, skipped);
}

/// A step's differences, after where it stands and what was done.
fn show(file: &Read, step: &Step, found: &[String]) {
    println!("FAILED {}: {}", file.place(step.line), step.title);
    for line in step.command.lines() {
        println!("    $ {line}");
    }
    for line in found {
        println!("  {line}");
    }
}

/// Plays one file's steps in a fresh home.
fn perform(file: &Read, yard: &Path, whose: Whose<'_>) -> Result<Seen, Trouble> {
    let script = &file.script;
    let stock = matches!(whose, Whose::Original(_));
    let idle = (script.root && sys::user::euid() != 0) || (script.ours.is_some() && stock);
    let stage = Stage::open(yard, file.name.trim_end_matches(".steps"), whose)?;
    let mut steps = Vec::new();
    let begun = if script.running && !idle { house(&stage, "mailstart") } else { Ok(()) };
    for step in &script.steps {
        let left_out = idle || begun.is_err() || (stock && step.stock.skip);
        let saw = if left_out { None } else { Some(play::play(&stage, &step.command)?) };
        steps.push(saw);
    }
    let ended = if idle { Ok(()) } else { house(&stage, "mailstop") };
    play::sweep(&stage);
    begun.and(ended)?;
    Ok(Seen { steps, places: stage.places() })
}

/// Starts or stops the mail system.
fn house(stage: &Stage, word: &str) -> Result<(), Trouble> {
    let saw = play::play(stage, word)?;
    if saw == Saw::default() {
        return Ok(());
    }
    let text = [saw.out, saw.err].concat();
    let log = std::fs::read(stage.scratch().join("log")).unwrap_or_default();
    Err(format!("{word}: {}\n{}", String::from_utf8_lossy(&text), String::from_utf8_lossy(&log)))
}

/// Plays every file against an original and against us, and shows where they and the expectation
/// differ.
fn against(original: &Original, binaries: &Path, only: &str) -> Result<(), Trouble> {
    let yard = yard(binaries)?;
    let mut sums = verdict::Sums::default();
    for file in files(only)? {
        println!("=== compat/{}", file.name);
        let theirs = perform(&file, &yard, Whose::Original(original));
        let ours = perform(&file, &yard, Whose::Ours);
        match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => verdict::judge(&file, &theirs, &ours, &mut sums),
            (Err(why), _) => sums.unplayed(&file, &format!("the original: {why}")),
            (_, Err(why)) => sums.unplayed(&file, &format!("ours: {why}")),
        }
    }
    let _ = std::fs::remove_dir_all(yard);
    sums.close()
}

/// Every file of steps whose name contains `only`, in the order of their names.
fn files(only: &str) -> Result<Vec<Read>, Trouble> {
    let dir = crate::root().join("tests/compat");
    let entries = std::fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".steps") && name.contains(only))
        .collect();
    names.sort();
    names.into_iter().map(|name| read(&dir, name)).collect()
}

fn read(dir: &Path, name: String) -> Result<Read, Trouble> {
    let path = dir.join(&name);
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let script = steps::parse(&text).map_err(|(line, why)| format!("{name}:{line}: {why}"))?;
    Ok(Read { name, script })
}

/// A directory for the homes, which any user may pass through; our programs are in it, for the
/// homes to link to. Copied while nothing else goes on: a program that somebody still holds for
/// writing does not start.
fn yard(binaries: &Path) -> Result<PathBuf, Trouble> {
    let yard = std::env::temp_dir().join(format!("qmail-rs-compat.{}", std::process::id()));
    stage::directory(&yard, 0o755)?;
    build::install(binaries, &yard.join("bin"))?;
    Ok(yard)
}
