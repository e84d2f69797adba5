//! What the machines are measured against, written plainly and without looking at them.

/// Where a letter on the wire stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It goes on.
    More,
    /// CRLF dot CRLF.
    End,
    /// A CR without LF.
    Cr,
    /// An LF without CR.
    Lf,
}

/// Decodes a letter in ten lines: its bytes so far, where it stopped, how many bytes that took.
pub(crate) fn decode(wire: &[u8]) -> (Stop, Vec<u8>, usize) {
    let (mut letter, mut at) = (Vec::new(), 0);
    loop {
        let rest = &wire[at..];
        let line = rest.split(|c| b"\r\n".contains(c)).next().unwrap_or_default();
        let text = line.strip_prefix(b".").unwrap_or(line);
        letter.extend_from_slice(text);
        match &rest[line.len()..] {
            [] | [b'\r'] => return (Stop::More, letter, wire.len()),
            [b'\n', ..] => return (Stop::Lf, letter, at + line.len() + 1),
            [b'\r', b'\n', ..] if line == b"." => return (Stop::End, letter, at + 3),
            [b'\r', b'\n', ..] => letter.push(b'\n'),
            _ => return (Stop::Cr, letter, at + line.len() + 2),
        }
        at += line.len() + 2;
    }
}

/// Encodes a letter, line by line: CRs at a line's end go, other runs of them become a space, dots
/// are doubled, the last line gets its end.
pub(crate) fn encode(letter: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    let body = letter.strip_suffix(b"\n").unwrap_or(letter);
    for line in body.split(|&c| c == b'\n').take(if letter.is_empty() { 0 } else { usize::MAX }) {
        let end = line.iter().rposition(|&c| c != b'\r').map_or(0, |at| at + 1);
        let mut runs = line[..end].split(|&c| c == b'\r');
        let mut text = runs.next().unwrap_or_default().to_vec();
        for run in runs.filter(|run| !run.is_empty()) {
            text.push(b' ');
            text.extend_from_slice(run);
        }
        if text.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(&text);
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

/// Whether every CR is followed by an LF and every LF follows a CR.
pub(crate) fn only_crlf(wire: &[u8]) -> bool {
    let crs = wire.iter().filter(|&&c| c == b'\r').count();
    let lfs = wire.iter().filter(|&&c| c == b'\n').count();
    let pairs = wire.windows(2).filter(|pair| pair == b"\r\n").count();
    crs == pairs && lfs == pairs
}
