//! The steps of `tests/compat/`: what stock qmail shows, played against our programs, or against an
//! original that somebody installed; and those of `tests/caretakers/`, played against Debian's
//! daemontools and ucspi-tcp as well.

pub(crate) mod caretakers;
mod compare;
pub(crate) mod debian;
mod items;
pub(crate) mod needs;
mod normal;
mod original;
mod play;
mod stage;
mod steps;
pub(crate) mod table;
mod thousand;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc;

use clap::Args;

use self::compare::Saw;
use self::debian::Debian;
use self::needs::Need;
use self::normal::Places;
use self::original::Original;
use self::stage::{Stage, Whose};
use self::steps::{Script, Step};
use crate::build;
use crate::tally::{Ending, Tally, Trouble};
use yard::Yard;

/// Files that are played at once: most of the time a step waits.
const AT_ONCE: usize = 6;

/// A directory of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// What stock qmail shows.
    Mail,
    /// What daemontools and ucspi-tcp show.
    Caretakers,
}

impl Suite {
    /// Its name among the tests.
    fn name(self) -> &'static str {
        match self {
            Self::Mail => "compat",
            Self::Caretakers => "caretakers",
        }
    }

    /// Files of it that are played at once.
    fn at_once(self) -> usize {
        match self {
            Self::Mail => AT_ONCE,
            // They wait for seconds to pass.
            Self::Caretakers => AT_ONCE + 2,
        }
    }
}

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
    suite: Suite,
    /// `inject-options.steps`.
    name: String,
    script: Script,
}

impl Read {
    /// `tests/compat/NAME`.
    fn path(&self) -> String {
        format!("tests/{}/{}", self.suite.name(), self.name)
    }

    /// `tests/compat/NAME:LINE`.
    fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path())
    }
}

/// What was seen of a file's steps: nothing where one was not played.
struct Seen {
    steps: Vec<Option<Saw>>,
    places: Places,
    /// Why none was played.
    hindered: Option<&'static str>,
}

/// One file of steps, and whose programs are played.
type Turn<'a> = (&'a Read, Whose<'a>);

