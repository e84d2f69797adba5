//! Labels into dates, byte by byte: a line may come in pieces.

use super::civil::civil;
use super::zone::Zone;
use base::tai::Label;

/// Digits kept to be copied should they be no date; a label has 24.
const DIGITS: usize = 1_000;

/// Where in a line we are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    /// At its first byte.
    Start,
    /// In a label's digits.
    Label { digits: Vec<u8>, seconds: u64, nanos: u32 },
    /// Behind the label, or in a line without one.
    Rest,
}

/// The filter: its zone and its place in the line.
#[derive(Clone, Debug)]
pub(super) struct Local {
    zone: Zone,
    at: At,
}

impl Local {
    /// At the start of the input.
    pub(super) fn new(zone: Zone) -> Self {
        Self { zone, at: At::Start }
    }

    /// Takes bytes, appends what is to be printed. A label cut off by the end of input is never
    /// printed.
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            self.byte(byte, out);
        }
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        match &mut self.at {
            At::Start if byte == b'@' => {
                self.at = At::Label { digits: Vec::new(), seconds: 0, nanos: 0 };
                return;
            }
            At::Label { digits, seconds, nanos } => {
                let digit = hex(byte).filter(|_| digits.len() < DIGITS);
                if let Some(digit) = digit {
                    digits.push(byte);
                    *seconds = seconds.wrapping_shl(4) | u64::from(*nanos >> 28);
                    *nanos = nanos.wrapping_shl(4) | digit;
                    return;
                }
                print(&self.zone, digits, *seconds, *nanos, out);
            }
            At::Start | At::Rest => {}
        }
        out.push(byte);
        self.at = if byte == b'\n' { At::Start } else { At::Rest };
    }
}

/// The digit's worth; only lower case counts.
fn hex(byte: u8) -> Option<u32> {
    match byte {
        b'0'..=b'9' => Some(u32::from(byte - b'0')),
        b'a'..=b'f' => Some(u32::from(byte - b'a') + 10),
        _ => None,
    }
}

/// Prints the date, or the label as it came if no calendar has it.
fn print(zone: &Zone, digits: &[u8], seconds: u64, nanos: u32, out: &mut Vec<u8>) {
    let mut label = [0; base::tai::BYTES];
    let (head, tail) = label.split_at_mut(8);
    head.copy_from_slice(&seconds.to_be_bytes());
    tail.copy_from_slice(&nanos.to_be_bytes());
    let unix = Label::from_bytes(label).unix();
    match unix.checked_add(zone.offset(unix)).and_then(civil) {
        Some(date) => {
            let (hour, minute) = (date.second / 3600, date.second / 60 % 60);
            let text = format!(
                "{}-{:02}-{:02} {hour:02}:{minute:02}:{:02}.{nanos:09}",
                date.year,
                date.month,
                date.day,
                date.second % 60
            );
            out.extend_from_slice(text.as_bytes());
        }
        None => {
            out.push(b'@');
            out.extend_from_slice(digits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(tz: &str, text: &[u8]) -> String {
        let mut out = Vec::new();
        let mut state = Local::new(Zone::of_this_machine(Some(tz.as_bytes())));
        // Byte by byte and at once must be the same.
        for byte in text {
            state.feed(&[*byte], &mut out);
        }
        let mut again = Vec::new();
        Local::new(Zone::of_this_machine(Some(tz.as_bytes()))).feed(text, &mut again);
        assert_eq!(out, again);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_label_becomes_the_date_of_the_place() {
        let line = b"@4000000037c219bf2ef02e94 mark\n";
        assert_eq!(local("PST8PDT", line), "1999-08-23 21:04:05.787492500 mark\n");
        assert_eq!(local("UTC0", line), "1999-08-24 04:04:05.787492500 mark\n");
        assert_eq!(local("UTC0", &line[..25]), "");
    }

    #[test]
    fn what_follows_the_digits_stays() {
        assert_eq!(
            local("UTC0", b"@4000000037c219bf2ef02e94.s\nno\n@4000000037c219bf2ef02e94\n"),
            "1999-08-24 04:04:05.787492500.s\nno\n1999-08-24 04:04:05.787492500\n"
        );
    }

    #[test]
    fn a_label_no_calendar_has_is_copied() {
        for line in ["@\n", "@12 x\n", "@ffffffffffffffffffffffff y\n", "@XYZ\n", "a@40\n"] {
            assert_eq!(local("UTC0", line.as_bytes()), line);
        }
    }
}
