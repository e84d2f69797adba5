//! Taking over a queue: every letter goes to queued with its past, held; then all are let go.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use base::limits;
use base::outcome::Outcome;
use base::text0;
use base::wire::queue::{Answer, Envelope, Mark, Note, Origin, Progress, Request};
use store::client::{QueueClient, Refusal};
use store::control::Control;
use store::home::{Home, Roles};
use store::stock::{Damage, Entered, Found, Part, State, Stock, Sum, Summing};
use store::users::Routing;
use sys::fd;

use super::journal::Journal;
use super::{STOP_THERE, Which, connect, left, lock, lost, written};
use crate::Trouble;
use crate::print::say;
use crate::progress::Ticker;

/// Letters on their way to queued whose answers have not come.
const FLYING: usize = 64;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of a letter that are looked at for who queued it.
const FIRST_LINE: usize = 200;

/// What the command line says.
#[derive(Clone, Copy)]
pub(super) struct How {
    pub(super) hold: bool,
    pub(super) running: bool,
    pub(super) reroute: bool,
}

/// An import under way.
struct Import<'a> {
    home: &'a Home,
    stock: Stock,
    routing: Routing,
    roles: Roles,
    how: How,
    client: QueueClient,
    journal: Journal,
    /// Held here since an earlier import that was interrupted.
    held: BTreeSet<Mark>,
    /// Held here since an export, perhaps into this very queue.
    exported: BTreeSet<Mark>,
    /// Met in this one.
    met: BTreeSet<Mark>,
    flying: VecDeque<u64>,
    entered: usize,
    before: usize,
    unaccepted: usize,
    left: usize,
    /// Of those left: held here since they were exported.
    ours: usize,
}

