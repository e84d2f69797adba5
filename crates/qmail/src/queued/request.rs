//! What each request does.

use std::os::fd::OwnedFd;

use base::limits;
use base::outcome::Outcome;
use base::wire::queue::{Answer, Envelope, Note, Origin, Request};
use store::queue::{Content, NewLetter, Stored, Trouble};

use super::client::{Client, Following, Gathered, Gathering, Listing};
use super::crowd::TOO_LONG;
use super::server::{DISK_FULL, Server, TROUBLE, log};

impl Server {
    /// Does what a client asks; false if it asks at the wrong moment.
    pub(super) fn request(
        &mut self,
        token: u64,
        client: &mut Client,
        request: &Request<'_>,
    ) -> Result<bool, Trouble> {
        match *request {
            Request::Begin(origin) => Ok(self.begin(client, origin)),
            Request::Chunk(bytes) => self.chunk(client, bytes),
            Request::Envelope(envelope) => self.envelope(token, client, envelope),
            Request::Note { serial, letter, index, note } => {
                let answer = self.note(letter, index, note)?.unwrap_or(Answer::Ack(serial));
                self.hold(token, client, &answer);
                Ok(true)
            }
            Request::Finish(id) => {
                let answer = self.finish(id)?;
                self.hold(token, client, &answer);
                Ok(true)
            }
            Request::Paragraphs(id) => {
                client.listing = Some(Listing::Paragraphs { id, from: 0 });
                Ok(true)
            }
            Request::Open(id) => {
                self.open(token, client, id);
                Ok(true)
            }
            Request::Follow => {
                self.follow(token, client);
                Ok(true)
            }
            Request::List => {
                let boundary = self.queue.next_id();
                client.listing = Some(Listing::Letters { sent: 0, boundary });
                Ok(true)
            }
        }
    }

    fn begin(&mut self, client: &mut Client, origin: Origin) -> bool {
        if client.letter.is_some() {
            return false;
        }
        client.since = sys::clock::monotonic();
        let invoker = self.rules.invoker(client.peer.uid, origin);
        let line = letter::received::queued(client.peer.pid, invoker, sys::clock::now());
        client.letter = Some(Gathering { origin, bytes: Gathered::Memory(line) });
        true
    }

    fn chunk(&mut self, client: &mut Client, bytes: &[u8]) -> Result<bool, Trouble> {
        let Some(gathering) = client.letter.as_mut() else { return Ok(false) };
        if let Gathered::Memory(memory) = &mut gathering.bytes {
            if memory.len().saturating_add(bytes.len()) <= limits::INLINE_LETTER {
                memory.extend_from_slice(bytes);
                return Ok(true);
            }
            self.spill(client)?;
        }
        if let Some(Gathering { bytes: Gathered::File(spill), .. }) = client.letter.as_mut() {
            let outcome = self.queue.push(spill, bytes);
            self.or_refuse(client, outcome)?;
        }
        Ok(true)
    }

    /// Moves a client's letter from memory to a file.
    pub(super) fn spill(&mut self, client: &mut Client) -> Result<(), Trouble> {
        let Some(gathering) = client.letter.as_mut() else { return Ok(()) };
        let Gathered::Memory(memory) = &mut gathering.bytes else { return Ok(()) };
        let memory = std::mem::take(memory);
        match self.queue.spill() {
            Ok(mut spill) => {
                let outcome = self.queue.push(&mut spill, &memory);
                gathering.bytes = Gathered::File(spill);
                self.or_refuse(client, outcome)
            }
            // No descriptors or no room: one letter's trouble, not the queue's.
            Err(error) => {
                self.warn(format_args!("unable to make a file: {}", sys::errno::text(&error)));
                gathering.bytes = Gathered::Refused(TROUBLE);
                Ok(())
            }
        }
    }

    /// A write for one letter: if the disk is full that letter is refused; anything else is the
    /// end of all promises.
    fn or_refuse(
        &mut self,
        client: &mut Client,
        outcome: std::io::Result<()>,
    ) -> Result<(), Trouble> {
        match outcome.map_err(Trouble::from) {
            Ok(()) => Ok(()),
            Err(Trouble::Full(error)) => {
                self.say_full(Some(&error));
                self.discard(client);
                Ok(())
            }
            Err(broken) => Err(broken),
        }
    }

    /// Forgets a client's bytes; the letter will be refused.
    fn discard(&mut self, client: &mut Client) {
        let Some(gathering) = client.letter.as_mut() else { return };
        let refused = Gathered::Refused(DISK_FULL);
        if let Gathered::File(spill) = std::mem::replace(&mut gathering.bytes, refused) {
            self.queue.discard(&spill);
        }
    }

