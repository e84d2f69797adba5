//! Large queues to measure with: letters of about 4 KB to one recipient each, tried once and
//! deferred, as after a day on which nothing could be sent. Every thousandth is due at once, the
//! others in an hour or more, in no order.

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use base::time::Moment;
use base::wire::queue::{Envelope, Note};
use store::disk::kernel::Kernel;
use store::queue::{Config, Content, NewLetter, Queue};

use crate::cuts::Lot;

/// Letters between two syncs.
const BATCH: u64 = 4_096;
/// Bytes of a letter.
const SIZE: usize = 4_096;
/// Domains that the recipients are spread over.
const DOMAINS: u64 = 5_000;
/// One in so many is due.
const DUE: u64 = 1_000;

/// Fills the queue of a home in which nothing runs.
pub(crate) fn main(home: &str, count: &str) -> ExitCode {
    match count.parse().map_err(|e| format!("{count}: {e}")).and_then(|n| fill(home, n)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("crash fill: {why}");
            111.into()
        }
    }
}

fn fill(home: &str, count: u64) -> Result<(), String> {
    let dir = Path::new(home).join("queue");
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let disk = Kernel::at(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    // Nobody writes records into these letters, so their salt need not be a secret.
    let (mut queue, _) = Queue::open(disk, Config::default()).map_err(|e| e.to_string())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let mut lot = Lot(count);
    for n in 0..count {
        one(&mut queue, n, now, &mut lot).map_err(|e| e.to_string())?;
        if n % BATCH == 0 {
            queue.commit().map_err(|e| e.to_string())?;
        }
    }
    queue.commit().map_err(|e| e.to_string())?;
    println!("{} letters in {}", queue.index().len(), dir.display());
    Ok(())
}

fn one(
    queue: &mut Queue<Kernel>,
    n: u64,
    now: u64,
    lot: &mut Lot,
) -> Result<(), store::queue::Trouble> {
    let domain = lot.draw() % DOMAINS;
    let envelope = format!("sender{}@here.example\0user{n}@d{domain}.example\0", n % 100);
    let Ok(envelope) = Envelope::new(envelope.as_bytes()) else { return Ok(()) };
    let mut letter =
        format!("Received: (qmail 1 invoked by uid 1); 1\nSubject: {n}\n\n").into_bytes();
    letter.resize(SIZE, b'x');
    let new = NewLetter {
        birth: Moment::from_secs(now.saturating_sub(36_000)),
        uid: 1,
        pid: 1,
        finishes: None,
        envelope,
        content: Content::Inline(&letter),
    };
    let id = queue.accept(&new)?;
    let wait = 3_600_u64.saturating_add(lot.draw() % 36_000);
    let due = if n % DUE == DUE / 2 { now } else { now.saturating_add(wait) };
    queue.note(id, 0, Note::Deferred(Moment::from_secs(due)))?;
    Ok(())
}
