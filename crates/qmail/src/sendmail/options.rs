//! The command line of sendmail, as the programs that call it write it.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// What is said after a misuse.
const USAGE: &str =
    "sendmail: usage: sendmail [ -t ] [ -fsender ] [ -Fname ] [ -bp ] [ -bs ] [ arg ... ]";

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Queue a letter.
    Inject(Letter),
    /// `-bp`: list the queue.
    List,
    /// `-bs`: speak SMTP on descriptors 0 and 1.
    Serve,
    /// `-bi`, `-I`: compile the aliases.
    Aliases,
    /// `-q`: try the whole queue now.
    Flush,
}

/// A letter to be queued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Letter {
    /// `-t`: the header names recipients, too.
    pub(super) header: bool,
    /// `-f`, `-r`.
    pub(super) sender: Option<Vec<u8>>,
    /// `-F`.
    pub(super) name: Option<Vec<u8>>,
    /// The operands.
    pub(super) recipients: Vec<OsString>,
}

/// A command line that cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misuse {
    /// A letter that is no option.
    Illegal(u8),
    /// An option without its argument.
    Missing(u8),
    /// `-b` with a letter that says nothing.
    Mode,
    /// Something that is done elsewhere here, or not at all.
    Elsewhere(&'static str),
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Illegal(c) => {
                write!(f, "sendmail: illegal option -- {}\n{USAGE}", char::from(c))
            }
            Self::Missing(c) => {
                let c = char::from(c);
                write!(f, "sendmail: option requires an argument -- {c}\n{USAGE}")
            }
            Self::Mode => f.write_str(USAGE),
            Self::Elsewhere(text) => write!(f, "sendmail: fatal: {text}"),
        }
    }
}

/// How an option is written.
#[derive(Clone, Copy)]
enum Form {
    /// By itself.
    Bare,
    /// With the rest of its word or the next word.
    Valued,
    /// With the rest of its word, if there is any.
    Attached,
}

/// Every option that a sendmail has taken and a program may pass; most steer what is not
/// to be steered here, and mean nothing.
const fn form(letter: u8) -> Option<Form> {
    match letter {
        b't' | b'v' | b'i' | b'm' | b'x' | b'n' | b'c' | b'G' | b'I' | b'U' => Some(Form::Bare),
        b'f' | b'r' | b'F' | b'b' | b'e' | b'h' | b'o' | b'p' | b'A' | b'B' | b'C' | b'L'
        | b'N' | b'O' | b'R' | b'V' | b'X' => Some(Form::Valued),
        b'd' | b'q' | b'E' | b'J' => Some(Form::Attached),
        _ => None,
    }
}

impl Order {
    /// Reads `args` (the first is the program's name).
    pub(super) fn parse(args: &[OsString]) -> Result<Self, Misuse> {
        let mut letter = Letter::default();
        let mut words = args.iter().skip(1);
        while let Some(word) = words.next() {
            match word.as_bytes() {
                b"--" => break,
                [b'-', letters @ ..] if !letters.is_empty() => {
                    if let Some(order) = letter.letters(letters, &mut words)? {
                        return Ok(order);
                    }
                }
                _ => {
                    letter.recipients.push(word.clone());
                    break;
                }
            }
        }
        letter.recipients.extend(words.cloned());
        Ok(Self::Inject(letter))
    }
}

impl Letter {
    /// One word of options; another order than a letter is followed at once.
    fn letters<'a>(
        &mut self,
        mut letters: &'a [u8],
        words: &mut impl Iterator<Item = &'a OsString>,
    ) -> Result<Option<Order>, Misuse> {
        while let Some((&letter, rest)) = letters.split_first() {
            let value = match form(letter).ok_or(Misuse::Illegal(letter))? {
                Form::Bare => b"",
                Form::Attached => rest,
                Form::Valued if rest.is_empty() => {
                    words.next().map(|word| word.as_bytes()).ok_or(Misuse::Missing(letter))?
                }
                Form::Valued => rest,
            };
            let order = self.option(letter, value)?;
            if order.is_some() || !matches!(form(letter), Some(Form::Bare)) {
                return Ok(order);
            }
            letters = rest;
        }
        Ok(None)
    }

    /// An option with its argument.
    fn option(&mut self, letter: u8, value: &[u8]) -> Result<Option<Order>, Misuse> {
        match (letter, value) {
            (b't', _) => self.header = true,
            (b'f' | b'r', value) => self.sender = Some(unbracketed(value).to_vec()),
            (b'F', value) => self.name = Some(value.to_vec()),
            (b'I', _) => return Ok(Some(Order::Aliases)),
            (b'q', [b'0'..=b'9', ..]) => return Err(Misuse::Elsewhere(DAEMON)),
            (b'q', _) => return Ok(Some(Order::Flush)),
            (b'C', _) => return Err(Misuse::Elsewhere(CONFIGURATION)),
            (b'b', value) => return mode(value),
            _ => (),
        }
        Ok(None)
    }
}

