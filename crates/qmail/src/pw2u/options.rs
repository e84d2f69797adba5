//! The command line of qmail-pw2u.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use sys::getopt::{Misuse, getopt};

/// What is asked of a user's home directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Homes {
    /// `-H`: nothing.
    Unchecked,
    /// `-h`: it must be there; a user who does not own it is passed over.
    Needed,
    /// `-o`: a user without one of their own is passed over.
    Owned,
}

/// What the command line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// `-o`, `-h`, `-H`.
    pub(super) homes: Homes,
    /// `-u`: names with capitals too; `-U`: without.
    pub(super) capitals: bool,
    /// `-c`: what stands between name and extension; `-C`: no extensions.
    pub(super) separator: Option<u8>,
    /// What stands between `.qmail` and the extension; `-/`: a directory.
    pub(super) dash: &'static str,
}

impl Options {
    /// Reads `args`, the first of which is the program's name. Operands are not looked at.
    pub(super) fn parse(args: &[OsString]) -> Result<Self, Misuse> {
        let mut options =
            Self { homes: Homes::Owned, capitals: false, separator: Some(b'-'), dash: "-" };
        for option in getopt(args, "/ohHuUc:C")?.0 {
            match option.letter {
                b'o' => options.homes = Homes::Owned,
                b'h' => options.homes = Homes::Needed,
                b'H' => options.homes = Homes::Unchecked,
                b'u' => options.capitals = true,
                b'U' => options.capitals = false,
                b'c' => options.separator = option.value.as_bytes().first().copied(),
                b'C' => options.separator = None,
                _ => options.dash = "-/",
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, Misuse> {
        let words = std::iter::once("qmail-pw2u").chain(words.iter().copied());
        Options::parse(&words.map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_last_of_options_that_exclude_each_other_counts() {
        let plain = parse(&[]).unwrap();
        assert_eq!(parse(&["-HuhoU", "-Cc-"]), Ok(plain));
        let options = parse(&["-/h", "-c", "+x", "-u"]).unwrap();
        assert_eq!((options.dash, options.homes), ("-/", Homes::Needed));
        assert_eq!((options.separator, options.capitals), (Some(b'+'), true));
        assert_eq!(parse(&["-C"]).unwrap().separator, None);
        assert_eq!(parse(&["-c", ""]).unwrap().separator, None);
        assert_eq!(parse(&["-x"]), Err(Misuse::Illegal(b'x')));
    }
}
