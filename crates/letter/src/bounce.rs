//! The letter that tells a sender what could not be delivered, for two worlds: its text is QSBMF, the
//! qmail-send bounce message format (qmail-bounce(5)), to the byte, and the whole is a
//! `multipart/report` (RFC 3462, 3464). See `docs/decisions/bounces.md`.
//!
//! The pieces of a bounce, in this order: [`Bounce::head`]; each recipient's [`paragraph`];
//! [`Bounce::copy`]; each recipient's [`status`]; [`Bounce::attach`]; the bytes of the letter that
//! failed, as far as [`Bounce::fits`]; [`Bounce::tail`].

mod status;

use alloc::vec::Vec;

use base::address::{quote, quote2};
use base::limits;
use base::plain::tame;

pub use status::status;

/// What is added to the last report of a letter that has been in the queue too long.
pub const TOO_LONG: &[u8] =
    b"I'm not going to try again; this message has been in the queue too long.\n";

/// The sender of a double bounce; a failure of a letter from it is told to nobody.
pub const DOUBLE_SENDER: &[u8] = b"#@[]";

/// What stands below an original that is cut off.
const STRIPPED: &[u8] = b"\n--- End of message stripped.\n";

/// The control values a bounce is written with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// `control/bouncefrom`: the local part of its `From`.
    pub from: Vec<u8>,
    /// `control/bouncehost`: the host of its `From`, also named in the text.
    pub host: Vec<u8>,
    /// `control/doublebounceto`: who hears of bounces that bounce; empty if nobody does.
    pub double_to: Vec<u8>,
    /// `control/doublebouncehost`: where that is.
    pub double_host: Vec<u8>,
    /// `control/bouncemaxbytes`: bytes of the letter that failed at most; 0 is no limit.
    pub max: u64,
}

/// Who is to hear of a letter's failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// The letter's sender, at this address (a VERP sender without its `-@[]`).
    Single(&'a [u8]),
    /// The letter was a bounce itself: the postmaster.
    Double,
    /// The letter was a double bounce: nobody.
    Triple,
}

impl<'a> Kind<'a> {
    /// Decides by the envelope sender of the letter that failed.
    pub fn of(sender: &'a [u8]) -> Self {
        match sender.strip_suffix(b"-@[]").unwrap_or(sender) {
            b"" => Self::Double,
            DOUBLE_SENDER => Self::Triple,
            to => Self::Single(to),
        }
    }

    /// The envelope of the bounce: sender, recipient; `None` if there is none.
    pub fn envelope(self, names: &Names) -> Option<(&'static [u8], Vec<u8>)> {
        match self {
            Self::Single(to) => Some((b"", to.to_vec())),
            Self::Double => {
                Some((DOUBLE_SENDER, [&names.double_to[..], b"@", &names.double_host].concat()))
            }
            Self::Triple => None,
        }
    }
}

/// One bounce: what its pieces have in common.
#[derive(Clone, Copy, Debug)]
pub struct Bounce<'a> {
    /// Who hears of it.
    pub kind: Kind<'a>,
    /// The control values.
    pub names: &'a Names,
    /// Parts its parts; nobody who writes to us may know it beforehand.
    pub seam: u128,
    /// The first bytes of the letter that failed: all of its header, if it is not very long.
    pub first: &'a [u8],
    /// How many bytes that letter has.
    pub size: u64,
}