/// `-b`: what sendmail is to be.
fn mode(value: &[u8]) -> Result<Option<Order>, Misuse> {
    match value.first() {
        Some(b'm') => Ok(None),
        Some(b'p') => Ok(Some(Order::List)),
        Some(b's') => Ok(Some(Order::Serve)),
        Some(b'i') => Ok(Some(Order::Aliases)),
        Some(b'd' | b'D') => Err(Misuse::Elsewhere(DAEMON)),
        Some(b'v' | b't') => Err(Misuse::Elsewhere(ADDRESSES)),
        _ => Err(Misuse::Mode),
    }
}

const DAEMON: &str = "no daemon starts here: start mail service with qmailctl start";
const ADDRESSES: &str =
    "addresses are not tested here: a letter that cannot be delivered comes back";
const CONFIGURATION: &str =
    "no other configuration is read: set QMAILHOME to the home that holds it";

/// sendmail's callers may write the sender as `<joe@example.org>`, and nobody as `<>`.
fn unbracketed(sender: &[u8]) -> &[u8] {
    let inside = sender.strip_prefix(b"<").and_then(|rest| rest.strip_suffix(b">"));
    inside.unwrap_or(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(line: &str) -> Result<Order, Misuse> {
        let words = std::iter::once("sendmail").chain(line.split_whitespace());
        Order::parse(&words.map(OsString::from).collect::<Vec<_>>())
    }

    fn letter(line: &str) -> Letter {
        match order(line) {
            Ok(Order::Inject(letter)) => letter,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_programs_pass_is_taken() {
        for line in [
            "-oi -oem -i -B 8BITMIME -bm -t -- -x",
            "-ti -odi -x",
            "-FCronDaemon -i -odi -oem -oi -t",
            "-i -f joe@x.org -N never -R hdrs -V id1 -- -x",
            "-Am -G -n -U -c -h 3 -L tag -O DeliveryMode=b -X /dev/null -d0.1 -oQ/tmp -p ESMTP:h -v -x",
        ] {
            assert!(order(line).is_ok(), "{line}");
        }
        assert_eq!(letter("-i -N never -R hdrs -V id1 -- -x").recipients, ["-x"]);
        assert_eq!(letter("-Ejunk -J a").recipients, ["a"]);
        assert_eq!(letter("- a").recipients, ["-", "a"]);
    }

    #[test]
    fn the_sender_may_stand_in_brackets() {
        for line in ["-f joe@x.org", "-fjoe@x.org", "-r <joe@x.org>", "-tf joe@x.org"] {
            assert_eq!(letter(line).sender.as_deref(), Some(&b"joe@x.org"[..]), "{line}");
        }
        assert_eq!(letter("-f <>").sender.as_deref(), Some(&b""[..]));
    }

    #[test]
    fn other_orders_are_followed_where_they_stand() {
        assert_eq!(order("-v -bp -z"), Ok(Order::List));
        assert_eq!(order("-bs -t"), Ok(Order::Serve));
        assert_eq!((order("-bi"), order("-I")), (Ok(Order::Aliases), Ok(Order::Aliases)));
        assert_eq!((order("-q"), order("-qR x")), (Ok(Order::Flush), Ok(Order::Flush)));
    }

    #[test]
    fn what_is_done_elsewhere_is_named() {
        for line in ["-bd", "-bd -q30m", "-q30m", "-bv joe", "-bt", "-C /etc/sendmail.cf"] {
            assert!(matches!(order(line), Err(Misuse::Elsewhere(_))), "{line}");
        }
    }

    #[test]
    fn misuse_is_named() {
        assert_eq!(order("-z"), Err(Misuse::Illegal(b'z')));
        assert_eq!(order("-f"), Err(Misuse::Missing(b'f')));
        assert_eq!(order("-by"), Err(Misuse::Mode));
        let said = Misuse::Illegal(b'z').to_string();
        assert_eq!(said, format!("sendmail: illegal option -- z\n{USAGE}"));
    }
}
