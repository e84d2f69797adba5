//! Starts on a pretended disk whose files are of another time, damaged or from the future.

use std::path::PathBuf;

use base::time::Moment;
use base::wire::queue::Envelope;

use super::super::record::{Bytes, Letter, Record};
use super::super::tests::letter;
use super::super::{Content, Queue};
use super::*;
use crate::disk::sim::Sim;

/// So many starts, each of which takes a letter.
fn starts(sim: &Sim, number: usize) {
    for _ in 0..number {
        letters(sim, 1);
    }
}

/// One start that takes so many letters.
fn letters(sim: &Sim, number: usize) -> Vec<u64> {
    let mut queue = Queue::open(sim, Config::SMALL).unwrap().0;
    let take = |_| queue.accept(&letter(Content::Inline(b"hello"))).unwrap();
    let ids = (0..number).map(take).collect();
    queue.commit().unwrap();
    ids
}

/// The file of a segment, and its header.
fn file_of(sim: &Sim, number: u64) -> (PathBuf, Header) {
    let names = sim.list(Path::new("log")).unwrap();
    let slots = names.iter().filter_map(|name| name.to_str()?.parse().ok());
    let found = slots.filter_map(|slot| match open_slot(&sim, slot).unwrap().top {
        Top::Sound(header) => Some((path(slot), header)),
        _ => None,
    });
    found.into_iter().find(|(_, header)| header.number == number).unwrap()
}

fn write(sim: &Sim, name: &Path, bytes: &[u8], at: u64) {
    let file = sim.open(name, Access::Write).unwrap();
    sim.write_at(&file, bytes, at).unwrap();
    sim.sync(&file).unwrap();
}

/// Refused, whether to be salvaged or not.
fn refused(sim: &Sim, is_it: impl Fn(&Alarm) -> bool) {
    for salvage in [false, true] {
        let alarm = Queue::open(sim, Config { salvage, ..Config::SMALL }).unwrap_err();
        assert!(is_it(&alarm), "{alarm}");
    }
}

#[test]
fn a_segment_put_back_after_the_queue_went_on_without_it_is_refused() {
    let sim = Sim::new();
    starts(&sim, 3);
    let (second, _) = file_of(&sim, 2);
    let (third, header) = file_of(&sim, 3);
    sim.rename(&second, Path::new("second")).unwrap();
    sim.rename(&third, Path::new("third")).unwrap();
    // Nothing says that there were newer ones: their numbers are given again.
    let ids = letters(&sim, 4);
    assert!(ids.contains(&header.first));
    sim.rename(Path::new("third"), Path::new("log/99")).unwrap();
    let (before, _) = file_of(&sim, 2);
    let before = before.file_name().unwrap().to_str().unwrap().to_owned();
    refused(&sim, |alarm| {
        matches!(alarm, Alarm::Overlap { files, sequence }
            if files == &[before.clone(), "99".to_owned()] && *sequence == header.first)
    });
    // As the message says.
    sim.rename(Path::new("log/99"), Path::new("third")).unwrap();
    let queue = Queue::open(&sim, Config::SMALL).unwrap().0;
    assert!(ids.iter().all(|id| queue.index().get(*id).is_some()));
}

#[test]
fn a_header_that_runs_backwards_is_refused_and_no_number_is_given_twice() {
    let sim = Sim::new();
    starts(&sim, 4);
    let (name, header) = file_of(&sim, 4);
    let first = header.first - 2;
    write(&sim, &name, &Header { number: 900, first, ..header }.block(), 0);
    refused(&sim, |alarm| matches!(alarm, Alarm::Missing { .. } | Alarm::Overlap { .. }));
    write(&sim, &name, &Header { first, ..header }.block(), 0);
    refused(&sim, |alarm| matches!(alarm, Alarm::Overlap { .. }));
}

#[test]
fn a_record_that_carries_a_letter_from_the_future_is_refused() {
    let sim = Sim::new();
    starts(&sim, 1);
    let (name, header) = file_of(&sim, 1);
    let carried = |id| {
        let envelope = Envelope::new(b"s@x\0a@b\0").unwrap();
        let birth = Moment::from_secs(1);
        let bytes = Bytes::Here(b"hello");
        let letter = Letter { birth, uid: 5, pid: 6, finishes: None, envelope, bytes };
        let mut out = Vec::new();
        Record::Carried { id, letter, progress: &[] }.encode(2, 1, header.salt, &mut out);
        out
    };
    for id in [2, 3] {
        write(&sim, &name, &carried(id), 2 * BLOCK);
        refused(&sim, |alarm| matches!(alarm, Alarm::Newer { version: 0, .. }));
    }
    write(&sim, &name, &carried(1), 2 * BLOCK);
    assert_eq!(Queue::open(&sim, Config::SMALL).unwrap().0.index().len(), 1);
}
