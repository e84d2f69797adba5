//! A disk whose every write is logged: an image behind `qemu-storage-daemon`'s write log, exported
//! by FUSE, on a loop device. No kernel module is needed, but root is.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sys::signal::{Signal, kill};

use crate::Trouble;

/// What the rig needs beside the file system's own tools, and the Debian package that brings it.
const TOOLS: [(&str, &str); 3] =
    [("qemu-storage-daemon", "qemu-utils"), ("fusermount3", "fuse3"), ("losetup", "mount")];

/// How a file system is made and mounted.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    /// As mount calls it.
    pub fs: String,
    /// Arguments of mkfs.
    pub mkfs: Vec<String>,
    /// Mount options.
    pub options: String,
}

impl Kind {
    /// Bytes of its disk: room for queued's segments, a small Maildir and the least the file
    /// system can live on.
    fn size(&self) -> u64 {
        let mib = match self.fs.as_str() {
            "xfs" => 400,
            "btrfs" => 384,
            _ => 192,
        };
        mib << 20
    }

    /// Whether it must be checked before it is mounted again, as at boot.
    fn is_checked(&self) -> bool {
        self.fs == "ext4" && self.mkfs.iter().any(|arg| arg.contains("^has_journal"))
    }

    /// What cannot be run here, with the package that brings it; none if all is there.
    pub(crate) fn lacks(&self) -> Option<String> {
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if !known.lines().any(|line| line.split_whitespace().last() == Some(&self.fs)) {
            return Some(format!("a kernel that can mount {}", self.fs));
        }
        let mkfs = format!("mkfs.{}", self.fs);
        let package = match self.fs.as_str() {
            "xfs" => "xfsprogs",
            "btrfs" => "btrfs-progs",
            _ => "e2fsprogs",
        };
        let mut needed = TOOLS.to_vec();
        needed.push((&mkfs, package));
        if let Some(missing) = needed.into_iter().find(|(program, _)| !is_there(program)) {
            return Some(format!("{} (package {})", missing.0, missing.1));
        }
        if std::fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
            return Some("/dev/fuse, and leave to use it,".into());
        }
        (!may_loop()).then(|| "a free loop device".into())
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.fs)?;
        for arg in &self.mkfs {
            write!(f, " {arg}")?;
        }
        if self.options.is_empty() { Ok(()) } else { write!(f, " ({})", self.options) }
    }
}

/// Whether there is a loop device to be had: in a container there may be none.
fn may_loop() -> bool {
    let found = Command::new("losetup").arg("--find").stdin(Stdio::null()).output();
    let name = found.map(|out| String::from_utf8_lossy(&out.stdout).trim_end().to_owned());
    name.is_ok_and(|name| !name.is_empty() && Path::new(&name).exists())
}

/// Whether a program is in the search path.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    dirs.extend(["/usr/sbin".into(), "/sbin".into()]);
    dirs.iter().any(|dir| dir.join(program).exists())
}

