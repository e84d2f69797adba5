//! follow a .forward file
//!
//! *Runs as* the recipient · *hears* a letter on descriptor 0 · *opens* the files it is told of,
//! control files · *speaks to* programs those files name; queued, or the program `$QMAILQUEUE`
//! names

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;

use base::limits;
use letter::aliases::{NOWHERE, Why};
use letter::listed::{self, Listed};
use letter::rewrite::Rules;
use letter::token822::{self, Token};
use sys::fd;
use sys::getopt::getopt;

use super::super::feed::feed;
use super::super::requeue::{Trouble, requeue};
use super::super::{Stop, end, say, variable};
use super::{judged, read_whole, rewind, rules, shown, wrong_in};
use crate::inject::Fatal;

const USAGE: &str = "dot-forward: usage: dot-forward [ -nN ] file ...";

/// The program. Exit code 99: the lines of the `.qmail` file that follow do not count.
pub(crate) fn main(args: &[OsString]) -> i32 {
    end("dot-forward", run(args))
}

fn run(args: &[OsString]) -> Result<i32, Stop> {
    let (options, files) = getopt(args, "nN").map_err(|misuse| {
        misuse.complain(args);
        Stop::Usage(USAGE)
    })?;
    let dry = options.last().is_some_and(|option| option.letter == b'n');
    let rules = rules(&|_| None)?;
    let me = Me::of_this_delivery();
    for file in files {
        let Some(text) = read(file)? else { continue };
        let plan = Plan::read(&text, &rules, &me)
            .map_err(|(line, why)| Stop::later(wrong_in(shown(file), line, &why)))?;
        if plan.is_empty() {
            show(dry, &[b"skipping empty file ", shown(file)]);
            continue;
        }
        return plan.follow(dry);
    }
    show(dry, &[b"direct delivery"]);
    Ok(0)
}

/// A line for who only wants to see what would be done.
fn show(dry: bool, pieces: &[&[u8]]) {
    if dry {
        say(pieces.concat());
    }
}

/// A file, if it is there.
fn read(file: &OsStr) -> Result<Option<Vec<u8>>, Stop> {
    let unable = |doing: &[u8], err| Stop::unable([doing, b" ", shown(file)].concat(), &err);
    match sys::file::open_read(file) {
        Ok(text) => read_whole(text, limits::ALIASES).map(Some).map_err(|err| unable(b"read", err)),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        Err(err) => Err(unable(b"open", err)),
    }
}

/// Whose file it is: who names himself in it gets the letter here.
#[derive(Debug)]
struct Me {
    user: Vec<u8>,
    address: Vec<u8>,
}

impl Me {
    fn of_this_delivery() -> Self {
        let value = |name| variable(name).unwrap_or_default();
        let user = value("USER");
        Self { address: [&user[..], b"@", &value("HOST")].concat(), user }
    }

    /// Whether an address, before it is completed, is mine: `user`, or `user@host`.
    fn is(&self, address: &[Token]) -> bool {
        let mine = if address.contains(&Token::At) { &self.address } else { &self.user };
        token822::unquote(address).eq_ignore_ascii_case(mine)
    }
}

/// One thing a file asks for.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Forward(Vec<u8>),
    Run(Vec<u8>),
    /// `/dev/null`: nothing, and the letter is dealt with.
    Discard,
}

/// Everything a file asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    steps: Vec<Step>,
    /// The lines behind ours in the `.qmail` file count.
    here: bool,
}

impl Plan {
    /// Reads a file, all of it before anything is done: a mistake in its last line must not have
    /// the programs of the first run each time the letter is tried. The error tells the line.
    fn read(text: &[u8], rules: &Rules, me: &Me) -> Result<Self, (usize, Why)> {
        let mut plan = Self::default();
        for (n, line) in text.split(|&c| c == b'\n').enumerate() {
            if !line.starts_with(b"#") {
                let number = n.saturating_add(1);
                plan.line(line, rules, me).map_err(|why| (number, why.about(line)))?;
            }
        }
        Ok(plan)
    }

    fn line(&mut self, line: &[u8], rules: &Rules, me: &Me) -> Result<(), Why> {
        for listed in listed::read(line)? {
            match listed {
                // `<>` is nobody.
                Listed::Address(address) if token822::unquote(&address).is_empty() => {}
                Listed::Address(address) if me.is(&address) => self.here = true,
                Listed::Address(address) => {
                    self.steps.push(Step::Forward(listed::recipient(rules, address)?));
                }
                Listed::Program(command) if command.contains(&0) => {
                    return Err(Why::Nul("program names"));
                }
                Listed::Program(command) => self.steps.push(Step::Run(command)),
                Listed::File(path) if path == NOWHERE => self.steps.push(Step::Discard),
                Listed::File(path) | Listed::Include(path) => return Err(Why::File(path)),
            }
        }
        Ok(())
    }

    /// Whether it asks for nothing: then it counts as if it were not there.
    fn is_empty(&self) -> bool {
        self.steps.is_empty() && !self.here
    }

