//! One connection from its first byte to its end: read, take apart, judge, carry out, write.

use std::io::{self, ErrorKind};
use std::time::Duration;

use base::limits;
use proto::packet::{Action, Broken, Packets, Part, Session};
use proto::smtp::server::{Verdict, Welcome};
use store::client::QueueClient;
use store::home::Home;
use sys::{clock, fd, net};

use crate::smtpd::circumstances::Circumstances;
use crate::smtpd::intake::Intake;
use crate::smtpd::talk::Ends;
use crate::smtpd::welcome::Door;
use crate::smtpd::{received, say};

use super::service::Protocol;

/// Bytes read at a time.
const ROOM: usize = 64 << 10;
/// Answers are written when input is awaited, or when there are this many bytes of them.
const REPLIES: usize = 64 << 10;
/// A session that runs out of time, or cannot go on, ends with this.
const BROKEN: i32 = 111;

/// Everything one conversation needs but its state.
pub(super) struct Talk<'a> {
    protocol: Protocol,
    ends: Ends<'a>,
    about: &'a Circumstances,
    /// Who judges recipients; nobody where every recipient is welcome.
    door: Option<Door<'a>>,
    intake: Intake<'a>,
    replies: Vec<u8>,
    /// When the session is over, whatever it brings.
    until: Duration,
    /// The longest silence.
    silence: Duration,
}

impl<'a> Talk<'a> {
    pub(super) fn new(
        protocol: Protocol,
        ends: Ends<'a>,
        home: &'a Home,
        about: &'a Circumstances,
        door: Option<Door<'a>>,
        queued: &'a mut Option<QueueClient>,
    ) -> Self {
        let (life, silence) = match about.is_hurried() {
            true => (limits::HURRIED_LIFE, limits::HURRIED_SESSION),
            false => (limits::PACKET_SESSION, limits::PACKET_SESSION),
        };
        // Not a TCP connection perhaps: then there is nothing to set.
        let _ = net::nodelay(ends.speak);
        let intake = Intake::new(protocol.name(), home, about, queued);
        let until = clock::monotonic().saturating_add(life);
        Self { protocol, ends, about, door, intake, replies: Vec::new(), until, silence }
    }

    /// Talks until the end; the exit code.
    pub(super) fn run(mut self, session: &mut dyn Session) -> i32 {
        let (mut packets, mut room) = (self.protocol.packets(), vec![0; ROOM]);
        let code = loop {
            let mut bytes = match self.hear(&mut room) {
                Ok(0) => break 0,
                Ok(len) => room.get(..len).unwrap_or_default(),
                Err(err) if err.kind() == ErrorKind::TimedOut => break BROKEN,
                // Who is gone has nothing more to say, and nothing to hear.
                Err(_) => break 0,
            };
            if let Some(code) = self.take(session, &mut packets, &mut bytes) {
                break code;
            }
        };
        // Whatever broke the conversation, no letter may be half begun.
        self.intake.abort();
        code
    }

    /// Takes what was heard; the exit code if that was the end.
    fn take(
        &mut self,
        session: &mut dyn Session,
        packets: &mut Packets,
        bytes: &mut &[u8],
    ) -> Option<i32> {
        let mut letter = Vec::new();
        while let Some(part) = packets.take(bytes, &mut letter) {
            let code = match part {
                Ok(part) => self.part(session, part, &letter),
                Err(broken) => {
                    self.complain(broken);
                    let _gone = self.flush();
                    Some(i32::from(broken.exit_code()))
                }
            };
            if code.is_some() {
                return code;
            }
            letter.clear();
        }
        None
    }

    /// One part, and whatever answers it leads to.
    fn part(&mut self, session: &mut dyn Session, part: Part, letter: &[u8]) -> Option<i32> {
        let mut actions = session.part(part);
        while !actions.is_empty() {
            let mut answer = None;
            for action in actions {
                match self.act(action, letter) {
                    Done::Nothing => {}
                    Done::Answer(verdict) => answer = Some(verdict),
                    Done::End(code) => return Some(code),
                }
            }
            actions = answer.map(|verdict| session.answer(verdict)).unwrap_or_default();
        }
        None
    }

    fn act(&mut self, action: Action, letter: &[u8]) -> Done {
        match action {
            Action::Begin => {
                let word = self.protocol.word();
                let received = received::line(self.about, word, None, clock::now());
                return Done::Answer(self.intake.begin(&received));
            }
            Action::Body => self.intake.chunk(letter),
            Action::Ask { address, relay } => {
                let welcome = self.door.as_mut().map(|door| door.welcome(&address, relay));
                if let Some(trouble) = self.door.as_mut().and_then(Door::trouble) {
                    say(self.protocol.name(), format_args!("warning: {trouble}"));
                }
                return Done::Answer(Verdict::Recipient(welcome.unwrap_or(Welcome::Yes)));
            }
            Action::Commit { envelope } => return Done::Answer(self.intake.commit(&envelope)),
            Action::Abort => self.intake.abort(),
            Action::Reply(bytes) => {
                self.replies.extend_from_slice(&bytes);
                if self.replies.len() >= REPLIES && self.flush().is_err() {
                    return Done::End(BROKEN);
                }
            }
            Action::Close(code) => {
                let flushed = self.flush();
                return Done::End(if flushed.is_err() { BROKEN } else { i32::from(code) });
            }
        }
        Done::Nothing
    }

    fn complain(&self, broken: Broken) {
        let why = match broken {
            Broken::Format => "not the protocol",
            Broken::TooLong => "more than is taken",
        };
        say(self.protocol.name(), format_args!("{}: {why}", self.about.whose()));
    }

    /// How long may still be waited.
    fn left(&self) -> Duration {
        self.until.saturating_sub(clock::monotonic()).min(self.silence)
    }

    /// Writes what there is to say and waits for the client.
    fn hear(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.flush()?;
        fd::read_within(self.ends.hear, room, self.left())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.replies.is_empty() {
            return Ok(());
        }
        let written = fd::write_all_within(self.ends.speak, &self.replies, self.left());
        self.replies.clear();
        written
    }
}

/// What came of an action.
enum Done {
    Nothing,
    /// The session waits for this.
    Answer(Verdict),
    /// The conversation is over, with this exit code.
    End(i32),
}
