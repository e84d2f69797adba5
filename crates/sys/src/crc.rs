//! CRC-32C by the processor's own instruction.

/// The CRC-32C of `bytes` following bytes whose CRC is `before` (0 for none); `None` if this
/// processor has no instruction for it.
pub fn crc32c(before: u32, bytes: &[u8]) -> Option<u32> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has SSE 4.2, as was just asked.
        return Some(unsafe { by_sse(before, bytes) });
    }
    let _ = (before, bytes);
    None
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn by_sse(before: u32, bytes: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};
    let (words, rest) = bytes.as_chunks::<8>();
    let mut wide = u64::from(!before);
    for word in words {
        wide = _mm_crc32_u64(wide, u64::from_le_bytes(*word));
    }
    // The instruction leaves the upper half zero.
    let mut crc = u32::try_from(wide).unwrap_or(u32::MAX);
    for &byte in rest {
        crc = _mm_crc32_u8(crc, byte);
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_the_published_vectors_where_there_is_an_instruction() {
        for (bytes, sum) in [(&b"123456789"[..], 0xe306_9283), (&[0; 32], 0x8a91_36aa), (b"", 0)] {
            assert_eq!(crc32c(0, bytes).unwrap_or(sum), sum);
        }
    }
}
