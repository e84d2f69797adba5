//! The queue on a pretended disk; the long sweep over all power cuts is in `tests/crash`.

use std::path::Path;

use base::time::Moment;
use base::wire::queue::{Envelope, Note, Progress};

use super::record::{Bytes, Letter, Record};
use super::{Alarm, Config, Content, NewLetter, Queue, Stored, Trouble};
use crate::disk::Access;
use crate::disk::sim::{Fault, Sim};

mod adopt;
mod spares;

fn open(sim: &Sim) -> Queue<&Sim> {
    Queue::open(sim, Config::SMALL).unwrap().0
}

pub(super) fn letter<F>(content: Content<'_, F>) -> NewLetter<'_, F> {
    NewLetter {
        birth: Moment::from_secs(1),
        uid: 5,
        pid: 6,
        finishes: None,
        envelope: Envelope::new(b"s@x\0a@b\0c@d\0").unwrap(),
        content,
    }
}

fn accept(queue: &mut Queue<&Sim>, bytes: &[u8]) -> u64 {
    queue.accept(&letter(Content::Inline(bytes))).unwrap()
}

fn inline(queue: &mut Queue<&Sim>, id: u64) -> Vec<u8> {
    match queue.content(id).unwrap() {
        Stored::Inline(bytes) => bytes,
        Stored::Apart(_) => panic!("letter {id} lies apart"),
    }
}

#[test]
fn a_letter_and_what_came_of_it_survive_a_start() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    let id = accept(&mut queue, b"hello");
    assert!(queue.note(id, 0, Note::Done).unwrap());
    assert!(queue.note(id, 1, Note::Failed(b"<c@d>:\nno\n\n")).unwrap());
    assert!(!queue.note(id, 2, Note::Done).unwrap());
    queue.commit().unwrap();
    let sim = sim.power_cut(|_| false);
    let mut queue = open(&sim);
    let known = queue.index().get(id).unwrap();
    assert!(known.progress().eq([Progress::Done, Progress::Failed]));
    let told = queue.describe(id, |told| (told.uid, told.pid, told.size)).unwrap();
    assert_eq!(told, (5, 6, 5));
    assert_eq!(inline(&mut queue, id), b"hello");
    assert_eq!(queue.envelope(id).unwrap(), b"s@x\0a@b\0c@d\0");
    assert_eq!(queue.paragraphs(id).unwrap(), [b"<c@d>:\nno\n\n"]);
    assert!(queue.next_id() > id);
}

#[test]
fn a_bounce_and_the_end_of_its_letter_are_one() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    let first = accept(&mut queue, b"hello");
    let bounce = NewLetter { finishes: Some(first), ..letter(Content::Inline(b"sorry")) };
    let id = queue.accept(&bounce).unwrap();
    queue.commit().unwrap();
    let sim = sim.power_cut(|_| false);
    let queue = open(&sim);
    assert_eq!(queue.index().iter().map(|(id, _)| id).collect::<Vec<_>>(), [id]);
}

#[test]
fn a_large_letter_lies_apart_until_it_is_finished() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    let mut spill = queue.spill().unwrap();
    queue.push(&mut spill, &[b'x'; 1500]).unwrap();
    let early = queue.accept(&letter(Content::Spilled(&spill))).unwrap_err();
    assert!(matches!(early, Trouble::Full(_)), "{early}");
    queue.secure(&spill, true, 7);
    queue.poll().unwrap();
    let news = queue.take_secured();
    assert!(matches!(&news[..], [one] if one.tag == 7 && one.outcome.is_ok()));
    spill.secured(true);
    let id = queue.accept(&letter(Content::Spilled(&spill))).unwrap();
    queue.commit().unwrap();
    let sim = sim.power_cut(|_| false);
    let mut queue = open(&sim);
    assert!(matches!(queue.content(id).unwrap(), Stored::Apart(_)));
    queue.finish(id).unwrap();
    assert!(matches!(queue.content(id), Err(e) if e.kind() == std::io::ErrorKind::NotFound));
    queue.commit().unwrap();
    assert!(crate::disk::Disk::list(&sim, Path::new("big")).unwrap().is_empty());
}

