//! Asking the client's ident server whose the connection is (RFC 1413).

use super::conn::Conn;
use std::time::{Duration, Instant};

/// The ident port.
const PORT: u16 = 113;
/// What is kept of the answer.
const INFO: usize = 257;
/// What is read of an answer before it counts as none.
const ANSWER: usize = 4_096;

/// The client's ident text, if its server gives one within `limit`.
pub(crate) fn ask(conn: &Conn, limit: Duration) -> Option<Vec<u8>> {
    let since = Instant::now();
    let (mut from, mut to) = (conn.local, conn.remote);
    from.set_port(0);
    to.set_port(PORT);
    let sock = sys::net::connect(to, Some(from), limit).ok()?;
    let question = format!("{} , {}\r\n", conn.remote.port(), conn.local.port());
    let left = || limit.saturating_sub(since.elapsed());
    sys::fd::write_all_within(&sock, question.as_bytes(), left()).ok()?;
    let mut answer = Answer::default();
    let mut total = 0_usize;
    while total < ANSWER {
        let mut buf = [0; 512];
        let got = sys::fd::read_within(&sock, &mut buf, left()).ok().filter(|got| *got > 0)?;
        total = total.saturating_add(got);
        if buf.iter().take(got).any(|&byte| answer.take(byte)) {
            return Some(answer.info);
        }
    }
    None
}

/// An answer as it comes in.
#[derive(Debug, Default)]
struct Answer {
    colons: u8,
    info: Vec<u8>,
}

impl Answer {
    /// Takes a byte; true when the answer is whole.
    fn take(&mut self, byte: u8) -> bool {
        match byte {
            b' ' | b'\t' | b'\r' => {}
            b'\n' => return true,
            b':' if self.colons < 3 => self.colons = self.colons.saturating_add(1),
            _ if self.colons < 3 => {}
            _ => self.info.push(byte),
        }
        self.info.len() >= INFO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Option<Vec<u8>> {
        let mut answer = Answer::default();
        text.iter().any(|&byte| answer.take(byte)).then_some(answer.info)
    }

    #[test]
    fn the_info_is_what_stands_after_three_colons_without_blanks() {
        let line = b"6193, 23 : USERID : UNIX : st : john s\r\n";
        assert_eq!(read(line), Some(b"st:johns".to_vec()));
    }

    #[test]
    fn an_error_reply_is_set_and_empty() {
        assert_eq!(read(b"6195, 23 : ERROR : NO-USER\r\n"), Some(Vec::new()));
    }

    #[test]
    fn a_line_that_never_ends_is_cut_or_none() {
        assert_eq!(read(b"1,2:USERID:UNIX:joe"), None);
        let long: Vec<u8> = b":::".iter().copied().chain([b'x'; 5_000]).collect();
        assert_eq!(read(&long).map(|info| info.len()), Some(INFO));
    }
}
