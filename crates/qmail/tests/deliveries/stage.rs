//! A home with the real queued and one account, and the test in qmail-send's place. Run by root it
//! is a system home, with users of its own; run by anybody else a private one.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use base::outcome::Outcome;
use base::text0;
use base::time::Moment;
use base::wire::frame;
use base::wire::queue::{Envelope, Origin};
use base::wire::spawn::{Delivery, MAX_REPORT, Report};
use store::client::QueueClient;
use sys::fd;
use sys::signal::{Signal, kill};
use sys::spawn::{Command, Status, wait};
use yard::Yard;
use yard::patience::{LONG, eventually};

const PROGRAM: &str = env!("CARGO_BIN_EXE_qmail");

/// A home of its own.
pub(crate) struct Place {
    pub(crate) home: Yard,
    /// joe's uid.
    pub(crate) uid: u32,
    queued: u32,
}

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let home = Yard::new(&format!("qd-{name}"));
        let joe = home.join("mail/joe");
        for dir in ["control", "users", "queue/lock", "bin", "alias"] {
            fs::create_dir_all(home.join(dir)).unwrap();
        }
        for dir in ["tmp", "new", "cur"] {
            fs::create_dir_all(joe.join("Maildir").join(dir)).unwrap();
        }
        fs::write(home.join("control/me"), "here.test\n").unwrap();
        let names = ["alias", "qmaild", "qmaill", "qmailp", "qmailq", "qmailr", "qmails"];
        let roles = (47790..).zip(names).map(|(uid, name)| format!("{name}:{uid}:42108\n"));
        fs::write(home.join("users/roles"), roles.collect::<String>()).unwrap();
        let root = sys::user::euid() == 0;
        let uid = if root { 48_001 } else { sys::user::euid() };
        let gid = if root { 48_001 } else { sys::user::egid() };
        let at = joe.display();
        let assign = format!(
            "=joe:joe:{uid}:{gid}:{at}:::\n+joe-:joe:{uid}:{gid}:{at}:-::\n=root:r:7:7:/:::\n.\n"
        );
        fs::write(home.join("users/assign"), assign).unwrap();
        std::os::unix::fs::symlink(PROGRAM, home.join("bin/qmail-pspawn")).unwrap();
        own(&home.join("mail"), uid, gid);
        let mut place = Self { home, uid, queued: 0 };
        place.run("qmail-newu");
        // qmail-newu takes no uid 0; somebody else's may have.
        let cdb = place.home.join("users/cdb");
        let mut bytes = fs::read(&cdb).unwrap();
        let at = bytes.windows(6).position(|six| six == b"r\x007\x007\0").unwrap();
        bytes[at..at + 6].copy_from_slice(b"r\x000\x000\0");
        fs::write(&cdb, bytes).unwrap();
        place.queued = place.command("qmail-queued").spawn().unwrap();
        let socket = place.home.join("queue/queued");
        eventually("queued is up", || QueueClient::connect_at(&socket).is_ok());
        place
    }

    pub(crate) fn command(&self, name: &str) -> Command<'static> {
        let command = Command::new(PROGRAM).argv0(name).env("QMAILHOME", &self.home);
        command.env_remove("QMAILQUEUE").env_remove("QMAILREMOTE")
    }

    /// Runs a program that must succeed.
    pub(crate) fn run(&self, name: &str) {
        let pid = self.command(name).spawn().unwrap();
        assert_eq!(wait(pid).unwrap(), Status::Exited(0), "{name}");
    }

    /// A file of joe's.
    pub(crate) fn joe(&self, name: &str) -> PathBuf {
        self.home.join("mail/joe").join(name)
    }

    /// The names in one of joe's Maildir's directories.
    pub(crate) fn names(&self, dir: &str) -> Vec<String> {
        let names = fs::read_dir(self.joe("Maildir").join(dir)).unwrap();
        names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Makes a shell script.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.join(name);
        yard::script(&path, &format!("#!/bin/sh\n{text}\n"));
        path
    }

    pub(crate) fn queue(&self, letter: &[u8]) -> u64 {
        let mut client = self.client();
        client.begin(Origin::Local).unwrap();
        client.chunk(letter).unwrap();
        let mut block = Vec::new();
        for field in ["s@far.test", "joe@here.test"] {
            text0::put(&mut block, field.as_bytes());
        }
        client.commit(&Envelope::new(&block).unwrap()).unwrap()
    }

    /// The envelopes in the queue, `sender recipient…`.
    pub(crate) fn envelopes(&self) -> Vec<String> {
        let mut envelopes = Vec::new();
        self.client()
            .list(|entry| {
                let all =
                    std::iter::once(entry.envelope.sender()).chain(entry.envelope.recipients());
                let all: Vec<_> = all.map(String::from_utf8_lossy).collect();
                envelopes.push(all.join(" "));
            })
            .unwrap();
        envelopes
    }

    fn client(&self) -> QueueClient {
        QueueClient::connect_at(&self.home.join("queue/queued")).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = kill(self.queued, Signal::Kill);
        let _ = wait(self.queued);
    }
}

