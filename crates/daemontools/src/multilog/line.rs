//! Cutting the input into lines: the first 1000 bytes decide, the rest follows them.

use base::tai::Label;

/// What actions see of a line, its label included.
pub(super) const HEAD: usize = 1000;

/// A line on its way.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    labels: bool,
    head: Vec<u8>,
    /// The head is done and judged; what comes up to the newline goes where it went.
    tail: bool,
}

/// What a piece of input turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// The head of a line, complete up to its newline or to 1000 bytes.
    Head(&'a [u8]),
    /// More of the line whose head came last; the newline included, also if it is all there is.
    Tail(&'a [u8]),
}

impl Lines {
    /// Before the first line.
    pub(super) fn new(labels: bool) -> Self {
        Lines { labels, head: Vec::with_capacity(HEAD), tail: false }
    }

    /// Whether we are inside a line.
    pub(super) fn within(&self) -> bool {
        self.tail || !self.head.is_empty()
    }

    /// Takes input and gives out pieces. `label` is asked at each line's first byte.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        label: &mut impl FnMut() -> Label,
        give: &mut impl FnMut(Piece<'_>),
    ) {
        while !bytes.is_empty() {
            if !self.within() && self.labels {
                self.head.extend_from_slice(&label().print());
                self.head.push(b' ');
            }
            bytes =
                if self.tail { self.feed_tail(bytes, give) } else { self.feed_head(bytes, give) };
        }
    }

    /// Ends a line the input left unfinished with a newline of ours.
    pub(super) fn finish(&mut self, give: &mut impl FnMut(Piece<'_>)) {
        if self.within() {
            self.feed(b"\n", &mut || Label::new(0, 0), give);
        }
    }

    fn feed_head<'a>(&mut self, bytes: &'a [u8], give: &mut impl FnMut(Piece<'_>)) -> &'a [u8] {
        let room = HEAD.saturating_sub(self.head.len());
        let end = bytes.iter().take(room).position(|&byte| byte == b'\n');
        let used = end.unwrap_or(room).min(bytes.len());
        let (now, later) = bytes.split_at_checked(used).unwrap_or((bytes, &[]));
        self.head.extend_from_slice(now);
        if end.is_some() || self.head.len() >= HEAD {
            give(Piece::Head(&self.head));
            self.head.clear();
            // The newline is the tail's, even if there is nothing else in it.
            self.tail = true;
        }
        later
    }

    fn feed_tail<'a>(&mut self, bytes: &'a [u8], give: &mut impl FnMut(Piece<'_>)) -> &'a [u8] {
        let end = bytes.iter().position(|&byte| byte == b'\n').map(|at| at.saturating_add(1));
        let (now, later) =
            bytes.split_at_checked(end.unwrap_or(bytes.len())).unwrap_or((bytes, &[]));
        give(Piece::Tail(now));
        self.tail = end.is_none();
        later
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(labels: bool, chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::new(labels);
        let mut out = Vec::new();
        let mut give = |piece: Piece<'_>| {
            let (kind, bytes) = match piece {
                Piece::Head(bytes) => ('H', bytes),
                Piece::Tail(bytes) => ('T', bytes),
            };
            out.push(format!("{kind}{}", String::from_utf8_lossy(bytes)));
        };
        for chunk in chunks {
            lines.feed(chunk, &mut || Label::new(935_467_445, 787_492_500), &mut give);
        }
        lines.finish(&mut give);
        out
    }

    #[test]
    fn a_line_is_its_head_and_its_newline() {
        assert_eq!(pieces(false, &[b"a\n\nb"]), ["Ha", "T\n", "H", "T\n", "Hb", "T\n"]);
    }

    #[test]
    fn a_line_in_pieces_is_given_out_once_it_is_whole() {
        assert_eq!(pieces(false, &[b"a", b"b", b"\nc\n"]), ["Hab", "T\n", "Hc", "T\n"]);
    }

    #[test]
    fn a_line_of_more_than_1000_bytes_has_a_tail() {
        let long = [b'x'; 1003];
        let head = format!("H{}", "x".repeat(1000));
        assert_eq!(pieces(false, &[&long, b"y\n"]), [&head, "Txxx", "Ty\n"]);
        assert_eq!(pieces(false, &[&long[..1000], b"\n"]), [&head, "T\n"]);
    }

    #[test]
    fn the_label_counts_among_the_1000_bytes() {
        let out = pieces(true, &[&[b'x'; 980], b"\n\n"]);
        assert_eq!(out[0].len(), 1001);
        assert_eq!(out[1], "Txxxxxx");
        assert!(out[0].starts_with("H@4000000037c219bf2ef02e94 x"));
        assert_eq!(&out[2..], ["T\n", "H@4000000037c219bf2ef02e94 ", "T\n"]);
    }
}
