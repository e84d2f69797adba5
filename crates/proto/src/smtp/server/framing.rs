//! Bytes into inputs, the way the session wants them now.

use alloc::vec::Vec;

use base::limits;

use super::{Expects, Input};
use crate::dot::{Decoder, Flow};
use crate::line::{Line, Lines};

/// Turns what the client sent into [`Input`]s. It holds at most one unfinished command line or one
/// decoded piece of a letter.
#[derive(Debug)]
pub struct Framing {
    lines: Lines,
    decoder: Decoder,
    decoded: Vec<u8>,
}

impl Default for Framing {
    fn default() -> Self {
        let (decoder, decoded) = (Decoder::new(), Vec::new());
        Self { lines: Lines::new(limits::COMMAND_LINE), decoder, decoded }
    }
}

impl Framing {
    /// Takes the next input off the front of `bytes`; `None` if more bytes are needed (then none
    /// are left), or if the session does not listen to the client now.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        expects: Expects,
        bytes: &mut &'i [u8],
    ) -> Option<Input<'a>> {
        match expects {
            Expects::Line => {
                self.decoder = Decoder::new();
                self.lines.take(bytes).map(|line| match line {
                    Line::Text(text) => Input::Line(text),
                    Line::TooLong => Input::TooLong,
                    Line::Endless => Input::Endless,
                })
            }
            Expects::Data => self.letter(bytes),
            Expects::Answer | Expects::Nothing => None,
        }
    }

    /// The next piece of the letter, at most [`limits::CHUNK`] bytes of it; or its end.
    fn letter(&mut self, bytes: &mut &[u8]) -> Option<Input<'_>> {
        self.decoded.clear();
        // One byte less: the decoder may still owe one from the piece before.
        let (mut piece, later) = bytes.split_at_checked(limits::CHUNK - 1).unwrap_or((bytes, &[]));
        let len = piece.len();
        self.decoded.reserve(len.saturating_add(1));
        let flow = self.decoder.decode(&mut piece, &mut self.decoded);
        let used = len.saturating_sub(piece.len());
        *bytes = bytes.get(used..).unwrap_or(later);
        // The end is said again when asked again, behind the last bytes.
        match flow {
            _ if !self.decoded.is_empty() => Some(Input::Data(&self.decoded)),
            Flow::More => None,
            Flow::End => Some(Input::End),
            Flow::Stray(stray) => Some(Input::Stray(stray)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dot::Stray;

    #[test]
    fn commands_and_letters_alternate() {
        let mut framing = Framing::default();
        let mut bytes: &[u8] = b"DATA\r\na\r\n.\r\nNOOP\r\n";
        assert_eq!(framing.next(Expects::Line, &mut bytes), Some(Input::Line(b"DATA")));
        assert_eq!(framing.next(Expects::Answer, &mut bytes), None);
        assert_eq!(framing.next(Expects::Data, &mut bytes), Some(Input::Data(b"a\n")));
        assert_eq!(framing.next(Expects::Data, &mut bytes), Some(Input::End));
        assert_eq!(framing.next(Expects::Line, &mut bytes), Some(Input::Line(b"NOOP")));
        let mut bytes: &[u8] = b"\r\nb\n";
        assert_eq!(framing.next(Expects::Data, &mut bytes), Some(Input::Data(b"\nb")));
        assert_eq!(framing.next(Expects::Data, &mut bytes), Some(Input::Stray(Stray::Lf)));
    }

    #[test]
    fn pieces_of_a_letter_fit_a_chunk() {
        let mut framing = Framing::default();
        let letter = [b'x'; 3 * limits::CHUNK];
        let (mut bytes, mut sum) = (&letter[..], 0);
        while let Some(Input::Data(piece)) = framing.next(Expects::Data, &mut bytes) {
            assert!(piece.len() <= limits::CHUNK);
            sum += piece.len();
        }
        assert_eq!((sum, bytes.len()), (letter.len(), 0));
    }
}
