//! Dialogues a postmaster can read, and their player.
//!
//! A session file says what the client sends (`C:`) and what the server must answer (`S:`). The
//! same file plays against the pure machine, against a server started for it, and against an
//! installed server. The format is described at [`Script`].
#![forbid(unsafe_code)]

mod parcel;
mod pattern;
mod post;
mod pure;
mod script;
mod wire;

use std::fmt;

pub use parcel::Parcel;
pub use post::Post;
pub use pure::{Pure, settings};
pub use script::{BadScript, Script, Setting, Turn};
pub use wire::Wire;

/// A letter that reached the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// Sender, then recipients.
    pub envelope: Vec<Vec<u8>>,
    /// The letter as it was queued, without the `Received` lines of this host.
    pub body: Vec<u8>,
}

/// The server's side of a dialogue.
pub trait Server {
    /// Sends bytes.
    ///
    /// # Errors
    /// Text: the server does not listen any more.
    fn send(&mut self, bytes: &[u8]) -> Result<(), String>;
    /// The next line of the server, without its CRLF; `None` if it has closed the connection.
    ///
    /// # Errors
    /// Text: no line in time, or a line without CRLF.
    fn line(&mut self) -> Result<Option<Vec<u8>>, String>;
    /// The next netstring of the server; `None` if it has closed the connection.
    ///
    /// # Errors
    /// Text: none in time, or it is none.
    fn netstring(&mut self) -> Result<Option<Vec<u8>>, String>;
    /// The client stays silent until the server loses patience.
    fn be_silent(&mut self);
    /// The client goes.
    fn hang_up(&mut self);
    /// The letters queued so far, if this can be known.
    fn queued(&mut self) -> Option<Vec<Queued>>;
}

/// A dialogue that went otherwise than the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The line of the file, from 1.
    pub line: usize,
    /// What the file wants.
    pub want: String,
    /// What happened.
    pub got: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: wanted {}, got {}", self.line, self.want, self.got)
    }
}

impl std::error::Error for Mismatch {}

/// Plays a script to its end. The server must have said nothing but what the script wants, and
/// have queued no other letters than the script lists.
///
/// # Errors
/// The first [`Mismatch`].
pub fn play(script: &Script, server: &mut dyn Server) -> Result<(), Mismatch> {
    let mut letters = Vec::new();
    for (line, turn) in &script.turns {
        let mismatch = |want: String, got: String| Mismatch { line: *line, want, got };
        let trouble = |got| mismatch(turn.to_string(), got);
        match turn {
            Turn::Client(bytes) => server.send(bytes).map_err(trouble)?,
            Turn::Server(pattern) | Turn::Answer(pattern) => {
                let line = matches!(turn, Turn::Server(_));
                let got = if line { server.line() } else { server.netstring() };
                let got = got.map_err(trouble)?;
                if !got.as_deref().is_some_and(|got| pattern::matches(pattern, got)) {
                    let text = |got: Vec<u8>| format!("\"{}\"", got.escape_ascii());
                    return Err(trouble(got.map_or_else(|| "the end".to_owned(), text)));
                }
            }
            Turn::Closed => match server.line().map_err(trouble)? {
                None => {}
                Some(got) => return Err(trouble(got.escape_ascii().to_string())),
            },
            Turn::Silence => server.be_silent(),
            Turn::HangUp => server.hang_up(),
            Turn::Queued(envelope) => {
                let envelope = envelope.clone();
                letters.push((*line, Queued { envelope, body: Vec::new() }));
            }
            Turn::Body(text) => {
                if let Some((_, letter)) = letters.last_mut() {
                    letter.body.extend_from_slice(text);
                }
            }
        }
    }
    compare(&letters, server.queued())
}

/// Whether the letters that were queued are those the script lists.
fn compare(want: &[(usize, Queued)], got: Option<Vec<Queued>>) -> Result<(), Mismatch> {
    let Some(got) = got else { return Ok(()) };
    let end = want.last().map_or(0, |(line, _)| *line);
    for at in 0..want.len().max(got.len()) {
        let (want, got) = (want.get(at), got.get(at));
        let line = want.map_or(end, |(line, _)| *line);
        let same = |(want, got): (&(usize, Queued), &Queued)| {
            want.1.envelope == got.envelope && (want.1.body.is_empty() || want.1.body == got.body)
        };
        if !want.zip(got).is_some_and(same) {
            let want = want.map_or_else(|| "no more letters".to_owned(), |w| w.1.to_string());
            let got = got.map_or_else(|| "no letter".to_owned(), Queued::to_string);
            return Err(Mismatch { line, want, got });
        }
    }
    Ok(())
}

impl fmt::Display for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let envelope: Vec<String> =
            self.envelope.iter().map(|a| format!("<{}>", a.escape_ascii())).collect();
        write!(f, "a letter {} \"{}\"", envelope.join(" "), self.body.escape_ascii())
    }
}
