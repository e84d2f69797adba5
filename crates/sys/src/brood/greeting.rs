//! What a program says first, as a listener can say it in its place.

use super::word::GREETING;

/// A greeting, its line end included. A NUL in it stands for a stamp that no other connection gets,
/// as POP3 wants it: `+OK <\0@host>\r\n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting(Vec<u8>);

impl Greeting {
    /// Takes the text; `None` if it is empty, longer than a listener takes (800 bytes or so), or
    /// not whole lines: then the program greets by itself.
    pub fn new(text: &[u8]) -> Option<Self> {
        let fits = text.len() <= GREETING && text.ends_with(b"\r\n");
        fits.then(|| Self(text.to_vec()))
    }

    /// The text with its NULs.
    pub(super) fn template(&self) -> &[u8] {
        &self.0
    }

    /// The greeting of one connection: each NUL is replaced by the stamp.
    pub fn text(&self, stamp: impl FnOnce() -> String) -> Vec<u8> {
        if !self.0.contains(&0) {
            return self.0.clone();
        }
        let stamp = stamp();
        let parts: Vec<&[u8]> = self.0.split(|&byte| byte == 0).collect();
        parts.join(stamp.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_becomes_the_stamp() {
        let pop3 = Greeting::new(b"+OK <\0@host>\r\n").unwrap();
        assert_eq!(pop3.text(|| "7.1.9".to_owned()), b"+OK <7.1.9@host>\r\n");
        let smtp = Greeting::new(b"220 host ESMTP\r\n").unwrap();
        assert_eq!(smtp.text(|| "7.1.9".to_owned()), b"220 host ESMTP\r\n");
    }

    #[test]
    fn only_whole_lines_of_a_sane_length_are_a_greeting() {
        assert_eq!(Greeting::new(b""), None);
        assert_eq!(Greeting::new(b"220 host"), None);
        assert_eq!(Greeting::new(&[b"220 ", &[b'x'; GREETING][..], b"\r\n"].concat()), None);
    }
}
