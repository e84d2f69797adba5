//! One step after another of what is done to a disk, failing.

use store::disk::sim::{Fault, Sim};

use crate::cuts::cuts;

/// Does the same again and again, each time on a disk as `start` is, and has the next step fail
/// each time: the first, then the second, until there is none left to fail, or `most` have. `act`
/// also gets the step's number; after a [`Fault::Stop`] nothing more reaches the disk.
pub(crate) fn fail_each(start: &Sim, fault: Fault, most: u64, mut act: impl FnMut(&Sim, u64)) {
    for step in 0..most {
        let disk = start.killed();
        let end = disk.steps().saturating_add(step);
        disk.fail_at(end, fault);
        act(&disk, step);
        if disk.steps() <= end {
            return;
        }
    }
}

/// Every disk a power cut may leave, at most `cap`.
pub(crate) fn left_by(disk: &Sim, cap: u64) -> Vec<Sim> {
    let keeps = cuts(disk.unsynced(), cap).into_iter();
    keeps.map(|keep| disk.power_cut(|unit| keep.get(unit).copied().unwrap_or(false))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use store::disk::Disk;

    #[test]
    fn every_step_fails_once_and_then_all_is_done() {
        let mut seen = Vec::new();
        fail_each(&Sim::new(), Fault::Stop, 9, |disk, step| {
            let made = ["a", "b"].map(|name| disk.make_dir(Path::new(name)).is_ok());
            seen.push((step, made));
        });
        assert_eq!(seen, [(0, [false; 2]), (1, [true, false]), (2, [true; 2])]);
    }
}
