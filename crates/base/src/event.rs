//! Everything `qmail-send` says in its log: one event, one line (qmail-log(5)).
//!
//! Log analysers have read these lines for a quarter of a century; they are part of the interface.

use alloc::vec::Vec;

use crate::outcome::Outcome;

/// Where a recipient's letter goes: into a mailbox here, or to another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Delivered by `qmail-lspawn`.
    Local,
    /// Delivered by `qmail-rspawn`.
    Remote,
}

impl Channel {
    /// Both, local first as everywhere.
    pub const BOTH: [Self; 2] = [Self::Local, Self::Remote];

    /// The word in the log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }
}

/// How many deliveries of one channel run, out of how many that may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Deliveries running now.
    pub running: u32,
    /// The concurrency limit in force.
    pub limit: u32,
}

/// One line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A letter that `qmail-send` had not seen before.
    New(u64),
    /// What is known of a new letter.
    Info {
        /// The letter's number.
        letter: u64,
        /// Its size in bytes, our own `Received` line included.
        bytes: u64,
        /// Its envelope sender, VERP not expanded.
        from: &'a [u8],
        /// The process that queued it.
        qp: u32,
        /// The user that queued it.
        uid: u32,
    },
    /// A delivery starts.
    Starting {
        /// The delivery's number, from 1 in every run of `qmail-send`.
        delivery: u64,
        /// The letter's number.
        letter: u64,
        /// Which way it goes.
        channel: Channel,
        /// The recipient, rewritten.
        recipient: &'a [u8],
    },
    /// How busy we are; said at the start and after each start and end of a delivery.
    Status {
        /// Local deliveries.
        local: Load,
        /// Remote deliveries.
        remote: Load,
        /// TERM has come: no more deliveries are started.
        exiting: bool,
    },
    /// The last line.
    Exiting,
    /// A delivery has ended.
    Ended {
        /// Its number.
        delivery: u64,
        /// How; `None` if the report could not be understood.
        outcome: Option<Outcome>,
        /// What the delivery program said.
        text: &'a [u8],
    },
    /// The bounce of a letter is queued.
    Bounced {
        /// The letter that bounced.
        letter: u64,
        /// The process that queued the bounce.
        qp: u32,
    },
    /// The bounce of a bounce, and nobody wants to be told (a patch's line).
    DoubleBounce(u64),
    /// The bounce of a double bounce: nobody is left to be told.
    TripleBounce(u64),
    /// The letter is gone from the queue.
    End(u64),
    /// Somebody should look at this now.
    Alert(Alert<'a>),
    /// Something went wrong that we shall try again.
    Warning(Warning<'a>),
}

/// Trouble that stops the mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert<'a> {
    /// `qmail-send` cannot start; stock's reasons are the constants of [`reason`].
    CannotStart(&'a str),
    /// The pipe to `qmail-clean` broke.
    LostClean,
    /// A pipe to `qmail-lspawn` or `qmail-rspawn` broke.
    LostSpawn,
    /// The connection to `qmail-queued` broke; it is made again (ours, in stock's manner).
    LostQueued,
    /// `qmail-queued` was not there for a while after the start (ours).
    NoQueued,
    /// HUP came, but this control file cannot be read; the old contents stay in force.
    Reread(&'a str),
    /// HUP came, but the home is not there.
    RereadHome,
    /// queued has no room for the reason of a failure; it is told again.
    Append,
    /// A helper has ended (ours).
    Ended {
        /// Its name.
        program: &'a str,
        /// Its process.
        child: u32,
        /// Such as `killed by signal 9`.
        how: &'a str,
    },
}

/// Why `qmail-send` cannot start, in stock's words.
pub mod reason {
    /// The home is not there.
    pub const HOME: &str = "unable to switch to home directory";
    /// A control file cannot be read or parsed.
    pub const CONTROLS: &str = "unable to read controls";
    /// There is no queue.
    pub const QUEUE: &str = "unable to switch to queue directory";
    /// `queue/lock/sendmutex` cannot be opened.
    pub const MUTEX: &str = "unable to open mutex";
    /// Another `qmail-send` holds the lock.
    pub const RUNNING: &str = "qmail-send is already running";
    /// A spawner did not say how many deliveries it can make.
    pub const SPAWN: &str = "hath the daemon spawn no fire?";
}

/// Trouble that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning<'a> {
    /// A bounce could not be queued.
    Injecting,
    /// The program named by `$QMAILQUEUE` could not be run.
    StartingQueue,
    /// `qmail-clean` could not have this letter forgotten.
    Cleaning(u64),
    /// A spawner reported on a delivery nobody asked for.
    OutOfRange,
    /// Waiting for events failed.
    Select,
    /// queued speaks of something we do not understand; what it was.
    Unknown(&'a str),
    /// Why the bounce of a letter could not be queued (ours, before stock's line).
    Bounce {
        /// The letter that bounces.
        letter: u64,
        /// The trouble; one line.
        why: &'a str,
    },
}

impl Event<'_> {
    /// Appends the line, its LF included; addresses and report texts are [`sanitised`](sanitise).
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Info { letter, bytes, from, qp, uid } => {
                numbers(out, &[("info msg ", letter), (": bytes ", bytes)]);
                out.extend_from_slice(b" from <");
                sanitise(out, from);
                numbers(out, &[("> qp ", qp.into()), (" uid ", uid.into())]);
                out.push(b'\n');
            }
            Self::Starting { delivery, letter, channel, recipient } => {
                numbers(out, &[("starting delivery ", delivery), (": msg ", letter)]);
                out.extend_from_slice(b" to ");
                out.extend_from_slice(channel.word().as_bytes());
                out.push(b' ');
                sanitise(out, recipient);
                out.push(b'\n');
            }
            Self::Ended { delivery, outcome, text } => ended(out, delivery, outcome, text),
            Self::Status { local, remote, exiting } => status(out, local, remote, exiting),
            Self::Alert(alert) => alert.encode(out),
            Self::Warning(warning) => warning.encode(out),
            Self::New(id) => line(out, &[("new msg ", id)]),
            Self::Exiting => out.extend_from_slice(b"status: exiting\n"),
            Self::Bounced { letter, qp } => {
                line(out, &[("bounce msg ", letter), (" qp ", qp.into())]);
            }
            Self::DoubleBounce(id) => line(out, &[("double bounce: discarding bounce/", id)]),
            Self::TripleBounce(id) => line(out, &[("triple bounce: discarding bounce/", id)]),
            Self::End(id) => line(out, &[("end msg ", id)]),
        }
    }
}

