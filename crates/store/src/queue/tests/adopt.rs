//! Letters with a past, and held ones.

use std::io;

use base::wire::queue::Mark;

use super::*;
use crate::disk::Disk;
use crate::queue::{Held, Past};

const MARK: Mark = Mark::imported(77);

fn adopt(queue: &mut Queue<&Sim>, bytes: &[u8]) -> (u64, u64) {
    let failed = [(1, b"<c@d>:\nno\n\n".to_vec())];
    let progress = [Progress::Deferred(Moment::from_secs(9)), Progress::Failed];
    let past = Past { progress: &progress, paragraphs: &failed, mark: MARK };
    queue.adopt(&letter(Content::Inline(bytes)), &past).unwrap()
}

fn is_adopted(queue: &mut Queue<&Sim>, id: u64) {
    let known = queue.index().get(id).unwrap();
    assert!(known.progress().eq([Progress::Deferred(Moment::from_secs(9)), Progress::Failed]));
    assert_eq!(inline(queue, id), b"hello");
    assert_eq!(queue.paragraphs(id).unwrap(), [b"<c@d>:\nno\n\n"]);
}

#[test]
fn an_adopted_letter_is_there_with_its_past_and_held_until_it_is_let_go() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    let (id, sequence) = adopt(&mut queue, b"hello");
    assert!(!queue.is_on_disk(id) && sequence > id);
    queue.commit().unwrap();
    assert!(queue.is_on_disk(id));
    let sim = sim.power_cut(|_| false);
    let mut queue = open(&sim);
    is_adopted(&mut queue, id);
    assert_eq!(queue.index().mark(id), Some(MARK));
    assert_eq!(queue.index().held_after(0), Some((id, MARK)));
    assert_eq!(queue.index().held_as(MARK), Some(id));
    assert!(matches!(queue.hold(id, None).unwrap(), Held::At(_)));
    assert!(!queue.is_on_disk(id));
    queue.commit().unwrap();
    let sim = sim.power_cut(|_| false);
    let mut queue = open(&sim);
    is_adopted(&mut queue, id);
    assert_eq!((queue.index().mark(id), queue.index().held_after(0)), (None, None));
    assert_eq!(queue.index().held_as(MARK), None);
    assert!(accept(&mut queue, b"next") > id);
    assert!(matches!(queue.hold(id + 999, None).unwrap(), Held::Missing));
}

#[test]
fn a_letter_that_cannot_be_read_is_not_held_and_is_no_full_disk() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    let id = accept(&mut queue, b"hello");
    queue.commit().unwrap();
    drop(queue);
    let mut queue = open(&sim);
    let place = queue.index().get(id).unwrap().place;
    let slot = queue.log.segment(place.segment).unwrap().slot;
    let file = Disk::open(&sim, &crate::queue::log::path(slot), Access::Write).unwrap();
    let last = u64::from(place.offset + place.len) - 8;
    Disk::write_at(&sim, &file, &[b'?'; 8], last).unwrap();
    let Held::Unreadable(error) = queue.hold(id, Some(MARK)).unwrap() else { panic!("was held") };
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(queue.index().mark(id), None);
}

#[test]
fn whatever_is_torn_off_an_adopted_letter_is_there_whole_or_not_at_all() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    queue.commit().unwrap();
    let (id, _) = adopt(&mut queue, b"hello");
    // The letter's own record is the last: without it there is nothing.
    let torn = sim.power_cut(|_| false);
    assert!(open(&torn).index().is_empty());
    queue.commit().unwrap();
    let kept = sim.power_cut(|_| false);
    is_adopted(&mut open(&kept), id);
}

#[test]
fn a_held_letter_stays_held_when_it_is_carried_forward() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    let (id, _) = adopt(&mut queue, b"hello");
    let out = Mark::exported(5);
    let other = accept(&mut queue, b"out");
    assert!(matches!(queue.hold(other, Some(out)).unwrap(), Held::At(_)));
    for _ in 0..200 {
        let id = accept(&mut queue, &[b'x'; 500]);
        queue.finish(id).unwrap();
        queue.commit().unwrap();
        while queue.tend().unwrap() {}
        queue.commit().unwrap();
    }
    assert!(queue.index().get(id).unwrap().place.segment > 1, "it was carried");
    let sim = sim.power_cut(|_| false);
    let mut queue = open(&sim);
    is_adopted(&mut queue, id);
    assert_eq!([id, other].map(|id| queue.index().mark(id)), [Some(MARK), Some(out)]);
    queue.finish(id).unwrap();
    assert_eq!(queue.index().held_after(0), Some((other, out)));
    assert_eq!([MARK, out].map(|mark| queue.index().held_as(mark)), [None; 2]);
}
