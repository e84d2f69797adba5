//! What is shown of an answer: every byte such that it can be seen, or the body of a page.

/// Appends text as `cat -v` shows it: control characters as `^X`, bytes above 127 as `M-` and what is
/// left; tabs and line ends as they are.
pub(super) fn put_visible(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        let low = byte & 0x7f;
        if byte >= 0x80 {
            out.extend_from_slice(b"M-");
        } else if matches!(byte, b'\t' | b'\n') {
            out.push(byte);
            continue;
        }
        match low {
            0..32 | 127 => out.extend([b'^', low ^ 0x40]),
            _ => out.push(low),
        }
    }
}

/// What follows the first empty line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Body {
    begun: bool,
    /// The header's line holds something.
    inside: bool,
    /// The body's last line has no end yet.
    open: bool,
}

impl Body {
    /// The next bytes, without CRs.
    pub(super) fn take(&mut self, mut text: &[u8], out: &mut Vec<u8>) {
        while !self.begun
            && let Some((&byte, rest)) = text.split_first()
        {
            self.begun = byte == b'\n' && !self.inside;
            self.inside = byte != b'\n';
            text = rest;
        }
        if let Some(last) = text.last().filter(|_| self.begun) {
            self.open = *last != b'\n';
            out.extend_from_slice(text);
        }
    }

    /// The line end that a last line lacks.
    pub(super) fn end(self) -> &'static [u8] {
        if self.open { b"\n" } else { b"" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_can_be_seen() {
        let mut shown = Vec::new();
        put_visible(b"a\tb\n\x1b[1m\x7f\x00\x80\xe4\xff\x89\r", &mut shown);
        assert_eq!(shown, b"a\tb\n^[[1m^?^@M-^@M-dM-^?M-^I^M");
    }

    #[test]
    fn the_header_goes_and_empty_lines_of_the_body_stay() {
        let page = b"HTTP/1.0 200 OK\nA: b\n\nline\n\nlast";
        for size in 1..=page.len() {
            let (mut body, mut out) = (Body::default(), Vec::new());
            page.chunks(size).for_each(|piece| body.take(piece, &mut out));
            out.extend(body.end());
            assert_eq!(out, b"line\n\nlast\n", "{size}");
        }
        let (mut body, mut out) = (Body::default(), Vec::new());
        body.take(b"only: header\n", &mut out);
        assert_eq!((out.len(), body.end()), (0, &b""[..]));
    }
}