/// Gives everything below `path` to an account.
fn own(path: &Path, uid: u32, gid: u32) {
    chown(path, Some(uid), Some(gid)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            own(&entry.unwrap().path(), uid, gid);
        }
    }
}

/// A spawner, with the test as its qmail-send.
pub(crate) struct Spawner {
    pid: u32,
    commands: OwnedFd,
    reports: OwnedFd,
    heard: Vec<u8>,
}

impl Spawner {
    pub(crate) fn start(command: Command<'static>) -> Self {
        let (hears, commands) = fd::pipe().unwrap();
        let (reports, says) = fd::pipe().unwrap();
        let pid = command.fd(hears, 0).fd(says, 1).spawn().unwrap();
        let mut spawner = Self { pid, commands, reports, heard: Vec::new() };
        let ceiling = spawner.next(|report| matches!(report, Report::Ceiling(120..=500)));
        assert!(ceiling, "the ceiling comes first");
        spawner
    }

    /// Orders the delivery of a letter's only recipient.
    pub(crate) fn order(&self, slot: u32, letter: u64, recipient: &str, perhaps: bool) {
        self.order_one(slot, letter, 0, recipient, perhaps);
    }

    /// Orders the delivery to one of a letter's recipients.
    pub(crate) fn order_one(
        &self,
        slot: u32,
        letter: u64,
        index: u32,
        recipient: &str,
        perhaps: bool,
    ) {
        let birth = Moment::from_micros(1_200_999_831_000_042);
        let (sender, recipient) = (&b"s@far.test"[..], recipient.as_bytes());
        let mut bytes = Vec::new();
        Delivery { slot, letter, birth, index, perhaps, sender, recipient }.encode(&mut bytes);
        fd::write_all(&self.commands, &bytes).unwrap();
    }

    fn next<T>(&mut self, read: impl FnOnce(Report<'_>) -> T) -> T {
        let mut buf = [0; 4096];
        loop {
            if let Some((frame, used)) = frame::take(&self.heard, MAX_REPORT).unwrap() {
                let value = read(Report::decode(frame).unwrap());
                self.heard.drain(..used);
                return value;
            }
            let n = fd::read_within(&self.reports, &mut buf, LONG).unwrap();
            assert!(n > 0, "the spawner is gone");
            self.heard.extend_from_slice(&buf[..n]);
        }
    }

    /// The next report of any kind: slot, and letter of the outcome and text, or `made`.
    pub(crate) fn news(&mut self) -> (u32, String) {
        self.next(|report| match report {
            Report::Ended { slot, outcome, text } => {
                let letter = char::from(outcome.map_or(b'?', Outcome::letter));
                (slot, format!("{letter}{}", String::from_utf8_lossy(text)))
            }
            Report::Made(slot) => (slot, "made".into()),
            Report::Ceiling(_) => panic!("a second ceiling"),
        })
    }

    /// Makes deliveries to these recipients of a letter, each under its own number, at most a
    /// hundred at a time beside those that wait for the disk; how they ended, and how many were
    /// reported as made before. After each report `each` is called with how many have ended.
    pub(crate) fn flood(
        &mut self,
        letter: u64,
        indices: std::ops::Range<u32>,
        perhaps: bool,
        recipient: impl Fn(u32) -> String,
        mut each: impl FnMut(usize),
    ) -> (Vec<(u32, String)>, usize) {
        let (mut ended, mut made) = (Vec::new(), std::collections::BTreeSet::new());
        let (mut waiting, mut running) = (indices.clone(), 0);
        while ended.len() < indices.len() {
            while running < 100
                && let Some(index) = waiting.next()
            {
                self.order_one(index, letter, index, &recipient(index), perhaps);
                running += 1;
            }
            let (slot, said) = self.news();
            if said == "made" {
                assert!(made.insert(slot), "made twice");
                running -= 1;
                continue;
            }
            running -= usize::from(!made.contains(&slot));
            ended.push((slot, said));
            each(ended.len());
        }
        (ended, made.len())
    }

    /// The next report: slot, letter of the outcome and text in one.
    pub(crate) fn report(&mut self) -> (u32, String) {
        loop {
            let ended = self.next(|report| match report {
                Report::Ended { slot, outcome, text } => {
                    let letter = char::from(outcome.map_or(b'?', Outcome::letter));
                    Some((slot, format!("{letter}{}", String::from_utf8_lossy(text))))
                }
                Report::Made(_) => None,
                Report::Ceiling(_) => panic!("a second ceiling"),
            });
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    /// Makes one delivery and waits for it.
    pub(crate) fn deliver(&mut self, letter: u64, recipient: &str) -> String {
        self.order(7, letter, recipient, false);
        let (slot, text) = self.report();
        assert_eq!(slot, 7);
        text
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Kills it, as a fault of ours might; its children live as long as they like.
    pub(crate) fn kill(self) {
        kill(self.pid, Signal::Kill).unwrap();
        wait(self.pid).unwrap();
    }

    /// Ends the commands; how the spawner ends.
    pub(crate) fn end(self) -> Status {
        drop(self.commands);
        wait(self.pid).unwrap()
    }
}
