//! What a foreign server answers, read as hostile: bounded, and every prefix harmless.

use alloc::vec::Vec;

use base::limits;
use base::plain::tame;

/// One whole reply of one or more lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its first three digits, 200 to 599.
    pub code: u16,
    /// All its lines, each ended by LF; at most [`limits::REMOTE_REPLY`] bytes.
    pub text: Vec<u8>,
}

impl Reply {
    /// The lines without their codes: what `EHLO` lists, after the first.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split(|&c| c == b'\n').filter_map(|line| line.get(4..))
    }
}

/// This is no SMTP server, or one gone mad; nothing it says counts any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Puts replies together from whatever pieces they come in.
#[derive(Debug, Default)]
pub struct Replies {
    text: Vec<u8>,
    /// Bytes of this reply so far, kept or not.
    total: usize,
    /// The first bytes of the line being read: code and separator.
    head: Vec<u8>,
    code: Option<u16>,
}

impl Replies {
    /// Takes from the front of `input` until a reply is whole; `None` if it needs more.
    ///
    /// # Errors
    /// [`Broken`] for a line without a code, or a reply over [`limits::REMOTE_REPLY_TOTAL`].
    pub fn take(&mut self, input: &mut &[u8]) -> Option<Result<Reply, Broken>> {
        while let Some((&c, rest)) = input.split_first() {
            *input = rest;
            match self.byte(c) {
                Ok(false) => {}
                Ok(true) => {
                    let code = self.code?;
                    let reply = Reply { code, text: core::mem::take(&mut self.text) };
                    *self = Self::default();
                    return Some(Ok(reply));
                }
                Err(Broken) => return Some(Err(Broken)),
            }
        }
        None
    }

    /// Takes one byte; true if it ended the reply.
    fn byte(&mut self, c: u8) -> Result<bool, Broken> {
        self.total = self.total.saturating_add(1);
        if self.total > limits::REMOTE_REPLY_TOTAL {
            return Err(Broken);
        }
        self.keep(c);
        if c != b'\n' {
            if self.head.len() < 4 && c != b'\r' {
                self.head.push(c);
            }
            return Ok(false);
        }
        let code = code(&self.head)?;
        self.code.get_or_insert(code);
        let last = self.head.get(3) != Some(&b'-');
        self.head.clear();
        Ok(last)
    }

    /// Keeps what a report may show: no CR, no control bytes.
    fn keep(&mut self, c: u8) {
        if c == b'\r' || self.text.len() >= limits::REMOTE_REPLY {
            return;
        }
        self.text.push(tame(c));
    }
}

/// The code a line begins with.
fn code(head: &[u8]) -> Result<u16, Broken> {
    let (&[a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'], _) =
        head.split_first_chunk::<3>().ok_or(Broken)?
    else {
        return Err(Broken);
    };
    let digit = |d: u8| u16::from(d.wrapping_sub(b'0'));
    Ok(digit(a)
        .saturating_mul(100)
        .saturating_add(digit(b).saturating_mul(10))
        .saturating_add(digit(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bytes: &[u8]) -> Option<Result<Reply, Broken>> {
        let mut input = bytes;
        Replies::default().take(&mut input)
    }

    #[test]
    fn a_reply_is_the_same_however_it_is_cut() {
        let wire = b"250-one\r\n250-\r\n250 SIZE 1\r\n354 go\r\n";
        for chunk in 1..wire.len() {
            let (mut replies, mut got) = (Replies::default(), Vec::new());
            for mut part in wire.chunks(chunk) {
                while let Some(reply) = replies.take(&mut part) {
                    got.push(reply.unwrap());
                }
            }
            let texts: Vec<_> = got.iter().map(|r| (r.code, r.text.as_slice())).collect();
            assert_eq!(texts, [(250, &b"250-one\n250-\n250 SIZE 1\n"[..]), (354, b"354 go\n")]);
        }
    }

    #[test]
    fn no_prefix_of_a_reply_is_a_reply_and_none_is_an_error() {
        let wire = b"553-no\r\n553-5.7.2\r\n553\r\n";
        for len in 0..wire.len() {
            assert_eq!(one(&wire[..len]), None, "{len}");
        }
        assert_eq!(one(wire).unwrap().unwrap().text, b"553-no\n553-5.7.2\n553\n");
    }

    #[test]
    fn bare_line_feeds_and_bare_codes_are_read() {
        assert_eq!(one(b"220\n").unwrap().unwrap(), Reply { code: 220, text: b"220\n".to_vec() });
    }

    #[test]
    fn what_is_no_code_breaks_the_conversation() {
        for bad in ["\r\n", "25\r\n", "999 x\r\n", "abc\r\n", "250-a\r\n\r\n", "250-a\r\n25 \r\n"] {
            assert_eq!(one(bad.as_bytes()), Some(Err(Broken)), "{bad:?}");
        }
    }

    #[test]
    fn an_endless_reply_is_kept_in_part_and_given_up_in_the_end() {
        let mut replies = Replies::default();
        let mut broken = false;
        for _ in 0..limits::REMOTE_REPLY_TOTAL {
            let mut line = &b"250-x\r\n"[..];
            broken |= replies.take(&mut line).is_some();
            assert!(replies.text.len() <= limits::REMOTE_REPLY);
        }
        assert!(broken);
        let mut replies = Replies::default();
        let mut line = &[b'2'; limits::REMOTE_REPLY_TOTAL + 1][..];
        assert_eq!(replies.take(&mut line), Some(Err(Broken)));
    }

    #[test]
    fn control_bytes_do_not_reach_a_report() {
        assert_eq!(
            one(b"550 a\0b\x1b[2J\rc\td\xff\r\n").unwrap().unwrap().text,
            b"550 a?b?[2Jc\td\xff\n"
        );
    }
}