pub(super) fn import(home: &Home, dir: &Path, how: How) -> Result<ExitCode, Trouble> {
    let _stopped = if how.running { None } else { lock(dir, STOP_THERE)? };
    let stock = Stock::open(dir)?;
    let routing = Routing::load(&Control::new(home)).map_err(|e| e.to_string())?;
    let roles = home.roles().map_err(|e| e.to_string())?;
    let journal = Journal::open(home)?;
    let mut client = connect(home)?;
    let held = super::all_held(&mut client, Which::Imported)?;
    let held = held.into_iter().map(|(_, mark)| mark).collect();
    let exported = written::all(&mut client)?;
    let (met, flying) = Default::default();
    let (entered, before, unaccepted, left, ours) = (0, 0, 0, 0, 0);
    let mut import = Import {
        home,
        stock,
        routing,
        roles,
        how,
        client,
        journal,
        held,
        exported,
        met,
        flying,
        entered,
        before,
        unaccepted,
        left,
        ours,
    };
    import.all()?;
    import.tell()?;
    if !how.hold {
        super::release(home, Which::Imported)?;
    }
    Ok(if import.left == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

impl Import<'_> {
    fn all(&mut self) -> Result<(), Trouble> {
        for damage in std::mem::take(&mut self.stock.twice) {
            self.leave(&damage);
        }
        let letters = self.stock.letters();
        let progress = Ticker::of("importing letters", Some(letters.len()));
        for (number, state) in letters {
            progress.step();
            if state == State::Unaccepted {
                self.unaccepted = self.unaccepted.saturating_add(1);
            } else if let Err(damage) = self.one(number, state)? {
                self.leave(&damage);
            }
        }
        while !self.flying.is_empty() {
            self.land()?;
        }
        Ok(())
    }

    fn leave(&mut self, damage: &Damage) {
        left(damage);
        self.left = self.left.saturating_add(1);
    }

    fn tell(&self) -> Result<(), Trouble> {
        say!("{} letters imported, {} were before, {} left", self.entered, self.before, self.left);
        if self.unaccepted > 0 {
            say!("{} files of letters that were never accepted", self.unaccepted);
        }
        if self.ours > 0 {
            say!(
                "{} of those left are held here since they were exported: qmailctl queue release \
                 exported, if no qmail-send was started there; if one was, qmailctl queue forget \
                 exported, and then say this again",
                self.ours
            );
        }
        Ok(())
    }

    /// One letter there: one or, if it has very many recipients, more of them here.
    fn one(&mut self, number: u64, state: State) -> Result<Result<(), Damage>, Trouble> {
        let found = match self.stock.letter(number, state) {
            Ok(found) => found,
            Err(damage) => return Ok(Err(damage)),
        };
        if let Err(why) = self.is_theirs(&found) {
            return Ok(Err(self.stock.damage(Part::Mess, number, why)));
        }
        let entered = match found.enter(&self.routing, self.how.reroute) {
            Ok(entered) => entered,
            Err((part, why)) => return Ok(Err(self.stock.damage(part, number, &why))),
        };
        let sum = match self.stock.sum(number, found.kind.size) {
            Ok(sum) => sum,
            Err(damage) => return Ok(Err(damage)),
        };
        for (part, entered) in (0..).zip(parts(entered, found.sender.len())) {
            let mark = found.mark(number, part, &sum);
            if !self.met.insert(mark) {
                let why = "looks like another letter of this queue";
                return Ok(Err(self.stock.damage(Part::Mess, number, why)));
            }
            if self.journal.has(mark) || self.held.contains(&mark) {
                self.before = self.before.saturating_add(1);
                continue;
            }
            if let Err(damage) = self.send(number, &found, &entered, (mark, &sum))? {
                return Ok(Err(damage));
            }
        }
        Ok(Ok(()))
    }

    /// Whether a letter is that queue's alone: not one that went there from here, and is here still.
    fn is_theirs(&mut self, found: &Found) -> Result<(), &'static str> {
        let mark = written::found(found);
        if self.exported.contains(&mark) {
            self.ours = self.ours.saturating_add(1);
            return Err("is held here since it was exported");
        }
        if self.journal.has(mark) {
            return Err("was exported from here and released here again");
        }
        Ok(())
    }

    fn send(
        &mut self,
        number: u64,
        found: &Found,
        entered: &Entered,
        (mark, sum): (Mark, &Sum),
    ) -> Result<Result<(), Damage>, Trouble> {
        let block = block(found, entered);
        let envelope = match judge(&block, entered) {
            Ok(envelope) => envelope,
            Err(why) => return Ok(Err(self.stock.damage(Part::Mess, number, why))),
        };
        let file = match self.stock.content(number) {
            Ok(file) => file,
            Err(damage) => return Ok(Err(damage)),
        };
        let (mut piece, mut left) = (vec![0; limits::CHUNK], found.kind.size);
        let mut said = Summing::default();
        let mut read = |piece: &mut [u8]| {
            let most = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
            let len = fd::read_full(&file, piece.get_mut(..most).unwrap_or_default())?;
            left = left.saturating_sub(len as u64);
            said.add(piece.get(..len).unwrap_or_default());
            io::Result::Ok(len)
        };
        let first = match read(&mut piece) {
            Ok(first) => first,
            Err(e) => return Ok(Err(self.unread(number, &e))),
        };
        let (uid, pid) = self.queued_by(found, piece.get(..first).unwrap_or_default());
        self.client.begin_with_next(Origin::Import { birth: found.birth, uid, pid, mark });
        let mut len = first;
        while len > 0 {
            self.client
                .chunk_with_next(piece.get(..len).unwrap_or_default())
                .map_err(|refusal| refused(&refusal))?;
            len = match read(&mut piece) {
                Ok(len) => len,
                Err(e) => return self.abandon().map(|()| Err(self.unread(number, &e))),
            };
        }
        // Other bytes than those that the mark is of would be passed over for them.
        if left > 0 || said.end() != *sum {
            return self
                .abandon()
                .map(|()| Err(self.stock.damage(Part::Mess, number, "is being changed")));
        }
        self.say_past(envelope, entered)?;
        self.flying.push_back(number);
        if self.flying.len() >= FLYING {
            self.land()?;
        }
        Ok(Ok(()))
    }

    /// Recipients and how far they are, the rest of what is said of a letter.
    fn say_past(&mut self, envelope: Envelope<'_>, entered: &Entered) -> Result<(), Trouble> {
        let say = |index, note| Request::Note { serial: 0, letter: 0, index, note };
        let told =
            (0..).zip(&entered.recipients).filter_map(|(index, (_, progress))| match progress {
                Progress::Done => Some(say(index, Note::Done)),
                Progress::Deferred(at) => Some(say(index, Note::Deferred(*at))),
                Progress::Waiting | Progress::Failed => None,
            });
        let failed = entered.paragraphs.iter();
        let failed = failed.map(|(index, text)| say(*index, Note::Failed(text)));
        let all = told.chain(failed).chain([Request::Envelope(envelope)]);
        self.client.ask_all(all).map_err(|e| lost(&e))
    }

    /// The next answer.
    fn land(&mut self) -> Result<(), Trouble> {
        let Some(number) = self.flying.pop_front() else { return Ok(()) };
        let answer = self.client.next(PATIENCE).map_err(|e| lost(&e))?;
        match answer {
            Some(Answer::Accepted(_)) => {
                self.entered = self.entered.saturating_add(1);
                Ok(())
            }
            Some(Answer::Refused(Outcome::Never, why)) => {
                let why = format!("was refused: {}", String::from_utf8_lossy(why));
                let damage = self.stock.damage(Part::Mess, number, &why);
                self.leave(&damage);
                Ok(())
            }
            Some(Answer::Refused(outcome, why)) => {
                Err(refused(&Refusal { outcome, text: why.to_vec() }))
            }
            _ => Err("qmail-queued does not answer; say the same command again".to_owned()),
        }
    }

    /// Half a letter was said, and the rest cannot be: the connection is given up.
    fn abandon(&mut self) -> Result<(), Trouble> {
        while !self.flying.is_empty() {
            self.land()?;
        }
        self.client = connect(self.home)?;
        Ok(())
    }

    fn unread(&self, number: u64, e: &io::Error) -> Damage {
        self.stock.damage(Part::Mess, number, sys::errno::text(e))
    }

    /// Who queued a letter: as its envelope says, else its first line.
    fn queued_by(&self, found: &Found, letter: &[u8]) -> (u32, u32) {
        let first = letter.split(|&c| c == b'\n').next().unwrap_or_default();
        let first = String::from_utf8_lossy(first.get(..FIRST_LINE).unwrap_or(first)).into_owned();
        let words = first.strip_prefix("Received: (qmail ").and_then(|rest| rest.split_once(");"));
        let (pid, by) = words.and_then(|(words, _)| words.split_once(" invoked ")).unzip();
        let uid = match by {
            Some("from network") => Some(self.roles.qmaild.uid),
            Some("for bounce") => Some(self.roles.qmails.uid),
            Some("by alias") => Some(self.roles.alias.uid),
            Some(by) => by.strip_prefix("by uid ").and_then(|uid| uid.parse().ok()),
            None => None,
        };
        let pid = pid.and_then(|pid: &str| pid.parse().ok());
        let (known_uid, known_pid) = found.queued_by;
        (known_uid.or(uid).unwrap_or(0), known_pid.or(pid).unwrap_or(0))
    }
}