/// Plays every file whose name contains `only` against our programs and counts the steps.
pub(crate) fn all(tally: &mut Tally, binaries: &Path, only: &str) {
    let files = match (files(Suite::Mail, only), yard(binaries)) {
        (Ok(files), Ok(yard)) => {
            let turns: Vec<Turn<'_>> = files.iter().map(|file| (file, Whose::Ours)).collect();
            played(tally, &turns, &yard, None);
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
fn played(tally: &mut Tally, turns: &[Turn<'_>], yard: &Path, debian: Option<&Debian>) {
    let at_once = turns.first().map_or(1, |(file, _)| file.suite.at_once());
    let next = Mutex::new(turns.iter());
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            let (tell, next) = (tell.clone(), &next);
            scope.spawn(move || {
                while let Some(&turn) = next.lock().ok().and_then(|mut next| next.next()) {
                    let seen = perform(turn.0, yard, turn.1, debian);
                    if tell.send((turn, seen)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        for (turn, seen) in told {
            count(tally, turn, seen);
        }
    });
}

/// Says and counts how one file's steps ended.
fn count(tally: &mut Tally, (file, whose): Turn<'_>, seen: Result<Seen, Trouble>) {
    let side = if matches!(whose, Whose::Ours) { "" } else { ", Debian's" };
    println!("=== {}/{}{side}", file.suite.name(), file.name);
    let steps = &file.script.steps;
    let seen = match seen {
        Ok(seen) => seen,
        Err(why) => {
            println!("FAILED {}: {why}", file.name);
            return tally.add(0, steps.len() as u64, 0);
        }
    };
    if let Some(why) = seen.hindered {
        println!("SKIPPED {} steps of {}: {why}", steps.len(), file.name);
        return tally.add(0, 0, steps.len() as u64);
    }
    let mut counts = [0; 2];
    let mut skipped = 0;
    for (step, saw) in steps.iter().zip(&seen.steps) {
        let Some(saw) = saw else {
            if let Some(why) = missing(&step.needs) {
                println!("SKIPPED {}: {why}", file.place(step.line));
                skipped += 1;
            }
            continue;
        };
        let found = verdict::judged(step, saw, &seen.places, whose);
        counts[usize::from(!found.is_empty())] += 1;
        if !found.is_empty() {
            show(file, step, &found);
        }
    }
    let [passed, failed] = counts;
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

/// Why a file of steps cannot be played here.
fn hindrance(script: &Script, whose: Whose<'_>, debian: Option<&Debian>) -> Option<&'static str> {
    if (script.root || script.net) && sys::user::euid() != 0 {
        return Some("they need root");
    }
    if script.net && Need::Network.hindrance().is_some() {
        return Need::Network.hindrance();
    }
    if let Some(why) = missing(&script.needs) {
        return Some(why);
    }
    if script.both && debian.is_none() {
        return Some("they need Debian's packages");
    }
    let stock = !matches!(whose, Whose::Ours);
    (script.ours.is_some() && stock).then_some("they are about what the original does not have")
}

/// Why the first of these needs that is not met is not.
fn missing(needs: &[Need]) -> Option<&'static str> {
    needs.iter().find_map(|need| need.hindrance())
}

/// Plays one file's steps in a fresh home.
fn perform(
    file: &Read,
    yard: &Path,
    whose: Whose<'_>,
    debian: Option<&Debian>,
) -> Result<Seen, Trouble> {
    let script = &file.script;
    let stock = !matches!(whose, Whose::Ours);
    let hindered = hindrance(script, whose, debian);
    let idle = hindered.is_some();
    let stage = Stage::open(yard, file, whose, debian)?;
    let mut steps = Vec::new();
    let begun = if script.running && !idle { house(&stage, "mailstart") } else { Ok(()) };
    for step in &script.steps {
        let hindered = idle || begun.is_err() || missing(&step.needs).is_some();
        let left_out = hindered || (stock && step.stock.skip);
        let saw = if left_out { None } else { Some(play::play(&stage, &step.command)?) };
        steps.push(saw);
        if file.suite == Suite::Caretakers {
            // Whom svscan started is in no group of the step's.
            play::sweep(&stage);
        }
    }
    let mail = file.suite == Suite::Mail && !idle;
    let ended = if mail { house(&stage, "mailstop") } else { Ok(()) };
    play::sweep(&stage);
    begun.and(ended)?;
    Ok(Seen { steps, places: stage.places(), hindered })
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
    for file in files(Suite::Mail, only)? {
        println!("=== {}/{}", file.suite.name(), file.name);
        let theirs = perform(&file, &yard, Whose::Original(original), None);
        let ours = perform(&file, &yard, Whose::Ours, None);
        match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => verdict::judge(&file, &theirs, &ours, &mut sums),
            (Err(why), _) => sums.unplayed(&file, &format!("the original: {why}")),
            (_, Err(why)) => sums.unplayed(&file, &format!("ours: {why}")),
        }
    }
    sums.close()
}

/// Every file of steps whose name contains `only`, in the order of their names.
fn files(suite: Suite, only: &str) -> Result<Vec<Read>, Trouble> {
    let dir = crate::root().join("tests").join(suite.name());
    let entries = std::fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".steps") && name.contains(only))
        .collect();
    names.sort();
    names.into_iter().map(|name| read(suite, &dir, name)).collect()
}

fn read(suite: Suite, dir: &Path, name: String) -> Result<Read, Trouble> {
    let path = dir.join(&name);
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let script = steps::parse(&text).map_err(|(line, why)| format!("{name}:{line}: {why}"))?;
    Ok(Read { suite, name, script })
}

/// A directory for the homes, which any user may pass through; our programs are in it, for the
/// homes to link to. Copied while nothing else goes on: a program that somebody still holds for
/// writing does not start.
fn yard(binaries: &Path) -> Result<Yard, Trouble> {
    let yard = Yard::made("qmail-rs-compat").map_err(|e| e.to_string())?;
    build::install(binaries, &yard.join("bin"))?;
    Ok(yard)
}
