//! CRC-32C (Castagnoli), eight bytes at a time: is this record what was written?

/// The polynomial of RFC 3720 appendix B.4, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;
const TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut n = 1;
    while n < 8 {
        byte = 0;
        while byte < 256 {
            let below = tables[n - 1][byte];
            tables[n][byte] = (below >> 8) ^ tables[0][(below & 0xff) as usize];
            byte += 1;
        }
        n += 1;
    }
    tables
}

const fn look(table: usize, byte: u8) -> u32 {
    TABLES[table][byte as usize]
}

/// The checksum of `bytes` following bytes whose checksum is `before` (0 for none): by the
/// processor's own instruction if it has one.
pub fn crc32c(before: u32, bytes: &[u8]) -> u32 {
    sys::crc::crc32c(before, bytes).unwrap_or_else(|| by_table(before, bytes))
}

fn by_table(before: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut crc = !before;
    for &[a, b, c, d, e, f, g, h] in words {
        let [i, j, k, l] = crc.to_le_bytes();
        crc = look(7, a ^ i)
            ^ look(6, b ^ j)
            ^ look(5, c ^ k)
            ^ look(4, d ^ l)
            ^ look(3, e)
            ^ look(2, f)
            ^ look(1, g)
            ^ look(0, h);
    }
    for &byte in rest {
        let [low, ..] = crc.to_le_bytes();
        crc = (crc >> 8) ^ look(0, low ^ byte);
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_the_published_vectors() {
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(0, &[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn pieces_give_the_whole() {
        let bytes: Vec<u8> = (0..=255).collect();
        for cut in 0..bytes.len() {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(crc32c(crc32c(0, a), b), crc32c(0, &bytes));
            assert_eq!(by_table(by_table(0, a), b), crc32c(0, &bytes));
        }
    }
}
