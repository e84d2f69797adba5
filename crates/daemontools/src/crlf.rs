//! addcr: put a CR before every LF. delcr: take the CR before a LF away.
//!
//! *Runs as* whoever calls them · *hears* descriptor 0 · *opens* nothing · *speaks to* nobody:
//! descriptor 1.

use crate::message::TEMPORARY;
use std::ffi::OsString;
use std::io;

/// What is read at once.
const PIECE: usize = 64 << 10;

/// `addcr`. Exit code 0 at the end, 111 if reading or writing fails; says nothing.
pub(crate) fn addcr(_args: &[OsString]) -> i32 {
    through(Change::Add)
}

/// `delcr`. As `addcr`.
pub(crate) fn delcr(_args: &[OsString]) -> i32 {
    through(Change::remove())
}

fn through(change: Change) -> i32 {
    if copy(change).is_ok() { 0 } else { TEMPORARY }
}

/// Descriptor 0 to descriptor 1, changed on the way.
fn copy(mut change: Change) -> io::Result<()> {
    let (mut piece, mut out) = (vec![0; PIECE], Vec::new());
    loop {
        let got = sys::fd::read(sys::fd::stdin(), &mut piece)?;
        if got == 0 {
            change.end(&mut out);
            return sys::fd::write_all(sys::fd::stdout(), &out);
        }
        change.take(piece.get(..got).unwrap_or_default(), &mut out);
        sys::fd::write_all(sys::fd::stdout(), &out)?;
        out.clear();
    }
}

/// What happens to line ends on their way. How the bytes are cut makes no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    Nothing,
    /// A CR is put before every LF, also where there is one.
    Add,
    /// One CR directly before each LF is taken away.
    Remove {
        /// A CR has come, and not what follows it.
        cr: bool,
    },
    /// A CR is put before each LF that has none.
    Fix {
        /// The last byte was a CR.
        cr: bool,
    },
}

impl Change {
    /// Takes CRs away.
    pub(crate) const fn remove() -> Self {
        Self::Remove { cr: false }
    }

    /// Puts missing CRs in.
    pub(crate) const fn fix() -> Self {
        Self::Fix { cr: false }
    }

    /// The next bytes; at most twice as many come out.
    pub(crate) fn take(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Nothing => out.extend_from_slice(piece),
            Self::Add => add(piece, out),
            Self::Remove { cr } => remove(cr, piece, out),
            Self::Fix { cr } => fix(cr, piece, out),
        }
    }

    /// There are no more: a CR at the very end stays.
    pub(crate) fn end(self, out: &mut Vec<u8>) {
        if let Self::Remove { cr: true } = self {
            out.push(b'\r');
        }
    }
}

fn add(piece: &[u8], out: &mut Vec<u8>) {
    for line in piece.split_inclusive(|&byte| byte == b'\n') {
        match line.split_last() {
            Some((b'\n', text)) => {
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
            _ => out.extend_from_slice(line),
        }
    }
}

fn remove(cr: &mut bool, piece: &[u8], out: &mut Vec<u8>) {
    for &byte in piece {
        if *cr && byte != b'\n' {
            out.push(b'\r');
        }
        *cr = byte == b'\r';
        if !*cr {
            out.push(byte);
        }
    }
}

fn fix(cr: &mut bool, piece: &[u8], out: &mut Vec<u8>) {
    for &byte in piece {
        if byte == b'\n' && !*cr {
            out.push(b'\r');
        }
        *cr = byte == b'\r';
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out, whatever way the bytes are cut.
    fn changed(change: Change, text: &[u8]) -> Vec<u8> {
        let run = |size: usize| {
            let (mut change, mut out) = (change, Vec::new());
            text.chunks(size).for_each(|piece| change.take(piece, &mut out));
            change.end(&mut out);
            out
        };
        let whole = run(text.len().max(1));
        for size in 1..=text.len() {
            assert_eq!(run(size), whole, "{text:?} by {size}");
        }
        whole
    }

    #[test]
    fn every_line_feed_gets_a_cr() {
        assert_eq!(changed(Change::Add, b"a\nb\r\n\n\rpart"), b"a\r\nb\r\r\n\r\n\rpart");
        assert_eq!(changed(Change::Add, b""), b"");
    }

    #[test]
    fn one_cr_before_a_line_feed_goes_and_every_other_stays() {
        assert_eq!(changed(Change::remove(), b"a\r\nb\r\r\n\n\rc\r"), b"a\nb\r\n\n\rc\r");
        assert_eq!(changed(Change::remove(), b"\r\r"), b"\r\r");
    }

    #[test]
    fn a_line_feed_without_a_cr_gets_one() {
        assert_eq!(changed(Change::fix(), b"a\nb\r\n\n\r\r\nc"), b"a\r\nb\r\n\r\n\r\r\nc");
        assert_eq!(changed(Change::Nothing, b"a\n\r"), b"a\n\r");
    }
}
