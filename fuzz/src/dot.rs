//! Letters on the wire, both ways.

use proto::dot::{Decoder, Encoder, Flow, Stray};

use crate::pick::chunks;
use crate::reference::{self, Stop};

/// DATA framing. The input's first byte says how the rest is cut; the rest is decoded (against the
/// reference and against itself in other pieces) and, as a stored letter, encoded and decoded.
pub fn dot(data: &[u8]) {
    let Some((&salt, bytes)) = data.split_first() else { return };
    decoding(bytes, salt);
    encoding(bytes, salt);
}

fn decoding(wire: &[u8], salt: u8) {
    let want = reference::decode(wire);
    assert_eq!(decode(&[wire]), want, "in one piece");
    assert_eq!(decode(&chunks(wire, salt)), want, "in pieces");
    assert_eq!(decode(&chunks(wire, salt ^ 1)), want, "in other pieces");
}

fn decode(pieces: &[&[u8]]) -> (Stop, Vec<u8>, usize) {
    let (mut decoder, mut letter, mut used) = (Decoder::new(), Vec::new(), 0);
    for piece in pieces {
        let (mut rest, before) = (*piece, letter.len());
        let flow = decoder.decode(&mut rest, &mut letter);
        let took = piece.len() - rest.len();
        assert!(letter.len() - before <= took + 1, "more came out than went in");
        used += took;
        let stop = match flow {
            Flow::More => continue,
            Flow::End => Stop::End,
            Flow::Stray(Stray::Cr) => Stop::Cr,
            Flow::Stray(Stray::Lf) => Stop::Lf,
        };
        let mut more: &[u8] = b"QUIT\r\n";
        assert_eq!(decoder.decode(&mut more, &mut letter), flow, "it goes on after the end");
        assert_eq!(more.len(), 6, "it takes bytes behind the end");
        return (stop, letter, used);
    }
    (Stop::More, letter, used)
}

fn encoding(letter: &[u8], salt: u8) {
    let (mut encoder, mut wire) = (Encoder::new(), Vec::new());
    for piece in chunks(letter, salt) {
        let before = wire.len();
        encoder.encode(piece, &mut wire);
        assert!(wire.len() - before <= 2 * piece.len() + 1, "it grew too much");
    }
    encoder.close_line(&mut wire);
    assert!(encoder.finish(&mut wire).is_ok(), "a closed line is open");
    assert_eq!(wire, [reference::encode(letter), b".\r\n".to_vec()].concat());
    assert!(reference::only_crlf(&wire), "a bare CR or LF leaves");
    let (stop, back, used) = reference::decode(&wire);
    assert_eq!((stop, used), (Stop::End, wire.len()), "it ends early, or never");
    if !letter.contains(&b'\r') && (letter.is_empty() || letter.ends_with(b"\n")) {
        assert_eq!(back, letter, "what was stuffed comes back otherwise");
    }
    counting(letter, &back, salt);
}

/// `base::crlf` counts a letter as it is sent.
fn counting(letter: &[u8], back: &[u8], salt: u8) {
    let mut length = base::crlf::Length::default();
    chunks(letter, salt).into_iter().for_each(|piece| length.feed(piece));
    let lines = back.iter().filter(|&&c| c == b'\n').count();
    assert_eq!(length.total(), (back.len() + lines) as u64, "its length is another");
}
