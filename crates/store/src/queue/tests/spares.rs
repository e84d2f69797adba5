//! Spare files of the log: when they are made, used again and removed.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::{accept, letter, open};
use crate::disk::kernel::Kernel;
use crate::disk::sim::{Fault, Sim};
use crate::queue::{Config, Content, Done, Helper, Lane, Queue, Work, Worker};
use yard::Yard;

#[test]
fn starts_without_letters_between_them_leave_no_files_behind() {
    let sim = Sim::new();
    let stays = accept(&mut open(&sim), b"I stay");
    for n in 0..40_u32 {
        let mut queue = open(&sim);
        let id = accept(&mut queue, &n.to_le_bytes());
        queue.commit().unwrap();
        queue.finish(id).unwrap();
        queue.commit().unwrap();
        // No quiet moment: it is stopped at once.
    }
    let mut queue = open(&sim);
    for _ in 0..9 {
        queue.tend().unwrap();
        queue.commit().unwrap();
    }
    assert!(queue.index().get(stays).is_none(), "it was never committed");
    let files = crate::disk::Disk::list(&sim, Path::new("log")).unwrap().len();
    assert!(files <= 8, "{files} files");
}

#[test]
fn segments_freed_together_are_used_again_and_none_is_made_in_their_place() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    let ids: Vec<u64> = (0..40).map(|_| accept(&mut queue, &[1; 600])).collect();
    queue.commit().unwrap();
    for id in ids {
        assert!(queue.finish(id).unwrap());
    }
    queue.commit().unwrap();
    // The newest header counts them still: two are to be ready beside them.
    let mut tend = || {
        queue.tend().unwrap();
        while queue.carry_out() {}
        queue.poll().unwrap();
        sim.steps()
    };
    let steps: Vec<u64> = (0..9).map(|_| tend()).collect();
    assert_eq!(steps.get(4), steps.last(), "made, removed and made again");
}

#[test]
fn a_spare_file_that_cannot_be_removed_stays_and_ends_nothing() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    let some = |queue: &mut Queue<&Sim>, number| -> Vec<u64> {
        let accept = |_| {
            let id = accept(queue, &[1; 600]);
            queue.commit().unwrap();
            id
        };
        (0..number).map(accept).collect()
    };
    let ids = some(&mut queue, 40);
    ids.into_iter().for_each(|id| assert!(queue.finish(id).unwrap()));
    queue.commit().unwrap();
    queue.tend().unwrap();
    // A turn later the header counts none of them any more, and all but two are too many.
    let stays = some(&mut queue, 5);
    let before = crate::disk::Disk::list(&sim, Path::new("log")).unwrap();
    sim.fail_at(sim.steps(), Fault::Io);
    queue.tend().unwrap();
    queue.poll().unwrap();
    let [left] = &queue.take_left()[..] else { panic!("not one file is left") };
    let after = crate::disk::Disk::list(&sim, Path::new("log")).unwrap();
    assert!(after.len() > 2 && after.len() < before.len(), "{before:?} {after:?}");
    let name = left.file.file_name().unwrap();
    assert!(after.iter().any(|file| file == name));
    // Its name is not given to another, in whatever need.
    let more = some(&mut queue, 60);
    let slot: u64 = name.to_str().unwrap().parse().unwrap();
    assert!(!queue.log.live.iter().any(|segment| segment.slot == slot));
    assert!(queue.take_left().is_empty());
    let again = sim.power_cut(|_| false);
    let all: Vec<u64> = open(&again).index().iter().map(|(id, _)| id).collect();
    assert_eq!(all, [stays, more].concat());
}

/// Does the log's work at once, and never comes to what lies apart.
#[derive(Debug)]
struct Stuck {
    disk: Kernel,
    worker: Worker,
    done: [VecDeque<Done<OwnedFd>>; 2],
}

impl Helper<OwnedFd> for Stuck {
    fn start(&mut self, lane: Lane, work: Work<OwnedFd>) {
        if lane != Lane::Apart {
            let done = self.worker.run(&self.disk, work);
            self.done[usize::from(lane == Lane::Spare)].push_back(done);
        }
    }

    fn next(&mut self, lane: Lane, wait: bool) -> Option<Done<OwnedFd>> {
        assert!(lane != Lane::Apart || !wait, "waited for what lies apart");
        self.done
            .get_mut(usize::from(lane == Lane::Spare))
            .filter(|_| lane != Lane::Apart)?
            .pop_front()
    }
}

#[test]
fn the_log_gets_its_spare_segments_while_a_large_letter_keeps_the_disk_busy() {
    let dir = Yard::new("queue-stuck");
    for below in ["log", "big"] {
        std::fs::create_dir_all(dir.join(below)).unwrap();
    }
    let at = || Kernel::at(&dir).unwrap();
    let mut queue = Queue::open(at(), Config::SMALL).unwrap().0;
    let (worker, done) = (Worker::default(), Default::default());
    queue.set_helper(Box::new(Stuck { disk: at(), worker, done }));
    let mut spill = queue.spill().unwrap();
    queue.push(&mut spill, b"large").unwrap();
    queue.secure(&spill, true, 1);
    for n in 0..40_u8 {
        let bytes = [n; 600];
        queue.accept(&letter(Content::Inline(&bytes))).unwrap();
        queue.commit().unwrap();
    }
    assert!(queue.log.live.len() > 5 && queue.take_secured().is_empty());
}
