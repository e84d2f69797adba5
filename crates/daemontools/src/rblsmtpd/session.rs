//! The SMTP session of a client that is refused: it may say what it likes and hears the same.

use std::time::{Duration, Instant};

/// What is kept of a command: more than the longest verb, its CR included.
const VERB: usize = 16;
const HELLO: &[u8] = b"rblsmtpd.local\r\n";

/// A client's line as far as it has come.
#[derive(Debug)]
struct Session<'a> {
    /// What it is told, without a line end.
    message: &'a [u8],
    verb: Vec<u8>,
}

impl Session<'_> {
    /// Takes what the client says and answers every whole line; true at QUIT.
    fn hear(&mut self, bytes: &[u8], replies: &mut Vec<u8>) -> bool {
        for &byte in bytes {
            if byte != b'\n' {
                if self.verb.len() < VERB {
                    self.verb.push(byte);
                }
                continue;
            }
            let quits = self.answer(replies);
            self.verb.clear();
            if quits {
                return true;
            }
        }
        false
    }

    /// Answers a line.
    fn answer(&self, replies: &mut Vec<u8>) -> bool {
        let line = self.verb.strip_suffix(b"\r").unwrap_or(&self.verb);
        let verb = line.split(|&byte| byte == b' ').next().unwrap_or_default();
        let is = |word: &[u8]| verb.eq_ignore_ascii_case(word);
        let quits = is(b"QUIT");
        if quits {
            replies.extend([b"221 ", HELLO].concat());
        } else if [&b"HELO"[..], b"EHLO", b"MAIL", b"RSET", b"NOOP"].into_iter().any(is) {
            replies.extend([b"250 ", HELLO].concat());
        } else {
            replies.extend([self.message, b"\r\n"].concat());
        }
        quits
    }
}

/// Talks with the client on descriptors 0 and 1 until it quits or goes, at most for `limit`; without
/// any time it is told once.
pub(super) fn refuse(message: &[u8], limit: Duration) {
    let out = sys::fd::stdout();
    if limit.is_zero() {
        let _gone = sys::fd::write_all(out, &[message, b"\r\n"].concat());
        return;
    }
    let since = Instant::now();
    let left = || limit.saturating_sub(since.elapsed());
    let mut session = Session { message, verb: Vec::new() };
    let mut replies = [b"220 ", HELLO].concat();
    let (mut piece, mut quits) = ([0; 1024], false);
    while sys::fd::write_all_within(out, &replies, left()).is_ok() && !quits {
        replies.clear();
        match sys::fd::read_within(sys::fd::stdin(), &mut piece, left()) {
            Ok(got @ 1..) => {
                quits = session.hear(piece.get(..got).unwrap_or_default(), &mut replies);
            }
            Ok(0) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(said: &[u8]) -> (String, bool) {
        let hear = |size: usize| {
            let mut session = Session { message: b"451 Go away", verb: Vec::new() };
            let (mut replies, mut quits) = (Vec::new(), false);
            for piece in said.chunks(size) {
                quits = quits || session.hear(piece, &mut replies);
            }
            (String::from_utf8(replies).unwrap(), quits)
        };
        let whole = hear(said.len());
        for size in 1..said.len() {
            assert_eq!(hear(size), whole, "{size}");
        }
        whole
    }

    #[test]
    fn what_changes_nothing_is_fine_and_the_rest_is_refused() {
        let said = b"EHLO x\r\nmail FROM:<a>\nRCPT TO:<b>\r\nDATA\r\n\r\nNoop\r\nRSET\r\nHELO\r\nHELOX\r\n";
        let (fine, refused) = ("250 rblsmtpd.local\r\n", "451 Go away\r\n");
        let want = [fine, fine, refused, refused, refused, fine, fine, fine, refused].concat();
        assert_eq!(replies(said), (want, false));
    }

    #[test]
    fn quit_ends_it_and_a_line_without_end_is_not_kept() {
        assert_eq!(replies(b"QUIT\r\nNOOP\r\n"), ("221 rblsmtpd.local\r\n".to_owned(), true));
        let mut session = Session { message: b"451 x", verb: Vec::new() };
        let mut out = Vec::new();
        assert!(!session.hear(&[b'Q'; 100_000], &mut out));
        assert!(session.verb.len() == VERB && out.is_empty());
    }
}