impl Bounce<'_> {
    /// Everything before the paragraphs. `date` is the value of the `Date` field
    /// (`22 Nov 2026 13:46:57 -0000`), `recipient` that of [`Kind::envelope`].
    ///
    /// A reader of QSBMF alone insists that the body begins with `Hi. This is the`, one of MIME
    /// alone that it begins with a delimiter; what stands before the first delimiter is the
    /// latter's to ignore. Without an empty line between them the former takes the delimiter for a
    /// part of the same paragraph.
    pub fn head(&self, recipient: &[u8], date: &[u8]) -> Vec<u8> {
        let hello =
            [b"Hi. This is the qmail-send program at ", &self.names.host[..], b".\n"].concat();
        let intro: &[u8] = match self.kind {
            Kind::Single(_) => {
                b"I'm afraid I wasn't able to deliver your message to the following addresses.\n\
                  This is a permanent error; I've given up. Sorry it didn't work out.\n\n"
            }
            Kind::Double | Kind::Triple => {
                b"I tried to deliver a bounce message to this address, but the bounce bounced!\n\n"
            }
        };
        let to = shown(recipient);
        let mut out = [b"Date: ", date, b"\nFrom: ", &quote(&self.names.from), b"@"].concat();
        out.extend([&self.names.host[..], b"\nTo: ", &to, b"\nSubject: failure notice\n"].concat());
        out.extend_from_slice(
            b"Auto-Submitted: auto-replied\nMIME-Version: 1.0\n\
              Content-Type: multipart/report; report-type=delivery-status;\n boundary=\"",
        );
        self.seam(&mut out);
        out.extend_from_slice(b"\"\nContent-Transfer-Encoding: 8bit\n\n");
        out.extend_from_slice(&hello);
        self.part(&mut out, b"text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit");
        out.extend_from_slice(&hello);
        out.extend_from_slice(intro);
        out
    }

    /// What stands between the paragraphs and the groups of fields: the break, the header of the
    /// letter that failed as far as it fits, and the beginning of the next part.
    pub fn copy(&self) -> Vec<u8> {
        let line: &[u8] = match self.kind {
            Kind::Single(_) => b"--- Below this line is a copy of the message.\n\n",
            Kind::Double | Kind::Triple => b"--- Below this line is the original bounce.\n\n",
        };
        let mut out = line.to_vec();
        self.return_path(&mut out);
        let most = limits::BOUNCE_HEADER.min(self.most());
        let header = header_end(self.first).and_then(|end| self.first.get(..end));
        let lines = whole_lines(header.unwrap_or(self.first), most);
        out.extend_from_slice(lines);
        out.push(b'\n');
        self.part(&mut out, b"message/delivery-status");
        out.extend_from_slice(b"Reporting-MTA: dns; ");
        out.extend_from_slice(&self.names.host);
        out.extend_from_slice(b"\n\n");
        out
    }

    /// What stands between the groups of fields and the bytes of the letter that failed. If that
    /// is cut within its header, only header lines come back (RFC 3462 §2).
    pub fn attach(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let in_header = match header_end(self.first) {
            Some(end) => end > self.most(),
            None => self.first.len() >= self.most(),
        };
        let kind: &[u8] = if in_header && self.is_cut() {
            b"text/rfc822-headers\nContent-Transfer-Encoding: 8bit"
        } else {
            b"message/rfc822\nContent-Transfer-Encoding: 8bit"
        };
        self.part(&mut out, kind);
        self.return_path(&mut out);
        out
    }

    /// As much of the next bytes of the letter that failed as the bounce takes; `before` is how many
    /// there were. The last it takes end with a line, if there is a line end among them.
    pub fn fits<'b>(&self, bytes: &'b [u8], before: u64) -> &'b [u8] {
        if !self.is_cut() {
            return bytes;
        }
        let left = usize::try_from(self.names.max.saturating_sub(before)).unwrap_or(usize::MAX);
        match bytes.get(..left) {
            None => bytes,
            Some(fitting) => match whole_lines(fitting, left) {
                b"" => fitting,
                lines => lines,
            },
        }
    }

    /// What stands below the letter that failed.
    pub fn tail(&self) -> Vec<u8> {
        let mut out = if self.is_cut() { STRIPPED.to_vec() } else { Vec::new() };
        out.extend_from_slice(b"\n--");
        self.seam(&mut out);
        out.extend_from_slice(b"--\n");
        out
    }

    fn is_cut(&self) -> bool {
        self.names.max != 0 && self.size > self.names.max
    }

    /// Bytes of the letter that failed at most.
    fn most(&self) -> usize {
        if self.is_cut() {
            usize::try_from(self.names.max).unwrap_or(usize::MAX)
        } else {
            usize::MAX
        }
    }

    /// `=_` begins no line of any encoding (RFC 2045 §6.7).
    fn seam(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"=_");
        let nibbles = self.seam.to_be_bytes();
        out.extend(nibbles.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(
            |nibble| match nibble {
                0..10 => b'0'.saturating_add(nibble),
                _ => b'a'.saturating_add(nibble).saturating_sub(10),
            },
        ));
    }

    fn part(&self, out: &mut Vec<u8>, kind: &[u8]) {
        out.extend_from_slice(b"--");
        self.seam(out);
        out.extend([b"\nContent-Type: ", kind, b"\n\n"].concat());
    }

    fn return_path(&self, out: &mut Vec<u8>) {
        let to = match self.kind {
            Kind::Single(sender) => sender,
            Kind::Double | Kind::Triple => b"",
        };
        out.extend([b"Return-Path: <", &shown(to)[..], b">\n"].concat());
    }
}

