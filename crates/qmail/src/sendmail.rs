//! Queue a letter the way sendmail does: the command that other programs call, in qmail-inject's
//! words.
//!
//! *Runs as* whoever calls it · *hears* its command line and environment · *opens* nothing ·
//! *speaks to* qmail-inject, qmail-qread or qmail-smtpd, one of which it becomes

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use store::home::Home;
use sys::{fd, spawn};

const USAGE: &str =
    "sendmail: usage: sendmail [ -t ] [ -fsender ] [ -Fname ] [ -bp ] [ -bs ] [ arg ... ]";

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Order {
    /// Queue a letter.
    Inject(Letter),
    /// `-bp`: list the queue.
    List,
    /// `-bs`: speak SMTP on descriptors 0 and 1.
    Serve,
}

/// A letter to be queued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Letter {
    /// `-t`: the header names recipients, too.
    header: bool,
    /// `-f`.
    sender: Option<Vec<u8>>,
    /// `-F`.
    name: Option<Vec<u8>>,
    recipients: Vec<OsString>,
}

/// A command line that means nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Misuse;

/// What this process becomes: a program in the home's `bin`, its arguments, and variables to set
/// or (`None`) to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Becoming {
    program: &'static str,
    args: Vec<OsString>,
    environment: Vec<(&'static str, Option<OsString>)>,
}

/// The program.
pub(crate) fn main(args: &[OsString]) -> i32 {
    match Order::parse(args) {
        Ok(order) => become_it(order.becoming(std::env::var_os("PROTO").is_some())),
        Err(Misuse) => {
            say(USAGE);
            100
        }
    }
}

/// `mailq`: the queue, whatever the arguments.
pub(crate) fn mailq(_args: &[OsString]) -> i32 {
    become_it(Order::List.becoming(true))
}

/// `newaliases`: there is no such table here.
pub(crate) fn newaliases(_args: &[OsString]) -> i32 {
    say("sendmail: fatal: please use fastforward/newaliases instead");
    100
}

/// Becomes a program of the home; an exit code if that fails.
fn become_it(what: Becoming) -> i32 {
    let Ok(home) = Home::find() else {
        say("sendmail: fatal: unable to switch to qmail home directory");
        return 111;
    };
    let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    for (name, value) in what.environment {
        environment.retain(|(known, _)| known != name);
        environment.extend(value.map(|value| (name.into(), value)));
    }
    let mut argv = vec![OsString::from(what.program)];
    argv.extend(what.args);
    let path = home.path(Path::new("bin").join(what.program));
    let _not_there = spawn::exec(path.as_os_str(), &argv, Some(&environment));
    say(&format!("sendmail: fatal: unable to run {}", what.program));
    111
}

/// One line on descriptor 2; nobody is left to tell if that fails.
fn say(text: &str) {
    let _ = fd::write_all(fd::stderr(), format!("{text}\n").as_bytes());
}

impl Order {
    /// Reads `args` (the first is the program's name). Options that steer sendmail's delivery are
    /// taken and mean nothing.
    fn parse(args: &[OsString]) -> Result<Self, Misuse> {
        let mut letter = Letter::default();
        let mut order = None;
        let mut words = args.iter().skip(1);
        while let Some(word) = words.next() {
            match word.as_bytes() {
                b"--" => break,
                [b'-', letters @ ..] if !letters.is_empty() => {
                    letter.letters(letters, &mut words, &mut order)?;
                }
                _ => {
                    letter.recipients.push(word.clone());
                    break;
                }
            }
        }
        letter.recipients.extend(words.cloned());
        Ok(order.unwrap_or(Self::Inject(letter)))
    }

    /// What carries it out. `served` says that a TCP server has already set the scene for SMTP.
    fn becoming(self, served: bool) -> Becoming {
        match self {
            Self::Inject(letter) => letter.becoming(),
            Self::List => Becoming { program: "qmail-qread", ..Becoming::default() },
            Self::Serve => {
                let scene = [
                    ("RELAYCLIENT", ""),
                    ("DATABYTES", "0"),
                    ("PROTO", "TCP"),
                    ("TCPLOCALIP", "127.0.0.1"),
                    ("TCPLOCALHOST", "localhost"),
                    ("TCPREMOTEIP", "127.0.0.1"),
                    ("TCPREMOTEHOST", "localhost"),
                    ("TCPREMOTEINFO", "sendmail-bs"),
                ];
                let set = scene.iter().filter(|_| !served);
                let environment = set.map(|(name, value)| (*name, Some((*value).into()))).collect();
                Becoming { program: "qmail-smtpd", args: Vec::new(), environment }
            }
        }
    }
}

