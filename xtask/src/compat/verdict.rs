//! An original, the expectation and us, side by side.

use super::compare::{self, Saw};
use super::normal::Places;
use super::stage::Whose;
use super::steps::Step;
use super::{Read, Seen};
use crate::tally::Trouble;

/// What is not as expected of one side; a difference that is told and not there is one, too.
pub(crate) fn judged(step: &Step, saw: &Saw, places: &Places, whose: Whose<'_>) -> Vec<String> {
    if matches!(whose, Whose::Ours) {
        return compare::differences(&step.expected, saw, places);
    }
    let mut found = compare::differences(&step.expected_of_stock(), saw, places);
    let as_ours = compare::differences(&step.expected, saw, places).is_empty();
    if found.is_empty() && step.differs() && as_ours {
        found.push("the original does as we do: there is no difference to explain".to_owned());
    }
    found
}

/// How many steps ended how, against an original.
#[derive(Default)]
pub(crate) struct Sums {
    agree: usize,
    explained: usize,
    differ: usize,
    /// Not as expected of us.
    ours: usize,
    /// Not to be played against an original.
    left_out: usize,
}

impl Sums {
    /// A file that could not be played at all.
    pub(crate) fn unplayed(&mut self, file: &Read, why: &str) {
        println!("DIFFERS {}: {why}", file.path());
        self.differ += file.script.steps.len();
    }

    /// The sums, as the last line; an error if any difference is unexplained.
    pub(crate) fn close(&self) -> Result<(), Trouble> {
        let Self { agree, explained, differ, ours, left_out } = self;
        println!(
            "{agree} agree, {explained} explained, {differ} differ from the expectation, \
             {ours} of ours do, {left_out} only ours"
        );
        if differ + ours == 0 { Ok(()) } else { Err(Trouble::new()) }
    }
}

/// Says of each step how the original, the expectation and we agree.
pub(crate) fn judge(file: &Read, theirs: &Seen, ours: &Seen, sums: &mut Sums) {
    for ((step, theirs_saw), ours_saw) in
        file.script.steps.iter().zip(&theirs.steps).zip(&ours.steps)
    {
        let place = file.place(step.line);
        if let Some(saw) = ours_saw {
            let found = compare::differences(&step.expected, saw, &ours.places);
            sums.ours += usize::from(!found.is_empty());
            print(&place, "OURS DIFFERS", step, &found);
        }
        let Some(saw) = theirs_saw else {
            sums.left_out += 1;
            continue;
        };
        one(&place, step, saw, &theirs.places, sums);
    }
}

/// The original's answer to one step.
fn one(place: &str, step: &Step, saw: &Saw, places: &Places, sums: &mut Sums) {
    let found = compare::differences(&step.expected_of_stock(), saw, places);
    if !found.is_empty() {
        sums.differ += 1;
        return print(place, "DIFFERS", step, &found);
    }
    match (&step.why, compare::differences(&step.expected, saw, places).is_empty()) {
        (Some(_), true) => println!("NEEDLESS {place}: the original does as we do: {}", step.title),
        (Some(why), false) => {
            sums.explained += 1;
            return println!("explained {place}: {}: {}", step.title, why.page);
        }
        (None, _) => println!("agrees {place}: {}", step.title),
    }
    sums.agree += 1;
}

fn print(place: &str, word: &str, step: &Step, found: &[String]) {
    if found.is_empty() {
        return;
    }
    println!("{word} {place}: {}", step.title);
    for line in step.command.lines() {
        println!("    $ {line}");
    }
    for line in found {
        println!("  {line}");
    }
}
