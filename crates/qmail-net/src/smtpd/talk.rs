//! One connection, from the greeting to its end: read, step, carry out, write.

use std::io::{
    self,
    ErrorKind::{TimedOut, WouldBlock},
};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use proto::smtp::reply::Reply;
use proto::smtp::server::{
    Action, Ending, Expects, Framing, Input, Question, Session, Settings, Verdict,
};
use store::client::QueueClient;
use store::home::Home;
use store::users::Directory;
use sys::net::ReadLimit;
use sys::{clock, fd, net};

use super::circumstances::Circumstances;
use super::intake::Intake;
use super::patience::Patience;
use super::received;
use super::site::Site;
use super::welcome::Door;

/// Bytes read at once between letters and at a letter's beginning: a pipelined batch of commands,
/// all of a letter of the usual kind.
const FIRST: usize = 8 << 10;
/// Bytes read at once inside a letter, at most.
const LETTER: usize = 64 << 10;
/// Replies are written when input is awaited, or when there are this many bytes of them.
const REPLIES: usize = 4 << 10;

/// Where a client is heard and answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends<'a> {
    pub(crate) hear: BorrowedFd<'a>,
    pub(crate) speak: BorrowedFd<'a>,
}

/// Everything one conversation needs but its state.
struct Talk<'a> {
    ends: Ends<'a>,
    settings: &'a Settings,
    about: &'a Circumstances,
    door: Door<'a>,
    intake: Intake<'a>,
    patience: Patience,
    /// The longest silence between commands.
    limit: ReadLimit,
    replies: Vec<u8>,
}

/// Talks until the end; 0 after QUIT, else 1. `queued` is the connection to it that is left from
/// the client's connection before, if there was one, and then for the one after.
pub(crate) fn talk(
    ends: Ends<'_>,
    home: &Home,
    site: &Site,
    users: &mut Directory,
    about: &Circumstances,
    queued: &mut Option<QueueClient>,
) -> i32 {
    let settings = site.settings(about);
    // Not a TCP connection perhaps: then there is nothing to set.
    let _ = net::nodelay(ends.speak);
    let patience = Patience::new(site.timeout, about.is_hurried(), clock::monotonic());
    let limit = ReadLimit::new(patience.timeout());
    let mut talk = Talk {
        ends,
        settings: &settings,
        about,
        door: Door::new(&site.hosts, &site.routing, users),
        intake: Intake::new(super::NAME, home, about, queued),
        patience,
        limit,
        replies: Vec::new(),
    };
    let ending = talk.run();
    // Whatever broke the conversation, no letter may be half begun.
    talk.intake.abort();
    match ending {
        Ok(Ending::Quit) => 0,
        Ok(Ending::Broken) | Err(_) => 1,
    }
}

/// Says that the control files cannot be read.
pub(crate) fn send_away(ends: Ends<'_>) {
    let mut text = Vec::new();
    Reply::NoControls.encode(b"", &mut text);
    // The client may have gone already; there is nobody else to tell.
    let _ = fd::write_all_within(ends.speak, &text, Duration::from_secs(60));
}