fn ended(out: &mut Vec<u8>, delivery: u64, outcome: Option<Outcome>, text: &[u8]) {
    numbers(out, &[("delivery ", delivery)]);
    out.extend_from_slice(match outcome {
        Some(Outcome::Done) => b": success: ",
        Some(Outcome::Later) => b": deferral: ",
        Some(Outcome::Never) => b": failure: ",
        None => b": report mangled, will defer",
    });
    if outcome.is_some() {
        sanitise(out, text);
    }
    out.push(b'\n');
}

fn status(out: &mut Vec<u8>, local: Load, remote: Load, exiting: bool) {
    let load = |load: Load| (u64::from(load.running), u64::from(load.limit));
    let ((a, b), (c, d)) = (load(local), load(remote));
    numbers(out, &[("status: local ", a), ("/", b), (" remote ", c), ("/", d)]);
    out.extend_from_slice(if exiting { b" exitasap\n" } else { b"\n" });
}

/// A whole line of words and numbers.
fn line(out: &mut Vec<u8>, pieces: &[(&str, u64)]) {
    numbers(out, pieces);
    out.push(b'\n');
}

/// Words and the number after each. Seven lines a letter are written, thousands of letters a
/// second: formatting them as Rust does took a quarter of the scheduler's time.
fn numbers(out: &mut Vec<u8>, pieces: &[(&str, u64)]) {
    for &(words, mut number) in pieces {
        out.extend_from_slice(words.as_bytes());
        let first = out.len();
        loop {
            out.push(b'0' + (number % 10) as u8);
            number /= 10;
            if number == 0 {
                break;
            }
        }
        if let Some(digits) = out.get_mut(first..) {
            digits.reverse();
        }
    }
}