/// A directory with the images and mount points; it goes with the rig.
pub(crate) struct Rig {
    dir: PathBuf,
    pub kind: Kind,
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Rig {
    /// A rig in a directory of its own under `parent`, everybody's to pass through.
    pub(crate) fn new(parent: &Path, kind: Kind) -> Result<Self, Trouble> {
        let dir = parent.join(format!("qmail-powercut.{}", std::process::id()));
        for mount in ["m", "bin"] {
            std::fs::create_dir_all(dir.join(mount)).map_err(|e| e.to_string())?;
        }
        Ok(Self { dir, kind })
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes the file system in the image `new`.
    pub(crate) fn make(&self) -> Result<(), Trouble> {
        let new = std::fs::File::create(self.at("new")).map_err(|e| e.to_string())?;
        new.set_len(self.kind.size()).map_err(|e| e.to_string())?;
        let mut mkfs = Command::new(format!("mkfs.{}", self.kind.fs));
        mkfs.args(if self.kind.fs == "ext4" { &["-q", "-F"][..] } else { &["-q"] });
        run(mkfs.args(&self.kind.mkfs).arg(self.at("new")))
    }

    /// Starts the daemon that logs every write to `base` in `log` while `disk` is written; returns
    /// once the disk can be seen.
    pub(crate) fn logged(&self) -> Result<LoggedDisk, Trouble> {
        for name in ["log", "disk"] {
            std::fs::write(self.at(name), b"").map_err(|e| e.to_string())?;
        }
        let file = |node: &str, name: &str| {
            format!("driver=file,node-name={node},filename={}", self.at(name).display())
        };
        let mut daemon = Command::new("qemu-storage-daemon");
        daemon.args(["--blockdev", &file("f0", "base"), "--blockdev", &file("fl", "log")]);
        let writes = "driver=blklogwrites,node-name=lw,file=f0,log=fl,log-sector-size=512";
        daemon.args(["--blockdev", writes]);
        let disk = self.at("disk");
        daemon
            .arg("--export")
            .arg(format!("type=fuse,id=e0,node-name=lw,mountpoint={},writable=on", disk.display()));
        let child = daemon.stdin(Stdio::null()).spawn().map_err(|e| e.to_string())?;
        let logged = LoggedDisk(child);
        for _ in 0..6_000 {
            if std::fs::metadata(&disk).is_ok_and(|m| m.len() == self.kind.size()) {
                return Ok(logged);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("qemu-storage-daemon did not export the disk".into())
    }

    /// Mounts an image, does something with the home in it, unmounts it. Always in the same place:
    /// accounts are known by the whole path of their homes.
    pub(crate) fn mounted<T>(
        &self,
        image: &str,
        work: impl FnOnce(&Path) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let (is_cut, mount) = (image == "cut", self.at("m"));
        let image = self.at(image);
        if is_cut && self.kind.is_checked() {
            check(&image)?;
        }
        let options = format!("loop,{}", self.kind.options);
        let options = options.trim_end_matches(',');
        run(Command::new("mount")
            .args(["-t", &self.kind.fs, "-o", options])
            .arg(&image)
            .arg(&mount))?;
        let done = work(&mount.join("home"));
        // Its last programs may take a moment to go.
        for _ in 0..3_000 {
            let umount = Command::new("umount").arg(&mount).stderr(Stdio::null()).status();
            if umount.is_ok_and(|status| status.success()) {
                return done;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        run(Command::new("umount").arg("--lazy").arg(&mount))?;
        done.and(Err(format!("{} stays busy", mount.display())))
    }

    /// Copies an image, holes kept, to a file that nobody has seen: an image that was mounted may be
    /// mounted still where somebody made a copy of all mounts meanwhile (another mount namespace),
    /// and would be found by mount(8), with what the kernel remembers of it.
    pub(crate) fn copy(&self, from: &str, to: &str) -> Result<(), Trouble> {
        run(Command::new("cp")
            .arg("--remove-destination")
            .arg("--sparse=always")
            .arg(self.at(from))
            .arg(self.at(to)))
    }
}

/// The daemon; the disk's last writes are in the log when it has ended.
pub(crate) struct LoggedDisk(Child);

impl Drop for LoggedDisk {
    fn drop(&mut self) {
        let _ = kill(self.0.id(), Signal::Term);
        let _ = self.0.wait();
    }
}

/// Repairs what a file system without a journal may need after a cut, as a boot would.
fn check(image: &Path) -> Result<(), Trouble> {
    let mut fsck = Command::new("e2fsck");
    fsck.arg("-fy").arg(image).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match fsck.status().map_err(|e| format!("e2fsck: {e}"))?.code() {
        Some(0..=3) => Ok(()),
        code => Err(format!("e2fsck: exit {code:?}")),
    }
}

/// Runs a command; what it said is the error.
pub(crate) fn run(command: &mut Command) -> Result<(), Trouble> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.stdin(Stdio::null()).output().map_err(|e| format!("{name}: {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("{name}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim_end()))
}
