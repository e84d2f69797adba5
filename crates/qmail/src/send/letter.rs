//! One letter as the scheduler remembers it: a few numbers and one slice, because there may be
//! a million of them.

use base::event::Channel;
use base::time::Moment;

/// What is kept of a letter while it is in the queue.
#[derive(Debug)]
pub(super) struct Letter {
    /// When it was queued; retries are counted from here.
    pub(super) birth: Moment,
    /// `sender\0`, then for each recipient a mark and `address\0`, rewritten.
    envelope: Box<[u8]>,
    /// Recipients neither delivered nor given up.
    pub(super) open: u32,
    /// Notes on it that queued has not acknowledged.
    pub(super) unwritten: u32,
    /// A recipient has failed: there will be a bounce.
    pub(super) failed: bool,
    /// Every recipient is settled and the letter is on its way out.
    pub(super) leaving: bool,
    /// queued has spoken of it since the connection was last made.
    pub(super) listed: bool,
}

/// What is remembered of one recipient beside the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Which way it goes.
    pub(super) channel: Channel,
    /// An earlier attempt may have got through: one of an earlier run, of which we never heard, or
    /// one that was put off after some of its instructions were done.
    pub(super) perhaps: bool,
}

impl Mark {
    const REMOTE: u8 = 1;
    const PERHAPS: u8 = 2;

    fn byte(self) -> u8 {
        let remote = if self.channel == Channel::Remote { Self::REMOTE } else { 0 };
        remote | if self.perhaps { Self::PERHAPS } else { 0 }
    }

    fn from_byte(byte: u8) -> Self {
        let channel = if byte & Self::REMOTE == 0 { Channel::Local } else { Channel::Remote };
        Self { channel, perhaps: byte & Self::PERHAPS != 0 }
    }
}

/// Builds a [`Letter`]'s slice.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// Begins with the sender; `room` is about how many bytes the envelope will have.
    pub(super) fn new(sender: &[u8], room: usize) -> Self {
        let mut bytes = Vec::with_capacity(room);
        base::text0::put(&mut bytes, sender);
        Self(bytes)
    }

    /// Adds a recipient and says where it stands.
    pub(super) fn put(&mut self, mark: Mark, address: &[u8]) -> u32 {
        let at = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.push(mark.byte());
        base::text0::put(&mut self.0, address);
        at
    }

    /// The letter, with no recipient open yet.
    pub(super) fn finish(self, birth: Moment) -> Letter {
        Letter {
            birth,
            envelope: self.0.into_boxed_slice(),
            open: 0,
            unwritten: 0,
            failed: false,
            leaving: false,
            listed: true,
        }
    }
}

impl Letter {
    /// The envelope sender, VERP not expanded.
    pub(super) fn sender(&self) -> &[u8] {
        text(&self.envelope)
    }

    /// The recipient at this place (a value [`Writer::put`] gave).
    pub(super) fn recipient(&self, at: u32) -> (Mark, &[u8]) {
        match self.envelope.get(at as usize..) {
            Some([mark, rest @ ..]) => (Mark::from_byte(*mark), text(rest)),
            _ => (Mark { channel: Channel::Local, perhaps: false }, b""),
        }
    }

    /// Remembers that an attempt is made for the recipient at this place: the next one looks first
    /// what this one, or one of an earlier run, has left.
    pub(super) fn attempted(&mut self, at: u32) {
        if let Some(mark) = self.envelope.get_mut(at as usize) {
            *mark |= Mark::PERHAPS;
        }
    }
}

fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|&c| c == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_stands_at_its_place() {
        let remote = Mark { channel: Channel::Remote, perhaps: true };
        let local = Mark { channel: Channel::Local, perhaps: false };
        let mut writer = Writer::new(b"s@x", 0);
        let places = [writer.put(remote, b"a@b"), writer.put(local, b"")];
        let mut letter = writer.finish(Moment::from_secs(1));
        assert_eq!(letter.sender(), b"s@x");
        assert_eq!(letter.recipient(places[0]), (remote, &b"a@b"[..]));
        assert_eq!(letter.recipient(places[1]), (local, &b""[..]));
        letter.attempted(places[1]);
        assert!(letter.recipient(places[1]).0.perhaps);
        assert_eq!(letter.recipient(places[0]), (remote, &b"a@b"[..]));
    }

    #[test]
    fn a_letter_to_one_reader_takes_less_than_two_hundred_bytes() {
        // In the map (about half full): number and letter; in its channel's heap (which may have
        // doubled just now): one item; its slice, and what the allocator adds.
        let map = 2 * (size_of::<u64>() + size_of::<Letter>());
        let heap = 2 * size_of::<super::super::channel::Item>();
        let slice = 24 + 1 + 24 + 2 + 16;
        assert!(map + heap + slice < 215, "{map} + {heap} + {slice}");
        assert_eq!((size_of::<Letter>(), size_of::<super::super::channel::Item>()), (40, 24));
    }
}
