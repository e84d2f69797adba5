//! What only process 1 has to care for: processes whose parents are gone. They become its children,
//! and when it ends so do they.

use std::collections::BTreeSet;
use sys::signal::{self, Signal};

/// The most that is read of the list of our children, in bytes: process ids of seven digits for each
/// that there can be.
const LONGEST: usize = 32 << 20;

/// The children that are nobody's services.
#[derive(Debug)]
pub(super) struct Orphans {
    /// Those we were given when we started, as svscanboot gives us a readproctitle.
    given: Vec<u32>,
    told: BTreeSet<u32>,
}

impl Orphans {
    /// If we are process 1.
    pub(super) fn ours() -> Option<Self> {
        (std::process::id() == 1).then(|| Orphans { given: children(), told: BTreeSet::new() })
    }

    /// Sends TERM, once, to each child that is not among those `known`: before the logs have met the
    /// end of their input, which such a one may be writing.
    pub(super) fn tell(&mut self, known: &BTreeSet<u32>) {
        for child in children() {
            if !known.contains(&child) && !self.given.contains(&child) && self.told.insert(child) {
                // One that has just ended is what we want.
                let _ = signal::kill(child, Signal::Term);
                let _ = signal::kill(child, Signal::Cont);
            }
        }
    }
}

/// Our children; none where the kernel does not list them.
fn children() -> Vec<u32> {
    let list = sys::file::open_read("/proc/thread-self/children");
    let bytes = list.and_then(|list| sys::fd::read_to_end(list, LONGEST)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_process_1_looks_after_orphans() {
        assert!(Orphans::ours().is_none());
    }

    #[test]
    fn a_child_is_in_the_list_until_it_is_buried() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let found = children().contains(&child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found && !children().contains(&child.id()));
    }
}
