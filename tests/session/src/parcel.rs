//! The QMTP and QMQP machines as a server: no socket, no process, no file.

use base::text0;
use proto::packet::{Action, Packets, Part, Session};
use proto::smtp::server::Verdict;
use proto::{qmqp, qmtp};

use crate::pure::{World, env, settings};
use crate::script::Script;
use crate::wire::take_netstring;
use crate::{Queued, Server};

/// One of the machines, set up as a script wants.
pub struct Parcel {
    world: World,
    packets: Packets,
    session: Box<dyn Session>,
    /// The most bytes the machine is fed at once.
    chunk: usize,
    said: Vec<u8>,
    letter: Option<Vec<u8>>,
    letters: Vec<Queued>,
    closed: bool,
}

impl Parcel {
    /// A QMTP session as `script` wants it; the machine is fed at most `chunk` bytes at once.
    pub fn qmtp(script: &Script, chunk: usize) -> Self {
        let relay = env(script, "RELAYCLIENT").map(Into::into);
        let session = qmtp::Session::new(settings(script).databytes, relay);
        Self::new(script, Packets::qmtp(), Box::new(session), chunk)
    }

    /// A QMQP session, likewise.
    pub fn qmqp(script: &Script, chunk: usize) -> Self {
        Self::new(script, Packets::qmqp(), Box::new(qmqp::Session::default()), chunk)
    }

    fn new(script: &Script, packets: Packets, session: Box<dyn Session>, chunk: usize) -> Self {
        Self {
            world: World::of(script),
            packets,
            session,
            chunk: chunk.max(1),
            said: Vec::new(),
            letter: None,
            letters: Vec::new(),
            closed: false,
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        let mut body = Vec::new();
        while !self.closed
            && let Some(part) = self.packets.take(&mut bytes, &mut body)
        {
            match part {
                Ok(part) => self.part(part, &body),
                Err(_) => self.closed = true,
            }
            body.clear();
        }
    }

    fn part(&mut self, part: Part, body: &[u8]) {
        let mut actions = self.session.part(part);
        while !actions.is_empty() {
            let mut answer = None;
            for action in actions {
                answer = self.act(action, body).or(answer);
            }
            actions = answer.map(|verdict| self.session.answer(verdict)).unwrap_or_default();
        }
    }

    fn act(&mut self, action: Action, body: &[u8]) -> Option<Verdict> {
        match action {
            Action::Begin => {
                self.letter = Some(Vec::new());
                return Some(Verdict::Begun);
            }
            Action::Body => {
                if let Some(letter) = &mut self.letter {
                    letter.extend_from_slice(body);
                }
            }
            Action::Ask { address, relay } => {
                return Some(Verdict::Recipient(self.world.welcome(&address, relay)));
            }
            Action::Commit { envelope } => {
                let body = self.letter.take()?;
                if let Some(refused) = self.world.refused() {
                    return Some(refused);
                }
                let envelope = text0::fields(&envelope)?.map(<[u8]>::to_vec).collect();
                self.letters.push(Queued { envelope, body });
                return Some(Verdict::Queued { secs: 1_795_355_129, pid: 11_757 });
            }
            Action::Abort => self.letter = None,
            Action::Reply(bytes) => self.said.extend(bytes),
            Action::Close(_) => self.closed = true,
        }
        None
    }
}

impl Server for Parcel {
    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        bytes.chunks(self.chunk).for_each(|chunk| self.feed(chunk));
        Ok(())
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        match (self.said.is_empty(), self.closed) {
            (true, true) => Ok(None),
            _ => Err(format!("more: {}", self.said.escape_ascii())),
        }
    }

    fn netstring(&mut self) -> Result<Option<Vec<u8>>, String> {
        match take_netstring(&mut self.said)? {
            Some(answer) => Ok(Some(answer)),
            None if self.closed => Ok(None),
            None => Err("no answer".to_owned()),
        }
    }

    fn be_silent(&mut self) {
        self.closed = true;
    }

    fn hang_up(&mut self) {
        self.closed = true;
    }

    fn queued(&mut self) -> Option<Vec<Queued>> {
        Some(self.letters.clone())
    }
}
