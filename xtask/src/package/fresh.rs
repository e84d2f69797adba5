//! The package in a Debian of its own: made by debootstrap, with a network and processes of its own,
//! so that nothing of this machine is touched. `tests/package/` says what must hold there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Args;
use yard::Yard;

use super::{MAINTAINER, NEXT, build_package};
use crate::compat::needs::apart;
use crate::tally::{Ending, Tally, Trouble, passes, run};
use crate::{build, host, install, limit};

/// What the test needs of the machine.
const NEEDED: &[(&str, &str)] = &[
    ("debootstrap", "debootstrap"),
    ("lintian", "lintian"),
    ("mpop", "mpop"),
    ("python3", "python3"),
    ("swaks", "swaks"),
    ("systemd-analyze", "systemd"),
];
/// How long the network may take to bring a Debian.
const BOOTSTRAP: Duration = Duration::from_secs(1_200);
/// What a fresh Debian has of its own, in words of unshare.
const APART: [&str; 6] = ["--net", "--uts", "--mount", "--pid", "--fork", "--kill-child"];
/// The unit may not be rated worse, in tenths.
const EXPOSED: u32 = 30;

/// Try the package and the unit.
#[derive(Args)]
pub(crate) struct Package {
    /// Keep the Debian that was made, and use it again.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

impl Package {
    /// Builds the packages and tries them.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        let mut tally = Tally::default();
        all(&mut tally, self.root.as_deref());
        tally.verdict()
    }
}

/// The unit, the package, and what they do in a fresh Debian.
pub(crate) fn all(tally: &mut Tally, root: Option<&Path>) {
    host::prepare(NEEDED);
    tally.check("package: the unit is well fenced", rate);
    let packages = match Packages::build() {
        Ok(packages) => packages,
        Err(why) if !host::has("dpkg-deb") => {
            return tally.check("package", || Ending::Skipped(why));
        }
        Err(why) => return tally.check("package", || Ending::Failed(why)),
    };
    tally.check("package: lintian finds no error", || packages.lint());
    tally.check("package: another root directory", || packages.try_root());
    tally.check("package: a fresh Debian", || packages.try_out(root));
    tally.check("package: a container", || packages.try_container(root));
}

/// The unit's exposure, as systemd rates it.
fn rate() -> Ending {
    if !host::has("systemd-analyze") {
        return Ending::Skipped("systemd-analyze is not here".into());
    }
    let asked = Command::new("systemd-analyze").arg("--help").output();
    if !asked.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("--offline")) {
        return Ending::Skipped("this systemd-analyze rates no unit offline".into());
    }
    let unit = crate::root().join("crates/qmail-admin/boot/qmail.service");
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--no-pager"]).arg(unit);
    let Ok(out) = analyze.output() else { return Ending::Failed("it cannot be run".into()) };
    let text = String::from_utf8_lossy(&out.stdout);
    match exposure(&text) {
        Some(tenths) if tenths < EXPOSED => {
            println!("exposure {}.{}", tenths / 10, tenths % 10);
            Ending::Passed
        }
        Some(tenths) => Ending::Failed(format!("exposure {}.{}", tenths / 10, tenths % 10)),
        None => Ending::Failed(format!("no rating: {}", String::from_utf8_lossy(&out.stderr))),
    }
}

/// The rating in `… Overall exposure level for qmail.service: 2.4 OK 🙂`, in tenths.
fn exposure(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("Overall exposure level for ")?;
    let (_, rest) = rest.split_once(": ")?;
    let (whole, rest) = rest.split_once('.')?;
    let tenth = rest.chars().next()?.to_digit(10)?;
    whole.trim().parse::<u32>().ok()?.checked_mul(10)?.checked_add(tenth)
}

/// A package, and the one of the next build.
struct Packages {
    dir: Yard,
    stage: PathBuf,
    now: PathBuf,
    next: PathBuf,
}

