//! TAI64N labels: when something happened, as multilog and supervise write it.
//!
//! A label is 8 bytes of seconds and 4 of nanoseconds, big-endian; its text is `@` and 24 hex
//! digits. Seconds are 2^62 + 10 + Unix time: the 10 is constant, leap seconds are not added.

use crate::time::Moment;

/// Label seconds of the Unix epoch.
const EPOCH: u64 = (1 << 62) + 10;
/// Length of a label in bytes.
pub const BYTES: usize = 12;
/// Length of a label's text: `@` and 24 hex digits.
pub const TEXT: usize = 25;

/// One label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label([u8; BYTES]);

impl Label {
    /// The label of a moment; its nanoseconds end in 500, as every label of the original does.
    pub fn at(moment: Moment) -> Self {
        let nanos = moment.subsec_micros().saturating_mul(1000).saturating_add(500);
        Self::new(moment.secs(), nanos)
    }

    /// The label `nanos` after the second `unix`.
    pub fn new(unix: u64, nanos: u32) -> Self {
        let mut label = [0; BYTES];
        let (secs, rest) = label.split_at_mut(8);
        secs.copy_from_slice(&EPOCH.saturating_add(unix).to_be_bytes());
        rest.copy_from_slice(&nanos.to_be_bytes());
        Self(label)
    }

    /// Takes the 12 bytes of a `supervise/status`.
    pub const fn from_bytes(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// The 12 bytes.
    pub const fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// Unix seconds; negative before 1970, saturating at the ends of time.
    pub fn unix(self) -> i64 {
        let secs = self.0.first_chunk::<8>().map_or(EPOCH, |b| u64::from_be_bytes(*b));
        let offset = i128::from(secs) - i128::from(EPOCH);
        i64::try_from(offset).unwrap_or(if offset < 0 { i64::MIN } else { i64::MAX })
    }

    /// Nanoseconds past the second, as written (a damaged label may say more than 999,999,999).
    pub fn nanos(self) -> u32 {
        self.0.last_chunk::<4>().map_or(0, |b| u32::from_be_bytes(*b))
    }

    /// The moment, to the microsecond; the epoch for anything before it.
    pub fn moment(self) -> Moment {
        let secs = u64::try_from(self.unix()).unwrap_or(0);
        Moment::from_secs(secs).plus_micros(u64::from(self.nanos() / 1000))
    }

    /// The text: `@` and 24 lowercase hex digits.
    pub fn print(self) -> [u8; TEXT] {
        let mut text = [b'@'; TEXT];
        let digits = self.0.iter().flat_map(|b| [b >> 4, b & 15]);
        for (slot, digit) in text.iter_mut().skip(1).zip(digits) {
            *slot = digit + if digit < 10 { b'0' } else { b'a' - 10 };
        }
        text
    }

    /// Reads the label a line begins with; gives the rest of the line, too. Hex digits of either
    /// case are taken.
    pub fn parse(line: &[u8]) -> Option<(Self, &[u8])> {
        let (text, rest) = line.strip_prefix(b"@")?.split_at_checked(2 * BYTES)?;
        let mut label = [0; BYTES];
        for (slot, &[high, low]) in label.iter_mut().zip(text.as_chunks::<2>().0) {
            *slot = (hex(high)? << 4) | hex(low)?;
        }
        Some((Self(label), rest))
    }
}

/// The value of a hex digit.
const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_label_reads_and_prints() {
        let (label, rest) = Label::parse(b"@4000000037c219bf2ef02e94 text").unwrap();
        assert_eq!((label.unix(), label.nanos()), (935_467_445, 787_492_500));
        assert_eq!(rest, b" text");
        assert_eq!(&label.print(), b"@4000000037c219bf2ef02e94");
        assert_eq!(Label::at(label.moment()), label);
    }

    #[test]
    fn what_is_not_a_label_is_refused_and_no_label_is_too_strange() {
        for line in [&b""[..], b"@", b"@4000000037c219bf2ef02e9", b"4000000037c219bf2ef02e94a"] {
            assert_eq!(Label::parse(line), None);
        }
        assert_eq!(Label::parse(b"@4000000037c219bf2ef02eg4"), None);
        let ancient = Label::from_bytes([0; BYTES]);
        assert_eq!(ancient.moment(), Moment::from_secs(0));
        assert_eq!(Label::from_bytes([255; BYTES]).unix(), i64::MAX);
    }
}