/// Where a letter's header ends: before its first empty line.
fn header_end(letter: &[u8]) -> Option<usize> {
    if letter.starts_with(b"\n") {
        return Some(0);
    }
    let empty = letter.windows(2).position(|two| two == b"\n\n")?;
    Some(empty.saturating_add(1))
}

/// As many whole lines as have room in `most` bytes.
fn whole_lines(text: &[u8], most: usize) -> &[u8] {
    let text = text.get(..most).unwrap_or(text);
    let end = text.iter().rposition(|&c| c == b'\n').map_or(0, |at| at.saturating_add(1));
    text.get(..end).unwrap_or_default()
}

/// The paragraph of one recipient: `<address>:`, the report, an empty line (qmail-bounce(5)).
///
/// `address` has its virtual-domain prefix removed. An empty line inside the report would end
/// the paragraph early for whoever parses the bounce: its line feed becomes `/`. Control characters
/// become `?`, and a line that no letter may have is broken.
pub fn paragraph(address: &[u8], report: &[u8]) -> Vec<u8> {
    let report = report.split(|&c| c == 0).next().unwrap_or_default();
    let mut text = Vec::with_capacity(address.len().saturating_add(report.len()).saturating_add(6));
    text.push(b'<');
    text.extend(address.iter().map(|&c| if c == b'\n' { b'_' } else { tame(c) }));
    text.extend_from_slice(b">:\n");
    for line in report.split_inclusive(|&c| c == b'\n') {
        for (n, piece) in line.chunks(limits::BOUNCE_LINE).enumerate() {
            if n > 0 && piece != b"\n" {
                text.push(b'\n');
            }
            text.extend(piece.iter().map(|&c| tame(c)));
        }
    }
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    // The last byte ends the report's last line: it stays.
    let last = text.len().saturating_sub(1);
    let mut before = 0;
    for (at, byte) in text.iter_mut().enumerate() {
        let here = *byte;
        if here == b'\n' && before == b'\n' && at < last {
            *byte = b'/';
        }
        before = here;
    }
    text.push(b'\n');
    text
}

/// An address in a header; a line end in it ends no line there.
fn shown(address: &[u8]) -> Vec<u8> {
    let in_line = |&c: &u8| if c == b'\n' { b'_' } else { tame(c) };
    quote2(&address.iter().map(in_line).collect::<Vec<_>>())
}

/// A paragraph with no more of its report than [`limits::BOUNCE_LINE`] bytes, for a bounce that has
/// too many long ones.
pub fn shortened(paragraph: &[u8]) -> Vec<u8> {
    let end = paragraph.iter().position(|&c| c == b'\n').unwrap_or(paragraph.len());
    let end = end.saturating_add(limits::BOUNCE_LINE);
    if paragraph.len() <= end.saturating_add(2) {
        return paragraph.to_vec();
    }
    let mut text = paragraph.get(..end).unwrap_or_default().trim_ascii_end().to_vec();
    text.extend_from_slice(b"\n\n");
    text
}

#[cfg(test)]
mod tests;
