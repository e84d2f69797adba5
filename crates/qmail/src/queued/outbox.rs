//! What is to be sent to one client: bytes, and descriptors at their places among them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use base::wire::queue::Answer;
use sys::pass;

/// Descriptors that one message carries.
const TOGETHER: usize = 16;
/// Bytes of an empty outbox that are kept.
const KEPT: usize = 4 << 10;

/// Answers on their way.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// Each with the place where its answer begins.
    fds: VecDeque<(usize, OwnedFd)>,
}

impl Outbox {
    /// Bytes that wait to be sent.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len().saturating_sub(self.sent)
    }

    /// Descriptors that wait to be sent.
    pub(super) fn descriptors(&self) -> usize {
        self.fds.len()
    }

    /// Is there nothing to send?
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends an answer.
    pub(super) fn push(&mut self, answer: &Answer<'_>) {
        answer.encode(&mut self.bytes);
    }

    /// Appends an answer that carries a descriptor.
    pub(super) fn push_with(&mut self, answer: &Answer<'_>, fd: OwnedFd) {
        self.fds.push_back((self.bytes.len(), fd));
        self.push(answer);
    }

    /// Sends as much as the socket takes. Descriptors never come later than their answers.
    pub(super) fn send(&mut self, sock: &OwnedFd) -> io::Result<()> {
        while self.sent < self.bytes.len() {
            let end = self.fds.get(TOGETHER).map_or(self.bytes.len(), |(at, _)| *at);
            let rest = self.bytes.get(self.sent..end).unwrap_or_default();
            let fds: Vec<_> = self.fds.iter().take(TOGETHER).map(|(_, fd)| fd.as_fd()).collect();
            match pass::send(sock, rest, &fds) {
                Ok(n) => {
                    let given = fds.len();
                    self.sent = self.sent.saturating_add(n);
                    self.fds.drain(..given);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.drop_sent();
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
        self.drop_sent();
        Ok(())
    }

    fn drop_sent(&mut self) {
        let sent = std::mem::take(&mut self.sent);
        if sent >= self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT);
            return;
        }
        self.bytes.drain(..sent);
        for (at, _) in &mut self.fds {
            *at = at.saturating_sub(sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn every_descriptor_arrives_in_order_and_no_later_than_its_answer() {
        let (here, there) = pass::pair(pass::Kind::Stream).unwrap();
        let mut outbox = Outbox::default();
        for n in 0..40_u8 {
            outbox.push(&Answer::Ack(n.into()));
            let fd = sys::fd::memfd("n", &[n]).unwrap();
            outbox.push_with(&Answer::Opened(n.into()), fd);
        }
        assert_eq!((outbox.descriptors(), outbox.waiting()), (40, 40 * 26));
        outbox.send(&here).unwrap();
        assert!(outbox.is_empty() && outbox.descriptors() == 0);
        let (mut bytes, mut fds) = (0, Vec::new());
        let mut piece = [0; 30];
        while bytes < 40 * 26 {
            let (n, came) = pass::recv(&there, &mut piece, TOGETHER).unwrap();
            bytes += n;
            fds.extend(came);
            assert!(fds.len() * 26 >= bytes - bytes % 26);
        }
        for (n, fd) in (0..).zip(fds) {
            let mut letter = Vec::new();
            std::fs::File::from(fd).read_to_end(&mut letter).unwrap();
            assert_eq!(letter, [n]);
        }
    }
}
