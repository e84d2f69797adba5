//! The command line of qmail-inject.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// Where recipients come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Strategy {
    /// `-a`: the command line.
    Arguments,
    /// `-h`: the header.
    Header,
    /// `-H`: both.
    Both,
    /// `-A`: the command line if it names any, else the header.
    #[default]
    Either,
}

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// `-a`, `-h`, `-H`, `-A`.
    pub(super) strategy: Strategy,
    /// `-n`: print instead of queueing.
    pub(super) show: bool,
    /// `-f`.
    pub(super) sender: Option<Vec<u8>>,
    /// The operands.
    pub(super) recipients: Vec<Vec<u8>>,
}

/// A letter that is no option, or an option without its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misuse {
    Illegal(u8),
    Missing(u8),
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Illegal(c) => write!(f, "qmail-inject: illegal option -- {}", char::from(c)),
            Self::Missing(c) => {
                write!(f, "qmail-inject: option requires an argument -- {}", char::from(c))
            }
        }
    }
}

impl Options {
    /// Reads `args` (the first is the program's name): letters may share a word, `-f` takes the
    /// rest of its word or the next, `--` or the first operand ends the options.
    pub(super) fn parse(args: &[OsString]) -> Result<Self, Misuse> {
        let mut options = Self::default();
        let mut words = args.iter().skip(1).map(|word| word.as_bytes());
        while let Some(word) = words.next() {
            match word {
                b"--" => break,
                [b'-', letters @ ..] if !letters.is_empty() => {
                    options.letters(letters, &mut words)?;
                }
                operand => {
                    options.recipients.push(operand.to_vec());
                    break;
                }
            }
        }
        options.recipients.extend(words.map(<[u8]>::to_vec));
        Ok(options)
    }

    fn letters<'a>(
        &mut self,
        mut letters: &'a [u8],
        words: &mut impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Misuse> {
        while let Some((&letter, rest)) = letters.split_first() {
            letters = rest;
            match letter {
                b'a' => self.strategy = Strategy::Arguments,
                b'h' => self.strategy = Strategy::Header,
                b'H' => self.strategy = Strategy::Both,
                b'A' => self.strategy = Strategy::Either,
                b'n' => self.show = true,
                b'N' => self.show = false,
                b'f' => {
                    let attached = Some(rest).filter(|rest| !rest.is_empty());
                    let sender = attached.or_else(|| words.next());
                    self.sender = Some(sender.ok_or(Misuse::Missing(letter))?.to_vec());
                    return Ok(());
                }
                _ => return Err(Misuse::Illegal(letter)),
            }
        }
        Ok(())
    }

    /// Whether the recipients in the header count.
    pub(super) fn takes_header(&self) -> bool {
        match self.strategy {
            Strategy::Header | Strategy::Both => true,
            Strategy::Arguments => false,
            Strategy::Either => self.recipients.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, Misuse> {
        let words = std::iter::once("qmail-inject").chain(words.iter().copied());
        Options::parse(&words.map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn letters_share_a_word_and_dashes_end_them() {
        let options = parse(&["-nhfjoe@x", "-f", "ann", "--", "-a", "b"]).unwrap();
        assert_eq!((options.strategy, options.show), (Strategy::Header, true));
        assert_eq!(options.sender.as_deref(), Some(&b"ann"[..]));
        assert_eq!(options.recipients, [b"-a", &b"b"[..]]);
        assert_eq!(parse(&["a", "-n"]).unwrap().recipients, [b"a", &b"-n"[..]]);
        assert_eq!(parse(&["-f", ""]).unwrap().sender, Some(Vec::new()));
    }

    #[test]
    fn misuse_is_named() {
        assert_eq!(parse(&["-x"]), Err(Misuse::Illegal(b'x')));
        assert_eq!(parse(&["-nf"]), Err(Misuse::Missing(b'f')));
        assert_eq!(Misuse::Illegal(b'x').to_string(), "qmail-inject: illegal option -- x");
    }
}