impl Talk<'_> {
    /// The conversation; an error is a client who does not listen any more.
    fn run(&mut self) -> io::Result<Ending> {
        let (mut session, mut ending) = (Session::greeted(self.settings), None);
        if !self.about.is_greeted() {
            let (fresh, greeting) = Session::open(self.settings);
            session = fresh;
            ending = self.act(greeting, &[])?.err();
        }
        let (mut framing, mut room) = (Framing::default(), vec![0; FIRST]);
        while ending.is_none() {
            let letter = session.expects() == Expects::Data;
            let heard = self.hear(&mut room, letter)?;
            let mut bytes = match &heard {
                Heard::Bytes(len) => room.get(..*len).unwrap_or_default(),
                Heard::Eof | Heard::Silence => &[],
            };
            // A letter that fills the room is likely to do so again.
            let more = letter && bytes.len() == room.len() && room.len() < LETTER;
            let mut input = match heard {
                Heard::Bytes(_) => framing.next(session.expects(), &mut bytes),
                Heard::Eof => Some(Input::Eof),
                Heard::Silence if self.patience.hurried() => Some(Input::Hurried),
                Heard::Silence => Some(Input::Deadline),
            };
            while let Some(happened) = input.take() {
                (session, ending) = self.step(session, happened)?;
                if ending.is_none() {
                    input = framing.next(session.expects(), &mut bytes);
                }
            }
            if more {
                room = vec![0; room.len().saturating_mul(4).min(LETTER)];
            }
        }
        self.flush()?;
        Ok(ending.unwrap_or(Ending::Broken))
    }

    /// One input, and whatever answers it leads to.
    fn step<'s>(
        &mut self,
        mut session: Session<'s>,
        input: Input<'_>,
    ) -> io::Result<(Session<'s>, Option<Ending>)> {
        let piece = if let Input::Data(piece) = input { piece } else { &[] };
        let whole = !matches!(input, Input::Data(_));
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let (stepped, actions) = session.step(input);
            session = stepped;
            match self.act(actions, piece)? {
                Ok(answer) => next = answer.map(Input::Answer),
                Err(ending) => return Ok((session, Some(ending))),
            }
            if matches!(next, Some(Input::Answer(Verdict::Queued { .. }))) {
                self.patience.reward(clock::monotonic());
            }
        }
        if whole {
            // Afterwards: the time that we took for the answer is not the client's.
            self.patience.renew(clock::monotonic());
        }
        Ok((session, None))
    }

    /// Carries actions out: an answer for the session if it asked something, or the end.
    fn act(
        &mut self,
        actions: Vec<Action>,
        piece: &[u8],
    ) -> io::Result<Result<Option<Verdict>, Ending>> {
        let mut answer = None;
        for action in actions {
            match action {
                Action::Reply(reply) => self.say(&reply)?,
                Action::Ask(Question::Recipient { address, relay }) => {
                    answer = Some(Verdict::Recipient(self.door.welcome(&address, relay)));
                    if let Some(trouble) = self.door.trouble() {
                        super::say(super::NAME, format_args!("warning: {trouble}"));
                    }
                }
                Action::Begin { helo } => {
                    let received =
                        received::line(self.about, b"SMTP", helo.as_deref(), clock::now());
                    answer = Some(self.intake.begin(&received));
                }
                Action::Body => self.intake.chunk(piece),
                Action::Commit { envelope } => answer = Some(self.intake.commit(&envelope)),
                Action::Abort => self.intake.abort(),
                Action::Close(ending) => return Ok(Err(ending)),
            }
        }
        Ok(Ok(answer))
    }

    fn say(&mut self, reply: &Reply) -> io::Result<()> {
        if let Some(why) = reply.complaint() {
            super::say(super::NAME, format_args!("{}: {why}", self.about.whose()));
        }
        reply.encode(&self.settings.greeting, &mut self.replies);
        if self.replies.len() >= REPLIES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.replies.is_empty() {
            return Ok(());
        }
        // It mostly has room. If not, or if it is no socket, or gone: below.
        let sent = net::send_now(self.ends.speak, &self.replies).unwrap_or(0);
        let rest = self.replies.get(sent..).unwrap_or_default();
        fd::write_all_within(self.ends.speak, rest, self.patience.timeout())?;
        self.replies.clear();
        Ok(())
    }

    /// Writes what there is to say and waits for the client.
    fn hear(&mut self, room: &mut [u8], letter: bool) -> io::Result<Heard> {
        self.flush()?;
        let left = self.patience.left(letter, clock::monotonic());
        let by_itself = self.limit.ends(self.ends.hear, left);
        let mut read = match by_itself {
            true => fd::read(self.ends.hear, room),
            false => fd::read_within(self.ends.hear, room, left),
        };
        if by_itself && is_silence(&read) {
            // A letter of who is hurried has longer than a command.
            let more = self.patience.left(letter, clock::monotonic());
            read = fd::read_within(self.ends.hear, room, more);
        }
        match read {
            Ok(0) => Ok(Heard::Eof),
            Ok(len) => {
                self.patience.heard(len);
                Ok(Heard::Bytes(len))
            }
            silent if is_silence(&silent) => Ok(Heard::Silence),
            Err(err) => Err(err),
        }
    }
}

/// Whether nothing came in time.
fn is_silence(read: &io::Result<usize>) -> bool {
    read.as_ref().is_err_and(|err| matches!(err.kind(), TimedOut | WouldBlock))
}

/// What came of waiting for a client.
enum Heard {
    /// So many bytes.
    Bytes(usize),
    /// It has gone.
    Eof,
    /// Nothing in time.
    Silence,
}