    /// Does it, or shows it; the exit code.
    fn follow(&self, dry: bool) -> Result<i32, Stop> {
        if dry {
            self.show();
        } else if let Some(code) = self.run_programs()? {
            return Ok(code);
        } else {
            self.forward()?;
        }
        Ok(if self.here { 0 } else { 99 })
    }

    fn show(&self) {
        for step in &self.steps {
            match step {
                Step::Forward(address) => show(true, &[b"forward ", address]),
                Step::Run(command) => show(true, &[b"pipe through ", command]),
                Step::Discard => show(true, &[b"throw away"]),
            }
        }
        show(self.here, &[b"direct delivery"]);
    }

    /// Runs the programs, each on the whole letter; the exit code if one of them ends that.
    fn run_programs(&self) -> Result<Option<i32>, Stop> {
        let lines = ["UFLINE", "RPLINE", "DTLINE"].map(|name| variable(name).unwrap_or_default());
        let (shell, head) = (OsString::from("/bin/sh"), lines.concat());
        for step in &self.steps {
            let Step::Run(command) = step else { continue };
            let args = ["-c".into(), OsStr::from_bytes(command).to_owned()];
            let code = judged(feed(&shell, &args, &head, |_| 111)?);
            if code.is_some() {
                return Ok(code);
            }
            rewind()?;
        }
        Ok(None)
    }

    /// Sends the letter on to everybody at once.
    fn forward(&self) -> Result<(), Stop> {
        let recipients = || {
            self.steps.iter().filter_map(|step| match step {
                Step::Forward(address) => Some(&address[..]),
                Step::Run(_) | Step::Discard => None,
            })
        };
        if recipients().next().is_none() {
            return Ok(());
        }
        let delivered_to = variable("DTLINE").unwrap_or_default();
        let sender = variable("NEWSENDER").unwrap_or_default();
        let letter = |buf: &mut [u8]| fd::read(fd::stdin(), buf);
        let pid = requeue(&delivered_to, letter, &sender, recipients()).map_err(refused)?;
        say(format!("dot-forward: info: qp {pid}"));
        Ok(())
    }
}

fn refused(trouble: Trouble) -> Stop {
    match trouble {
        Trouble::Queue(Fatal { text, code }) => {
            Stop::Fatal([b"unable to forward message: ", &text[..]].concat(), code)
        }
        Trouble::Letter(_) => trouble.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan, (usize, String)> {
        let rules = Rules::new(b"mx.example.org", b"example.org", b"example.org").unwrap();
        let me = Me { user: b"joe".to_vec(), address: b"joe@here.org".to_vec() };
        Plan::read(text.as_bytes(), &rules, &me).map_err(|(line, why)| (line, why.to_string()))
    }

    fn forward(address: &str) -> Step {
        Step::Forward(address.into())
    }

    #[test]
    fn every_line_may_list_several_the_last_first() {
        let got = plan("# of mine\nann, bob (x) @b.c\n\n\"|run me\", D <d@e.f>").unwrap();
        let run = Step::Run(b"run me".to_vec());
        let want = [forward("bob@b.c"), forward("ann@mx.example.org"), forward("d@e.f"), run];
        assert_eq!((&got.steps[..], got.here), (&want[..], false));
    }

    #[test]
    fn who_names_himself_gets_the_letter_here() {
        for mine in ["joe", "JOE", "\\joe", "Joe@HERE.org", "\"joe\"@here.org (me)"] {
            assert_eq!(plan(mine), Ok(Plan { steps: Vec::new(), here: true }), "{mine}");
        }
        let got = plan("\\joe, ann@x.y").unwrap();
        assert_eq!(got, Plan { steps: vec![forward("ann@x.y")], here: true });
        let other = plan("joe@there.org").unwrap();
        assert_eq!(other, Plan { steps: vec![forward("joe@there.org")], here: false });
    }

    #[test]
    fn a_file_that_says_nothing_is_empty() {
        for nothing in ["", "\n", "# x\n", "<>\n", " ,\n"] {
            assert!(plan(nothing).unwrap().is_empty(), "{nothing:?}");
        }
    }

    #[test]
    fn what_is_thrown_away_is_dealt_with_and_takes_nothing_from_others() {
        let got = plan("/dev/null").unwrap();
        assert_eq!((got.is_empty(), &got.steps[..]), (false, &[Step::Discard][..]));
        let got = plan("/dev/null, ann@x.y").unwrap();
        assert_eq!(got.steps, [forward("ann@x.y"), Step::Discard]);
        assert!(plan("/dev/zero").is_err() && plan(":include:/dev/null").is_err());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let file = (2, "file delivery /var/mail/joe not supported".to_owned());
        assert_eq!(plan("a@b.c\n/var/mail/joe\n"), Err(file.clone()));
        assert_eq!(plan("a@b.c\n:include:/var/mail/joe\n"), Err(file));
        assert_eq!(plan("(x\n"), Err((1, "unable to parse this line: (x".into())));
    }
}
