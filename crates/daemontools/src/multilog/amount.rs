//! Numbers in the arguments: stock's, which take anything, and ours, which do not.

/// What may stand behind a number of bytes.
const BYTES: [(u8, u64); 3] = [(b'K', 1 << 10), (b'M', 1 << 20), (b'G', 1 << 30)];
/// What may stand behind a time, in seconds.
const TIMES: [(u8, u64); 5] =
    [(b's', 1), (b'm', 60), (b'h', 3600), (b'd', 86_400), (b'w', 7 * 86_400)];

/// The digits in front; none is 0, too many is the most.
pub(super) fn digits(text: &[u8]) -> u64 {
    base::number::leading(text).unwrap_or(0)
}

/// A number of bytes: `100000`, `500M`.
pub(super) fn bytes(text: &[u8]) -> Result<u64, &'static str> {
    scaled(text, &BYTES).ok_or("bytes are digits, with K, M or G behind them or nothing")
}

/// A time in seconds: `90`, `30d`.
pub(super) fn seconds(text: &[u8]) -> Result<u64, &'static str> {
    scaled(text, &TIMES).ok_or("a time is digits, with s, m, h, d or w behind them or nothing")
}

/// A plain number; nothing at all is 0.
pub(super) fn number(text: &[u8]) -> Result<u64, &'static str> {
    if text.iter().all(u8::is_ascii_digit) { Ok(digits(text)) } else { Err("a number is digits") }
}

/// Digits, at least one, and at most one letter of these.
fn scaled(text: &[u8], units: &[(u8, u64)]) -> Option<u64> {
    let end = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at_checked(end).filter(|(number, _)| !number.is_empty())?;
    let factor = match unit {
        [] => 1,
        [letter] => units.iter().find(|(known, _)| known == letter)?.1,
        _ => return None,
    };
    Some(digits(number).saturating_mul(factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_times_have_their_units_and_nothing_else() {
        assert_eq!(bytes(b"8192"), Ok(8192));
        assert_eq!([bytes(b"1K"), bytes(b"2M"), bytes(b"3G")], [1 << 10, 2 << 20, 3 << 30].map(Ok));
        assert_eq!([seconds(b"90"), seconds(b"2m")], [Ok(90), Ok(120)]);
        assert_eq!(
            [seconds(b"1h"), seconds(b"1d"), seconds(b"1w")],
            [3600, 86_400, 604_800].map(Ok)
        );
        assert_eq!(bytes(b"99999999999999999999G"), Ok(u64::MAX));
        for wrong in [&b""[..], b"M", b"1k", b"1MB", b"-1", b"1 ", b"x"] {
            assert!(bytes(wrong).is_err() && seconds(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!((number(b""), number(b"7")), (Ok(0), Ok(7)));
        assert!(number(b"7x").is_err());
    }
}
