//! Cuts the power at every step of everything that must survive it, and looks at what is left.
//!
//! `crash [--states N] [queue|maildir|pop3|all]`: one line for each part, exit 1 if any promise was
//! broken. Without `--states` everything is tried.
//!
//! `crash fill HOME N`: no crash, but a queue of N letters to measure with (`fill`).
#![forbid(unsafe_code)]

mod cuts;
mod fill;
mod maildir;
mod pop3;
mod queue;
mod report;
mod steps;

use report::Tally;

/// A part of the store: its name and its explorer, which takes a limit of states.
type Part = (&'static str, fn(Option<u64>) -> Tally);

const PARTS: &[Part] =
    &[("queue", queue::explore), ("maildir", maildir::explore), ("pop3", pop3::explore)];

fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, home, count] = &words[..]
        && verb == "fill"
    {
        return fill::main(home, count);
    }
    let Some((part, limit)) = arguments(words.into_iter()) else {
        eprintln!("usage: crash [--states N] [queue|maildir|pop3|all] | crash fill HOME N");
        return 100.into();
    };
    let mut broken = false;
    for (_, explore) in PARTS.iter().filter(|(name, _)| part == "all" || part == *name) {
        let tally = explore(limit);
        println!("{tally}");
        broken |= tally.violations() > 0;
    }
    u8::from(broken).into()
}

fn arguments(mut words: impl Iterator<Item = String>) -> Option<(String, Option<u64>)> {
    let (mut part, mut limit) = ("all".to_owned(), None);
    while let Some(word) = words.next() {
        if word == "--states" {
            limit = Some(words.next()?.parse().ok()?);
        } else if word == "all" || PARTS.iter().any(|(name, _)| word == *name) {
            part = word;
        } else {
            return None;
        }
    }
    Some((part, limit))
}