    fn envelope(
        &mut self,
        token: u64,
        client: &mut Client,
        envelope: Envelope<'_>,
    ) -> Result<bool, Trouble> {
        let Some(gathering) = client.letter.take() else { return Ok(false) };
        client.since = sys::clock::monotonic();
        if client.gone {
            // Its patience was shorter than we were slow: it has told its own client to come again,
            // and a letter taken now would be there twice.
            self.forget(&gathering.bytes);
            return Ok(true);
        }
        if envelope.recipients().count() > limits::LOGGED_RECIPIENTS {
            self.forget(&gathering.bytes);
            self.hold(token, client, &Answer::Refused(Outcome::Never, TOO_LONG));
            return Ok(true);
        }
        let finishes = match gathering.origin {
            Origin::Bounce { finishes } => Some(finishes),
            Origin::Local | Origin::Network => None,
        };
        if let Some(old) = finishes.filter(|&old| self.queue.index().get(old).is_none()) {
            // Its bounce is in the queue already; the answer was lost on the way.
            self.forget(&gathering.bytes);
            self.hold(token, client, &Answer::Accepted(old));
            return Ok(true);
        }
        let content = match &gathering.bytes {
            Gathered::Memory(bytes) => Content::Inline(bytes),
            Gathered::File(spill) => Content::Spilled(spill),
            Gathered::Refused(text) => {
                self.hold(token, client, &Answer::Refused(Outcome::Later, text));
                return Ok(true);
            }
        };
        let birth = sys::clock::now();
        let (uid, pid) = (client.peer.uid, client.peer.pid);
        let new = NewLetter { birth, uid, pid, finishes, envelope, content };
        client.promises = client.promises.saturating_add(1);
        // Held before the attempt, so that it hears `Z` if this is the end.
        let outcome = self.queue.accept(&new);
        let answer = match &outcome {
            Ok(id) => Answer::Accepted(*id),
            Err(_) => Answer::Refused(Outcome::Later, DISK_FULL),
        };
        self.hold(token, client, &answer);
        match outcome {
            Ok(_) => {
                (self.turn.sync, self.turn.busy) = (true, true);
                self.say_full(None);
            }
            Err(Trouble::Full(error)) => {
                self.forget(&gathering.bytes);
                self.say_full(Some(&error));
            }
            Err(broken) => {
                for _ in 0..client.promises {
                    client.out.push(&Answer::Refused(Outcome::Later, TROUBLE));
                }
                let _ = client.out.send(&client.sock);
                return Err(broken);
            }
        }
        Ok(true)
    }

    fn forget(&mut self, bytes: &Gathered) {
        if let Gathered::File(spill) = bytes {
            self.queue.discard(spill);
        }
    }

    /// Notes; a refusal if there is no room even for that.
    fn note(
        &mut self,
        letter: u64,
        index: u32,
        note: Note<'_>,
    ) -> Result<Option<Answer<'static>>, Trouble> {
        let failed = matches!(note, Note::Failed(_));
        match self.queue.note(letter, index, note) {
            Ok(true) => {
                self.turn.busy = true;
                // The only words about a failure: they must be there when the bounce is made.
                self.turn.sync |= failed;
                Ok(None)
            }
            Ok(false) => {
                self.warn(format_args!(
                    "a note on recipient {index} of letter {letter}, which is not there"
                ));
                Ok(None)
            }
            Err(Trouble::Full(error)) => {
                self.say_full(Some(&error));
                Ok(Some(Answer::Refused(Outcome::Later, DISK_FULL)))
            }
            Err(broken) => Err(broken),
        }
    }

    fn finish(&mut self, id: u64) -> Result<Answer<'static>, Trouble> {
        match self.queue.finish(id) {
            Ok(known) => {
                self.turn.busy |= known;
                Ok(Answer::Accepted(id))
            }
            Err(Trouble::Full(error)) => {
                self.say_full(Some(&error));
                Ok(Answer::Refused(Outcome::Later, DISK_FULL))
            }
            Err(broken) => Err(broken),
        }
    }

    fn open(&mut self, token: u64, client: &mut Client, id: u64) {
        let size = self.queue.index().get(id).map_or(0, |known| known.size);
        let opened: std::io::Result<OwnedFd> = match self.queue.content(id) {
            Ok(Stored::Inline(bytes)) => sys::fd::memfd("letter", &bytes),
            Ok(Stored::Apart(file)) => Ok(file),
            Err(error) => Err(error),
        };
        match opened {
            Ok(fd) => {
                if client.held.is_empty() {
                    self.turn.held.push(token);
                }
                client.held.push_with(&Answer::Opened(size), fd);
            }
            Err(error) => {
                complain(id, &error);
                let text = b"qq unable to open the letter (#4.3.0)";
                self.hold(token, client, &Answer::Refused(Outcome::Later, text));
            }
        }
    }

    /// The newest follower is the one: the other is a qmail-send that died or lost its connection.
    fn follow(&mut self, token: u64, client: &mut Client) {
        if let Some(old) = self.follower.filter(|&old| old != token) {
            self.with_client(old, |client| client.closing = true);
        }
        self.follower = Some(token);
        let boundary = self.queue.next_id();
        client.following = Some(Following { sent: 0, boundary, ended: false });
    }
}

pub(super) fn complain(id: u64, error: &std::io::Error) {
    if error.kind() != std::io::ErrorKind::NotFound {
        let text = sys::errno::text(error);
        log(format_args!("alert: unable to read letter {id} from the queue: {text}"));
    }
}
