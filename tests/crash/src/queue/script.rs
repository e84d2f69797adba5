//! What is done to the queue before the power goes, and what was promised meanwhile.

use base::time::Moment;
use base::wire::queue::{Envelope, Mark, Note, Progress};
use store::disk::sim::{Sim, SimFile};
use store::queue::{BLOCK, Config, Content, NewLetter, Past, Queue, Trouble};

/// A queue small enough to reach every corner in a few steps.
pub(crate) const CONFIG: Config = Config {
    segment: 4 * BLOCK,
    inline: 1_400,
    envelope: 1_000,
    spares: 1,
    carry_above: 2,
    salvage: false,
    secret: 7,
};

/// The envelope of every letter.
pub(crate) const ENVELOPE: &[u8] = b"s@x\0a@b\0c@d\0";
/// The failure paragraph of every failure.
pub(crate) const PARAGRAPH: &[u8] = b"<c@d>:\nSorry, no mailbox here by that name.\n\n";

/// A letter of a script, told from others by this letter, which fills it.
pub(crate) type Name = u8;

/// One thing to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// Hand in a letter of this many bytes; more than fit a record go to a file.
    Offer(Name, usize),
    /// Hand in a letter that is the bounce of another.
    Bounce(Name, Name),
    /// Take a letter from another queue, held; its second recipient has failed there.
    Adopt(Name, usize),
    /// Hold a letter.
    Hold(Name),
    /// Let it go.
    Release(Name),
    /// Note that the first recipient is done.
    Done(Name),
    /// Note that the second recipient failed.
    Failed(Name),
    /// Forget a letter.
    Finish(Name),
    /// Write without sync, as notes are.
    Flush,
    /// Write and sync; promises everything before it.
    Commit,
    /// Write, and give the sync away; a large letter's too.
    Begin,
    /// The disk has done the next piece of that work; nobody has heard of it.
    Run,
    /// Hear of it: promises what was written before its sync began, and nothing since.
    Land,
    /// Quiet work.
    Tend,
    /// From now on the disk has no room.
    NoRoom,
    /// And now it has.
    Room,
}

use Op::{
    Adopt, Begin, Bounce, Commit, Done, Failed, Finish, Flush, Hold, Land, NoRoom, Offer, Release,
    Room, Run, Tend,
};

/// How certain something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sure {
    /// It was not asked for.
    #[default]
    No,
    /// It was asked for and nothing was promised: it may be so or not.
    Perhaps,
    /// It was promised.
    Yes,
}

impl Sure {
    fn ask(&mut self) {
        if *self == Self::No {
            *self = Self::Perhaps;
        }
    }

    fn promise(&mut self) {
        if *self == Self::Perhaps {
            *self = Self::Yes;
        }
    }
}

/// What is known of one letter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) name: Name,
    pub(crate) bytes: Vec<u8>,
    /// The number it was given.
    pub(crate) id: u64,
    pub(crate) queued: Sure,
    pub(crate) done: Sure,
    pub(crate) failed: Sure,
    pub(crate) finished: Sure,
    /// The letter whose bounce it is.
    pub(crate) finishes: Option<Name>,
    /// Which records said what became of it last.
    pub(crate) at: Records,
    /// It came from another queue.
    pub(crate) adopted: bool,
    /// Whether it is held: what was promised last, and what was said since, by which record.
    pub(crate) held: Vec<(u64, bool)>,
}

/// Sequences of records.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Records {
    queued: u64,
    done: u64,
    failed: u64,
    finished: u64,
}

/// What was promised so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(pub(crate) Vec<Line>);

impl Ledger {
    pub(crate) fn line(&self, name: Name) -> Option<&Line> {
        self.0.iter().find(|line| line.name == name)
    }

    fn with(&mut self, name: Name, act: impl FnOnce(&mut Line)) {
        if let Some(line) = self.0.iter_mut().find(|line| line.name == name) {
            act(line);
        }
    }

    /// Goes back to what was known before an operation that was refused. The letter it offered, if
    /// it did, stays on the list as one that must not be there.
    fn refuse(&mut self, before: Self) {
        let offered = self.0.split_off(before.0.len().min(self.0.len()));
        self.0 = before.0;
        self.0.extend(offered.into_iter().map(|line| Line { id: 0, queued: Sure::No, ..line }));
    }

    /// Everything up to a sequence is on disk.
    fn promise(&mut self, synced: u64) {
        for line in &mut self.0 {
            let Line { queued, done, failed, finished, at, held, .. } = line;
            let last = [
                (queued, at.queued),
                (done, at.done),
                (failed, at.failed),
                (finished, at.finished),
            ];
            let old = held.iter().rposition(|(at, _)| *at <= synced).unwrap_or(0);
            held.drain(..old);
            for (sure, at) in last {
                if at <= synced {
                    sure.promise();
                }
            }
        }
    }
}

/// Plays a script until it ends or the log is broken, as queued would.
pub(crate) fn play(sim: &Sim, script: &[Op], ledger: &mut Ledger) {
    let Ok((mut queue, _)) = Queue::open(sim, CONFIG) else { return };
    for op in script {
        let before = ledger.clone();
        if let NoRoom | Room = op {
            sim.set_full(matches!(op, NoRoom));
        }
        match perform(&mut queue, *op, ledger) {
            Ok(()) => {}
            // Refused: nothing has happened, and the next commit promises nothing of it.
            Err(Trouble::Full(_)) => ledger.refuse(before),
            Err(Trouble::Broken(_)) => return,
        }
    }
}