#[test]
fn files_are_used_again_and_what_stays_is_carried_forward() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    let stays = accept(&mut queue, b"I stay");
    queue.note(stays, 1, Note::Failed(b"<c@d>:\nno\n\n")).unwrap();
    queue.commit().unwrap();
    for n in 0..200_u32 {
        let id = accept(&mut queue, &n.to_le_bytes());
        queue.commit().unwrap();
        queue.finish(id).unwrap();
        queue.tend().unwrap();
    }
    queue.commit().unwrap();
    assert!(queue.index().get(stays).unwrap().place.segment > 20);
    let files = crate::disk::Disk::list(&sim, Path::new("log")).unwrap().len();
    assert!(files <= 8, "{files} files");
    let sim = sim.power_cut(|_| false);
    let mut queue = open(&sim);
    assert_eq!(queue.index().len(), 1);
    assert_eq!(inline(&mut queue, stays), b"I stay");
    assert_eq!(queue.paragraphs(stays).unwrap(), [b"<c@d>:\nno\n\n"]);
    let known = queue.index().get(stays).unwrap();
    assert!(known.progress().eq([Progress::Waiting, Progress::Failed]));
}

#[test]
fn a_torn_end_is_cut_and_a_second_start_agrees() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    let kept = accept(&mut queue, b"kept");
    queue.commit().unwrap();
    let torn = accept(&mut queue, &[7; 580]);
    let last = accept(&mut queue, b"after it");
    queue.flush().unwrap();
    let unsynced = sim.unsynced();
    let sim = sim.power_cut(|n| n + 1 == unsynced);
    let mut queue = open(&sim);
    assert_eq!(queue.index().iter().map(|(id, _)| id).collect::<Vec<_>>(), [kept]);
    let again = accept(&mut queue, b"again");
    assert_eq!(again, torn);
    queue.commit().unwrap();
    let sim = sim.power_cut(|_| false);
    let mut queue = open(&sim);
    assert_eq!(inline(&mut queue, again), b"again");
    assert!(queue.index().get(last).is_none());
}

/// A queue with three letters, each synced for itself; the offsets of their records' blocks.
fn three() -> (Sim, [u64; 3]) {
    let sim = Sim::new();
    let mut queue = open(&sim);
    let ids = [b"one", b"two", b"six"].map(|bytes| {
        let id = accept(&mut queue, bytes);
        queue.commit().unwrap();
        id
    });
    drop(queue);
    (sim, ids)
}

#[test]
fn a_hole_is_an_alarm_and_names_the_place() {
    let (sim, ids) = three();
    assert!(sim.rot(Path::new("log/1"), 2 * 4096 + 30));
    let alarm = Queue::open(&sim, Config::SMALL).unwrap_err();
    assert!(
        matches!(&alarm, Alarm::Hole { file, missing, known, .. }
            if file == "1" && *missing == ids[1] && *known == ids[2]),
        "{alarm}"
    );
    let config = Config { salvage: true, ..Config::SMALL };
    let (queue, passed) = Queue::open(&sim, config).unwrap();
    assert_eq!(passed.len(), 1);
    drop(queue);
    let queue = open(&sim);
    let left: Vec<_> = queue.index().iter().map(|(id, _)| id).collect();
    assert_eq!(left, [ids[0], ids[2]]);
}

#[test]
fn a_damaged_or_missing_segment_is_an_alarm() {
    let (sim, _) = three();
    assert!(sim.rot(Path::new("log/1"), 20));
    assert!(matches!(Queue::open(&sim, Config::SMALL), Err(Alarm::Header { .. })));
    let (sim, _) = three();
    drop(open(&sim));
    crate::disk::Disk::unlink(&sim, Path::new("log/1")).unwrap();
    assert!(matches!(Queue::open(&sim, Config::SMALL), Err(Alarm::Missing { number: 1, .. })));
    let config = Config { salvage: true, ..Config::SMALL };
    assert_eq!(Queue::open(&sim, config).unwrap().1.len(), 1);
    assert!(open(&sim).index().is_empty());
}

