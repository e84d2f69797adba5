//! Decimal numbers as control files, options and conversations have them. What has more digits than fit
//! is the highest there is.

/// The number a text begins with; `None` if it begins with none (stock's `scan_ulong`).
#[must_use]
pub fn leading(text: &[u8]) -> Option<u64> {
    let digits = text.iter().map_while(|&byte| char::from(byte).to_digit(10));
    digits.fold(None, |number: Option<u64>, digit| {
        Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit.into()))
    })
}

/// The number a text is; `None` if there is anything but digits in it, or nothing.
#[must_use]
pub fn whole(text: &[u8]) -> Option<u64> {
    leading(text).filter(|_| text.iter().all(u8::is_ascii_digit))
}

/// A limit of connections as the first line of `concurrencyaddress` or `concurrencynetwork` has it
/// (tcpserver(1), `-m` and `-M`): [`whole`], with blanks around.
#[must_use]
pub fn limit(line: &[u8]) -> Option<u64> {
    whole(line.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_what_a_text_begins_with() {
        for (text, number) in [("12a", 12), ("0", 0), ("007", 7), ("1 2", 1)] {
            assert_eq!(leading(text.as_bytes()), Some(number));
        }
        assert_eq!(leading(&[b'9'; 30]), Some(u64::MAX));
        for text in ["", " 3", "-1", "a1"] {
            assert_eq!(leading(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn nothing_but_digits_is_a_whole_number() {
        assert_eq!(whole(b"007"), Some(7));
        assert_eq!(whole(&[b'9'; 30]), Some(u64::MAX));
        for text in ["", " 3", "3 ", "12a", "-1"] {
            assert_eq!(whole(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn digits_alone_are_a_limit() {
        for (line, number) in [("12", 12), (" 3 ", 3), ("0", 0), ("\t007\r", 7)] {
            assert_eq!(limit(line.as_bytes()), Some(number));
        }
        assert_eq!(limit(&[b'9'; 30]), Some(u64::MAX));
        for line in ["", " ", "-1", "12a", "1 2", "junk"] {
            assert_eq!(limit(line.as_bytes()), None, "{line}");
        }
    }
}
