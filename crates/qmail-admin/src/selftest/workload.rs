//! What the real programs do on the logged disk, and what they promised by when: letters taken by
//! qmail-smtpd, delivered, deferred and bounced by qmail-send's helpers, removed by qmail-pop3d.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::rig::run;
use crate::Trouble;

/// The uid and gid everything runs under: the disk is root's, so the home is given away.
const NOBODY: &str = "65534:65534";
/// The home's own name.
pub(crate) const HOST: &str = "mail.example.org";
/// Conversations at a time, and letters in each.
const SENDERS: u32 = 4;
const LETTERS_A_SESSION: usize = 5;
/// How long the programs may take to come to rest.
const REST: Duration = Duration::from_secs(180);

/// Who a letter is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// One Maildir.
    Inbox,
    /// Two Maildirs.
    Both,
    /// A program that refuses it: it bounces to a Maildir.
    Broken,
    /// A program that never has time: it stays in the queue.
    Later,
}

impl To {
    /// Who the letter with number `n` is for.
    fn of(n: u32) -> Self {
        match n % 10 {
            3 | 8 => Self::Broken,
            5 => Self::Both,
            7 => Self::Later,
            _ => Self::Inbox,
        }
    }
}

/// Something a client was told, or told us.
#[derive(Clone, Copy)]
pub(crate) enum What {
    /// `250` for the letter with this number.
    Accepted(u32, To),
    /// It is about to be deleted: from now on it may be there or not.
    Asked(u32),
    /// `+OK` to the QUIT that deleted it.
    Deleted(u32),
}

/// An event, and how long the write log was when it was noted.
pub(crate) struct Event {
    pub what: What,
    pub at: u64,
}

/// Notes events with their place in the write log.
struct Ledger<'l> {
    log: &'l Path,
    events: Mutex<Vec<Event>>,
}

impl Ledger<'_> {
    fn note(&self, all: &[What]) -> Result<(), Trouble> {
        let mut events = self.events.lock().map_err(|e| e.to_string())?;
        let at = std::fs::metadata(self.log).map(|m| m.len()).map_err(|e| e.to_string())?;
        events.extend(all.iter().map(|&what| Event { what, at }));
        Ok(())
    }
}

/// The letter with number `n`; its last line tells whether it is whole. Some do not fit into a
/// record of the queue's log.
pub(crate) fn letter(n: u32) -> String {
    let lines = if n % 20 == 9 { 7500 } else { 70 + 3 * (n as usize % 20) };
    format!(
        "Subject: {n}\n\n{}end of {n}\n",
        "All work and no play makes a dull test.\n".repeat(lines)
    )
}

/// A private home with the accounts the letters are for; the programs are links to where they are.
pub(crate) fn prepare(bin: &Path, home: &Path) -> Result<(), Trouble> {
    std::fs::create_dir_all(home.join("bin")).map_err(|e| e.to_string())?;
    for binary in ["daemontools", "qmail", "qmail-admin", "qmail-net"] {
        std::os::unix::fs::symlink(bin.join(binary), home.join("bin").join(binary))
            .map_err(|e| e.to_string())?;
    }
    run(Command::new("chown").args(["-hR", NOBODY]).arg(home))?;
    let nowhere = ["--smtp", "127.0.0.1:25", "--pop3", "127.0.0.1:110"];
    let mut setup = admin(home);
    run(setup.args(["setup", "--host", HOST]).args(nowhere))?;
    for name in ["inbox", "second", "sender", "broken", "later"] {
        run(admin(home).args(["user", "add", name]))?;
    }
    for (name, code) in [("broken", 100), ("later", 111)] {
        let file = account(home, name).join(".qmail");
        std::fs::write(file, format!("|exit {code}\n")).map_err(|e| e.to_string())?;
    }
    // Once, so that what is only written at the first start is not part of every cut.
    Services::start(home).map(drop)
}

/// An account's home.
pub(crate) fn account(home: &Path, name: &str) -> PathBuf {
    home.join("mail").join(HOST).join(name)
}

