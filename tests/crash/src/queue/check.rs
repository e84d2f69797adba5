//! After the crash: Mailboat's sentences, asked of what is there.
//!
//! An acknowledged letter is there, whole, once; one that was not acknowledged is there whole or not
//! at all; what was finished for good stays away; a bounce and the letter it finishes are never
//! both there and never both away; numbers are never used twice.

use base::wire::queue::Progress;
use store::disk::sim::{Sim, SimFile};
use store::disk::{Disk, read_exact};
use store::queue::{Queue, Stored};

use super::script::{CONFIG, ENVELOPE, Ledger, Line, PARAGRAPH, Sure, accept};
use crate::report::{Broken, Violation, violation};

type Found = Result<(), Violation>;

/// Starts from what is on the disk and checks; then goes on: hands in one more letter, cuts the
/// power with nothing unsynced kept, and checks everything again.
pub(crate) fn check(sim: &Sim, ledger: &Ledger) -> Found {
    let sim = &sim.clone();
    let mut queue = open(sim)?;
    let present = check_queue(&mut queue, sim, ledger)?;
    let id = go_on(&mut queue, ledger)?;
    drop(queue);
    let later = sim.power_cut(|_| false);
    let mut queue = open(&later)?;
    let mut present = present;
    present.push(id);
    let ids: Vec<u64> = queue.index().iter().map(|(id, _)| id).collect();
    if ids != present {
        let story = format!("letters {present:?} were there, later {ids:?}");
        return Err(violation(Broken::Lost, story));
    }
    match read(&mut queue, &later, id) {
        Ok(bytes) if bytes == AFTER => Ok(()),
        _ => Err(violation(Broken::Torn, "the letter after the crash is not whole")),
    }
}

/// Starts from what is on the disk and checks.
pub(crate) fn check_on(sim: &Sim, ledger: &Ledger) -> Found {
    let sim = &sim.clone();
    check_queue(&mut open(sim)?, sim, ledger).map(|_| ())
}

const AFTER: &[u8] = b"after the crash";

fn open(sim: &Sim) -> Result<Queue<&Sim>, Violation> {
    match Queue::open(sim, CONFIG) {
        Ok((queue, _)) => Ok(queue),
        Err(alarm) => Err(violation(Broken::Refused, alarm.to_string())),
    }
}

/// The queue must take a new letter under a number that nobody has heard of.
fn go_on(queue: &mut Queue<&Sim>, ledger: &Ledger) -> Result<u64, Violation> {
    let trouble = |t| violation(Broken::Refused, format!("no letter is taken any more: {t}"));
    let id = accept(queue, AFTER, None).map_err(trouble)?;
    queue.commit().map_err(trouble)?;
    match ledger.0.iter().find(|line| line.id == id && line.queued == Sure::Yes) {
        Some(line) => {
            let story = format!("number {id} of letter {} was given again", char::from(line.name));
            Err(violation(Broken::Doubled, story))
        }
        None => Ok(id),
    }
}

/// Checks everything that is there; the numbers of all letters.
fn check_queue(queue: &mut Queue<&Sim>, sim: &Sim, ledger: &Ledger) -> Result<Vec<u64>, Violation> {
    let ids: Vec<u64> = queue.index().iter().map(|(id, _)| id).collect();
    let mut names = Vec::new();
    for &id in &ids {
        names.push(check_letter(queue, sim, ledger, id)?);
    }
    for line in &ledger.0 {
        check_count(line, names.iter().filter(|name| **name == line.name).count())?;
        check_bounce(ledger, line, &names)?;
    }
    Ok(ids)
}

