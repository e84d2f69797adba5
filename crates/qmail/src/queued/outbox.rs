//! What is to be sent to one client: bytes, and descriptors at their places among them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use base::wire::queue::Answer;
use sys::pass;

/// Answers on their way.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    parts: VecDeque<Part>,
    waiting: usize,
}

#[derive(Debug)]
struct Part {
    bytes: Vec<u8>,
    sent: usize,
    fd: Option<OwnedFd>,
}

impl Outbox {
    /// Bytes that wait to be sent.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Is there nothing to send?
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Appends an answer.
    pub(super) fn push(&mut self, answer: &Answer<'_>) {
        match self.parts.back_mut().filter(|part| part.fd.is_none()) {
            Some(part) => {
                let before = part.bytes.len();
                answer.encode(&mut part.bytes);
                self.waiting = self.waiting.saturating_add(part.bytes.len().saturating_sub(before));
            }
            None => self.push_part(answer, None),
        }
    }

    /// Appends an answer that carries a descriptor.
    pub(super) fn push_with(&mut self, answer: &Answer<'_>, fd: OwnedFd) {
        self.push_part(answer, Some(fd));
    }

    fn push_part(&mut self, answer: &Answer<'_>, fd: Option<OwnedFd>) {
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        self.waiting = self.waiting.saturating_add(bytes.len());
        self.parts.push_back(Part { bytes, sent: 0, fd });
    }

    /// Moves all of another's answers behind ours.
    pub(super) fn take(&mut self, other: &mut Self) {
        self.waiting = self.waiting.saturating_add(std::mem::take(&mut other.waiting));
        self.parts.append(&mut other.parts);
    }

    /// Sends as much as the socket takes.
    pub(super) fn send(&mut self, sock: &OwnedFd) -> io::Result<()> {
        while let Some(part) = self.parts.front_mut() {
            let rest = part.bytes.get(part.sent..).unwrap_or_default();
            let fds: Vec<_> = part.fd.iter().map(AsFd::as_fd).collect();
            match pass::send(sock, rest, &fds) {
                Ok(n) => {
                    part.sent = part.sent.saturating_add(n);
                    part.fd = None;
                    self.waiting = self.waiting.saturating_sub(n);
                    if part.sent >= part.bytes.len() {
                        self.parts.pop_front();
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
