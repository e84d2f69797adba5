//! Letters that look like records of the log: what strangers write must never be believed, though
//! their bytes stay behind in segments that are used again.

use store::disk::sim::Sim;
use store::queue::{Config, Queue};

use super::{Letters, accept, config, forge, look};
use crate::pick::Raw;

/// Letters of forged records come and go until segments are used again; a few real ones stay. Then
/// the program dies and starts: exactly the real ones are there, and there is no alarm.
pub(super) fn stranger(mut raw: Raw<'_>) {
    let sim = Sim::new();
    let mut queue = Queue::open(&sim, config(false)).expect("an empty disk").0;
    let mut real = Letters::new();
    for round in 0..40 {
        let forged = letter(queue.next_id(), &mut raw);
        let id = accept(&mut queue, &forged);
        queue.commit().expect("a sound disk");
        assert!(queue.finish(id).expect("a sound disk"));
        if raw.u8() % 16 == 7 {
            let bytes = format!("real {round}\n").into_bytes();
            real.insert(accept(&mut queue, &bytes), bytes);
            queue.commit().expect("a sound disk");
        }
        while queue.tend().expect("a sound disk") {}
        if raw.u8() % 4 == 1 {
            queue.commit().expect("a sound disk");
            drop(queue);
            queue = start(&sim, &real);
        }
    }
    queue.commit().expect("a sound disk");
    drop(queue);
    start(&sim, &real);
}

fn start<'s>(sim: &'s Sim, real: &Letters) -> Queue<&'s Sim> {
    let opened = Queue::open(sim, config(false));
    let (mut queue, _) = opened.unwrap_or_else(|alarm| panic!("a letter is an alarm: {alarm}"));
    let found = look(&mut queue, Some(real));
    assert_eq!(found.len(), real.len(), "a letter has finished another");
    queue
}

/// Records with sequences soon to come, one behind the other, at an alignment that is tried.
fn letter(next: u64, raw: &mut Raw<'_>) -> Vec<u8> {
    let (ahead, step) = (u64::from(raw.u8()), u64::from(raw.u8() % 4));
    let (shift, kind) = (usize::from(raw.u8() % 8), raw.u8());
    let mut bytes = vec![b' '; shift];
    let mut sequence = next + ahead;
    loop {
        let body = match kind % 3 {
            0 => [&[b'X'][..], &next.saturating_sub(u64::from(kind)).to_le_bytes()].concat(),
            1 => [&[b'K'][..], &next.to_le_bytes(), &[0; 4]].concat(),
            _ => [&[b'D'][..], &1_u64.to_le_bytes(), &[0; 4], b"forged"].concat(),
        };
        let record = forge::sealed(sequence, sequence - 1, &body);
        if bytes.len() + record.len() > Config::SMALL.inline {
            return bytes;
        }
        bytes.extend_from_slice(&record);
        sequence += step;
    }
}
