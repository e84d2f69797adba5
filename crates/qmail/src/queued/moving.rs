//! Letters on their way from or to another queue: what an import tells of their past, and holding.

use std::os::fd::OwnedFd;

use base::limits;
use base::outcome::Outcome;
use base::time::Moment;
use base::wire::queue::{Answer, Mark, Note, Origin, Progress};
use store::disk::kernel::Kernel;
use store::queue::{self, Held, NewLetter, Queue, Trouble};

use super::client::{Client, Until};
use super::request::{UNREADABLE, complain};
use super::server::{DISK_FULL, Server};
use super::warnings::Refused;

const FOLLOWED: &[u8] = b"qmail-send is running: stop it first, with qmailctl stop";
const GONE: &[u8] = b"there is no such letter";

/// What an import has told of a letter so far.
#[derive(Debug)]
pub(super) struct Past {
    birth: Moment,
    uid: u32,
    pid: u32,
    mark: Mark,
    progress: Vec<(u32, Progress)>,
    paragraphs: Vec<(u32, Vec<u8>)>,
    /// Bytes of all paragraphs.
    said: usize,
}

impl Past {
    /// Nothing yet, of a letter of that origin; none of a letter that begins here.
    pub(super) fn begin(origin: Origin) -> Option<Box<Self>> {
        let Origin::Import { birth, uid, pid, mark } = origin else { return None };
        let (progress, paragraphs, said) = Default::default();
        Some(Box::new(Self { birth, uid, pid, mark, progress, paragraphs, said }))
    }

    /// Bytes of memory it takes.
    pub(super) fn weight(&self) -> usize {
        self.progress
            .capacity()
            .saturating_mul(size_of::<(u32, Progress)>())
            .saturating_add(self.said)
    }

    /// Adds what is said of a recipient; false if that is too much.
    fn add(&mut self, index: u32, note: Note<'_>) -> bool {
        let progress = match note {
            Note::Done => Progress::Done,
            Note::Deferred(at) => Progress::Deferred(at),
            Note::Failed(paragraph) => {
                self.said = self.said.saturating_add(paragraph.len());
                self.paragraphs.push((index, paragraph.to_vec()));
                Progress::Failed
            }
        };
        self.progress.push((index, progress));
        self.progress.len() <= limits::LOGGED_RECIPIENTS && self.said <= limits::IMPORTED_PARAGRAPHS
    }

    /// Puts the letter into the queue; its number and its sequence.
    pub(super) fn enter(
        &self,
        queue: &mut Queue<Kernel>,
        new: NewLetter<'_, OwnedFd>,
    ) -> Result<(u64, u64), Trouble> {
        let mut progress = vec![Progress::Waiting; new.envelope.recipients().count()];
        for (index, said) in &self.progress {
            if let Some(slot) = progress.get_mut(*index as usize) {
                *slot = *said;
            }
        }
        let new = NewLetter { birth: self.birth, uid: self.uid, pid: self.pid, ..new };
        let (progress, paragraphs) = (&progress[..], &self.paragraphs[..]);
        queue.adopt(&new, &queue::Past { progress, paragraphs, mark: self.mark })
    }
}

/// Takes note of a recipient of the letter being imported; false if there is none, or too much.
pub(super) fn past_note(client: &mut Client, index: u32, note: Note<'_>) -> bool {
    let past = client.letter.as_mut().and_then(|letter| letter.past.as_mut());
    past.is_some_and(|past| past.add(index, note))
}

impl Server {
    /// Holds a letter or lets it go.
    pub(super) fn hold_letter(
        &mut self,
        id: u64,
        mark: Option<Mark>,
    ) -> Result<(Until, Answer<'static>), Trouble> {
        if mark.is_some() && self.follower.is_some() {
            return Ok((Until::Now, Answer::Refused(Outcome::Later, FOLLOWED)));
        }
        let was = self.queue.index().mark(id);
        match self.queue.hold(id, mark) {
            Ok(Held::Missing) => Ok((Until::Now, Answer::Refused(Outcome::Never, GONE))),
            Ok(Held::Unreadable(error)) => {
                complain(id, &error);
                Ok((Until::Now, Answer::Refused(Outcome::Later, UNREADABLE)))
            }
            Ok(Held::At(sequence)) => {
                self.busy = true;
                if let (Some(was), None) = (was, mark) {
                    self.tell_follower(id, was.is_export());
                }
                Ok((Until::Synced(sequence), Answer::Accepted(id)))
            }
            Err(Trouble::Full(error)) => {
                self.refused(Refused::Note, &error);
                Ok((Until::Now, Answer::Refused(Outcome::Later, DISK_FULL)))
            }
            Err(broken) => Err(broken),
        }
    }

    /// A letter was let go: who follows the queue may have been led past it.
    fn tell_follower(&mut self, id: u64, old: bool) {
        let follower = self.follower.and_then(|token| self.clients.get_mut(token));
        let following = follower.and_then(|client| client.following);
        if following.is_some_and(|following| following.sent >= id) {
            self.released.push_back((id, old));
        }
    }
}