/// A program of the home, run as the home's owner.
pub(crate) fn program(home: &Path, name: &str) -> Command {
    let mut command = Command::new(home.join("bin/daemontools"));
    command.args(["setuidgid", NOBODY]).arg(home.join("bin").join(name));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("QMAILHOME", home);
    command.current_dir(home).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn admin(home: &Path) -> Command {
    let mut command = program(home, "qmail-admin");
    command.args(["qmailctl", "--home"]).arg(home);
    command
}

/// queued and qmail-send with its helpers; they are killed when it goes.
pub(crate) struct Services(Vec<Child>);

impl Drop for Services {
    fn drop(&mut self) {
        for child in self.0.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Services {
    /// Starts them; returns once queued answers.
    pub(crate) fn start(home: &Path) -> Result<Self, Trouble> {
        let start = |command: &mut Command| {
            command.stdout(Stdio::null()).spawn().map_err(|e| e.to_string())
        };
        let mut services = Self(vec![start(&mut program(home, "qmail-queued"))?]);
        for _ in 0..24_000 {
            if queue(home).is_some() {
                let mut send = program(home, "qmail-start");
                services.0.push(start(send.arg("./Maildir/"))?);
                return Ok(services);
            }
            if let Some(Ok(Some(status))) = services.0.first_mut().map(Child::try_wait) {
                return Err(format!("qmail-queued ended: {status}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err("qmail-queued does not answer".into())
    }
}

/// What qmail-qread lists; none while queued does not answer.
pub(crate) fn queue(home: &Path) -> Option<String> {
    let out = program(home, "qmail-qread").output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Waits until only letters that are to stay are in the queue, and returns the list; none if that
/// takes too long.
pub(crate) fn rest(home: &Path) -> Option<String> {
    let until = Instant::now() + REST;
    let later = format!("later@{HOST}");
    while Instant::now() < until {
        let listed = queue(home).unwrap_or_else(|| "\tlocal\t?".into());
        // A letter in the queue for nobody any more is about to leave it.
        let letters = listed.lines().filter(|line| line.contains(" GMT  #")).count();
        let staying = |line: &&str| line.starts_with("\tlocal\t") && line.contains(&later);
        let stay = listed.lines().filter(staying).count();
        let recipients = listed.lines().filter(|line| !line.contains(" GMT  #")).count();
        if letters == stay && recipients == stay {
            return Some(listed);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

/// One conversation with a program, its end of the socket here.
struct Talk {
    child: Child,
    stream: BufReader<UnixStream>,
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.stream.get_ref().shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

impl Talk {
    fn start(command: &mut Command) -> Result<Self, Trouble> {
        let (ours, theirs) = UnixStream::pair().map_err(|e| e.to_string())?;
        let again = theirs.try_clone().map_err(|e| e.to_string())?;
        let _ = ours.set_read_timeout(Some(REST));
        let (input, output) = (OwnedFd::from(theirs), OwnedFd::from(again));
        let command = command.stdin(Stdio::from(input)).stdout(Stdio::from(output));
        let child = command.spawn().map_err(|e| e.to_string())?;
        Ok(Self { child, stream: BufReader::new(ours) })
    }

    /// One line of the answer; it must begin with `wanted`.
    fn hear(&mut self, wanted: &str) -> Result<String, Trouble> {
        loop {
            let mut line = String::new();
            let n = self.stream.read_line(&mut line).map_err(|e| e.to_string())?;
            if n == 0 || !line.starts_with(wanted) {
                return Err(format!("{line:?} instead of {wanted}"));
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }

    fn ask(&mut self, text: &str, wanted: &str) -> Result<String, Trouble> {
        let sent = self.stream.get_mut().write_all(text.as_bytes());
        sent.map_err(|e| e.to_string())?;
        self.hear(wanted)
    }
}

/// Sends the letters in one conversation, noting each that is acknowledged.
fn send(home: &Path, numbers: &[u32], ledger: &Ledger<'_>) -> Result<(), Trouble> {
    let mut smtpd = program(home, "qmail-smtpd");
    for (name, value) in [("PROTO", "TCP"), ("TCPREMOTEIP", "127.0.0.1"), ("TCPLOCALHOST", HOST)] {
        smtpd.env(name, value);
    }
    let mut talk = Talk::start(smtpd.env("TCPREMOTEHOST", "localhost"))?;
    talk.hear("220")?;
    talk.ask("EHLO client.example.net\r\n", "250")?;
    for &n in numbers {
        let to = To::of(n);
        let (sender, recipients) = match to {
            To::Inbox => (format!("{n}@example.net"), &["inbox"][..]),
            To::Both => (format!("{n}@example.net"), &["inbox", "second"][..]),
            To::Broken => (format!("sender@{HOST}"), &["broken"][..]),
            To::Later => (format!("{n}@example.net"), &["later"][..]),
        };
        talk.ask(&format!("MAIL FROM:<{sender}>\r\n"), "250")?;
        for name in recipients {
            talk.ask(&format!("RCPT TO:<{name}@{HOST}>\r\n"), "250")?;
        }
        talk.ask("DATA\r\n", "354")?;
        talk.ask(&format!("{}.\r\n", letter(n).replace('\n', "\r\n")), "250")?;
        ledger.note(&[What::Accepted(n, to)])?;
    }
    talk.ask("QUIT\r\n", "221").map(drop)
}

/// Fetches the headers of what is in the Maildir `inbox` and deletes a part of it.
fn fetch(home: &Path, ledger: &Ledger<'_>) -> Result<(), Trouble> {
    let mut pop3d = program(home, "qmail-pop3d");
    let mut talk = Talk::start(pop3d.arg("Maildir").current_dir(account(home, "inbox")))?;
    talk.hear("+OK")?;
    let stat = talk.ask("STAT\r\n", "+OK ")?;
    let count: u32 = stat.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut deleted = Vec::new();
    for index in 1..=count {
        talk.ask(&format!("TOP {index} 0\r\n"), "+OK")?;
        let mut number = None;
        loop {
            let line = talk.hear("")?;
            if line == ".\r\n" {
                break;
            }
            number = number.or_else(|| line.strip_prefix("Subject: ")?.trim_end().parse().ok());
        }
        if let Some(number) = number.filter(|n: &u32| n.is_multiple_of(2)) {
            talk.ask(&format!("DELE {index}\r\n"), "+OK")?;
            deleted.push(number);
        }
    }
    ledger.note(&deleted.iter().map(|&n| What::Asked(n)).collect::<Vec<_>>())?;
    talk.ask("QUIT\r\n", "+OK")?;
    ledger.note(&deleted.iter().map(|&n| What::Deleted(n)).collect::<Vec<_>>())
}

/// Lets the programs work until every letter is where it is to be, noting how long the write log
/// was at each promise.
pub(crate) fn record(home: &Path, log: &Path, letters: u32) -> Result<Vec<Event>, Trouble> {
    let services = Services::start(home)?;
    let ledger = Ledger { log, events: Mutex::new(Vec::new()) };
    let (numbers, sending) = ((1..=letters).collect::<Vec<u32>>(), AtomicBool::new(true));
    let share = numbers.len().div_ceil(SENDERS as usize).max(1);
    let worked = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while sending.load(Ordering::Relaxed) {
                fetch(home, &ledger)?;
                std::thread::sleep(Duration::from_millis(50));
            }
            rest(home).ok_or("the queue does not come to rest")?;
            fetch(home, &ledger)
        });
        let senders: Vec<_> = numbers
            .chunks(share)
            .map(|part| {
                let ledger = &ledger;
                let each = move || {
                    part.chunks(LETTERS_A_SESSION).try_for_each(|some| send(home, some, ledger))
                };
                scope.spawn(each)
            })
            .collect();
        let gone = || Err(Trouble::from("a client broke down"));
        let sent = senders.into_iter().try_for_each(|s| s.join().unwrap_or_else(|_| gone()));
        sending.store(false, Ordering::Relaxed);
        sent.and(reader.join().unwrap_or_else(|_| gone()))
    });
    drop(services);
    worked?;
    ledger.events.into_inner().map_err(|e| e.to_string())
}
