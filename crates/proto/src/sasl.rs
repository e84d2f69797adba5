//! SASL as mail clients use it: base64 (RFC 4648 §4), `PLAIN` (RFC 4616), `LOGIN`.

use alloc::vec::Vec;

/// The challenge of `LOGIN` that asks for the name: `Username:`.
pub const ASK_NAME: &[u8] = b"VXNlcm5hbWU6";
/// The challenge of `LOGIN` that asks for the secret: `Password:`.
pub const ASK_SECRET: &[u8] = b"UGFzc3dvcmQ6";

/// A client's base64 is not base64, or what it says is not what the mechanism wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The bytes `text` stands for.
///
/// Strict, as every leniency is a second spelling of the same secret: no blanks, padding in full
/// and only at the end, no stray bits in the last letter. Empty text is no bytes.
///
/// # Errors
/// [`Malformed`] for anything else.
pub fn decode(text: &[u8]) -> Result<Vec<u8>, Malformed> {
    let (groups, []) = text.as_chunks::<4>() else { return Err(Malformed) };
    let mut out = Vec::with_capacity(text.len());
    let Some((last, full)) = groups.split_last() else { return Ok(out) };
    for group in full {
        out.extend_from_slice(&triple(*group)?);
    }
    let (group, keep) = match *last {
        [a, b, b'=', b'='] => ([a, b, b'A', b'A'], 1),
        [a, b, c, b'='] => ([a, b, c, b'A'], 2),
        group => (group, 3),
    };
    let bytes = triple(group)?;
    let (said, padded) = bytes.split_at_checked(keep).ok_or(Malformed)?;
    if padded.iter().any(|&bits| bits != 0) {
        return Err(Malformed);
    }
    out.extend_from_slice(said);
    Ok(out)
}

/// The text that stands for bytes, padding in full.
pub fn encode(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let letter = LETTERS.get(((bits >> shift) & 63) as usize).copied();
            text.push(letter.filter(|_| at <= group.len()).unwrap_or(b'='));
        }
    }
    text
}

/// Three bytes from four letters.
fn triple(group: [u8; 4]) -> Result<[u8; 3], Malformed> {
    let mut bits = 0_u32;
    for letter in group {
        bits = (bits << 6) | u32::from(value(letter)?);
    }
    let [_, a, b, c] = bits.to_be_bytes();
    Ok([a, b, c])
}

/// The six bits of one letter.
const fn value(letter: u8) -> Result<u8, Malformed> {
    match letter {
        b'A'..=b'Z' => Ok(letter.wrapping_sub(b'A')),
        b'a'..=b'z' => Ok(letter.wrapping_sub(b'a').wrapping_add(26)),
        b'0'..=b'9' => Ok(letter.wrapping_sub(b'0').wrapping_add(52)),
        b'+' => Ok(62),
        b'/' => Ok(63),
        _ => Err(Malformed),
    }
}

/// Name and secret of a `PLAIN` message, base64 undone: `[authzid] NUL name NUL secret`.
///
/// Nobody may act for another here: an authzid must be the name itself.
///
/// # Errors
/// [`Malformed`] if there are not three fields, or the first is somebody else.
pub fn plain(message: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut fields = message.split(|&c| c == 0);
    let (Some(as_whom), Some(name), Some(secret), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Malformed);
    };
    if name.is_empty() || !(as_whom.is_empty() || as_whom == name) {
        return Err(Malformed);
    }
    Ok((name, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_4648_decode() {
        let examples: [(&[u8], &[u8]); 7] = [
            (b"", b""),
            (b"Zg==", b"f"),
            (b"Zm8=", b"fo"),
            (b"Zm9v", b"foo"),
            (b"Zm9vYg==", b"foob"),
            (b"Zm9vYmE=", b"fooba"),
            (b"Zm9vYmFy", b"foobar"),
        ];
        for (text, bytes) in examples {
            assert_eq!(decode(text).unwrap(), bytes);
            assert_eq!(encode(bytes), text);
        }
        assert_eq!(decode(ASK_NAME).unwrap(), b"Username:");
        assert_eq!(decode(ASK_SECRET).unwrap(), b"Password:");
    }

    #[test]
    fn there_is_one_spelling_and_no_other() {
        for text in
            ["Zg", "Zg=", "Zh==", "Zm9=", "=AAA", "Z===", "Zg==Zg==", "Zm9v\n", " Zm9", "____"]
        {
            assert_eq!(decode(text.as_bytes()), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn plain_takes_nobody_for_another() {
        assert_eq!(plain(b"\0joe\0a b"), Ok((&b"joe"[..], &b"a b"[..])));
        assert_eq!(plain(b"joe\0joe\0x"), Ok((&b"joe"[..], &b"x"[..])));
        for bad in [&b"root\0joe\0x"[..], b"joe\0x", b"\0\0x", b"", b"\0joe\0x\0y"] {
            assert_eq!(plain(bad), Err(Malformed));
        }
    }
}
