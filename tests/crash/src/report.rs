//! What was tried and what was found: one line for each part of the store.

use std::fmt;

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Something acknowledged is not there.
    Lost,
    /// Something is there and is not what was written.
    Torn,
    /// Something is there twice, or again after it was removed for good.
    Doubled,
    /// What was left could not be opened at all.
    Refused,
}

/// A broken promise and how it came about.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) broken: Broken,
    pub(crate) story: String,
}

/// Makes a violation.
pub(crate) fn violation(broken: Broken, story: impl Into<String>) -> Violation {
    Violation { broken, story: story.into() }
}

/// The count for one part.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    name: &'static str,
    states: u64,
    lost: u64,
    torn: u64,
    doubled: u64,
    refused: u64,
    /// The first few, told.
    stories: Vec<String>,
}

/// How many violations are told in full.
const TOLD: usize = 5;

impl Tally {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// Counts one state after a crash and what was found in it.
    pub(crate) fn count(&mut self, found: Result<(), Violation>, place: impl FnOnce() -> String) {
        self.states = self.states.saturating_add(1);
        let Err(Violation { broken, story }) = found else { return };
        let counter = match broken {
            Broken::Lost => &mut self.lost,
            Broken::Torn => &mut self.torn,
            Broken::Doubled => &mut self.doubled,
            Broken::Refused => &mut self.refused,
        };
        *counter = counter.saturating_add(1);
        if self.stories.len() < TOLD {
            self.stories.push(format!("{broken:?}: {story} ({})", place()));
        }
    }

    /// How many states were looked at.
    pub(crate) fn states(&self) -> u64 {
        self.states
    }

    /// How many of them broke a promise.
    pub(crate) fn violations(&self) -> u64 {
        [self.lost, self.torn, self.doubled, self.refused]
            .iter()
            .fold(0, |a, b| a.saturating_add(*b))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, states, lost, torn, doubled, refused, stories } = self;
        write!(f, "{name}: {states} states, {lost} lost, {torn} torn, {doubled} doubled")?;
        if *refused > 0 {
            write!(f, ", {refused} that would not open")?;
        }
        stories.iter().try_for_each(|story| write!(f, "\n  {story}"))
    }
}
