//! Logs to be damaged: what a queue leaves behind in a few ordinary lives.

use base::time::Moment;
use base::wire::queue::{Envelope, Note};
use store::disk::sim::Sim;
use store::queue::{Config, Content, NewLetter, Queue};

use super::{Letters, accept};

/// How many lives there are.
const LIVES: u8 = 6;

thread_local! {
    static IMAGES: Vec<(Sim, Letters)> = (0..LIVES).map(live).collect();
}

/// The disk of one of these lives, and every letter that was accepted in it.
pub(super) fn of(which: u8) -> (Sim, Letters) {
    IMAGES.with(|images| {
        let (sim, letters) = &images[usize::from(which % LIVES)];
        (sim.power_cut(|_| true), letters.clone())
    })
}

fn live(which: u8) -> (Sim, Letters) {
    let sim = Sim::new();
    let mut letters = Letters::new();
    let mut queue = Queue::open(&sim, Config::SMALL).expect("an empty disk").0;
    // Life 0 founds the queue and no more.
    for n in 0..[0, 3, 20, 60, 150, 400][usize::from(which)] {
        let bytes = format!("letter {n}\n{}", "x".repeat(n * 37 % 590)).into_bytes();
        let bytes = &bytes[..bytes.len().min(600)];
        let id = accept(&mut queue, bytes);
        letters.insert(id, bytes.to_vec());
        after(&mut queue, id, n);
        if n % 3 != 1 {
            queue.commit().expect("a sound disk");
        }
        while n % 7 == 0 && queue.tend().expect("a sound disk") {}
    }
    if which % 2 == 1 {
        let (id, size) = spill(&mut queue);
        letters.insert(id, format!("{size} bytes apart").into_bytes());
    }
    queue.flush().expect("a sound disk");
    drop(queue);
    (sim, letters)
}

/// What becomes of a letter: most are finished, some stay.
fn after(queue: &mut Queue<&Sim>, id: u64, n: usize) {
    let note = match n % 4 {
        0 => Note::Done,
        1 => Note::Deferred(Moment::from_secs(n as u64)),
        _ => Note::Failed(b"<a@b>:\nno\n\n"),
    };
    assert!(queue.note(id, 1, note).expect("a sound disk"));
    if n % 10 != 3 {
        assert!(queue.finish(id).expect("a sound disk"));
    }
}

/// A letter that lies apart.
fn spill(queue: &mut Queue<&Sim>) -> (u64, u64) {
    let mut spill = queue.spill().expect("a sound disk");
    queue.push(&mut spill, &[b'y'; 5_000]).expect("a sound disk");
    queue.secure_now(&mut spill).expect("a sound disk");
    let size = spill.len();
    let new = NewLetter {
        birth: Moment::from_secs(2),
        uid: 5,
        pid: 6,
        finishes: None,
        envelope: Envelope::new(b"\0a@b\0").expect("our own envelope"),
        content: Content::Spilled(&spill),
    };
    let id = queue.accept(&new).expect("a sound disk");
    queue.commit().expect("a sound disk");
    (id, size)
}