impl Letter {
    /// One word of options; an argument is the rest of the word or the next word.
    fn letters<'a>(
        &mut self,
        mut letters: &'a [u8],
        words: &mut impl Iterator<Item = &'a OsString>,
        order: &mut Option<Order>,
    ) -> Result<(), Misuse> {
        while let Some((&letter, rest)) = letters.split_first() {
            letters = rest;
            match letter {
                b't' => self.header = true,
                b'v' | b'i' | b'm' | b'x' => (),
                // An argument only if attached.
                b'E' | b'J' => return Ok(()),
                b'f' | b'F' | b'e' | b'o' | b'p' | b'B' | b'b' => {
                    let attached = Some(rest).filter(|rest| !rest.is_empty());
                    let value = attached.or_else(|| words.next().map(|word| word.as_bytes()));
                    return self.valued(letter, value.ok_or(Misuse)?, order);
                }
                _ => return Err(Misuse),
            }
        }
        Ok(())
    }

    /// An option with its argument.
    fn valued(
        &mut self,
        letter: u8,
        value: &[u8],
        order: &mut Option<Order>,
    ) -> Result<(), Misuse> {
        match (letter, value) {
            (b'f', value) => self.sender = Some(unbracketed(value).to_vec()),
            (b'F', value) => self.name = Some(value.to_vec()),
            (b'b', [b'm', ..]) => (),
            (b'b', [b'p', ..]) => *order = Some(Order::List),
            (b'b', [b's', ..]) => *order = Some(Order::Serve),
            (b'b', _) => return Err(Misuse),
            _ => (),
        }
        Ok(())
    }

    /// qmail-inject with this letter's options; `-f` decides `From`, too.
    fn becoming(self) -> Becoming {
        let mut args = vec![OsString::from(if self.header { "-H" } else { "-a" })];
        let mut environment: Vec<(&str, Option<OsString>)> = Vec::new();
        environment.extend(self.name.map(|name| ("MAILNAME", Some(OsString::from_vec(name)))));
        if let Some(sender) = self.sender {
            if !sender.is_empty() {
                environment = named(&sender);
            }
            args.extend(["-f".into(), OsString::from_vec(sender)]);
        }
        args.push("--".into());
        args.extend(self.recipients);
        Becoming { program: "qmail-inject", args, environment }
    }
}

/// sendmail's callers may write the sender as `<joe@example.org>`, and nobody as `<>`.
fn unbracketed(sender: &[u8]) -> &[u8] {
    let inside = sender.strip_prefix(b"<").and_then(|rest| rest.strip_suffix(b">"));
    inside.unwrap_or(sender)
}

/// The variables that make `From` follow a sender: his user and host, and no name.
fn named(sender: &[u8]) -> Vec<(&'static str, Option<OsString>)> {
    let (user, host) = base::address::split(sender);
    let value = |bytes: &[u8]| Some(OsStr::from_bytes(bytes).to_owned());
    vec![
        ("QMAILNAME", None),
        ("MAILNAME", None),
        ("NAME", None),
        ("MAILHOST", None),
        ("QMAILHOST", host.and_then(value)),
        ("QMAILUSER", value(user)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(line: &str) -> Result<Order, Misuse> {
        let words = std::iter::once("sendmail").chain(line.split_whitespace());
        Order::parse(&words.map(OsString::from).collect::<Vec<_>>())
    }

    fn becomes(line: &str) -> (String, Vec<(&'static str, Option<OsString>)>) {
        let what = order(line).unwrap().becoming(false);
        let args = what.args.join(OsStr::new(" ")).into_string().unwrap();
        (format!("{} {args}", what.program), what.environment)
    }

    #[test]
    fn a_letter_is_injected_with_its_recipients() {
        assert_eq!(becomes("a b").0, "qmail-inject -a -- a b");
        assert_eq!(becomes("-t").0, "qmail-inject -H --");
        assert_eq!(becomes("-oi -oem -i -B 8BITMIME -bm -t -- -x").0, "qmail-inject -H -- -x");
        assert_eq!(becomes("-ti -odi a -t").0, "qmail-inject -H -- a -t");
    }

    #[test]
    fn the_sender_is_the_writer_too() {
        let (command, environment) = becomes("-F Joe -fjoe@x.org a");
        assert_eq!(command, "qmail-inject -a -f joe@x.org -- a");
        let get = |name| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone());
        assert_eq!(get("QMAILUSER"), Some(Some("joe".into())));
        assert_eq!(get("QMAILHOST"), Some(Some("x.org".into())));
        assert_eq!(get("MAILNAME"), Some(None));
        assert_eq!(becomes("-f joe a").0, "qmail-inject -a -f joe -- a");
        assert_eq!(becomes("-f <> a"), ("qmail-inject -a -f  -- a".into(), Vec::new()));
        assert_eq!(becomes("-FJoe a").1, [("MAILNAME", Some("Joe".into()))]);
    }

    #[test]
    fn the_queue_is_listed_and_smtp_spoken_by_others() {
        assert_eq!(becomes("-bp").0, "qmail-qread ");
        let (command, environment) = becomes("-bs");
        assert_eq!(command, "qmail-smtpd ");
        assert!(environment.contains(&("RELAYCLIENT", Some("".into()))));
        assert_eq!(order("-bs").unwrap().becoming(true).environment, []);
    }

    #[test]
    fn anything_else_is_misuse() {
        for line in ["-bd", "-q", "-z", "-f", "-b"] {
            assert_eq!(order(line), Err(Misuse), "{line}");
        }
    }
}
