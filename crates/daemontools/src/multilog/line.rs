//! Cutting the input into lines: the first 1000 bytes decide, the rest follows them.

/// What actions see of a line, its label included.
pub(super) const HEAD: usize = 1000;

/// A line on its way.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    head: Vec<u8>,
    /// The head is done and judged; what comes up to the newline goes where it went.
    tail: bool,
}

/// What a piece of input turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A line of at most 1000 bytes, and its newline.
    Line(&'a [u8]),
    /// The first 1000 bytes of a line.
    Head(&'a [u8]),
    /// More of the line whose head came last; the newline included, also if it is all there is.
    Tail(&'a [u8]),
}

impl Lines {
    /// Before the first line.
    pub(super) fn new() -> Self {
        Lines { head: Vec::with_capacity(HEAD.saturating_add(1)), tail: false }
    }

    /// Whether we are inside a line.
    pub(super) fn within(&self) -> bool {
        self.tail || !self.head.is_empty()
    }

    /// Takes input and gives out pieces. A line that begins in it gets `label` in front.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        label: &[u8],
        give: &mut impl FnMut(Piece<'_>),
    ) {
        while !bytes.is_empty() {
            bytes = if self.tail {
                self.feed_tail(bytes, give)
            } else if label.is_empty() && self.head.is_empty() {
                self.feed_plain(bytes, give)
            } else {
                if self.head.is_empty() {
                    self.head.extend_from_slice(label);
                }
                self.feed_head(bytes, give)
            };
        }
    }

    /// Ends a line the input left unfinished with a newline of ours.
    pub(super) fn finish(&mut self, give: &mut impl FnMut(Piece<'_>)) {
        if self.within() {
            self.feed(b"\n", &[], give);
        }
    }

    /// At the start of a line that gets no label: a whole one is not copied.
    fn feed_plain<'a>(&mut self, bytes: &'a [u8], give: &mut impl FnMut(Piece<'_>)) -> &'a [u8] {
        let seen = bytes.get(..=HEAD).unwrap_or(bytes);
        let Some(at) = newline(seen) else { return self.feed_head(bytes, give) };
        let (line, later) = bytes.split_at_checked(at.saturating_add(1)).unwrap_or((bytes, &[]));
        give(Piece::Line(line));
        later
    }

    fn feed_head<'a>(&mut self, bytes: &'a [u8], give: &mut impl FnMut(Piece<'_>)) -> &'a [u8] {
        let room = HEAD.saturating_sub(self.head.len());
        let seen = bytes.get(..=room).unwrap_or(bytes);
        let end = newline(seen);
        let used = end.map_or(room, |at| at.saturating_add(1)).min(bytes.len());
        let (now, later) = bytes.split_at_checked(used).unwrap_or((bytes, &[]));
        self.head.extend_from_slice(now);
        if end.is_some() {
            give(Piece::Line(&self.head));
            self.head.clear();
        } else if self.head.len() >= HEAD {
            give(Piece::Head(&self.head));
            self.head.clear();
            // The newline is the tail's, even if there is nothing else in it.
            self.tail = true;
        }
        later
    }

    fn feed_tail<'a>(&mut self, bytes: &'a [u8], give: &mut impl FnMut(Piece<'_>)) -> &'a [u8] {
        let end = newline(bytes).map(|at| at.saturating_add(1));
        let (now, later) =
            bytes.split_at_checked(end.unwrap_or(bytes.len())).unwrap_or((bytes, &[]));
        give(Piece::Tail(now));
        self.tail = end.is_none();
        later
    }
}

/// Where the first newline is, looked for in eight bytes at a time.
pub(super) fn newline(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    const NEWLINES: u64 = u64::from_ne_bytes([b'\n'; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let other = u64::from_le_bytes(*word) ^ NEWLINES;
        // The lowest bit that is set is in the first byte that was a newline.
        let hit = other.wrapping_sub(ONES) & !other & HIGHS;
        if hit != 0 {
            return Some(at.saturating_mul(8).saturating_add(hit.trailing_zeros() as usize / 8));
        }
    }
    let at = rest.iter().position(|&byte| byte == b'\n')?;
    Some(words.len().saturating_mul(8).saturating_add(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &[u8] = b"@4000000037c219bf2ef02e94 ";

    fn pieces(label: &[u8], chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::new();
        let mut out = Vec::new();
        let mut give = |piece: Piece<'_>| {
            let (kind, bytes) = match piece {
                Piece::Line(bytes) => ('L', bytes),
                Piece::Head(bytes) => ('H', bytes),
                Piece::Tail(bytes) => ('T', bytes),
            };
            out.push(format!("{kind}{}", String::from_utf8_lossy(bytes)));
        };
        for chunk in chunks {
            lines.feed(chunk, label, &mut give);
        }
        lines.finish(&mut give);
        out
    }

    #[test]
    fn a_line_comes_with_its_newline() {
        assert_eq!(pieces(b"", &[b"a\n\nb"]), ["La\n", "L\n", "Lb\n"]);
    }

    #[test]
    fn a_line_in_pieces_is_given_out_once_it_is_whole() {
        assert_eq!(pieces(b"", &[b"a", b"b", b"\nc\n"]), ["Lab\n", "Lc\n"]);
    }

    #[test]
    fn a_line_of_more_than_1000_bytes_has_a_tail() {
        let long = [b'x'; 1003];
        let head = format!("H{}", "x".repeat(1000));
        assert_eq!(pieces(b"", &[&long, b"y\n"]), [&head, "Txxx", "Ty\n"]);
        assert_eq!(pieces(b"", &[&long[..1000], b"\n"]), [&head, "T\n"]);
        let whole = [&long[..1000], b"\n"].concat();
        assert_eq!(pieces(b"", &[&whole]), [format!("L{}\n", "x".repeat(1000))]);
        assert_eq!(pieces(b"", &[&whole[..1], &whole[1..]]), pieces(b"", &[&whole]));
    }

    #[test]
    fn the_label_counts_among_the_1000_bytes() {
        let out = pieces(LABEL, &[&[b'x'; 980], b"\n\n"]);
        assert_eq!(out[0].len(), 1001);
        assert_eq!(out[1], "Txxxxxx");
        assert!(out[0].starts_with("H@4000000037c219bf2ef02e94 x"));
        assert_eq!(&out[2..], ["T\n", "L@4000000037c219bf2ef02e94 \n"]);
    }

    #[test]
    fn a_newline_is_found_wherever_it_is() {
        for length in 0..40 {
            for at in 0..length {
                for fill in [b'x', 0, 0x0b, 0x09, 0x8a, 0xff] {
                    let mut bytes = vec![fill; length];
                    assert_eq!(newline(&bytes), None);
                    bytes[at] = b'\n';
                    assert_eq!(newline(&bytes), Some(at), "{length} {at} {fill}");
                    bytes[length - 1] = b'\n';
                    assert_eq!(newline(&bytes), Some(at));
                }
            }
        }
    }
}
