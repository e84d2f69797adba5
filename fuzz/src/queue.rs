//! The queue's log after whatever happened to its files, and after whatever strangers wrote in
//! their letters.

mod forge;
mod image;
mod stranger;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base::time::Moment;
use base::wire::queue::Envelope;
use store::disk::sim::Sim;
use store::disk::{Access, Disk};
use store::queue::{Config, Content, NewLetter, Queue, Stored};

use crate::pick::Raw;

thread_local! {
    static SECRET: Cell<u64> = const { Cell::new(0) };
}

/// Sizes, and a secret that is another at every start, as `qmail-queued` takes it.
fn config(salvage: bool) -> Config {
    let secret = SECRET.get().wrapping_add(1);
    SECRET.set(secret);
    Config { salvage, secret, ..Config::SMALL }
}

/// Every letter that was ever in the queue.
type Letters = BTreeMap<u64, Vec<u8>>;

/// The first byte chooses: a log that is damaged by what follows, or strangers' letters that look
/// like records.
///
/// Whatever is on the disk, opening the queue ends, without panic; every letter it lists can be read
/// whole and is what was accepted; and what is accepted afterwards is there at the next start.
pub fn queue(data: &[u8]) {
    SECRET.set(7);
    let mut raw = Raw(data);
    let first = raw.u8();
    if first >= 0xc0 {
        stranger::stranger(raw);
        return;
    }
    let (sim, letters) = image::of(first);
    let mut forged = false;
    while !raw.is_empty() {
        forged |= damage(&sim, &mut raw);
    }
    let letters = (!forged).then_some(&letters);
    for salvage in [false, true] {
        start(&sim.killed(), salvage, letters);
    }
}

/// Opens, looks at everything, adds a letter, and opens again after a power cut.
fn start(sim: &Sim, salvage: bool, letters: Option<&Letters>) {
    let Ok((mut queue, _)) = Queue::open(sim, config(salvage)) else { return };
    let before = look(&mut queue, letters);
    let id = accept(&mut queue, b"afterwards\n");
    queue.commit().expect("a sound disk");
    drop(queue);
    let sim = sim.power_cut(|_| false);
    let (mut queue, passed) = Queue::open(&sim, config(false))
        .unwrap_or_else(|alarm| panic!("it leaves a bad log: {alarm}"));
    assert!(passed.is_empty());
    let mut after = look(&mut queue, None);
    assert_eq!(after.remove(&id).as_deref(), Some(&b"afterwards\n"[..]));
    assert_eq!(after, before, "letters came or went");
}

fn accept(queue: &mut Queue<&Sim>, bytes: &[u8]) -> u64 {
    let new = NewLetter {
        birth: Moment::from_secs(1),
        uid: 5,
        pid: 6,
        finishes: None,
        envelope: Envelope::new(b"s@x\0a@b\0c@d\0").expect("our own envelope"),
        content: Content::Inline(bytes),
    };
    queue.accept(&new).expect("a sound disk")
}

/// Every letter the queue lists, read.
fn look(queue: &mut Queue<&Sim>, letters: Option<&Letters>) -> Letters {
    let listed: Vec<_> = queue.index().iter().map(|(id, k)| (id, k.recipients)).collect();
    let mut found = Letters::new();
    for (id, recipients) in listed {
        let envelope = queue.envelope(id).expect("a letter it lists");
        let envelope = Envelope::new(&envelope).expect("an envelope it took");
        assert_eq!(envelope.recipients().count(), recipients as usize);
        let size = queue.describe(id, |described| {
            assert_eq!(described.envelope, envelope);
            described.size
        });
        let size = size.expect("a letter it lists");
        let bytes = match queue.content(id).expect("a letter it lists") {
            Stored::Inline(bytes) => {
                assert_eq!(bytes.len() as u64, size, "letter {id} is torn");
                bytes
            }
            Stored::Apart(_) => format!("{size} bytes apart").into_bytes(),
        };
        if let Some(letters) = letters {
            assert_eq!(letters.get(&id), Some(&bytes), "letter {id} is not what was accepted");
        }
        for paragraph in queue.paragraphs(id).expect("paragraphs it lists") {
            assert!(letters.is_none() || paragraph.starts_with(b"<"));
        }
        found.insert(id, bytes);
    }
    found
}

/// Every file of the queue.
fn files(sim: &Sim) -> Vec<PathBuf> {
    ["log", "big"]
        .iter()
        .flat_map(|dir| {
            let names = sim.list(Path::new(dir)).unwrap_or_default();
            names.into_iter().map(move |name| Path::new(dir).join(name))
        })
        .collect()
}

/// Damages the disk once; true if what it wrote has a right checksum.
fn damage(sim: &Sim, raw: &mut Raw<'_>) -> bool {
    let (what, which) = (raw.u8(), usize::from(raw.u8()));
    let files = files(sim);
    let Some(name) = files.get(which % files.len().max(1)) else {
        raw.take(usize::MAX);
        return false;
    };
    let file = sim.open(name, Access::Write).expect("a file that is listed");
    let len = sim.len(&file).expect("its length").max(1);
    let at = u64::from(raw.u16()) % len;
    let write = |bytes: &[u8], at: u64| {
        sim.write_at(&file, bytes, at).and_then(|()| sim.sync(&file)).expect("a sound disk");
    };
    match what % 9 {
        0 => {
            let mut byte = [0];
            sim.read_at(&file, &mut byte, at).expect("a sound disk");
            write(&[byte[0] ^ raw.u8().max(1)], at);
        }
        1 => write(raw.piece(), at),
        2 => write(&vec![0; usize::from(raw.u16()) % 8_192], at),
        3 => sim.truncate(&file, at).and_then(|()| sim.sync(&file)).expect("a sound disk"),
        4 => {
            let from = files.get(usize::from(raw.u8()) % files.len()).expect("one of them");
            let from = sim.open(from, Access::Read).expect("a file that is listed");
            let mut block = [0; 4_096];
            let n = sim.read_at(&from, &mut block, u64::from(raw.u8() % 8) * 4_096);
            write(&block[..n.expect("a sound disk")], at / 4_096 * 4_096);
        }
        5 => sim.unlink(name).and_then(|()| sim.sync_dir(Path::new("log"))).expect("a sound disk"),
        6 => {
            // A rename onto another file, as a careless hand makes it.
            let to = Path::new("log").join((raw.u8() % 8).to_string());
            sim.rename(name, &to).and_then(|()| sim.sync_dir(Path::new("log"))).expect("it moves");
        }
        7 => {
            write(&forge::record(raw), at / 8 * 8);
            return true;
        }
        _ => {
            write(&forge::header(raw), u64::from(raw.u8() % 8) * 512);
            return true;
        }
    }
    false
}
