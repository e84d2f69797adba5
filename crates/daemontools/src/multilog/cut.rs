//! Where a log file ends: the arithmetic, without files.
//!
//! Files end at line ends within their last 2000 bytes, or at exactly their limit inside a longer
//! line. Where exactly depends on the pieces a log is written in, which programs that compare logs
//! know: so the original's pieces are kept although we write more at once.

/// From here on before the limit a file ends at the next line end.
pub(super) const MARGIN: u64 = 2000;
/// The buffer each log had: units of bytes went in, each whole, and a write was what came out.
pub(super) const BUFFER: usize = 512;
/// Bytes of input after which the original wrote its buffers out.
pub(super) const CHUNK: usize = 1024;

/// What is to be done with the first bytes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Start a new file first.
    pub(super) before: bool,
    /// How many of the bytes belong into this file; at least 1.
    pub(super) take: usize,
    /// Start a new file after them.
    pub(super) after: bool,
}

/// Judges a write of `bytes` (not empty) to a file that holds `size` of at most `limit` bytes.
pub(super) fn cut(size: u64, limit: u64, bytes: &[u8]) -> Cut {
    let before = size >= limit;
    let size = if before { 0 } else { size };
    let room = usize::try_from(limit.saturating_sub(size)).unwrap_or(usize::MAX).max(1);
    let ripe = limit.saturating_sub(MARGIN);
    let mut take = bytes.len().min(room);
    if size.saturating_add(take as u64) >= ripe
        && let Some(last) = bytes.iter().take(take).rposition(|&byte| byte == b'\n')
    {
        take = last.saturating_add(1);
    }
    let ended = take.checked_sub(1).and_then(|last| bytes.get(last)) == Some(&b'\n');
    Cut { before, take, after: ended && size.saturating_add(take as u64) >= ripe }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The original's buffer: units of bytes go in, writes come out.
    #[derive(Clone, Debug, Default)]
    struct Buffer(Vec<u8>);

    impl Buffer {
        /// Puts a unit that is not split: the first 1000 bytes of a line.
        fn unit(&mut self, bytes: &[u8], write: &mut impl FnMut(&[u8])) {
            if self.0.len().saturating_add(bytes.len()) > BUFFER {
                self.flush(write);
            }
            if bytes.len() > BUFFER {
                write(bytes);
            } else {
                self.0.extend_from_slice(bytes);
            }
        }

        /// Puts bytes that are units each: the rest of a long line, and newlines.
        fn singly(&mut self, mut bytes: &[u8], write: &mut impl FnMut(&[u8])) {
            while !bytes.is_empty() {
                if self.0.len() >= BUFFER {
                    self.flush(write);
                }
                let room = BUFFER.saturating_sub(self.0.len()).min(bytes.len());
                let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
                self.0.extend_from_slice(now);
                bytes = later;
            }
        }

        /// Writes out what is there.
        fn flush(&mut self, write: &mut impl FnMut(&[u8])) {
            if !self.0.is_empty() {
                write(&self.0);
                self.0.clear();
            }
        }
    }

    /// Feeds lines as one long input and returns the sizes of the files they make.
    fn sizes(limit: u64, input: &[u8]) -> Vec<u64> {
        let (mut files, mut size) = (Vec::new(), 0_u64);
        let mut write = |mut bytes: &[u8]| {
            while !bytes.is_empty() {
                let cut = cut(size, limit, bytes);
                if cut.before {
                    files.push(std::mem::take(&mut size));
                }
                size += cut.take as u64;
                if cut.after {
                    files.push(std::mem::take(&mut size));
                }
                bytes = &bytes[cut.take..];
            }
        };
        let mut buffer = Buffer::default();
        let mut line = Vec::new();
        let mut long = false;
        for (at, &byte) in input.iter().enumerate() {
            if long {
                buffer.singly(&[byte], &mut write);
                long = byte != b'\n';
            } else if byte == b'\n' {
                buffer.unit(&line, &mut write);
                buffer.singly(b"\n", &mut write);
                line.clear();
            } else {
                line.push(byte);
                if line.len() == 1000 {
                    buffer.unit(&line, &mut write);
                    line.clear();
                    long = true;
                }
            }
            if (at + 1) % CHUNK == 0 {
                buffer.flush(&mut write);
            }
        }
        buffer.unit(&line, &mut write);
        if input.last() != Some(&b'\n') {
            buffer.singly(b"\n", &mut write);
        }
        buffer.flush(&mut write);
        files.push(size);
        files
    }

    #[test]
    fn lines_of_32_bytes_make_files_of_2560() {
        let input = [[b'x'; 31].as_slice(), b"\n"].concat().repeat(400);
        let files = sizes(4096, &input);
        assert_eq!(files, [2560, 2560, 2560, 2560, 2560, 0]);
    }

    #[test]
    fn lines_of_41_bytes_make_files_of_the_originals_sizes() {
        let input = [[b'x'; 40].as_slice(), b"\n"].concat().repeat(12_000);
        let files = sizes(99_999, &input);
        assert!(files.len() >= 5);
        for &size in &files[..files.len() - 1] {
            assert!([98_236, 98_277, 98_318].contains(&size), "{size}");
        }
    }

    #[test]
    fn a_line_longer_than_the_file_is_cut_at_the_limit() {
        assert_eq!(sizes(4096, &[b'x'; 10_000]), [4096, 4096, 1809]);
    }

    #[test]
    fn every_cut_takes_something() {
        for size in [0, 1, 2095, 2096, 4095, 4096, 9999] {
            for bytes in [&b"\n"[..], b"x", b"x\ny", &[b'x'; 5000]] {
                let cut = cut(size, 4096, bytes);
                assert!(cut.take >= 1 && cut.take <= bytes.len());
            }
        }
    }
}
