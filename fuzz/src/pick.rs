//! How an input is cut into what a target needs, so that seeds stay readable.
//!
//! The first line says what the other side answers; behind it comes what is fed, with three bytes
//! that no conversation needs as marks: where a packet ends, where patience ends, where the
//! client hangs up.

/// Here a packet ends and another begins.
pub(crate) const CUT: u8 = 0x1c;
/// Here the client falls silent until the server loses patience.
pub(crate) const SILENCE: u8 = 0x1d;
/// Here the client hangs up.
pub(crate) const HANGUP: u8 = 0x1e;

/// What happens on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// A packet.
    Bytes(&'a [u8]),
    /// Too long a silence.
    Silence,
    /// The end.
    Hangup,
}

/// The first line, and what follows it; without a line end all is fed.
pub(crate) fn head(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|&c| c == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (&[], data),
    }
}

/// The number in the first word of digits.
pub(crate) fn number(head: &[u8]) -> u64 {
    let digits = head.iter().skip_while(|c| !c.is_ascii_digit()).take_while(|c| c.is_ascii_digit());
    digits.fold(0, |n: u64, c| n.saturating_mul(10).saturating_add(u64::from(c - b'0')))
}

/// The events of a stream, in order.
pub(crate) fn events(mut stream: &[u8]) -> Vec<Event<'_>> {
    let mut events = Vec::new();
    while let Some(at) = stream.iter().position(|c| (CUT..=HANGUP).contains(c)) {
        events.push(Event::Bytes(&stream[..at]));
        match stream[at] {
            SILENCE => events.push(Event::Silence),
            HANGUP => events.push(Event::Hangup),
            _ => {}
        }
        stream = &stream[at + 1..];
    }
    events.push(Event::Bytes(stream));
    events
}

/// Letters that answer questions one after the other; the last one goes on for ever.
#[derive(Clone, Debug)]
pub(crate) struct Answers<'a> {
    letters: &'a [u8],
    at: usize,
}

impl<'a> Answers<'a> {
    /// The letters of the first word.
    pub(crate) fn new(head: &'a [u8]) -> Self {
        let end = head.iter().position(|&c| c == b' ').unwrap_or(head.len());
        Self { letters: &head[..end], at: 0 }
    }

    /// The next answer.
    pub(crate) fn next(&mut self) -> u8 {
        let letter = self.letters.get(self.at).or(self.letters.last()).copied().unwrap_or(b'y');
        self.at += 1;
        letter
    }
}

/// Takes numbers and pieces off the front of raw bytes; zeros when they are used up.
#[derive(Clone, Debug)]
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl<'a> Raw<'a> {
    /// Nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub(crate) fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// Two bytes.
    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    /// Eight bytes.
    pub(crate) fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.take(8);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }

    /// As many as there are, at most `n`.
    pub(crate) fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A piece whose length is its first byte.
    pub(crate) fn piece(&mut self) -> &'a [u8] {
        let n = usize::from(self.u8());
        self.take(n)
    }
}

/// The same bytes in pieces of varying size that depend on nothing but `salt`.
pub(crate) fn chunks(mut bytes: &[u8], salt: u8) -> Vec<&[u8]> {
    let (mut chunks, mut state) = (Vec::new(), u32::from(salt).wrapping_mul(2_654_435_761) | 1);
    while !bytes.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let most = if salt & 1 == 0 { 3 } else { 40 };
        let (chunk, rest) = bytes.split_at((1 + (state >> 16) as usize % most).min(bytes.len()));
        chunks.push(chunk);
        bytes = rest;
    }
    chunks
}