#[test]
fn a_failed_sync_ends_all_acknowledgement_and_a_new_start_believes_only_the_disk() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    let kept = accept(&mut queue, b"kept");
    queue.commit().unwrap();
    accept(&mut queue, b"never on disk");
    queue.flush().unwrap();
    sim.fail_at(sim.steps(), Fault::Io);
    assert!(matches!(queue.commit(), Err(Trouble::Broken(_))));
    assert!(matches!(queue.commit(), Err(Trouble::Broken(_))));
    assert!(queue.accept(&letter(Content::Inline(b"more"))).is_err());
    drop(queue);
    let sim = sim.killed();
    let queue = open(&sim);
    assert_eq!(queue.index().iter().map(|(id, _)| id).collect::<Vec<_>>(), [kept]);
}

#[test]
fn without_a_descriptor_a_letter_is_refused_and_the_queue_goes_on() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    // The first thing a letter needs is another segment in reserve: a new file.
    sim.fail_at(sim.steps(), Fault::NoDescriptor);
    let refusal = queue.accept(&letter(Content::Inline(b"no file for it"))).unwrap_err();
    assert!(matches!(refusal, Trouble::Full(_)), "{refusal}");
    let next = accept(&mut queue, b"another");
    queue.commit().unwrap();
    // A large letter's file is one letter's trouble.
    sim.fail_at(sim.steps(), Fault::NoDescriptor);
    assert!(matches!(queue.spill().map_err(Trouble::from), Err(Trouble::Full(_))));
    let spill = queue.spill().unwrap();
    queue.discard(&spill);
    let again = sim.power_cut(|_| false);
    assert_eq!(open(&again).index().iter().map(|(id, _)| id).collect::<Vec<_>>(), [next]);
}

#[test]
fn on_a_full_disk_letters_are_refused_and_notes_are_still_taken() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    let id = accept(&mut queue, b"in time");
    queue.commit().unwrap();
    queue.tend().unwrap();
    sim.set_full(true);
    let mut taken = 0;
    let refusal = loop {
        match queue.accept(&letter(Content::Inline(&[1; 600]))) {
            Ok(_) => queue.commit().unwrap(),
            Err(trouble) => break trouble,
        }
        taken += 1;
    };
    assert!(matches!(refusal, Trouble::Full(_)) && taken > 0, "{refusal} after {taken}");
    for _ in 0..100 {
        assert!(queue.note(id, 0, Note::Deferred(Moment::from_secs(3))).unwrap());
    }
    queue.commit().unwrap();
    let ids: Vec<u64> = queue.index().iter().map(|(id, _)| id).collect();
    for id in ids {
        assert!(queue.finish(id).unwrap());
    }
    queue.tend().unwrap();
    let id = accept(&mut queue, b"what was freed is used again");
    queue.commit().unwrap();
    let again = sim.power_cut(|_| false);
    assert_eq!(open(&again).index().iter().map(|(id, _)| id).collect::<Vec<_>>(), [id]);
    sim.set_full(false);
    accept(&mut queue, b"there is room again");
    queue.commit().unwrap();
}

#[test]
fn what_comes_while_a_sync_is_under_way_is_written_behind_it_and_promised_by_the_next() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    let first = accept(&mut queue, b"first");
    assert!(queue.begin_sync().unwrap());
    assert!(queue.synced() < first && queue.written() == first && queue.is_syncing());
    // The disk has done it, and nobody has heard of it yet.
    assert!(queue.carry_out());
    let second = accept(&mut queue, b"second");
    assert!(queue.note(first, 0, Note::Done).unwrap());
    assert!(!queue.begin_sync().unwrap());
    assert!(queue.synced() < first && queue.written() > second);
    queue.poll().unwrap();
    assert!(queue.synced() == first && queue.is_dirty() && !queue.is_syncing());
    assert_eq!(inline(&mut queue, second), b"second");
    let ids = |sim: &Sim| open(sim).index().iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids(&sim.power_cut(|_| false)), [first]);
    assert_eq!(ids(&sim.power_cut(|_| true)), [first, second]);
    assert!(queue.begin_sync().unwrap() && queue.carry_out());
    queue.poll().unwrap();
    assert!(queue.synced() > second && !queue.is_dirty());
    assert_eq!(ids(&sim.power_cut(|_| false)), [first, second]);
}

