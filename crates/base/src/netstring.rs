//! Netstrings: `<decimal length>:<bytes>,` – framing for bytes of any kind.

use alloc::vec::Vec;

use crate::wire::Malformed;

/// Digits a length may have; ten hold more than any limit of ours.
const DIGITS: usize = 10;

/// Appends `bytes` as a netstring.
pub fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.push(b':');
    out.extend_from_slice(bytes);
    out.push(b',');
}

/// Appends a length in decimal.
fn put_length(out: &mut Vec<u8>, length: usize) {
    if length > 9 {
        put_length(out, length / 10);
    }
    out.push(b'0' + (length % 10) as u8);
}

/// The first netstring's bytes in `buf` and how many bytes it takes; `None` if it is not all there.
///
/// # Errors
/// [`Malformed`] if it is no netstring or announces more than `max` bytes; both are known as soon
/// as the length is, so a peer cannot make us hold more.
pub fn take(buf: &[u8], max: usize) -> Result<Option<(&[u8], usize)>, Malformed> {
    let digits = buf.iter().take_while(|c| c.is_ascii_digit()).count();
    if digits > DIGITS {
        return Err(Malformed);
    }
    let Some((number, rest)) = buf.split_at_checked(digits) else { return Ok(None) };
    let body = match rest.split_first() {
        None => return Ok(None),
        Some((b':', body)) if digits > 0 => body,
        Some(_) => return Err(Malformed),
    };
    let length = number.iter().fold(0u64, |n, c| n * 10 + u64::from(c - b'0'));
    let length = usize::try_from(length).ok().filter(|&n| n <= max).ok_or(Malformed)?;
    match body.split_at_checked(length) {
        None | Some((_, [])) => Ok(None),
        Some((bytes, [b',', ..])) => {
            Ok(Some((bytes, digits.saturating_add(length).saturating_add(2))))
        }
        Some(_) => Err(Malformed),
    }
}

/// Every netstring of a block that holds nothing else, each of at most `max` bytes.
///
/// # Errors
/// [`Malformed`] if the block is cut short or holds anything else.
pub fn all(mut block: &[u8], max: usize) -> Result<Vec<&[u8]>, Malformed> {
    let mut found = Vec::new();
    while !block.is_empty() {
        let (bytes, used) = take(block, max)?.ok_or(Malformed)?;
        found.push(bytes);
        block = block.get(used..).ok_or(Malformed)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_taken_and_every_prefix_waits() {
        let mut buf = Vec::new();
        put(&mut buf, b"hello world!");
        assert_eq!(buf, b"12:hello world!,");
        for n in 0..buf.len() {
            assert_eq!(take(&buf[..n], 12), Ok(None));
        }
        assert_eq!(take(&buf, 12), Ok(Some((&b"hello world!"[..], 16))));
        assert_eq!(take(&buf, 11), Err(Malformed));
        assert_eq!(all(b"0:,1:a,", 9), Ok(alloc::vec![&b""[..], b"a"]));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [&b":a,"[..], b"x", b"1:ab", b"-1:a,", b"99999999999:", b"1 :a,"] {
            assert_eq!(take(bad, usize::MAX), Err(Malformed), "{bad:?}");
        }
        assert_eq!(all(b"1:a,1:", 9), Err(Malformed));
    }
}
