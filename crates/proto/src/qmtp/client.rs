//! QMTP, sending: what goes before and behind a letter, and what a server's answers come to.

use alloc::format;
use alloc::vec::Vec;

use base::outcome::Outcome;
use base::plain::tame;
use base::{limits, netstring};

/// What goes before a letter of so many bytes, whose lines end in LF.
pub fn head(size: u64) -> Vec<u8> {
    format!("{}:\n", size.saturating_add(1)).into_bytes()
}

/// What goes behind it: the envelope.
pub fn tail<'a>(sender: &[u8], recipients: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut tail, mut list) = (b",".to_vec(), Vec::new());
    netstring::put(&mut tail, sender);
    recipients.for_each(|recipient| netstring::put(&mut list, recipient));
    netstring::put(&mut tail, &list);
    tail
}

/// This is no QMTP server; nothing it says counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// A server's answers, one for each recipient, read as hostile: bounded and cleaned.
#[derive(Debug)]
pub struct Answers {
    wanted: usize,
    heard: Vec<u8>,
    /// How each recipient fared, and the words.
    answers: Vec<(Outcome, Vec<u8>)>,
}

impl Answers {
    /// None yet, of so many.
    pub const fn new(wanted: usize) -> Self {
        Self { wanted, heard: Vec::new(), answers: Vec::new() }
    }

    /// Takes what the server says next; true once every recipient has an answer. What it says
    /// beyond is not looked at.
    ///
    /// # Errors
    /// [`Broken`]: it is no answer, or one over [`limits::REMOTE_REPLY_TOTAL`].
    pub fn take(&mut self, bytes: &[u8]) -> Result<bool, Broken> {
        self.heard.extend_from_slice(bytes);
        while self.answers.len() < self.wanted {
            let taken = netstring::take(&self.heard, limits::REMOTE_REPLY_TOTAL);
            let Some((answer, used)) = taken.map_err(|_| Broken)? else { return Ok(false) };
            let (&letter, text) = answer.split_first().ok_or(Broken)?;
            let outcome = Outcome::from_letter(letter).ok_or(Broken)?;
            self.answers.push((outcome, shown(text)));
            self.heard.drain(..used);
        }
        Ok(true)
    }

    /// The items of a report (qmail-remote(8)), in the words of a delivery by SMTP.
    pub fn items(&self, peer: &[u8]) -> Vec<Vec<u8>> {
        let said = |letter: &[u8], after: &[u8], text: &[u8]| {
            [letter, peer, after, b"\nRemote host said: ", text, b"\n"].concat()
        };
        let each = self.answers.iter().map(|(outcome, text)| match outcome {
            Outcome::Done => b"r".to_vec(),
            Outcome::Later => said(b"s", b" does not like recipient.", text),
            Outcome::Never => said(b"h", b" does not like recipient.", text),
        });
        let taken = self.answers.iter().rfind(|(outcome, _)| *outcome == Outcome::Done);
        let letter = match taken {
            Some((_, text)) => said(b"K", b" accepted message.", text),
            None => [b"DGiving up on ", peer, b".\n"].concat(),
        };
        each.chain([letter]).collect()
    }
}

/// The words as a report may show them: no control bytes, not without end.
fn shown(text: &[u8]) -> Vec<u8> {
    text.iter().take(limits::REMOTE_REPLY).map(|&byte| tame(byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(wanted: usize, wire: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut last = None;
        for size in 1..=wire.len() {
            let mut answers = Answers::new(wanted);
            let done = wire.chunks(size).map(|piece| answers.take(piece)).last();
            let items = (done == Some(Ok(true))).then(|| answers.items(b"192.0.2.1"));
            assert!(last.is_none_or(|last| last == items), "by {size}");
            last = Some(items);
        }
        last.flatten()
    }

    #[test]
    fn a_letter_is_framed_with_its_envelope() {
        assert_eq!(head(3), b"4:\n");
        let recipients: [&[u8]; 2] = [b"c@d", b""];
        assert_eq!(tail(b"a@b", recipients.into_iter()), b",3:a@b,9:3:c@d,0:,,");
    }

    #[test]
    fn every_recipient_has_an_item_and_the_letter_one() {
        let found =
            items(3, b"9:Kok 1 qp 2,6:Dno\x1bno,4:Zno\n,").map(|items| items.join(&b"|"[..]));
        assert_eq!(found, None, "9 is not the length");
        let found = items(3, b"10:Kok 1 qp 2,6:Dno\x1bno,3:Zno,").unwrap();
        let want = "r|h192.0.2.1 does not like recipient.\nRemote host said: no?no\n|\
            s192.0.2.1 does not like recipient.\nRemote host said: no\n|\
            K192.0.2.1 accepted message.\nRemote host said: ok 1 qp 2\n";
        assert_eq!(found.join(&b"|"[..]), want.as_bytes());
        let found = items(1, b"3:Dno,").unwrap();
        assert_eq!(found[1], b"DGiving up on 192.0.2.1.\n");
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let long = format!("{}:", limits::REMOTE_REPLY_TOTAL + 1);
        for bad in ["0:,", "2:X1,", "3:Kok;", "220 host ESMTP\r\n", &long] {
            let mut answers = Answers::new(1);
            assert_eq!(answers.take(bad.as_bytes()), Err(Broken), "{bad:?}");
        }
        assert_eq!(Answers::new(1).take(b"4:Kok"), Ok(false));
    }

    #[test]
    fn long_words_are_cut() {
        let mut wire = Vec::new();
        netstring::put(&mut wire, &[&b"D"[..], &[b'x'; 60_000]].concat());
        let mut answers = Answers::new(1);
        assert_eq!(answers.take(&wire), Ok(true));
        assert!(answers.items(b"::1")[0].len() < limits::REMOTE_REPLY + 100);
    }
}
