//! A place for a test: a directory of its own, our programs in it by name, and nothing left behind.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use yard::Yard;

pub use yard::patience::{LONG, at_rest, eventually, millis, quick_once};
pub use yard::skipped;

/// [`LONG`] for a program's option, in milliseconds.
pub const LATE: &str = "60000";

/// A service that does nothing.
pub const SLEEP: &str = "exec sleep 1000";

/// The directory and what runs in it.
pub struct Stage {
    pub dir: Yard,
    children: Vec<u32>,
}

/// What a program said.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Said {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Stage {
    pub fn new(name: &str) -> Stage {
        let dir = Yard::new(&format!("daemontools-{name}"));
        fs::create_dir_all(dir.join("bin")).unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_daemontools"));
        for program in [
            "envdir",
            "envuidgid",
            "fghack",
            "multilog",
            "pgrphack",
            "readproctitle",
            "setlock",
            "setuidgid",
            "softlimit",
            "supervise",
            "svc",
            "svok",
            "svscan",
            "svscanboot",
            "svstat",
            "svwait",
            "tai64n",
            "tai64nlocal",
        ] {
            symlink(binary, dir.join("bin").join(program)).unwrap();
        }
        Stage { dir, children: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn bin(&self, name: &str) -> String {
        self.path("bin").join(name).to_string_lossy().into_owned()
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A link under `name`.
    pub fn link(&self, to: &str, name: &str) {
        symlink(to, self.path(name)).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// A shell script under `name`, with our programs in its `$PATH`.
    pub fn script(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = format!("#!/bin/sh\nPATH={}:$PATH\n{text}\n", self.path("bin").display());
        yard::script(&path, &text);
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.bin(words[0]));
        command.args(&words[1..]).current_dir(&self.dir).stdin(Stdio::null());
        command
    }

    pub fn run(&self, words: &[&str]) -> Said {
        self.command(words).output().unwrap().into()
    }

    /// Starts a program that is ended with the test; its stderr goes to the file `err`.
    pub fn start(&mut self, words: &[&str]) -> Child {
        let command = self.command(words);
        self.spawn(command)
    }

    /// The same with one variable set.
    pub fn start_with(&mut self, name: &str, value: &str, words: &[&str]) -> Child {
        let mut command = self.command(words);
        command.env(name, value);
        self.spawn(command)
    }

    fn spawn(&mut self, mut command: Command) -> Child {
        let err = fs::OpenOptions::new().create(true).append(true).open(self.path("err")).unwrap();
        let child = command.stdout(Stdio::null()).stderr(err).spawn().unwrap();
        self.children.push(child.id());
        child
    }

    /// A supervise of the service `s` that listens.
    pub fn supervise(&mut self) -> Child {
        let child = self.start(&["supervise", "s"]);
        eventually("supervise listens", || self.run(&["svok", "s"]).code == Some(0));
        child
    }

    /// Ends that service and its supervise.
    pub fn leave(&self, mut supervise: Child) {
        self.run(&["svc", "-dx", "s"]);
        assert!(supervise.wait().unwrap().success());
    }

    /// The pid svstat tells, if the service is up.
    pub fn pid(&self, service: &str) -> Option<u32> {
        let line = self.run(&["svstat", service]).out;
        let (_, after) = line.split_once("up (pid ")?;
        after.split(')').next()?.parse().ok()
    }

    /// The same, once supervise has written both of its files about it, and has nothing more to write.
    pub fn recorded(&self, service: &str) -> u32 {
        let written = || -> Option<u32> {
            let status = fs::read(self.path(service).join("supervise/status")).ok()?;
            let bytes = status.get(12..16)?.try_into().ok()?;
            Some(u32::from_le_bytes(bytes)).filter(|pid| *pid != 0)
        };
        let mut found = None;
        eventually("the service is up", || {
            found = self.pid(service).filter(|pid| written() == Some(*pid));
            found.is_some()
        });
        found.unwrap()
    }

    /// The supervise of a directory, found by its working directory.
    pub fn supervise_of(&self, service: &str) -> Option<u32> {
        let wanted = fs::canonicalize(self.path(service)).ok()?;
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let ours = line.split(|&b| b == 0).next()?.ends_with(b"supervise");
            let cwd = fs::read_link(entry.path().join("cwd")).ok()?;
            (ours && cwd == wanted).then_some(pid)
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for pid in &self.children {
            kill("KILL", *pid);
        }
        for entry in walk(&self.dir) {
            if entry.ends_with("supervise/control") {
                let dir = entry.parent().unwrap().parent().unwrap();
                let _ = self.run(&["svc", "-dxk", &dir.to_string_lossy()]);
                let record = fs::read_to_string(dir.join("supervise/service")).unwrap_or_default();
                if let Some(pid) = record.split(' ').next().and_then(|pid| pid.parse().ok())
                    && fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir)
                {
                    kill("KILL", pid);
                }
            }
        }
    }
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(walk(&entry.path()));
        } else {
            all.push(entry.path());
        }
    }
    all
}

/// Sends a signal by name.
pub fn kill(signal: &str, pid: u32) {
    let _ = Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// Sends a program TERM, at which it is to end with 0.
pub fn terminate(mut child: Child) {
    kill("TERM", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The names in a directory, if there is one.
fn names(dir: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// The finished logs of a directory, the oldest first.
pub fn finished(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = names(dir).filter(|name| name.starts_with('@')).collect();
    names.sort();
    names
}

/// All lines multilog keeps in a directory, the oldest first.
pub fn logged(dir: &Path) -> Vec<String> {
    let mut kept = finished(dir);
    kept.extend(names(dir).filter(|name| name == "previous"));
    kept.extend(names(dir).filter(|name| name == "current"));
    let mut lines = Vec::new();
    for name in kept {
        let text = fs::read(dir.join(name)).unwrap_or_default();
        lines.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
    }
    lines
}

/// Asserts that the numbers 1 to the last are all there, in order; some may come again.
pub fn assert_complete(lines: &[String], at_least: u64) {
    let mut highest = 0;
    for line in lines {
        let number: u64 = line.parse().unwrap_or_else(|_| panic!("torn line {line:?}"));
        assert!(number <= highest + 1, "lines {} to {} are lost", highest + 1, number - 1);
        highest = highest.max(number);
    }
    assert!(highest >= at_least, "the log ends at {highest}, written were {at_least}");
}
