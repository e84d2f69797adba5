//! Mailing lists: text as setmaillist reads it, the file that fastforward reads.

use alloc::vec::Vec;
use core::fmt;

use super::{Command, Wrong, items};
use crate::listed::RECIPIENT;

/// Why a text is no list. `Display` gives the words of the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A NUL.
    Nul,
    /// A recipient of more than 800 bytes.
    LongAddress,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nul => "NUL in input",
            Self::LongAddress => "addresses must be under 800 bytes",
        })
    }
}

/// The file of a text. A line that begins with a dot or a slash is another list; any other is a
/// recipient, with or without an ampersand. Blanks at the end of a line, empty lines and those that
/// begin with `#` are not there.
///
/// # Errors
/// The first thing that is wrong.
pub fn compile(text: &[u8]) -> Result<Vec<u8>, Wrong<Why>> {
    let mut file = Vec::new();
    for (n, line) in text.split(|&c| c == b'\n').enumerate() {
        let wrong = |why| Wrong { line: n.saturating_add(1), why };
        let end =
            line.iter().rposition(|c| !b" \t".contains(c)).map_or(0, |at| at.saturating_add(1));
        let line = line.get(..end).unwrap_or_default();
        if line.contains(&0) {
            return Err(wrong(Why::Nul));
        }
        match line.split_first() {
            None | Some((b'#', _)) => {}
            Some((b'.' | b'/', _)) => Command::List(line).put(&mut file),
            Some(_) => {
                let address = line.strip_prefix(b"&").unwrap_or(line);
                if address.len() > RECIPIENT {
                    return Err(wrong(Why::LongAddress));
                }
                Command::Recipient(address).put(&mut file);
            }
        }
    }
    Ok(file)
}

/// A file that is no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadList;

/// The text of a file, one command a line.
///
/// # Errors
/// [`BadList`].
pub fn print(file: &[u8]) -> Result<Vec<u8>, BadList> {
    if file.last().is_some_and(|&c| c != 0) {
        return Err(BadList);
    }
    let mut text = Vec::new();
    for item in items(file) {
        match Command::read(item) {
            Some(Command::Recipient(_) | Command::List(_)) if !item.contains(&b'\n') => {
                text.extend_from_slice(item);
                text.push(b'\n');
            }
            _ => return Err(BadList),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_its_lines_each_with_a_nul() {
        let text = b"# us\ngod@heaven.af.mil \t\n\n&djb@x.y\n./more.bin\n/etc/all.bin";
        let file = compile(text).unwrap();
        assert_eq!(file, b"&god@heaven.af.mil\0&djb@x.y\0./more.bin\0/etc/all.bin\0");
        let back = print(&file).unwrap();
        assert_eq!(back, b"&god@heaven.af.mil\n&djb@x.y\n./more.bin\n/etc/all.bin\n");
        assert_eq!(compile(&back), Ok(file));
        assert_eq!(compile(b""), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let why = Why::Nul;
        assert_eq!(compile(b"a@b\nc\0@d\n"), Err(Wrong { line: 2, why }));
        let why = Why::LongAddress;
        assert_eq!(compile(&[b'x'; 801]), Err(Wrong { line: 1, why }));
    }

    #[test]
    fn what_is_no_list_is_not_printed() {
        for bad in [&b"&a@b"[..], b"a@b\0", b"|x\0", b"\0", b"&a\n&b\0"] {
            assert_eq!(print(bad), Err(BadList), "{}", bad.escape_ascii());
        }
        assert_eq!(print(b""), Ok(Vec::new()));
    }
}
