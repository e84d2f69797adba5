//! A limit of connections as a control file has it: `concurrencyaddress`, `concurrencynetwork`
//! (tcpserver(1), `-m` and `-M`).

/// The number in a file's first line: digits, blanks around them; what has more of them than fit is the
/// highest there is. `None` if there is anything else, or nothing.
#[must_use]
pub fn parse(line: &[u8]) -> Option<u64> {
    let line = line.trim_ascii();
    let plain = !line.is_empty() && line.iter().all(u8::is_ascii_digit);
    plain.then(|| {
        line.iter().fold(0, |sum: u64, digit| {
            sum.saturating_mul(10).saturating_add(u64::from(digit.saturating_sub(b'0')))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_alone_are_a_limit() {
        for (line, limit) in [("12", 12), (" 3 ", 3), ("0", 0), ("\t007\r", 7)] {
            assert_eq!(parse(line.as_bytes()), Some(limit));
        }
        assert_eq!(parse(&[b'9'; 30]), Some(u64::MAX));
        for line in ["", " ", "-1", "12a", "1 2", "junk"] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }
}
