//! The conversation: bytes in, the machine's answers out.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use base::limits;
use proto::line::{Line, Lines};
use proto::pop3::OK;
use proto::pop3::letter::Wire;
use proto::pop3::maildrop::{Action, Input, List, Session};
use sys::net::ReadLimit;

use super::maildir::{Maildir, complain};

/// How long the client may be silent, or deaf (stock; RFC 1939 §3 asks for 600 at least).
const PATIENCE: Duration = Duration::from_secs(1_200);
/// Bytes read, and about as many written, at a time.
const PIECE: usize = 64 << 10;

/// Both directions of the connection, written in large pieces.
#[derive(Debug)]
pub(super) struct Ends<'a> {
    input: BorrowedFd<'a>,
    output: BorrowedFd<'a>,
    waiting: Vec<u8>,
    /// Where letters are read; made for the first.
    room: Vec<u8>,
    limit: ReadLimit,
}

impl<'a> Ends<'a> {
    pub(super) fn new(input: BorrowedFd<'a>, output: BorrowedFd<'a>) -> Self {
        let limit = ReadLimit::new(PATIENCE);
        Self { input, output, waiting: Vec::new(), room: Vec::new(), limit }
    }

    /// What the client says next; nothing if it is gone, deaf or dumb, which is all one: nobody is
    /// left to be answered.
    fn hear(&mut self, room: &mut [u8]) -> usize {
        let heard = if self.limit.ends(self.input, PATIENCE) {
            sys::fd::read(self.input, room)
        } else {
            sys::fd::read_within(self.input, room, PATIENCE)
        };
        heard.unwrap_or(0)
    }

    /// Says why there is no session.
    pub(super) fn refuse(&mut self, text: &str) {
        self.waiting.extend_from_slice(format!("-ERR {text}\r\n").as_bytes());
        let _gone = self.flush();
    }

    /// Writes what waits if it is enough for a large write.
    fn relieve(&mut self) -> io::Result<()> {
        if self.waiting.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    /// Writes everything that waits.
    fn flush(&mut self) -> io::Result<()> {
        let written = sys::fd::write_all_within(self.output, &self.waiting, PATIENCE);
        self.waiting.clear();
        written
    }
}

/// One session, until the client is gone. A connection that breaks changes nothing on disk.
pub(super) fn serve(ends: &mut Ends<'_>, maildir: &Maildir) {
    let (session, greeting) = Session::new(maildir);
    let mut room = [0; limits::COMMAND_LINE];
    let mut lines = Lines::new(limits::COMMAND_LINE);
    let Ok(Some(mut session)) = act(ends, maildir, session, greeting) else { return };
    loop {
        if ends.flush().is_err() {
            return;
        }
        let heard = ends.hear(&mut room);
        let mut rest = room.get(..heard).unwrap_or_default();
        if rest.is_empty() {
            return;
        }
        while let Some(line) = lines.take(&mut rest) {
            let (next, actions) = session.step(match line {
                Line::Text(text) => Input::Line(text),
                Line::TooLong => Input::TooLong,
                Line::Endless => Input::Deadline,
            });
            match act(ends, maildir, next, actions) {
                Ok(Some(next)) => session = next,
                Ok(None) | Err(_) => return,
            }
        }
    }
}

/// A session over the letters of a Maildir.
type Talk<'a> = Session<&'a Maildir>;

/// Carries out what the machine wants; the session, if it goes on.
fn act<'a>(
    ends: &mut Ends<'_>,
    maildir: &Maildir,
    mut session: Talk<'a>,
    mut actions: Vec<Action>,
) -> io::Result<Option<Talk<'a>>> {
    while !actions.is_empty() {
        let mut answer = None;
        for action in actions {
            match action {
                Action::Reply(bytes) => ends.waiting.extend_from_slice(&bytes),
                Action::List(list) => write_list(ends, &session, list)?,
                Action::Send { index, body_lines } => match maildir.open(index) {
                    Ok(letter) => {
                        let path = || maildir.path_of(index);
                        send(ends, letter, body_lines, |err| complain("read", &path(), err))?;
                    }
                    Err(err) => {
                        // Gone is what another session may have made it.
                        if err.kind() != ErrorKind::NotFound {
                            complain("open", &maildir.path_of(index), &err);
                        }
                        answer = Some(Input::Missing);
                    }
                },
                Action::Update => {
                    let gone = maildir.update(|index| session.is_deleted(index));
                    answer = Some(Input::Updated(gone));
                }
                Action::Close => return ends.flush().map(|()| None),
            }
        }
        let Some(answer) = answer else { break };
        (session, actions) = session.step(answer);
    }
    ends.relieve()?;
    Ok(Some(session))
}

fn write_list(ends: &mut Ends<'_>, session: &Talk<'_>, list: List) -> io::Result<()> {
    for index in session.indexes() {
        session.put_listed(list, index, &mut ends.waiting);
        ends.relieve()?;
    }
    ends.waiting.extend_from_slice(b".\r\n");
    Ok(())
}

/// Writes one letter behind its `+OK `. If it cannot be read to its end, the error ends the
/// session: a cut letter must not look whole.
fn send(
    ends: &mut Ends<'_>,
    mut letter: File,
    body_lines: Option<u64>,
    tell: impl Fn(&io::Error),
) -> io::Result<()> {
    let mut wire = Wire::new(body_lines);
    ends.room.resize(PIECE, 0);
    ends.waiting.extend_from_slice(OK);
    loop {
        let read = match letter.read(&mut ends.room) {
            Err(err) if err.kind() == ErrorKind::Interrupted => continue,
            read => read.inspect_err(&tell)?,
        };
        let piece = ends.room.get(..read).unwrap_or_default();
        if piece.is_empty() || !wire.feed(piece, &mut ends.waiting) {
            break;
        }
        ends.relieve()?;
    }
    wire.finish(&mut ends.waiting);
    ends.relieve()
}