impl Alert<'_> {
    fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::CannotStart(why) => put(out, format_args!("alert: cannot start: {why}\n")),
            Self::LostClean => {
                out.extend_from_slice(b"alert: oh no! lost qmail-clean connection! dying...\n");
            }
            Self::LostSpawn => {
                out.extend_from_slice(b"alert: oh no! lost spawn connection! dying...\n");
            }
            Self::LostQueued => out.extend_from_slice(
                b"alert: oh no! lost qmail-queued connection! reconnecting...\n",
            ),
            Self::NoQueued => {
                out.extend_from_slice(b"alert: unable to reach qmail-queued, trying again...\n");
            }
            Self::RereadHome => out.extend_from_slice(
                b"alert: unable to reread controls: unable to switch to home directory\n",
            ),
            Self::Append => out.extend_from_slice(
                b"alert: unable to append to bounce message; HELP! sleeping...\n",
            ),
            Self::Reread(file) => put(out, format_args!("alert: unable to reread {file}\n")),
            Self::Ended { program, child, how } => {
                put(out, format_args!("alert: {program}: child {child} {how}\n"));
            }
        }
    }
}

impl Warning<'_> {
    fn encode(self, out: &mut Vec<u8>) {
        let text = match self {
            Self::Injecting => "trouble injecting bounce message, will try later",
            Self::StartingQueue => "unable to start qmail-queue, will try later",
            Self::Cleaning(id) => {
                return put(
                    out,
                    format_args!("warning: qmail-clean unable to clean up foop/{id}\n"),
                );
            }
            Self::OutOfRange => "internal error: delivery report out of range",
            Self::Select => "trouble in select",
            Self::Bounce { letter, why } => {
                return put(out, format_args!("warning: bounce msg {letter}: {why}\n"));
            }
            Self::Unknown(what) => {
                return put(out, format_args!("warning: unknown record type in {what}\n"));
            }
        };
        put(out, format_args!("warning: {text}\n"));
    }
}

/// Appends `text` as it may stand in the log: LF → `/`, bytes < 33, > 126 and `%` → `_`
/// (qmail-log(5)). So one event stays one line, whatever a stranger sent.
pub fn sanitise(out: &mut Vec<u8>, text: &[u8]) {
    let first = out.len();
    out.extend_from_slice(text);
    for byte in out.iter_mut().skip(first) {
        *byte = match *byte {
            b'\n' => b'/',
            b'%' => b'_',
            33..=126 => *byte,
            _ => b'_',
        };
    }
}

