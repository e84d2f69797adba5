//! What a power cut, a failed sync and a stop leave of a pretended disk.

use super::super::{Access, Disk, read_exact};
use super::*;

fn bytes(sim: &Sim, name: &str) -> Option<Vec<u8>> {
    let file = sim.open(Path::new(name), Access::Read).ok()?;
    read_exact(sim, &file, 0, sim.len(&file).ok()? as usize).ok()
}

#[test]
fn unsynced_names_and_bytes_may_be_lost_each_for_itself() {
    let sim = Sim::new();
    let file = sim.create(Path::new("a")).unwrap();
    sim.write_at(&file, b"hello", 0).unwrap();
    assert_eq!(sim.unsynced(), 3);
    assert_eq!(bytes(&sim.power_cut(|_| false), "a"), None);
    assert_eq!(bytes(&sim.power_cut(|n| n == 0), "a").unwrap(), b"");
    assert_eq!(bytes(&sim.power_cut(|n| n < 2), "a").unwrap(), b"\0\0\0\0\0");
    assert_eq!(bytes(&sim.power_cut(|_| true), "a").unwrap(), b"hello");
    sim.sync(&file).unwrap();
    assert_eq!(bytes(&sim.power_cut(|_| false), "a"), None);
    sim.sync_dir(Path::new("")).unwrap();
    assert_eq!(bytes(&sim.power_cut(|_| false), "a").unwrap(), b"hello");
}

#[test]
fn a_write_over_two_sectors_tears_between_them() {
    let sim = Sim::new();
    let file = sim.create(Path::new("a")).unwrap();
    sim.sync_dir(Path::new("")).unwrap();
    sim.write_at(&file, &[1; 600], 0).unwrap();
    let torn = bytes(&sim.power_cut(|n| n == 2), "a").unwrap();
    assert_eq!((torn.len(), torn[0], torn[599]), (600, 0, 1));
}

#[test]
fn after_a_failed_sync_readers_see_what_the_disk_has_not() {
    let sim = Sim::new();
    let file = sim.create(Path::new("a")).unwrap();
    sim.sync_dir(Path::new("")).unwrap();
    sim.write_at(&file, b"x", 0).unwrap();
    sim.fail_at(sim.steps(), Fault::Io);
    assert!(sim.sync(&file).is_err());
    assert!(sim.sync(&file).is_ok());
    assert_eq!(bytes(&sim, "a").unwrap(), b"x");
    assert_eq!(bytes(&sim.power_cut(|_| true), "a").unwrap(), b"");
    sim.settle(&file).unwrap();
    assert_eq!(bytes(&sim, "a").unwrap(), b"");
}

#[test]
fn after_a_stop_nothing_works() {
    let sim = Sim::new();
    sim.fail_at(1, Fault::Stop);
    let file = sim.create(Path::new("a")).unwrap();
    assert!(sim.write_at(&file, b"x", 0).is_err());
    assert!(sim.len(&file).is_err());
    assert!(sim.stopped());
}