fn refused(refusal: &Refusal) -> Trouble {
    format!("qmail-queued refuses: {refusal}; say the same command again when that is mended")
}

/// Its envelope: sender and recipients, text0.
fn block(found: &Found, entered: &Entered) -> Vec<u8> {
    let mut block = Vec::new();
    text0::put(&mut block, &found.sender);
    entered.recipients.iter().for_each(|(address, _)| text0::put(&mut block, address));
    block
}

/// Whether queued takes what there is to say of a letter; it would hang up, and with it end the
/// import of all others.
fn judge<'a>(block: &'a [u8], entered: &Entered) -> Result<Envelope<'a>, &'static str> {
    let told = entered.paragraphs.iter().map(|(_, text)| text.len()).sum::<usize>();
    if told > limits::IMPORTED_PARAGRAPHS {
        return Err("more is to be told of its recipients than queued takes");
    }
    Envelope::new(block).map_err(|_| "its envelope is too long")
}

/// A letter with more recipients than the log takes in one comes as several.
fn parts(entered: Entered, sender: usize) -> Vec<Entered> {
    let mut parts = vec![Entered::default()];
    let mut paragraphs = entered.paragraphs.into_iter().peekable();
    let (mut bytes, mut first) = (sender, 0_u32);
    for (index, recipient) in (0..).zip(entered.recipients) {
        let len = recipient.0.len().saturating_add(1);
        let full =
            parts.last().is_some_and(|part| part.recipients.len() >= limits::LOGGED_RECIPIENTS);
        if full || bytes.saturating_add(len) >= limits::LOGGED_ENVELOPE - 1024 {
            parts.push(Entered::default());
            (bytes, first) = (sender, index);
        }
        bytes = bytes.saturating_add(len);
        let Some(part) = parts.last_mut() else { break };
        part.recipients.push(recipient);
        while let Some((_, text)) = paragraphs.next_if(|(whose, _)| *whose == index) {
            part.paragraphs.push((index.saturating_sub(first), text));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_queued_would_not_take_is_known_before_it_is_said() {
        let said = |address: usize, paragraphs: usize| {
            let recipient = (vec![b'a'; address], Progress::Failed);
            let entered = Entered {
                recipients: vec![recipient.clone()],
                paragraphs: vec![(0, vec![b'x'; 1 << 20]); paragraphs],
            };
            let block = [b"\0".to_vec(), recipient.0, b"\0".to_vec()].concat();
            judge(&block, &entered).map(|envelope| envelope.recipients().count())
        };
        assert_eq!(said(limits::ADDRESS, 64), Ok(1));
        assert_eq!(said(limits::ADDRESS + 1, 1), Err("its envelope is too long"));
        let much = "more is to be told of its recipients than queued takes";
        assert_eq!(said(1, 65), Err(much));
    }

    #[test]
    fn a_letter_to_very_many_comes_in_parts_and_forgets_nobody() {
        let one = |n: usize| (format!("{n:01000}").into_bytes(), Progress::Failed);
        let recipients: Vec<_> = (0..9_000).map(one).collect();
        let paragraphs = (0..9_000).map(|n| (n, n.to_string().into_bytes())).collect();
        let parts = parts(Entered { recipients: recipients.clone(), paragraphs }, 10);
        assert_eq!(parts.len(), 3);
        let all: Vec<_> = parts.iter().flat_map(|part| part.recipients.clone()).collect();
        assert_eq!(all, recipients);
        for part in &parts {
            let bytes: usize = part.recipients.iter().map(|(a, _)| a.len() + 1).sum();
            assert!(bytes < limits::LOGGED_ENVELOPE);
            for ((address, _), (index, text)) in part.recipients.iter().zip(&part.paragraphs) {
                assert_eq!(part.recipients[*index as usize].0, *address);
                assert!(address.ends_with(text));
            }
        }
    }
}