fn put(out: &mut Vec<u8>, args: core::fmt::Arguments<'_>) {
    out.extend_from_slice(alloc::fmt::format(args).as_bytes());
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    fn line(event: Event<'_>) -> String {
        let mut out = Vec::new();
        event.encode(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn both(local: u32, remote: u32, exiting: bool) -> Event<'static> {
        Event::Status {
            local: Load { running: local, limit: 10 },
            remote: Load { running: remote, limit: 20 },
            exiting,
        }
    }

    #[test]
    fn a_letters_life_reads_as_stock_writes_it() {
        let id = 10_111_050;
        let life = [
            Event::New(id),
            Event::Info { letter: id, bytes: 249, from: b"s@x.org", qp: 28543, uid: 0 },
            Event::Starting {
                delivery: 1,
                letter: id,
                channel: Channel::Local,
                recipient: b"tuser@mx.example.org",
            },
            both(1, 0, false),
            Event::Ended { delivery: 1, outcome: Some(Outcome::Done), text: b"did 1+0+0\n" },
            both(0, 0, false),
            Event::End(id),
        ];
        let log: String = life.into_iter().map(line).collect();
        assert_eq!(
            log,
            "new msg 10111050\n\
             info msg 10111050: bytes 249 from <s@x.org> qp 28543 uid 0\n\
             starting delivery 1: msg 10111050 to local tuser@mx.example.org\n\
             status: local 1/10 remote 0/20\n\
             delivery 1: success: did_1+0+0/\n\
             status: local 0/10 remote 0/20\n\
             end msg 10111050\n"
        );
    }

    #[test]
    fn every_way_a_delivery_ends_has_its_line() {
        let end = |outcome, text| line(Event::Ended { delivery: 7, outcome, text });
        assert_eq!(end(Some(Outcome::Done), b""), "delivery 7: success: \n");
        assert_eq!(end(Some(Outcome::Later), b"no\n"), "delivery 7: deferral: no/\n");
        assert_eq!(end(Some(Outcome::Never), b"a%b\xff"), "delivery 7: failure: a_b_\n");
        assert_eq!(end(None, b"x"), "delivery 7: report mangled, will defer\n");
    }

    #[test]
    fn a_stranger_cannot_start_a_line_of_his_own() {
        let from = b"a\nend msg 1\r\0\x7f";
        let text = line(Event::Info { letter: 1, bytes: 2, from, qp: 3, uid: 4 });
        assert_eq!(text, "info msg 1: bytes 2 from <a/end_msg_1___> qp 3 uid 4\n");
    }

    #[test]
    fn bounces_and_the_end_have_their_lines() {
        assert_eq!(line(Event::Bounced { letter: 5, qp: 6 }), "bounce msg 5 qp 6\n");
        assert_eq!(line(Event::TripleBounce(5)), "triple bounce: discarding bounce/5\n");
        assert_eq!(line(Event::DoubleBounce(5)), "double bounce: discarding bounce/5\n");
        assert_eq!(line(both(0, 3, true)), "status: local 0/10 remote 3/20 exitasap\n");
        assert_eq!(line(Event::Exiting), "status: exiting\n");
    }

    #[test]
    fn alerts_and_warnings_begin_with_their_word() {
        let alert = |a| line(Event::Alert(a));
        let warning = |w| line(Event::Warning(w));
        let lost = Alert::Ended { program: "qmail-lspawn", child: 7, how: "killed by signal 9" };
        assert_eq!(alert(lost), "alert: qmail-lspawn: child 7 killed by signal 9\n");
        let bounce = Warning::Bounce { letter: 5, why: "child 8 killed by signal 9" };
        assert_eq!(warning(bounce), "warning: bounce msg 5: child 8 killed by signal 9\n");
        assert_eq!(
            alert(Alert::CannotStart(reason::RUNNING)),
            "alert: cannot start: qmail-send is already running\n"
        );
        assert_eq!(alert(Alert::LostSpawn), "alert: oh no! lost spawn connection! dying...\n");
        assert_eq!(
            alert(Alert::LostClean),
            "alert: oh no! lost qmail-clean connection! dying...\n"
        );
        assert_eq!(
            alert(Alert::RereadHome),
            "alert: unable to reread controls: unable to switch to home directory\n"
        );
        assert_eq!(
            alert(Alert::Append),
            "alert: unable to append to bounce message; HELP! sleeping...\n"
        );
        assert_eq!(
            alert(Alert::Reread("control/locals")),
            "alert: unable to reread control/locals\n"
        );
        assert_eq!(
            warning(Warning::Injecting),
            "warning: trouble injecting bounce message, will try later\n"
        );
        assert_eq!(
            warning(Warning::Cleaning(9)),
            "warning: qmail-clean unable to clean up foop/9\n"
        );
    }
}
