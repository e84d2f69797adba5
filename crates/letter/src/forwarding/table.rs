//! The text of a forwarding table: `target: command, command;`, as setforward reads it and
//! printforward prints it.

use alloc::vec::Vec;
use core::fmt;

use super::{Command, Half, Wrong, items, key};
use crate::listed::RECIPIENT;

/// A record of the table: its key and its value.
pub type Record = (Vec<u8>, Vec<u8>);

/// Why a text is no table. `Display` gives the words of the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The text ends within an instruction.
    NoSemicolon,
    /// A second colon in an instruction.
    TwoColons,
    /// A comma or semicolon before the colon.
    EarlyComma,
    /// A NUL.
    Nul,
    /// A recipient of more than 800 bytes.
    LongAddress,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSemicolon => "final instruction must end with semicolon",
            Self::TwoColons => "double colons are not permitted",
            Self::EarlyComma => "commas are not permitted before colons",
            Self::Nul => "NUL bytes are not permitted",
            Self::LongAddress => "addresses over 800 bytes are not permitted",
        })
    }
}

/// The records of a text, in its order. `#` begins a comment up to the end of the line; blanks and
/// line ends are not there; a backslash makes any byte but NUL an ordinary one.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(text: &[u8]) -> Result<Vec<Record>, Wrong<Why>> {
    let mut reader = Reader::default();
    let mut line = 1usize;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        line = line.saturating_add(usize::from(byte == b'\n'));
        let taken = match byte {
            b'#' => {
                let ended = bytes.any(|c| c == b'\n');
                line = line.saturating_add(usize::from(ended));
                Ok(())
            }
            b' ' | b'\n' | b'\t' => Ok(()),
            b':' => reader.colon(),
            b',' => reader.comma(),
            b';' => reader.semicolon(),
            b'\\' => bytes.next().map_or(Ok(()), |byte| {
                line = line.saturating_add(usize::from(byte == b'\n'));
                reader.text(byte)
            }),
            byte => reader.text(byte),
        };
        taken.map_err(|why| Wrong { line, why })?;
    }
    reader.finish().map_err(|why| Wrong { line, why })
}

/// What has been read.
#[derive(Debug, Default)]
struct Reader {
    records: Vec<Record>,
    target: Vec<u8>,
    /// The colon has come.
    targeted: bool,
    command: Vec<u8>,
    commands: Vec<u8>,
}

impl Reader {
    fn text(&mut self, byte: u8) -> Result<(), Why> {
        if byte == 0 {
            return Err(Why::Nul);
        }
        let reading = if self.targeted { &mut self.command } else { &mut self.target };
        reading.push(byte);
        Ok(())
    }

    fn colon(&mut self) -> Result<(), Why> {
        if core::mem::replace(&mut self.targeted, true) { Err(Why::TwoColons) } else { Ok(()) }
    }

    /// Ends a command.
    fn comma(&mut self) -> Result<(), Why> {
        if !self.targeted {
            return Err(Why::EarlyComma);
        }
        let command = core::mem::take(&mut self.command);
        match command.split_first() {
            None => {}
            Some((b'?', owner)) => {
                self.records.push((key(Half::Owner, &self.target), owner.to_vec()));
            }
            Some((b'|' | b'!' | b'.' | b'/', _)) => {
                self.commands.extend_from_slice(&command);
                self.commands.push(0);
            }
            Some(_) => {
                let address = command.strip_prefix(b"&").unwrap_or(&command);
                if address.len() > RECIPIENT {
                    return Err(Why::LongAddress);
                }
                Command::Recipient(address).put(&mut self.commands);
            }
        }
        Ok(())
    }

    /// Ends an instruction.
    fn semicolon(&mut self) -> Result<(), Why> {
        self.comma()?;
        let target = core::mem::take(&mut self.target);
        let commands = core::mem::take(&mut self.commands);
        self.targeted = false;
        if !commands.is_empty() {
            self.records.push((key(Half::Commands, &target), commands));
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<Record>, Why> {
        let open = self.targeted || !self.target.is_empty();
        if open { Err(Why::NoSemicolon) } else { Ok(self.records) }
    }
}

/// A record that no table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRecord;

/// Appends the instruction that [`parse`] makes a record of.
///
/// # Errors
/// [`BadRecord`]; then what was appended means nothing.
pub fn print(key: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<(), BadRecord> {
    match key.split_first() {
        Some((b'?', target)) => {
            escape(target, out);
            out.extend_from_slice(b": ?");
            escape(value, out);
        }
        Some((b':', target)) => {
            escape(target, out);
            out.extend_from_slice(b":\n");
            if value.last().is_some_and(|&c| c != 0) {
                return Err(BadRecord);
            }
            for item in items(value) {
                Command::read(item).ok_or(BadRecord)?;
                out.extend_from_slice(b", ");
                escape(item, out);
                out.push(b'\n');
            }
        }
        _ => return Err(BadRecord),
    }
    out.extend_from_slice(b";\n");
    Ok(())
}

/// Appends text, with a backslash before every byte that would not stand for itself, and before
/// those that are not ASCII.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    for &c in text {
        if c <= b' ' || c >= 0x80 || matches!(c, b',' | b':' | b';' | b'\\' | b'#') {
            out.push(b'\\');
        }
        out.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn printed(text: &[u8]) -> String {
        let mut out = Vec::new();
        for (key, value) in parse(text).unwrap() {
            print(&key, &value, &mut out).unwrap();
        }
        assert_eq!(parse(&out), parse(text), "{}", out.escape_ascii());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_instruction_is_a_record_of_commands() {
        let text = b"Root@yp.to: god@heaven.af.mil, &staff@af.mil, # here\n /l.bin,|run\\ me\\:1;";
        let value = b"&god@heaven.af.mil\0&staff@af.mil\0/l.bin\0|run me:1\0".to_vec();
        assert_eq!(parse(text), Ok(alloc::vec![(b":root@yp.to".to_vec(), value)]));
        assert_eq!(
            printed(text),
            "root@yp.to:\n, &god@heaven.af.mil\n, &staff@af.mil\n, /l.bin\n, |run\\ me\\:1\n;\n"
        );
    }

    #[test]
    fn an_owner_is_a_record_of_its_own() {
        assert_eq!(printed(b"l@: ?owner-l@h, a@b;"), "l@: ?owner-l@h;\nl@:\n, &a@b\n;\n");
        assert_eq!(printed(b"l@: ?o@h; # no commands: none kept\nm@:;"), "l@: ?o@h;\n");
        assert_eq!(parse(b""), Ok(Vec::new()));
        assert_eq!(parse(b" # nothing"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let long = [b"a:", &[b'x'; 801][..], b";"].concat();
        for (text, line, why) in [
            (&b"a: b"[..], 1, Why::NoSemicolon),
            (b"a", 1, Why::NoSemicolon),
            (b"a # b", 1, Why::NoSemicolon),
            (b"a:b;\nc:d:e;", 2, Why::TwoColons),
            (b"# x\n\na,b: c;", 3, Why::EarlyComma),
            (b"\n;", 2, Why::EarlyComma),
            (b"a: \\\0;", 1, Why::Nul),
            (&long, 1, Why::LongAddress),
        ] {
            assert_eq!(parse(text), Err(Wrong { line, why }), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn what_no_table_has_is_not_printed() {
        for (key, value) in
            [(&b""[..], &b""[..]), (b"x", b""), (b":a", b"&b"), (b":a", b"b\0"), (b":a", b"\0")]
        {
            assert_eq!(print(key, value, &mut Vec::new()), Err(BadRecord));
        }
    }
}
