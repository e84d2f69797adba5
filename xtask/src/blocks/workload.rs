//! What the real programs do on the logged disk, and what they promised by when: letters queued
//! through `qmail-queue`, letters delivered by `qmail-local`.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::build;
use crate::tally::Trouble;

/// What an exit code of 0 promised.
pub(crate) enum Promise {
    /// The queue holds the letter with this number in it.
    Queued(u32),
    /// The Maildir holds it.
    Delivered(u32),
}

/// A promise, and how long the write log was when it was made.
pub(crate) struct Ack {
    pub promise: Promise,
    pub at: u64,
}

/// What a look at a cut disk showed.
#[derive(Default)]
pub(crate) struct Seen {
    pub lost: u32,
    pub torn: u32,
}

/// A private home with what the programs need; the disk is root's, so the home is given away.
pub(crate) fn prepare(binaries: &Path, home: &Path) -> Result<(), Trouble> {
    build::install(binaries, &home.join("bin"))?;
    for dir in ["control", "queue/lock", "Maildir/tmp", "Maildir/new", "Maildir/cur"] {
        std::fs::create_dir_all(home.join(dir)).map_err(|e| e.to_string())?;
    }
    std::fs::write(home.join("control/me"), "mx.example.org\n").map_err(|e| e.to_string())?;
    let owner = format!("{NOBODY}:{NOBODY}");
    crate::tally::run(Command::new("chown").args(["-R", &owner]).arg(home))
}

/// The uid everything runs under.
const NOBODY: &str = "65534";

/// A program of the home, run as the home's owner.
fn program(home: &Path, name: &str) -> Command {
    let bin = home.join("bin");
    let mut command = Command::new(bin.join("daemontools"));
    command.args(["setuidgid", &format!("{NOBODY}:{NOBODY}")]);
    command.arg(bin.join("qmail")).arg(name).env("QMAILHOME", home).current_dir(home);
    command
}

/// Starts queued and waits until it answers.
fn queued(home: &Path) -> Result<Child, Trouble> {
    let mut queued = program(home, "qmail-queued");
    let mut child =
        queued.stdin(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|e| e.to_string())?;
    for _ in 0..500 {
        let mut asked = program(home, "qmail-qstat");
        if asked.stderr(Stdio::null()).stdout(Stdio::null()).status().is_ok_and(|s| s.success()) {
            return Ok(child);
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("qmail-queued ended: {status}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    end(&mut child);
    Err("qmail-queued does not answer".into())
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// The letter with number `n`: its last line tells whether it is whole.
fn letter(n: u32) -> String {
    format!(
        "Subject: {n}\n\n{}end of {n}\n",
        "All work and no play makes a dull test.\n".repeat(70)
    )
}

/// Queues and delivers letters, noting how long the write log was at each promise.
pub(crate) fn run(home: &Path, log: &Path, letters: u32) -> Result<Vec<Ack>, Trouble> {
    let mut server = queued(home)?;
    let mut acks = Vec::new();
    let mut promised = |promise| {
        let at = std::fs::metadata(log).map(|m| m.len()).map_err(|e| e.to_string())?;
        acks.push(Ack { promise, at });
        Ok::<_, Trouble>(())
    };
    let worked = (0..letters).try_for_each(|n| {
        queue(home, n)?;
        promised(Promise::Queued(n))?;
        deliver(home, n)?;
        promised(Promise::Delivered(n))
    });
    end(&mut server);
    worked.map(|()| acks)
}

fn queue(home: &Path, n: u32) -> Result<(), Trouble> {
    let (envelope, mut write) = sys::fd::pipe().map_err(|e| e.to_string())?;
    let addresses = format!("F{n}@example.org\0Tinbox@example.org\0\0");
    let mut child = program(home, "qmail-queue")
        .stdin(Stdio::piped())
        .stdout(Stdio::from(envelope))
        .spawn()
        .map_err(|e| e.to_string())?;
    feed(&mut child, n)?;
    sys::fd::write_all(write.as_fd(), addresses.as_bytes()).map_err(|e| e.to_string())?;
    close(&mut write);
    finished(&mut child, "qmail-queue")
}

/// Drops a descriptor now rather than at the end of its scope.
fn close(fd: &mut OwnedFd) {
    if let Ok(null) = std::fs::File::open("/dev/null") {
        *fd = null.into();
    }
}

fn deliver(home: &Path, n: u32) -> Result<(), Trouble> {
    let path = home.join(format!("letter.{n}"));
    std::fs::write(&path, letter(n)).map_err(|e| e.to_string())?;
    let stdin = std::fs::File::open(&path).map_err(|e| e.to_string())?;
    let mut local = program(home, "qmail-local");
    local.args(["--", "inbox"]).arg(home).args(["inbox", "", "", "example.org"]);
    local.args([&format!("{n}@example.org"), "./Maildir/"]).stdin(stdin).stdout(Stdio::null());
    finished(&mut local.spawn().map_err(|e| e.to_string())?, "qmail-local")
}

fn feed(child: &mut Child, n: u32) -> Result<(), Trouble> {
    let mut stdin = child.stdin.take().ok_or("no pipe")?;
    stdin.write_all(letter(n).as_bytes()).map_err(|e| e.to_string())
}

fn finished(child: &mut Child, name: &str) -> Result<(), Trouble> {
    let status = child.wait().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("{name}: {status}")) }
}

/// Looks for what was promised, with the programs themselves: queued recovers and is asked.
pub(crate) fn look(home: &Path, due: &[&Promise]) -> Result<Seen, Trouble> {
    let mut seen = Seen::default();
    let mut server = queued(home)?;
    let listed = program(home, "qmail-qread").output().map_err(|e| e.to_string());
    end(&mut server);
    let listed = String::from_utf8_lossy(&listed?.stdout).into_owned();
    let delivered = maildir(&home.join("Maildir/new"));
    for promise in due {
        let (is_there, is_whole) = match promise {
            Promise::Queued(n) => {
                let line = listed.lines().find(|l| l.contains(&format!("<{n}@example.org>")));
                (line.is_some(), line.is_some_and(|l| size(l) >= letter(*n).len() as u64))
            }
            Promise::Delivered(n) => {
                let found = delivered.iter().find(|text| text.contains(&format!("Subject: {n}\n")));
                (found.is_some(), found.is_some_and(|text| text.ends_with(&letter(*n))))
            }
        };
        seen.lost += u32::from(!is_there);
        seen.torn += u32::from(is_there && !is_whole);
    }
    Ok(seen)
}

/// The size in a line of qmail-qread: `… GMT  #N  SIZE  <sender>`.
fn size(line: &str) -> u64 {
    line.split("  ").nth(2).and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

/// The text of every letter in a Maildir's `new`.
fn maildir(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|e| std::fs::read_to_string(e.path()).ok()).collect()
}
