//! A POP3 session's end: at every power cut and every failed step, a letter that was not deleted is
//! there once and whole; and when QUIT was answered with success, the deleted ones are gone.

use std::ffi::OsStr;
use std::path::PathBuf;

use store::disk::Disk;
use store::disk::sim::{Fault, Sim};
use store::maildir::{Leave, deliver, make, settle};

use crate::maildir::{HEAD, letters};
use crate::report::{Broken, Tally, Violation, violation};
use crate::steps::{fail_each, left_by};

/// More steps than the session's end takes.
const STEPS: u64 = 64;
/// States tried at one point if there is no limit.
const PER_POINT: u64 = 4_096;

/// A letter: its name, whether it lies in cur, whether it will be deleted.
const LETTERS: [(&str, bool, bool); 6] = [
    ("a", false, true),
    ("b", false, false),
    ("c", true, true),
    ("d", true, false),
    ("e", false, false),
    ("f", false, true),
];

/// Explores the end of one session; about `limit` states.
pub(crate) fn explore(limit: Option<u64>) -> Tally {
    explore_on(&Sim::new(), limit)
}

fn explore_on(blank: &Sim, limit: Option<u64>) -> Tally {
    let mut tally = Tally::new("pop3");
    let Ok((start, leaves)) = mailbox(blank) else {
        tally.count(Err(violation(Broken::Refused, "no Maildir")), String::new);
        return tally;
    };
    let cap = limit.map_or(PER_POINT, |n| n / 40);
    for fault in [Fault::Stop, Fault::Io] {
        fail_each(&start, fault, STEPS, |disk, step| {
            let done = settle(disk, &leaves);
            for left in left_by(disk, cap).into_iter().chain([disk.killed()]) {
                tally.count(check(&left, done), || format!("{fault:?} at step {step}"));
            }
        });
    }
    tally
}

/// The Maildir before, all of it on the disk, and what the session leaves.
fn mailbox(blank: &Sim) -> std::io::Result<(Sim, Vec<Leave>)> {
    let disk = blank.clone();
    make(&disk)?;
    let mut leaves = Vec::new();
    for (name, is_read, delete) in LETTERS {
        deliver(&disk, OsStr::new(name), false, HEAD, name.as_bytes())
            .map_err(std::io::Error::other)?;
        let mut file = PathBuf::from("new").join(name);
        if is_read {
            settle(&disk, &[Leave { file, delete: false }]);
            file = format!("cur/{name}:2,").into();
        }
        leaves.push(Leave { file, delete });
    }
    disk.sync_dir("cur".as_ref())?;
    disk.sync_dir("new".as_ref())?;
    Ok((disk, leaves))
}

fn check(disk: &Sim, done: bool) -> Result<(), Violation> {
    let there = letters(disk);
    for (name, _, deleted) in LETTERS {
        let of_it = there.iter().filter(|(stem, _)| stem == name.as_bytes());
        let texts: Vec<_> = of_it.map(|(_, text)| text).collect();
        let broken = match texts[..] {
            [] if deleted => continue,
            [] => Broken::Lost,
            [_] if deleted && done => Broken::Doubled,
            [text] if *text == [HEAD, name.as_bytes()].concat() => continue,
            [_] => Broken::Torn,
            [..] => Broken::Doubled,
        };
        return Err(violation(broken, name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_was_not_deleted_survives_every_quit() {
        let tally = explore(None);
        println!("{tally}");
        assert_eq!(tally.violations(), 0, "{tally}");
        assert!(tally.states() > 100, "{tally}");
    }

    #[test]
    fn a_disk_whose_syncs_do_nothing_is_found_out() {
        assert!(explore_on(&Sim::lying(), None).violations() > 0);
    }

    #[test]
    fn quit_moves_first_then_removes_then_syncs() {
        let (start, leaves) = mailbox(&Sim::new()).unwrap();
        let after = |step: u64| {
            let disk = start.killed();
            disk.fail_at(disk.steps() + step, Fault::Stop);
            assert!(!settle(&disk, &leaves));
            let disk = disk.killed();
            (disk.list("new".as_ref()).unwrap().len(), disk.list("cur".as_ref()).unwrap().len())
        };
        let steps: Vec<_> = (0..9).map(after).collect();
        // Two links, a sync, two first names gone, three removals (new, cur, new), a sync.
        let moved = [(4, 2), (4, 3), (4, 4), (4, 4), (3, 4), (2, 4)];
        assert_eq!(steps, [&moved[..], &[(1, 4), (1, 3), (0, 3)]].concat());
    }
}