fn perform(queue: &mut Queue<&Sim>, op: Op, ledger: &mut Ledger) -> Result<(), Trouble> {
    let id = |ledger: &Ledger, name| ledger.line(name).map_or(0, |line| line.id);
    // What is said now is said by the record that comes next, or earlier and then it is safe.
    let next = queue.next_id();
    match op {
        Offer(name, size) => offer(queue, ledger, name, size, None)?,
        Bounce(name, of) => offer(queue, ledger, name, 500, Some(of))?,
        Adopt(name, size) => adopt(queue, ledger, name, size)?,
        Hold(name) => hold(queue, ledger, name, Some(Mark::exported(7)))?,
        Release(name) => hold(queue, ledger, name, None)?,
        Done(name) => {
            ledger.with(name, |line| (_, line.at.done) = (line.done.ask(), next));
            queue.note(id(ledger, name), 0, Note::Done)?;
        }
        Failed(name) => {
            ledger.with(name, |line| (_, line.at.failed) = (line.failed.ask(), next));
            queue.note(id(ledger, name), 1, Note::Failed(PARAGRAPH))?;
        }
        Finish(name) => {
            ledger.with(name, |line| (_, line.at.finished) = (line.finished.ask(), next));
            queue.finish(id(ledger, name))?;
        }
        NoRoom | Room => {}
        Flush => queue.flush()?,
        Commit => queue.commit()?,
        Begin => _ = queue.begin_sync()?,
        Run => _ = queue.carry_out(),
        Land => queue.poll()?,
        Tend => _ = queue.tend()?,
    }
    ledger.promise(queue.synced());
    Ok(())
}

fn offer(
    queue: &mut Queue<&Sim>,
    ledger: &mut Ledger,
    name: Name,
    size: usize,
    finishes: Option<Name>,
) -> Result<(), Trouble> {
    let bytes = vec![name; size];
    let old = finishes.and_then(|name| ledger.line(name)).map(|line| line.id);
    let (id, queued) = (queue.next_id(), Sure::Perhaps);
    let at = Records { queued: id, ..Records::default() };
    ledger.0.push(Line { name, bytes: bytes.clone(), id, queued, finishes, at, ..Line::default() });
    if let Some(finishes) = finishes {
        ledger.with(finishes, |line| (_, line.at.finished) = (line.finished.ask(), id));
    }
    accept(queue, &bytes, old).map(|_| ())
}

/// Takes a letter with a past, all of which is promised with its last record.
fn adopt(
    queue: &mut Queue<&Sim>,
    ledger: &mut Ledger,
    name: Name,
    size: usize,
) -> Result<(), Trouble> {
    let bytes = vec![name; size.min(CONFIG.inline)];
    let id = queue.next_id();
    let (queued, failed, last) = (Sure::Perhaps, Sure::Perhaps, id.saturating_add(2));
    let at = Records { queued: last, failed: last, ..Records::default() };
    let (held, adopted) = (vec![(last, true)], true);
    let line = Line {
        name,
        bytes: bytes.clone(),
        id,
        queued,
        failed,
        at,
        held,
        adopted,
        ..Line::default()
    };
    ledger.0.push(line);
    let Ok(envelope) = Envelope::new(ENVELOPE) else { return Ok(()) };
    let (birth, content) = (Moment::from_secs(1_000), Content::Inline(&bytes));
    let new = NewLetter { birth, uid: 1, pid: 2, finishes: None, envelope, content };
    let paragraphs = [(1, PARAGRAPH.to_vec())];
    let progress = [Progress::Waiting, Progress::Failed];
    let mark = Mark::imported(name.into());
    queue.adopt(&new, &Past { progress: &progress, paragraphs: &paragraphs, mark }).map(|_| ())
}

fn hold(
    queue: &mut Queue<&Sim>,
    ledger: &mut Ledger,
    name: Name,
    mark: Option<Mark>,
) -> Result<(), Trouble> {
    let id = ledger.line(name).map_or(0, |line| line.id);
    let next = queue.next_id();
    ledger.with(name, |line| {
        if line.held.is_empty() {
            line.held.push((0, false));
        }
        line.held.push((next, mark.is_some()));
    });
    queue.hold(id, mark).map(|_| ())
}

/// Hands in a letter; it is promised at the next commit.
pub(crate) fn accept(
    queue: &mut Queue<&Sim>,
    bytes: &[u8],
    finishes: Option<u64>,
) -> Result<u64, Trouble> {
    if bytes.len() <= CONFIG.inline {
        return accept_as(queue, Content::Inline(bytes), finishes);
    }
    let mut spill = queue.spill()?;
    let written = queue.push(&mut spill, bytes);
    if let Err(error) = written.and_then(|()| queue.secure_now(&mut spill)) {
        queue.discard(&spill);
        return Err(error.into());
    }
    let outcome = accept_as(queue, Content::Spilled(&spill), finishes);
    if matches!(outcome, Err(Trouble::Full(_))) {
        queue.discard(&spill);
    }
    outcome
}

fn accept_as(
    queue: &mut Queue<&Sim>,
    content: Content<'_, SimFile>,
    finishes: Option<u64>,
) -> Result<u64, Trouble> {
    let Ok(envelope) = Envelope::new(ENVELOPE) else { return Ok(0) };
    let birth = Moment::from_secs(1_000);
    queue.accept(&NewLetter { birth, uid: 1, pid: 2, finishes, envelope, content })
}
