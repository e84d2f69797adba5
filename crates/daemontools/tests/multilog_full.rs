//! multilog on a disk that is full: a small tmpfs in a mount namespace of its own, for which one has
//! to be root.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
mod stage;

use stage::{Stage, at_rest, eventually, kill, millis};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A multilog whose log lies on a disk of its own.
struct Full {
    stage: Stage,
    child: Child,
}

impl Full {
    /// Starts it on a disk of so many kilobytes, of which `filled` are taken; `None` where that
    /// cannot be done.
    fn start(
        name: &str,
        disk: u32,
        filled: u32,
        actions: &str,
        input: impl Into<Stdio>,
    ) -> Option<Self> {
        let stage = Stage::new(name);
        std::fs::create_dir(stage.path("disk")).unwrap();
        let script = format!(
            "mount -t tmpfs -o size={disk}k none disk && head -c {filled}k /dev/zero >disk/filler && \
             exec {} {actions} ./disk/log 2>err",
            stage.bin("multilog")
        );
        let can = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
        if !can.is_ok_and(|status| status.success()) {
            stage::skipped("no mount namespace can be had");
            return None;
        }
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]).current_dir(&stage.dir).stdin(input);
        let child = command.spawn().unwrap();
        let full = Self { stage, child };
        eventually("the log", || full.path("log/current").exists());
        Some(full)
    }

    /// A file on its disk.
    fn path(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id()));
        root.join(self.stage.path("disk").join(name).strip_prefix("/").unwrap())
    }

    /// All lines in the log.
    fn lines(&self) -> Vec<String> {
        stage::logged(&self.path("log"))
    }

    fn old(&self) -> usize {
        stage::finished(&self.path("log")).len()
    }

    fn err(&self) -> String {
        self.stage.read("err")
    }

    /// Asserts that it has warned of this and of nothing else. It says it again after five seconds
    /// and more.
    fn said(&self, warning: &str) {
        let (err, line) = (self.err(), format!("multilog: warning: {warning}"));
        assert!(!err.is_empty() && err.lines().all(|each| each == line), "{err}");
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes numbers as lines; a line of 100 bytes each.
fn feed(to: &mut impl Write, numbers: std::ops::RangeInclusive<u32>) {
    for number in numbers {
        to.write_all(format!("{number:099}\n").as_bytes()).unwrap();
    }
}

fn number(line: &str) -> u32 {
    line.parse().unwrap_or_else(|_| panic!("torn line {line:?}"))
}

#[test]
fn on_a_full_disk_the_oldest_log_goes_first_and_nobody_waits() {
    let input = Stdio::piped();
    let Some(mut full) = Full::start("full", 400, 0, "s40000 n100", input) else { return };
    let began = std::time::Instant::now();
    let mut pipe = full.child.stdin.take().unwrap();
    feed(&mut pipe, 1..=20_000);
    eventually("the last line", || full.lines().last().map(|line| number(line)) == Some(20_000));
    let lines = full.lines();
    assert!(lines.windows(2).all(|two| number(&two[0]) + 1 == number(&two[1])));
    assert!(full.old() >= 5 && lines.len() >= 2_000, "{} in {}", lines.len(), full.old());
    let err = full.err();
    assert!(
        err.starts_with("multilog: warning: out of disk space, removing ./disk/log/@"),
        "{err}"
    );
    // Once a minute.
    assert!(err.lines().count() as u64 <= 1 + began.elapsed().as_secs() / 60, "{err}");
}

#[test]
fn where_nothing_may_go_lines_wait_in_the_pipe_and_are_all_written_later() {
    let input = Stdio::piped();
    let Some(mut full) = Full::start("wait", 400, 200, "s40000 n100 f100", input) else { return };
    let mut pipe = full.child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        feed(&mut pipe, 1..=3_000);
        // With its end multilog would end, and the disk with it.
        pipe
    });
    eventually("trouble", || full.err().contains("\n"));
    millis(300);
    assert!(!writer.is_finished());
    full.said("unable to write to ./disk/log/current, pausing: out of disk space");
    std::fs::remove_file(full.path("filler")).unwrap();
    let _pipe = writer.join().unwrap();
    eventually("the last line", || full.lines().last().map(|line| number(line)) == Some(3_000));
    let numbers: Vec<u32> = full.lines().iter().map(|line| number(line)).collect();
    assert_eq!(numbers, (1..=3_000).collect::<Vec<_>>());
}

