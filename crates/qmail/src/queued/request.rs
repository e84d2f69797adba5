//! What each request does.

use base::limits;
use base::outcome::Outcome;
use base::wire::queue::{Answer, Envelope, Note, Origin, Request};
use store::queue::{Content, NewLetter, Secured, Trouble};

use super::client::{Client, Following, Gathered, Gathering, Listing, Until};
use super::crowd::TOO_LONG;
use super::moving::{Past, past_note};
use super::server::{DISK_FULL, REFUSAL, Server, TROUBLE, log};
use super::warnings::Refused;

pub(super) const UNREADABLE: &[u8] = b"qq unable to open the letter (#4.3.0)";

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
            Request::Chunk(bytes) => self.chunk(token, client, bytes),
            Request::Envelope(envelope) => self.envelope(token, client, envelope),
            Request::Note { letter: 0, index, note, .. } => Ok(past_note(client, index, note)),
            Request::Note { serial, letter, index, note } => {
                let (until, answer) = self.note(serial, letter, index, note)?;
                self.hold(token, client, until, answer);
                Ok(true)
            }
            Request::Finish(id) => {
                let (until, answer) = self.finish(id)?;
                self.hold(token, client, until, answer);
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
            Request::Fetch(id) => {
                self.fetch(token, client, id);
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
            Request::Held => {
                let boundary = self.queue.next_id();
                client.listing = Some(Listing::Held { sent: 0, boundary });
                Ok(true)
            }
            Request::Hold { letter, mark } => {
                let (until, answer) = self.hold_letter(letter, mark)?;
                self.hold(token, client, until, answer);
                Ok(true)
            }
        }
    }

    fn begin(&mut self, client: &mut Client, origin: Origin) -> bool {
        if client.letter.is_some() {
            return false;
        }
        client.since = sys::clock::monotonic();
        let past = Past::begin(origin);
        let line = if past.is_some() {
            Vec::new()
        } else {
            let invoker = self.rules.invoker(client.peer.uid, origin);
            letter::received::queued(client.peer.pid, invoker, sys::clock::now())
        };
        let bytes = Gathered::Memory(line);
        client.letter = Some(Gathering { origin, bytes, envelope: None, past });
        true
    }

    fn chunk(&mut self, token: u64, client: &mut Client, bytes: &[u8]) -> Result<bool, Trouble> {
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
            if outcome.is_ok() && spill.is_due() {
                self.queue.secure(spill, false, token);
                client.securing = true;
            }
            self.or_refuse(client, outcome)?;
        }
        Ok(true)
    }

    /// Some of a large letter is on disk; if its envelope has come, it was all of it.
    pub(super) fn secured(&mut self, news: Secured) -> Result<(), Trouble> {
        let Secured { tag: token, outcome } = news;
        let Some(mut client) = self.take(token) else { return Ok(()) };
        client.securing = false;
        if let Some(Gathering { bytes: Gathered::File(spill), envelope, .. }) = &mut client.letter {
            spill.secured(envelope.is_some());
        }
        self.or_refuse(&mut client, outcome)?;
        let envelope = client.letter.as_mut().and_then(|letter| letter.envelope.take());
        if let Some(envelope) = envelope
            && let Ok(envelope) = Envelope::new(&envelope)
        {
            self.envelope(token, &mut client, envelope)?;
        }
        let alive = client.out.is_empty() || client.out.send(&client.sock).is_ok();
        self.put_back_or_drop(token, client, alive);
        Ok(())
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
                self.refused(Refused::Letter, &error);
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
        let Some(mut gathering) = client.letter.take() else { return Ok(false) };
        client.since = sys::clock::monotonic();
        if let Some((until, answer)) = self.judge(client, &gathering, envelope) {
            self.forget(&gathering.bytes);
            if let Some(answer) = answer {
                self.hold(token, client, until, answer);
            }
            return Ok(true);
        }
        if let Gathered::File(spill) = &gathering.bytes
            && !spill.is_secured()
        {
            self.queue.secure(spill, true, token);
            client.securing = true;
            gathering.envelope = Some(envelope.as_bytes().to_vec());
            client.letter = Some(gathering);
            return Ok(true);
        }
        self.take_letter(token, client, &gathering, envelope)?;
        Ok(true)
    }

    /// Is there a reason not to take a letter? Then the answer, if there is one to give.
    fn judge(
        &self,
        client: &Client,
        gathering: &Gathering,
        envelope: Envelope<'_>,
    ) -> Option<(Until, Option<Answer<'static>>)> {
        if client.gone {
            // Its patience was shorter than we were slow: it has told its own client to come again,
            // and a letter taken now would be there twice.
            return Some((Until::Now, None));
        }
        if envelope.recipients().count() > limits::LOGGED_RECIPIENTS {
            return Some((Until::Now, Some(Answer::Refused(Outcome::Never, TOO_LONG))));
        }
        if let Origin::Bounce { finishes: old } = gathering.origin
            && self.queue.index().get(old).is_none()
        {
            // Its bounce is in the queue already; the answer was lost on the way.
            return Some((Until::Synced(self.last()), Some(Answer::Accepted(old))));
        }
        if let Origin::Import { mark, .. } = gathering.origin
            && let Some(id) = self.queue.index().held_as(mark)
        {
            // An import that was killed had handed it in, and we took it after the next had asked
            // what is here; or it is here, and was not on disk then.
            return Some((Until::Synced(self.last()), Some(Answer::Accepted(id))));
        }
        match gathering.bytes {
            Gathered::Refused(text) => {
                Some((Until::Now, Some(Answer::Refused(Outcome::Later, text))))
            }
            Gathered::Memory(_) | Gathered::File(_) => None,
        }
    }

    /// The last record there is.
    fn last(&self) -> u64 {
        self.queue.next_id().saturating_sub(1)
    }

    fn take_letter(
        &mut self,
        token: u64,
        client: &mut Client,
        gathering: &Gathering,
        envelope: Envelope<'_>,
    ) -> Result<(), Trouble> {
        let content = match &gathering.bytes {
            Gathered::Memory(bytes) => Content::Inline(bytes),
            Gathered::File(spill) => Content::Spilled(spill),
            Gathered::Refused(_) => return Ok(()),
        };
        let finishes = match gathering.origin {
            Origin::Bounce { finishes } => Some(finishes),
            Origin::Local | Origin::Network | Origin::Import { .. } => None,
        };
        let birth = sys::clock::now();
        let (uid, pid) = (client.peer.uid, client.peer.pid);
        let new = NewLetter { birth, uid, pid, finishes, envelope, content };
        let taken = match &gathering.past {
            Some(past) => past.enter(&mut self.queue, new),
            None => self.queue.accept(&new).map(|id| (id, id)),
        };
        match taken {
            Ok((id, sequence)) => {
                self.handing_in = self.handing_in.saturating_add(usize::from(!client.hands_in));
                client.hands_in = true;
                self.busy = true;
                self.accepted();
                self.hold(token, client, Until::Synced(sequence), Answer::Accepted(id));
            }
            Err(Trouble::Full(error)) => {
                self.forget(&gathering.bytes);
                self.refused(Refused::Letter, &error);
                self.hold(token, client, Until::Now, Answer::Refused(Outcome::Later, DISK_FULL));
            }
            Err(broken) => {
                client.refuse(&REFUSAL);
                client.out.push(&REFUSAL);
                let _ = client.out.send(&client.sock);
                return Err(broken);
            }
        }
        Ok(())
    }

    fn forget(&mut self, bytes: &Gathered) {
        if let Gathered::File(spill) = bytes {
            self.queue.discard(spill);
        }
    }

    /// Notes; a refusal if there is no room even for that.
    fn note(
        &mut self,
        serial: u64,
        letter: u64,
        index: u32,
        note: Note<'_>,
    ) -> Result<(Until, Answer<'static>), Trouble> {
        let failed = matches!(note, Note::Failed(_));
        let known = match self.queue.note(letter, index, note) {
            Ok(known) => known,
            Err(Trouble::Full(error)) => {
                self.refused(Refused::Note, &error);
                return Ok((Until::Now, Answer::Refused(Outcome::Later, DISK_FULL)));
            }
            Err(broken) => return Err(broken),
        };
        if !known {
            self.warn(format_args!(
                "a note on recipient {index} of letter {letter}, which is not there"
            ));
        }
        self.busy |= known;
        // The only words about a failure: they must be there when the bounce is made.
        let until = if failed { Until::Synced } else { Until::Written };
        Ok((until(self.last()), Answer::Ack(serial)))
    }

    fn finish(&mut self, id: u64) -> Result<(Until, Answer<'static>), Trouble> {
        match self.queue.finish(id) {
            Ok(known) => {
                self.busy |= known;
                Ok((Until::Written(self.last()), Answer::Accepted(id)))
            }
            Err(Trouble::Full(error)) => {
                self.refused(Refused::Note, &error);
                Ok((Until::Now, Answer::Refused(Outcome::Later, DISK_FULL)))
            }
            Err(broken) => Err(broken),
        }
    }

    /// Answers at once: nothing that is asked for here is still on its way to the disk.
    fn open(&mut self, token: u64, client: &mut Client, id: u64) {
        let opened = match self.queue.apart(id) {
            Ok(Some(file)) => sys::at::len(&file).map(|size| (file, size)),
            Ok(None) => self
                .queue
                .with_content(id, |bytes| {
                    sys::fd::memfd("letter", bytes).map(|fd| (fd, bytes.len() as u64))
                })
                .flatten(),
            Err(error) => Err(error),
        };
        match opened {
            Ok((fd, size)) => {
                self.hold_with(token, client, Until::Now, Answer::Opened(size), Some(fd));
            }
            Err(error) => {
                complain(id, &error);
                let answer = Answer::Refused(Outcome::Later, UNREADABLE);
                self.hold(token, client, Until::Now, answer);
            }
        }
    }

    /// The same, with a small letter's bytes in the answer: no file is made for them, handed on by
    /// everybody on their way, and closed by each.
    fn fetch(&mut self, token: u64, client: &mut Client, id: u64) {
        // Answers stay in order, and only those without anything borrowed are held back.
        let fetched = !client.waits()
            && matches!(
                self.queue.with_small(id, limits::FETCHED_LETTER, |bytes| {
                    client.out.push(&Answer::Fetched(bytes));
                }),
                Ok(Some(()))
            );
        if !fetched {
            self.open(token, client, id);
        }
    }

    /// The newest follower is the one: the other is a qmail-send that died or lost its connection.
    fn follow(&mut self, token: u64, client: &mut Client) {
        if let Some(old) = self.follower.filter(|&old| old != token) {
            self.with_client(old, |client| client.closing = true);
        }
        self.follower = Some(token);
        self.released.clear();
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
