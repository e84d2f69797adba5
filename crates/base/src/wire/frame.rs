//! Tag, length, bytes: how one message is told from the next on a stream.

use alloc::vec::Vec;

use super::Malformed;

/// Bytes before the body: the tag and the length.
pub const HEAD: usize = 5;

/// One message as it lies in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What kind of message it is.
    pub tag: u8,
    /// Its body.
    pub body: &'a [u8],
}

/// Appends a frame whose body `fill` writes.
pub fn put(out: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let len = out.len().saturating_sub(at).saturating_sub(4);
    let len = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    if let Some(slot) = out.get_mut(at..).and_then(|s| s.first_chunk_mut::<4>()) {
        *slot = len;
    }
}

/// The first frame in `buf` and how many bytes it takes; `None` if it is not all there yet.
///
/// # Errors
/// [`Malformed`] if its body is announced as longer than `max` bytes: nothing needs to be read to
/// know that, so a peer cannot make us hold more.
pub fn take(buf: &[u8], max: usize) -> Result<Option<(Frame<'_>, usize)>, Malformed> {
    let Some((&[tag, l0, l1, l2, l3], rest)) = buf.split_first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if len > max {
        return Err(Malformed);
    }
    Ok(rest.get(..len).map(|body| (Frame { tag, body }, HEAD.saturating_add(len))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_waits_and_the_whole_is_taken() {
        let mut buf = Vec::new();
        put(&mut buf, b'x', |b| b.extend_from_slice(b"hello"));
        for n in 0..buf.len() {
            assert_eq!(take(&buf[..n], 5), Ok(None));
        }
        assert_eq!(take(&buf, 5), Ok(Some((Frame { tag: b'x', body: b"hello" }, 10))));
        assert_eq!(take(&buf, 4), Err(Malformed));
    }
}
