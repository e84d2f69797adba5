//! Queue a letter the way sendmail does: the command that other programs call, in qmail-inject's
//! words.
//!
//! *Runs as* whoever calls it (root that wants to speak SMTP becomes qmaild) · *hears* its command
//! line and environment · *opens* nothing · *speaks to* qmail-inject, qmail-qread, qmail-smtpd,
//! newaliases or qmailctl, one of which it becomes

mod options;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use store::home::Home;
use sys::{fd, spawn, user};

use options::{Letter, Order};

/// What this process becomes: a program in the home's `bin`, its arguments, and variables to set
/// or (`None`) to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Becoming {
    program: &'static str,
    args: Vec<OsString>,
    environment: Vec<(&'static str, Option<OsString>)>,
    /// It hears a client: not root.
    hears: bool,
}

/// The program.
pub(crate) fn main(args: &[OsString]) -> i32 {
    match Order::parse(args) {
        Ok(order) => become_it(becoming(order, std::env::var_os("PROTO").is_some())),
        Err(misuse) => {
            say(&misuse.to_string());
            100
        }
    }
}

/// `mailq`: the queue, whatever the arguments.
pub(crate) fn mailq(_args: &[OsString]) -> i32 {
    become_it(becoming(Order::List, true))
}

/// Becomes a program of the home; an exit code if that fails.
fn become_it(what: Becoming) -> i32 {
    let Ok(home) = Home::find() else {
        say("sendmail: fatal: unable to switch to qmail home directory");
        return 111;
    };
    if what.hears
        && let Err(why) = step_down(&home)
    {
        say(&format!("sendmail: fatal: unable to become qmaild: {why}"));
        return 111;
    }
    let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    for (name, value) in what.environment {
        environment.retain(|(known, _)| known != name);
        environment.extend(value.map(|value| (name.into(), value)));
    }
    if !fd::stdin_was_open() {
        // What the runtime put there is not for the program: it is to see what we were given.
        let _closed_anyway = fd::set_cloexec(fd::stdin(), true);
    }
    let mut argv = vec![OsString::from(what.program)];
    argv.extend(what.args);
    let path = home.path(Path::new("bin").join(what.program));
    let _not_there = spawn::exec(path.as_os_str(), &argv, Some(&environment));
    say(&format!("sendmail: fatal: unable to run {}", what.program));
    111
}

/// Root does not hear clients: it becomes qmaild, as behind tcpserver.
fn step_down(home: &Home) -> Result<(), String> {
    if user::euid() != 0 || home.is_private() {
        return Ok(());
    }
    let roles = home.roles().map_err(|err| err.to_string())?;
    user::drop_to(&roles.qmaild).map_err(|err| sys::errno::text(&err).to_string())
}

/// One line on descriptor 2; nobody is left to tell if that fails.
fn say(text: &str) {
    let _ = fd::write_all(fd::stderr(), format!("{text}\n").as_bytes());
}

/// What carries an order out. `served` says that a TCP server has already set the scene for SMTP.
fn becoming(order: Order, served: bool) -> Becoming {
    match order {
        Order::Inject(letter) => inject(letter),
        Order::List => Becoming { program: "qmail-qread", ..Becoming::default() },
        Order::Aliases => Becoming { program: "newaliases", ..Becoming::default() },
        Order::Flush => {
            let args = vec!["flush".into()];
            Becoming { program: "qmailctl", args, ..Becoming::default() }
        }
        Order::Serve => {
            let set = SCENE.iter().filter(|_| !served);
            let environment = set.map(|(name, value)| (*name, Some((*value).into()))).collect();
            Becoming { program: "qmail-smtpd", environment, hears: true, ..Becoming::default() }
        }
    }
}

/// What a TCP server would say of a client that may send anywhere.
const SCENE: [(&str, &str); 8] = [
    ("RELAYCLIENT", ""),
    ("DATABYTES", "0"),
    ("PROTO", "TCP"),
    ("TCPLOCALIP", "127.0.0.1"),
    ("TCPLOCALHOST", "localhost"),
    ("TCPREMOTEIP", "127.0.0.1"),
    ("TCPREMOTEHOST", "localhost"),
    ("TCPREMOTEINFO", "sendmail-bs"),
];

/// qmail-inject with this letter's options; `-f` decides `From`, too.
fn inject(letter: Letter) -> Becoming {
    let mut args = vec![OsString::from(if letter.header { "-H" } else { "-a" })];
    let mut environment: Vec<(&str, Option<OsString>)> = Vec::new();
    environment.extend(letter.name.map(|name| ("MAILNAME", Some(OsString::from_vec(name)))));
    if let Some(sender) = letter.sender {
        if !sender.is_empty() {
            environment = named(&sender);
        }
        args.extend(["-f".into(), OsString::from_vec(sender)]);
    }
    args.push("--".into());
    args.extend(letter.recipients);
    Becoming { program: "qmail-inject", args, environment, hears: false }
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

    fn becomes(line: &str) -> (String, Vec<(&'static str, Option<OsString>)>) {
        let words = std::iter::once("sendmail").chain(line.split_whitespace());
        let order = Order::parse(&words.map(OsString::from).collect::<Vec<_>>()).unwrap();
        let what = becoming(order, false);
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
    fn the_queue_is_listed_and_tried_and_smtp_spoken_by_others() {
        assert_eq!(becomes("-bp").0, "qmail-qread ");
        assert_eq!(becomes("-q").0, "qmailctl flush");
        let (command, environment) = becomes("-bs");
        assert_eq!(command, "qmail-smtpd ");
        assert!(environment.contains(&("RELAYCLIENT", Some("".into()))));
        assert_eq!(becoming(Order::Serve, true).environment, []);
    }
}