/// One letter is one of those that were handed in, whole, with what was noted of it.
fn check_letter(
    queue: &mut Queue<&Sim>,
    sim: &Sim,
    ledger: &Ledger,
    id: u64,
) -> Result<u8, Violation> {
    let torn = |what: &str| violation(Broken::Torn, format!("letter {id}: {what}"));
    let bytes = read(queue, sim, id).map_err(|e| torn(&e.to_string()))?;
    let line = ledger.0.iter().find(|line| line.bytes == bytes);
    let line = line.ok_or_else(|| torn("these bytes were never handed in"))?;
    if line.id != id {
        return Err(torn("it has another number than it was given"));
    }
    if queue.envelope(id).ok().as_deref() != Some(ENVELOPE) {
        return Err(torn("its envelope has changed"));
    }
    check_notes(queue, line, id)?;
    check_held(line, queue.index().mark(id).is_some())?;
    Ok(line.name)
}

fn check_notes(queue: &mut Queue<&Sim>, line: &Line, id: u64) -> Found {
    let progress: Vec<_> = queue.index().get(id).into_iter().flat_map(|k| k.progress()).collect();
    let done = progress.first() == Some(&Progress::Done);
    let failed = progress.get(1) == Some(&Progress::Failed);
    if line.adopted && !failed {
        return Err(violation(Broken::Torn, "an adopted letter without its past".to_owned()));
    }
    for (what, sure, is) in [("done", line.done, done), ("failed", line.failed, failed)] {
        if (sure == Sure::Yes && !is) || (sure == Sure::No && is) {
            let story = format!("letter {}: {what} is {is}", char::from(line.name));
            return Err(violation(Broken::Lost, story));
        }
    }
    let paragraphs = queue.paragraphs(id).unwrap_or_default();
    let expected: &[&[u8]] = if failed { &[PARAGRAPH] } else { &[] };
    if paragraphs != expected {
        return Err(violation(Broken::Lost, "a failure without its paragraph".to_owned()));
    }
    Ok(())
}

/// A letter is held if that was said last, or is among what was said since the last promise.
fn check_held(line: &Line, held: bool) -> Found {
    let may = line.held.iter().any(|(_, said)| *said == held) || (line.held.is_empty() && !held);
    if may {
        return Ok(());
    }
    let story = format!("letter {}: held is {held}", char::from(line.name));
    Err(violation(Broken::Lost, story))
}

fn check_count(line: &Line, count: usize) -> Found {
    let name = char::from(line.name);
    let tell = |broken, what: &str| Err(violation(broken, format!("letter {name}: {what}")));
    match (count, line.queued, line.finished) {
        (0, Sure::Yes, Sure::No) => tell(Broken::Lost, "acknowledged and not there"),
        (1, _, Sure::Yes) => tell(Broken::Doubled, "finished for good and there again"),
        (1, Sure::No, _) => tell(Broken::Doubled, "refused and there"),
        (0 | 1, ..) => Ok(()),
        _ => tell(Broken::Doubled, "there more than once"),
    }
}

fn check_bounce(ledger: &Ledger, bounce: &Line, names: &[u8]) -> Found {
    let Some(line) = bounce.finishes.and_then(|name| ledger.line(name)) else { return Ok(()) };
    let (there, old) = (names.contains(&bounce.name), names.contains(&line.name));
    match (line.queued, there, old) {
        (_, true, true) => {
            Err(violation(Broken::Doubled, "a bounce and its letter are both there"))
        }
        (Sure::Yes, false, false) if !superseded(ledger, bounce) => {
            Err(violation(Broken::Lost, "a bounce and its letter are both away"))
        }
        _ => Ok(()),
    }
}

/// Was the bounce itself finished, so that it may be away?
fn superseded(ledger: &Ledger, bounce: &Line) -> bool {
    bounce.finished != Sure::No || ledger.0.iter().any(|line| line.finishes == Some(bounce.name))
}

fn read(queue: &mut Queue<&Sim>, sim: &Sim, id: u64) -> std::io::Result<Vec<u8>> {
    match queue.content(id)? {
        Stored::Inline(bytes) => Ok(bytes),
        Stored::Apart(file) => whole(sim, &file),
    }
}

fn whole(sim: &Sim, file: &SimFile) -> std::io::Result<Vec<u8>> {
    let len = usize::try_from(sim.len(file)?).unwrap_or(usize::MAX);
    read_exact(sim, file, 0, len)
}
