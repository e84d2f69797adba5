//! What of a letter may be shown on a terminal: a stranger wrote it, and terminals obey.

use std::io;

use letter::header::{Head, parts};

/// So much of a letter is looked at.
pub(super) const LOOKED_AT: usize = 64 << 10;

/// The beginning of a letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Glance {
    /// The value of `Return-Path`, without its brackets.
    pub(super) return_path: Vec<u8>,
    /// The value of `Delivered-To`, the topmost.
    pub(super) delivered_to: Vec<u8>,
    /// The value of `From`.
    pub(super) from: Vec<u8>,
    /// The subject, and then the body.
    pub(super) text: Vec<u8>,
}

/// Looks at the first [`LOOKED_AT`] bytes of a letter.
pub(super) fn glance(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<Glance> {
    let (mut beginning, mut done) = (vec![0; LOOKED_AT], 0_usize);
    while let Some(room) = beginning.get_mut(done..).filter(|room| !room.is_empty()) {
        match read(room)? {
            0 => break,
            n => done = done.saturating_add(n),
        }
    }
    beginning.truncate(done);
    Ok(Glance::of(&beginning))
}

impl Glance {
    fn of(beginning: &[u8]) -> Self {
        let mut head = Head::new(LOOKED_AT);
        let taken = head.feed(beginning).unwrap_or(beginning.len());
        let (fields, body) = head.finish();
        let value = |name: &str| {
            let mut found = fields.iter().filter_map(|field| parts(field));
            let found = found.find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
            found.map(|(_, value)| value.trim_ascii()).unwrap_or_default().to_vec()
        };
        let body = [&body, beginning.get(taken..).unwrap_or_default()].concat();
        let mut text = value("Subject");
        if !text.is_empty() {
            text.push(b'\n');
        }
        text.extend_from_slice(body.trim_ascii());
        let path = value("Return-Path");
        let inside = path.strip_prefix(b"<").and_then(|path| path.strip_suffix(b">"));
        Self {
            return_path: inside.unwrap_or(&path).to_vec(),
            delivered_to: value("Delivered-To"),
            from: value("From"),
            text: text.trim_ascii().to_vec(),
        }
    }
}

/// At most `max` characters of a text in which nothing steers a terminal: what would is a slash, as
/// is what is not UTF-8.
pub(super) fn plain(text: &[u8], max: usize) -> String {
    let steers = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER;
    let text = String::from_utf8_lossy(text);
    text.chars().take(max).map(|c| if steers(c) { '/' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_has_four_things_however_the_letter_comes() {
        let letter = b"Return-Path: <a@b>\nDelivered-To: c@d\nDelivered-To: x@y\nFrom: A <a@b>\n\
                       subject: hi\n\nline 1\nline 2\n\n";
        for step in [1, 7, 1_000] {
            let mut pieces = letter.chunks(step);
            let read = |buf: &mut [u8]| {
                let piece = pieces.next().unwrap_or_default();
                buf[..piece.len()].copy_from_slice(piece);
                Ok(piece.len())
            };
            let glance = glance(read).unwrap();
            assert_eq!(
                (&glance.return_path[..], &glance.delivered_to[..]),
                (&b"a@b"[..], &b"c@d"[..])
            );
            assert_eq!(glance.from, b"A <a@b>");
            assert_eq!(glance.text, b"hi\nline 1\nline 2");
        }
        assert_eq!(Glance::of(b""), Glance::default());
        assert_eq!(Glance::of(b"no field\n").text, b"no field");
        assert_eq!(Glance::of(b"Return-Path: odd\n\n").return_path, b"odd");
    }

    #[test]
    fn a_letter_longer_than_a_glance_is_cut() {
        let mut head = b"Subject: x\n\n".to_vec();
        let read = |buf: &mut [u8]| {
            buf.fill(b'y');
            let n = head.len();
            buf[..n].copy_from_slice(&head);
            head.clear();
            Ok(buf.len())
        };
        let text = glance(read).unwrap().text;
        assert!(text.starts_with(b"x\ny") && text.len() < LOOKED_AT);
    }

    #[test]
    fn nothing_of_a_stranger_steers_the_terminal() {
        assert_eq!(plain(b"a\x1b[2J\r\nb\x07\x7f\xff\xc2\x9b", 99), "a/[2J//b////");
        assert_eq!(plain("grün".as_bytes(), 3), "grü");
    }
}
