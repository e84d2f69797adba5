//! Letters handed in by local programs as fast as they can be started, while letters that were
//! there before are delivered: how many a second, and how much slower those become. Ours alone: the
//! limit is a ratio.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::account::median;
use super::load::PATIENCE;
use super::ours::Ours;
use super::what::Stage;
use super::{Peer, latency};
use crate::tally::Trouble;

/// Loops that start one program after the other.
const LOOPS: usize = 8;
/// Connections over which the letters come that are there before.
const CONNECTIONS: u32 = 20;
/// Whom the injected letters are for.
const OTHER: &str = "other@bench.test";
/// Bytes of an injected letter's body.
const BODY: usize = 4_096;

/// What is started, and with which options.
const PROGRAMS: [(&str, &[&str]); 2] = [("qmail-inject", &["-h"]), ("sendmail", &["-i", "-t"])];

/// How long letters are injected with nothing else going on.
const ALONE: Duration = Duration::from_secs(5);

/// Measures and prints: rounds until so many letters have been injected.
pub(super) fn report(dir: &Path, there: u32, letters: u32) -> Result<(), Trouble> {
    std::fs::create_dir_all(dir).map_err(|e| e.to_string())?;
    let mut ours = Ours::start(dir)?;
    ours.add_account(OTHER)?;
    println!("\ninject: qmail-rs alone, {LOOPS} loops; {there} letters are there before");
    let letter = dir.join("letter");
    let text = format!("To: {OTHER}\nSubject: x\n\n{}\n", "x".repeat(BODY));
    std::fs::write(&letter, text).map_err(|e| e.to_string())?;
    for (name, options) in PROGRAMS {
        let (program, injected) = (ours.bin(name), AtomicU32::new(0));
        let load = Load { program, options, letter: &letter, injected };
        ours.ready(&Stage::Held)?;
        let held = load.beside(|| {
            std::thread::sleep(ALONE);
            Ok(())
        })?;
        load.injected.store(0, Relaxed);
        let mut rounds = Vec::new();
        while load.injected.load(Relaxed) < letters {
            let alone = alone(&mut ours, there)?;
            for _ in 0..BESIDE {
                rounds.push(load.round(&mut ours, there, alone)?);
            }
        }
        print(name, held, load.injected.load(Relaxed), &rounds);
    }
    Ok(())
}

/// Rounds beside injections after each with nothing beside.
const BESIDE: usize = 3;

/// One round's rates per second.
struct Round {
    /// Deliveries of what was there, with nothing beside, shortly before.
    alone: f64,
    /// The same beside injections.
    beside: f64,
    /// Injections meanwhile.
    injected: f64,
}

fn print(name: &str, held: f64, letters: u32, rounds: &[Round]) {
    let of = |what: fn(&Round) -> f64| rounds.iter().map(what).collect::<Vec<_>>();
    let ratios = of(|r| r.beside / r.alone);
    let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    println!("  {name}: {held:.0} injections/s, none delivered");
    println!(
        "    {:.0} injections/s beside deliveries, {letters} letters in {} rounds, medians:",
        median(&of(|r| r.injected)),
        rounds.len()
    );
    println!(
        "    deliveries of what was there: {:.0}/s, beside injections {:.0}/s",
        median(&of(|r| r.alone)),
        median(&of(|r| r.beside))
    );
    println!("    ratio {:.2}, the lowest {lowest:.2} (limit 0.5)", median(&ratios));
}

/// What injects.
struct Load<'a> {
    program: PathBuf,
    options: &'static [&'static str],
    /// The letter, with its recipient.
    letter: &'a Path,
    injected: AtomicU32,
}

impl Load<'_> {
    /// Delivers what is there beside injections.
    fn round(&self, ours: &mut Ours, there: u32, alone: f64) -> Result<Round, Trouble> {
        fill(ours, there)?;
        let mut beside = f64::NAN;
        let injected = self.beside(|| {
            beside = drain(ours, there)?;
            Ok(())
        })?;
        Ok(Round { alone, beside, injected })
    }

    /// Injects as long as something else lasts; letters a second.
    fn beside(&self, other: impl FnOnce() -> Result<(), Trouble>) -> Result<f64, Trouble> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let loops: Vec<_> = (0..LOOPS).map(|_| scope.spawn(|| self.run(&stop))).collect();
            let (begun, before) = (Instant::now(), self.injected.load(Relaxed));
            let done = other();
            let letters = self.injected.load(Relaxed) - before;
            let rate = f64::from(letters) / begun.elapsed().as_secs_f64();
            stop.store(true, Relaxed);
            for one in loops {
                one.join().map_err(|_| "a loop panicked")??;
            }
            done.map(|()| rate)
        })
    }

    /// One loop.
    fn run(&self, stop: &AtomicBool) -> Result<(), Trouble> {
        while !stop.load(Relaxed) {
            let letter = File::open(self.letter).map_err(|e| e.to_string())?;
            let mut command = Command::new(&self.program);
            let status = command.args(self.options).stdin(letter).stdout(Stdio::null()).status();
            let status = status.map_err(|e| format!("{}: {e}", self.program.display()))?;
            if !status.success() {
                return Err(format!("{}: {status}", self.program.display()));
            }
            self.injected.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}

/// Delivers what is there with nothing beside; how many a second.
fn alone(ours: &mut Ours, there: u32) -> Result<f64, Trouble> {
    fill(ours, there)?;
    drain(ours, there)
}

/// So many letters in the queue, none delivered.
fn fill(ours: &mut Ours, there: u32) -> Result<(), Trouble> {
    ours.ready(&Stage::Held)?;
    let (address, to) = (ours.smtp().unwrap_or_default().to_owned(), ours.recipient());
    latency::send(&address, there, CONNECTIONS, &|_| to.to_owned()).map(drop)
}

/// Lets deliveries begin; how many a second until the last of those letters is there.
fn drain(ours: &Ours, there: u32) -> Result<f64, Trouble> {
    ours.release()?;
    let begun = Instant::now();
    while ours.delivered() < there {
        if begun.elapsed() > PATIENCE {
            return Err(format!("only {} of {there} delivered", ours.delivered()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(f64::from(there) / begun.elapsed().as_secs_f64())
}