impl Packages {
    fn build() -> Result<Self, Trouble> {
        let stage = install::stage(&build::release()?)?;
        let dir = Yard::made("qmail-rs-package").map_err(|e| e.to_string())?;
        let pack = |stage: &Path, version: &str| {
            let to = dir.join(version);
            fs::create_dir_all(&to).map_err(|e| format!("{}: {e}", to.display()))?;
            build_package(stage, version, MAINTAINER, &to)
        };
        let now = pack(&stage, "0.1.0-1")?;
        let other = dir.join("stage");
        run(Command::new("cp").arg("-a").arg(&stage).arg(&other))?;
        for binary in build::BINARIES {
            let path = other.join(binary);
            let bytes = super::read(&path)?;
            fs::write(&path, [&bytes, NEXT].concat()).map_err(|e| e.to_string())?;
        }
        let next = pack(&other, "0.1.0-2")?;
        Ok(Self { dir, stage, now, next })
    }

    fn lint(&self) -> Ending {
        if !host::has("lintian") {
            return Ending::Skipped("lintian is not here".into());
        }
        passes(Command::new("lintian").args(["--fail-on", "error", "--allow-root"]).arg(&self.now))
    }

    /// What `qmailctl install` does below a root directory that is nearly empty.
    fn try_root(&self) -> Ending {
        if sys::user::euid() != 0 {
            return Ending::Skipped("only root can enter another root directory".into());
        }
        let script = crate::root().join("tests/package/root.py");
        passes(Command::new("python3").arg(script).arg(&self.stage).arg(self.dir.join("root")))
    }

    fn try_out(&self, root: Option<&Path>) -> Ending {
        match self.debian(root) {
            Ok(made) => play("fresh.py", &[&made, &self.now, &self.next]),
            Err(ending) => ending,
        }
    }

    /// What the Dockerfile's second half makes.
    fn try_container(&self, root: Option<&Path>) -> Ending {
        match self.debian(root) {
            Ok(made) => play("container.py", &[&made, &self.stage]),
            Err(ending) => ending,
        }
    }

    /// A Debian with nothing of ours, or why there can be none.
    fn debian(&self, root: Option<&Path>) -> Result<PathBuf, Ending> {
        if sys::user::euid() != 0 {
            return Err(Ending::Skipped("only root can make another root directory".into()));
        }
        if !host::has("debootstrap") || !host::has("unshare") {
            return Err(Ending::Skipped("debootstrap or unshare is not here".into()));
        }
        if !apart(&[&APART[..], &["--mount-proc", "--", "true"]].concat()) {
            let why = "no network, mounts and processes of one's own here";
            return Err(Ending::Skipped(why.into()));
        }
        let made = root.map_or_else(|| self.dir.join("debian"), Path::to_path_buf);
        if !made.join("etc/debian_version").exists() {
            bootstrap(&made)
                .map_err(|why| Ending::Skipped(format!("no Debian to be had: {why}")))?;
        }
        Ok(made)
    }
}

/// Runs a script in a network, mounts and processes of its own.
fn play(script: &str, words: &[&Path]) -> Ending {
    let mut unshare = Command::new("unshare");
    unshare.args(APART);
    // The shell is the first process there, and buries those whose parents have gone.
    unshare.args(["--mount-proc", "sh", "-c", "python3 \"$@\"; exit $?", "sh"]);
    unshare.arg(crate::root().join("tests/package").join(script)).args(words);
    passes(&mut unshare)
}

/// Makes a small Debian from the packages this machine gets its own from.
fn bootstrap(root: &Path) -> Result<(), Trouble> {
    let format = "$(REPO_URI) $(CODENAME)";
    let mut apt = Command::new("apt-get");
    let out = apt.args(["indextargets", "--format", format, "Created-By: Packages"]).output();
    let out = out.map_err(|e| format!("apt-get: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let (mirror, suite) = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(_, suite)| !suite.contains('-') && !suite.contains('/'))
        .ok_or("apt knows no archive")?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", suite]).arg(root).arg(mirror);
    limit::status(debootstrap.stdout(std::process::Stdio::null()), BOOTSTRAP).and_then(|status| {
        if status.success() { Ok(()) } else { Err(format!("debootstrap: {status}")) }
    })
}

#[cfg(test)]
mod tests {
    use super::exposure;

    #[test]
    fn the_rating_is_read_in_tenths() {
        let text = "x\n→ Overall exposure level for qmail.service: 2.9 OK 🙂\n";
        assert_eq!(exposure(text), Some(29));
        assert_eq!(exposure("Overall exposure level for q: 10.0 DANGEROUS"), Some(100));
        assert_eq!(exposure("nothing"), None);
    }
}
