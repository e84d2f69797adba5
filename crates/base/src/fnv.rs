//! FNV-1a (Fowler, Noll, Vo; 64 bits): spreads names that nobody gains by choosing badly.

/// What the hash of nothing is.
pub const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// The hash of some bytes, begun with [`BASIS`] or anything else.
pub fn hash(begin: u64, bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(begin, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_authors_hash() {
        // From the authors' own table of test vectors.
        let of = |text: &str| hash(BASIS, text.bytes());
        assert_eq!(of(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(of("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(of("foobar"), 0x8594_4171_f739_67e8);
    }
}
