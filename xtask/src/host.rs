//! What the tests need of the machine they run on, and how it gets there.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::limit;

/// A program from somebody else, and the Debian package that brings it.
type Foreign = (&'static str, &'static str);

/// What the power cuts on real blocks need.
pub(crate) const BLOCKS: &[Foreign] = &[
    ("fusermount3", "fuse3"),
    ("losetup", "mount"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("qemu-storage-daemon", "qemu-utils"),
];

/// Other people's clients.
pub(crate) const CLIENTS: &[Foreign] = &[
    ("curl", "curl"),
    ("fetchmail", "fetchmail"),
    ("mpop", "mpop"),
    ("msmtp", "msmtp"),
    ("python3", "python3"),
    ("/usr/sbin/smtp-source", "postfix"),
    ("strace", "strace"),
    ("swaks", "swaks"),
];

/// A network that swallows what it is sent is not waited for as long as apt would.
pub(crate) const HASTE: [&str; 6] = [
    "-o",
    "Acquire::http::Timeout=20",
    "-o",
    "Acquire::Retries=1",
    "-o",
    "DPkg::Lock::Timeout=120",
];
/// How long apt may take for one thing.
pub(crate) const APT: Duration = Duration::from_secs(600);

/// Whether a program can be run here.
pub(crate) fn has(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", "command -v \"$0\" >/dev/null", program])
        .status()
        .is_ok_and(|s| s.success())
}

/// A command whose signals all do what they do by themselves: who runs the tests in the background, or
/// by nohup, has had some of them ignored, and that is inherited.
pub(crate) fn unsignalled(program: impl AsRef<OsStr>) -> Command {
    static CAN: OnceLock<bool> = OnceLock::new();
    let can = CAN.get_or_init(|| {
        let tried = Command::new(ENV).args([DEFAULT, "true"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    });
    if !can {
        return Command::new(program);
    }
    let mut command = Command::new(ENV);
    command.arg(DEFAULT).arg(program);
    command
}

const ENV: &str = "/usr/bin/env";
const DEFAULT: &str = "--default-signal";

/// Installs what is missing of these: on Debian, as root. Elsewhere the tests that need it are
/// skipped, aloud.
pub(crate) fn prepare(needed: &[Foreign]) {
    let missing: Vec<&str> =
        needed.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() || sys::user::euid() != 0 || !has("apt-get") {
        return;
    }
    println!("installing {}", missing.join(" "));
    apt(&["update"]);
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(missing);
    apt(&install);
}

/// Runs apt-get without questions and without starting any service it brings.
pub(crate) fn apt(args: &[&str]) {
    let mut apt = Command::new("apt-get");
    apt.arg("-qq").args(HASTE).args(args).stdin(Stdio::null()).stdout(Stdio::null());
    apt.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    let status = limit::status(&mut apt, APT);
    if !status.is_ok_and(|s| s.success()) {
        println!("apt-get {} did not succeed; what needs it will be skipped", args.join(" "));
    }
}
