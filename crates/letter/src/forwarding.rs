//! Forwarding tables and mailing lists, as fastforward keeps them.
//!
//! A table is a cdb file. Its key `:target` holds commands, each ended by a NUL; its key `?target`
//! the address that bounces of the target's letters go to. A list is a file of commands without
//! programs. Both are the files of the original, byte for byte.

pub mod list;
pub mod table;

use alloc::vec::Vec;

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong<W> {
    /// The line it is in or begins in, from 1 up.
    pub line: usize,
    /// The reason.
    pub why: W,
}

/// The longest `&recipient` that is obeyed.
const LONGEST: usize = 900;

/// What is done with a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `&address`: it goes there.
    Recipient(&'a [u8]),
    /// `/path` or `./path`: it goes to everybody on that list.
    List(&'a [u8]),
    /// `|command`: the shell runs the command on it.
    Program(&'a [u8]),
    /// `!command`: the same, with the delivery's three lines in front of the letter.
    Framed(&'a [u8]),
}

impl<'a> Command<'a> {
    /// Reads a command as a table or a list has it, without its NUL.
    pub fn read(item: &'a [u8]) -> Option<Self> {
        match item.split_first()? {
            (b'&', address) if item.len() < LONGEST => Some(Self::Recipient(address)),
            (b'.' | b'/', _) => Some(Self::List(item)),
            (b'|', command) => Some(Self::Program(command)),
            (b'!', command) => Some(Self::Framed(command)),
            _ => None,
        }
    }

    /// Appends it with its NUL.
    pub fn put(self, out: &mut Vec<u8>) {
        let (mark, text): (&[u8], _) = match self {
            Self::Recipient(address) => (b"&", address),
            Self::List(path) => (b"", path),
            Self::Program(command) => (b"|", command),
            Self::Framed(command) => (b"!", command),
        };
        out.extend_from_slice(mark);
        out.extend_from_slice(text);
        out.push(0);
    }
}

/// The pieces of a value that end in a NUL; what follows the last one is none.
pub fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split_inclusive(|&c| c == 0).filter_map(|item| item.strip_suffix(b"\0"))
}

/// Which half of a target's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// `:`, its commands.
    Commands,
    /// `?`, its owner.
    Owner,
}

/// The key of a target; targets are compared without regard to ASCII case.
pub fn key(half: Half, target: &[u8]) -> Vec<u8> {
    let mark: &[u8] = match half {
        Half::Commands => b":",
        Half::Owner => b"?",
    };
    [mark, target].concat().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_back_as_it_was_put() {
        let all = [
            Command::Recipient(b"a@b"),
            Command::List(b"./l.bin"),
            Command::Program(b"exec x"),
            Command::Framed(b""),
        ];
        let mut value = Vec::new();
        all.iter().for_each(|command| command.put(&mut value));
        assert_eq!(value, b"&a@b\0./l.bin\0|exec x\0!\0");
        let back: Vec<_> = items(&value).map(Command::read).collect();
        assert_eq!(back, all.map(Some));
    }

    #[test]
    fn what_is_no_command_is_none() {
        assert_eq!(Command::read(b""), None);
        assert_eq!(Command::read(b"a@b"), None);
        assert_eq!(Command::read(&[&b"&"[..], &[b'x'; 899]].concat()), None);
        assert_eq!(items(b"&a\0\0&b").collect::<Vec<_>>(), [&b"&a"[..], b""]);
    }

    #[test]
    fn keys_have_no_case() {
        assert_eq!(key(Half::Commands, b"Root@Heaven"), b":root@heaven");
        assert_eq!(key(Half::Owner, b"L@"), b"?l@");
    }
}
