//! What strangers made up, as people are shown it: nothing in it steers a terminal, ends a line or
//! hides.

use alloc::vec::Vec;

/// A byte of one line: printable ASCII, spaces with it, as it is; `instead` of any other.
pub const fn printable(byte: u8, instead: u8) -> u8 {
    if matches!(byte, b' '..=b'~') { byte } else { instead }
}

/// Appends a line of them.
pub fn put(out: &mut Vec<u8>, text: &[u8], instead: u8) {
    out.extend(text.iter().map(|&byte| printable(byte, instead)));
}

/// A byte of several lines in any charset: `?` for what controls but ends no line and is no tab.
pub const fn tame(byte: u8) -> u8 {
    if byte.is_ascii_control() && !matches!(byte, b'\n' | b'\t') { b'?' } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_them_is_printable_ascii() {
        let mut out = b"<".to_vec();
        put(&mut out, b"a b~\x1f\x7f\xe9\n", b'_');
        assert_eq!(out, b"<a b~____");
    }

    #[test]
    fn a_text_of_them_keeps_its_lines_and_its_letters() {
        let text: Vec<u8> = b"a\tb\n\x1b\r\0\x7f\xe9".iter().map(|&byte| tame(byte)).collect();
        assert_eq!(text, b"a\tb\n????\xe9");
    }
}
