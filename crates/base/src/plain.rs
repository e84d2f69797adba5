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

/// A character of one line in any script: `?` for what steers a terminal, ends the line, or shows nothing
/// of itself and changes how its neighbours are read (Unicode's Cc, Cf, Zl and Zp).
pub const fn visible(char: char) -> char {
    let hides = matches!(char,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}'
        | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}');
    if hides { '?' } else { char }
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
    fn a_name_is_one_line_that_says_what_it_shows() {
        let shown = |text: &str| text.chars().map(visible).collect::<alloc::string::String>();
        assert_eq!(shown("a\n\u{1b}[2J\t\u{9b}2J"), "a??[2J??2J");
        assert_eq!(shown("moc\u{202e}txt\u{2066}\u{200b}\u{2028}\u{feff}"), "moc?txt????");
        assert_eq!(shown("Jos\u{e9} \u{4e2d} \u{1f600} ~"), "Jos\u{e9} \u{4e2d} \u{1f600} ~");
    }

    #[test]
    fn a_text_of_them_keeps_its_lines_and_its_letters() {
        let text: Vec<u8> = b"a\tb\n\x1b\r\0\x7f\xe9".iter().map(|&byte| tame(byte)).collect();
        assert_eq!(text, b"a\tb\n????\xe9");
    }
}