#[test]
fn behind_a_header_on_its_way_records_wait_in_memory_and_can_be_read() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    let ids: Vec<u64> = (0..40).map(|n| accept(&mut queue, &[n; 500])).collect();
    let last = *ids.last().unwrap();
    assert!(queue.is_syncing() && queue.written() < last);
    queue.flush().unwrap();
    assert!(queue.written() < last, "nothing is written before its segment's header is on disk");
    for (n, &id) in (0..).zip(&ids) {
        assert_eq!(inline(&mut queue, id), [n; 500]);
        assert_eq!(queue.describe(id, |told| told.size).unwrap(), 500);
    }
    while queue.carry_out() {
        queue.poll().unwrap();
    }
    queue.flush().unwrap();
    assert!(queue.written() == last && queue.synced() < last);
    queue.commit().unwrap();
    assert_eq!(open(&sim.power_cut(|_| false)).index().len(), 40);
}

#[test]
fn after_a_failed_sync_nothing_that_was_to_follow_it_happens() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    let kept = accept(&mut queue, b"kept");
    queue.commit().unwrap();
    accept(&mut queue, b"never on disk");
    assert!(queue.begin_sync().unwrap());
    // The segment is full, the next one's header waits for the sync that will fail.
    for n in 0..40 {
        if queue.written() + 1 < queue.next_id() {
            break;
        }
        accept(&mut queue, &[n; 600]);
    }
    sim.fail_at(sim.steps(), Fault::Io);
    while queue.carry_out() {}
    assert!(matches!(queue.poll(), Err(Trouble::Broken(_))));
    assert!(matches!(queue.poll(), Err(Trouble::Broken(_))));
    let sim = sim.killed();
    let queue = open(&sim);
    assert_eq!(queue.index().iter().map(|(id, _)| id).collect::<Vec<_>>(), [kept]);
}

#[test]
fn a_log_of_version_1_is_read_and_written_anew() {
    let sim = Sim::new();
    let mut queue = open(&sim);
    accept(&mut queue, b"new");
    queue.commit().unwrap();
    drop(queue);
    // The same segment, as version 1 wrote it: a letter, and one with a file of its number.
    let header = super::segment::Header { number: 1, first: 1, oldest: 1, size: 20480, salt: 0 };
    let mut top = header.encode();
    top[8] = 1;
    let crc = super::crc32c(0, &top[..44]).to_le_bytes();
    top[44..48].copy_from_slice(&crc);
    top[48..].fill(0);
    let mut bytes = top.to_vec();
    bytes.resize(4096, 0);
    let envelope = Envelope::new(b"s@x\0a@b\0").unwrap();
    let old = |bytes| {
        let birth = Moment::from_secs(9);
        Record::Letter(Letter { birth, uid: 1, pid: 2, finishes: None, envelope, bytes })
    };
    old(Bytes::Here(b"old")).encode(1, 0, 0, &mut bytes);
    old(Bytes::Apart { name: None, size: 3 }).encode(2, 0, 0, &mut bytes);
    let file = crate::disk::Disk::open(&sim, Path::new("log/1"), Access::Write).unwrap();
    crate::disk::Disk::write_at(&sim, &file, &bytes, 0).unwrap();
    let big = crate::disk::Disk::create(&sim, Path::new("big/2")).unwrap();
    crate::disk::Disk::write_at(&sim, &big, b"big", 0).unwrap();
    let mut queue = open(&sim);
    for _ in 0..2 {
        assert_eq!(inline(&mut queue, 1), b"old");
        assert!(matches!(queue.content(2).unwrap(), Stored::Apart(_)));
        assert_eq!(queue.index().len(), 2);
        queue.carry_all().unwrap();
        drop(queue);
        queue = open(&sim);
    }
}
