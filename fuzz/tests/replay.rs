//! Every seed, and thousands of inputs made from seeds, through every target, under a bound on
//! memory and time: no fuzzer needed.
#![allow(unsafe_code, reason = "an allocator that counts has to be one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fuzz::{TARGETS, Target};

/// Inputs made from the seeds of each target.
const MADE: u64 = 4_000;
/// The longest of them.
const LONGEST: usize = 4_096;
/// Memory a target may take for an input of any such length.
const MEMORY: usize = 64 << 20;
/// Time a target may take, on a machine that does other things too.
const TIME: Duration = Duration::from_secs(10);

/// Counts what each thread holds, and the most it held.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = HELD.try_with(|held| {
            held.set(held.get().wrapping_add(layout.size()));
            let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
        });
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // What another thread allocated may be freed here: it counts to no less than nothing.
        let _ = HELD.try_with(|held| held.set(held.get().saturating_sub(layout.size())));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A tiny random number generator (xorshift64), so that failures repeat.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }
}

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
}

/// The words a fuzzer is given for a target, as they stand in its dictionary.
fn dictionary(target: &str) -> Vec<Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("dictionaries/{target}"));
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let quoted = text.lines().filter(|line| !line.starts_with('#'));
    quoted.filter_map(|line| line.split('"').nth(1).map(unescape)).collect()
}

/// `\xAB` and `\\`, as libFuzzer's dictionaries have them.
fn unescape(word: &str) -> Vec<u8> {
    let mut parts = word.split("\\x");
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        out.push(u8::from_str_radix(&part[..2], 16).unwrap());
        out.extend_from_slice(&part.as_bytes()[2..]);
    }
    out
}

/// Runs a target on one input; says what it was if it panics or costs too much.
fn run((name, body): Target, what: &str, input: &[u8]) {
    let before = HELD.get();
    MOST.set(before);
    let start = Instant::now();
    let outcome = std::panic::catch_unwind(|| body(input));
    let (took, most) = (start.elapsed(), MOST.get().saturating_sub(before));
    let told = || format!("{name} {what}: b\"{}\"", input.escape_ascii());
    assert!(outcome.is_ok(), "{}", told());
    assert!(most <= MEMORY, "{most} bytes of memory for {}", told());
    assert!(took <= TIME, "{took:?} for {}", told());
}

/// An input made from a seed: bytes changed, pieces of other seeds and words put in.
fn made(dice: &mut Dice, seeds: &[(PathBuf, Vec<u8>)], words: &[Vec<u8>]) -> Vec<u8> {
    let mut input = seeds[dice.roll(seeds.len())].1.clone();
    for _ in 0..=dice.roll(6) {
        let at = dice.roll(input.len() + 1);
        let end = (at + dice.roll(8)).min(input.len());
        match dice.roll(5) {
            0 => drop(input.drain(at..end)),
            1 => drop(
                input
                    .splice(at..at, words.get(dice.roll(words.len())).cloned().unwrap_or_default()),
            ),
            2 => {
                let other = &seeds[dice.roll(seeds.len())].1;
                let from = dice.roll(other.len() + 1);
                let to = (from + dice.roll(200)).min(other.len());
                input.splice(at..end, other[from..to].iter().copied());
            }
            3 => input.insert(at, dice.roll(256) as u8),
            _ => input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << dice.roll(8)),
        }
    }
    input.truncate(LONGEST);
    input
}

fn replay(name: &str) {
    let target = *TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    let (seeds, words) = (seeds(name), dictionary(name));
    assert!(!seeds.is_empty(), "no seeds");
    for (file, input) in &seeds {
        run(target, &file.display().to_string(), input);
        for cut in 0..input.len().min(300) {
            run(target, "a seed cut short", &input[..cut]);
        }
    }
    let mut dice = Dice(0x5eed);
    // The queue is slow: each input is a few starts of it.
    let most = if name == "queue" { MADE / 4 } else { MADE };
    let made_of: u64 = std::env::var("FUZZ_MADE").ok().and_then(|n| n.parse().ok()).unwrap_or(most);
    for _ in 0..made_of {
        let input = made(&mut dice, &seeds, &words);
        run(target, "a made input", &input);
    }
}

/// A test for each target, so that they run side by side.
macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_is_replayed() {
            let named = [$(stringify!($name)),*];
            assert!(TARGETS.iter().map(|(name, _)| *name).eq(named));
        }
    };
}

replays! { smtp_server dot pop3 smtp_client wire queue header settings cdb words aliases qmtp qmqp proxy }