#[test]
fn if_told_to_it_drops_lines_and_says_how_many() {
    let input = Stdio::piped();
    let Some(mut full) = Full::start("drop", 400, 200, "s40000 n100 f100 l", input) else { return };
    let mut pipe = full.child.stdin.take().unwrap();
    // More than the disk and the pipe take together: nobody waits all the same.
    feed(&mut pipe, 1..=12_000);
    full.said("unable to write to ./disk/log/current, dropping lines: out of disk space");
    let before = full.lines().len();
    std::fs::remove_file(full.path("filler")).unwrap();
    // What comes in its pause is dropped; after it, it writes what it has in hand, and then waits.
    eventually("it writes again", || full.lines().len() > before);
    at_rest(full.child.id());
    feed(&mut pipe, 12_001..=12_010);
    eventually("the last line", || full.lines().last().is_some_and(|line| line.ends_with("12010")));
    let lines = full.lines();
    let is_note = |line: &&String| line.starts_with("multilog: warning: out of disk space, ");
    let notes: Vec<_> = lines.iter().filter(is_note).collect();
    let lost: usize =
        notes.iter().map(|note| note.split(' ').nth(6).unwrap().parse::<usize>().unwrap()).sum();
    assert_eq!(lines.len() - notes.len() + lost, 12_010, "{notes:?}");
    let numbers: Vec<u32> =
        lines.iter().filter(|line| !is_note(line)).map(|line| number(line)).collect();
    assert!(numbers.windows(2).all(|two| two[0] < two[1]));
}

#[test]
fn while_it_drops_lines_and_none_comes_it_sees_freed_space_and_hears_term() {
    let start = |name| {
        let full = Full::start(name, 400, 400, "s40000 n100 f100 l", Stdio::piped());
        let mut full = full?;
        let mut pipe = full.child.stdin.take().unwrap();
        feed(&mut pipe, 1..=1);
        eventually("trouble", || full.err().contains("dropping lines"));
        // Into the pause, in which nothing more comes.
        at_rest(full.child.id());
        Some((full, pipe))
    };
    let Some((full, _pipe)) = start("quiet") else { return };
    std::fs::remove_file(full.path("filler")).unwrap();
    eventually("the one line", || full.lines().iter().map(|line| number(line)).eq([1]));
    let Some((mut full, _pipe)) = start("quiet-term") else { return };
    kill("TERM", full.child.id());
    eventually("its end", || full.child.try_wait().unwrap().is_some());
}

#[test]
fn while_it_drops_lines_it_ends_with_the_input() {
    let Some(mut full) = Full::start("end", 64, 0, "l s8192 n100 f100", Stdio::piped()) else {
        return;
    };
    let mut pipe = full.child.stdin.take().unwrap();
    feed(&mut pipe, 1..=4_000);
    drop(pipe);
    eventually("its end", || full.child.try_wait().unwrap().is_some());
    assert_eq!(full.child.wait().unwrap().code(), Some(111));
    let err = full.err();
    let lines: Vec<&str> = err.lines().collect();
    let [dropping, lost] = lines[..] else { panic!("{err}") };
    assert!(dropping.ends_with(", dropping lines: out of disk space"), "{err}");
    let lost = lost.strip_prefix("multilog: warning: out of disk space, at least ");
    let lost: u32 = lost.unwrap().strip_suffix(" lines lost").unwrap().parse().unwrap();
    assert!((1_000..4_000).contains(&lost), "{err}");
}

#[test]
fn term_while_waiting_leaves_the_lines_to_the_next() {
    let (read, mut pipe) = std::io::pipe().unwrap();
    let input = OwnedFd::from(read.try_clone().unwrap());
    let Some(mut full) = Full::start("term", 400, 364, "f100", input) else { return };
    // The disk has room for 368 of them.
    feed(&mut pipe, 1..=600);
    eventually("trouble", || full.err().contains("\n"));
    kill("TERM", full.child.id());
    let status = full.child.wait().unwrap();
    assert_eq!(status.code(), Some(111));
    // The disk is gone with its namespace; what was not in `current` is still in the pipe.
    drop(pipe);
    let stage = &full.stage;
    let mut next = stage.command(&["multilog", "./a"]).stdin(OwnedFd::from(read)).spawn().unwrap();
    assert!(next.wait().unwrap().success());
    let lines = stage::logged(&stage.path("a"));
    assert!(lines.len() >= 200);
    assert_eq!(lines.last().map(|line| number(line)), Some(600));
    assert!(lines.windows(2).all(|two| number(&two[0]) + 1 == number(&two[1])));
}
