//! `qmailctl uninstall`: programs, links and what starts them go; mail, queue and settings stay.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use store::home::{DEFAULT, Home};
use sys::signal::{self, Signal};

use super::boot::{Boot, LINE, SAID, is_running, svscan_pid};
use super::plan::{Found, Wishes};
use super::{accounts, look, processes, starters};
use crate::permissions::{about, replace};
use crate::places::Places;
use crate::print::say;
use crate::setup::{BINARIES, is_ours};
use crate::upgrade::BESIDE;
use crate::{Trouble, services};

/// The manual's pages, a name a line: those we have, and had.
const PAGES: &str = include_str!("../../boot/pages");
/// How long svscan may take to end everything.
const PATIENCE: Duration = Duration::from_secs(130);
/// Time between two looks.
const AGAIN: Duration = Duration::from_millis(50);

/// Take the mail system out of this machine; mail, queue and settings stay where they are.
#[derive(Args)]
pub(crate) struct Uninstall {
    /// Print what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Leave what is outside the home to a package.
    #[arg(long)]
    packaged: bool,
    /// Another machine's root directory: only what is below it is looked at and changed. Nothing of
    /// the home may be at work there.
    #[arg(long, visible_alias = "prefix", value_name = "DIR", conflicts_with = "stop")]
    root: Option<PathBuf>,
    /// Only end what runs.
    #[arg(long)]
    stop: bool,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Run(Vec<String>),
    /// End svscan, and whatever it leaves.
    End(PathBuf),
    Remove(PathBuf),
    /// Remove our programs from their directory.
    Programs(Vec<PathBuf>),
    /// Take the line out of inittab that starts this home.
    Unline(PathBuf, PathBuf),
    /// Put back what stood there before us, from where it is kept.
    Restore(PathBuf, PathBuf),
    /// Take a link from what svscan looks at, whosever svscan, and end the service it leads to, with
    /// our svc.
    Retire {
        link: PathBuf,
        service: PathBuf,
        svc: PathBuf,
    },
    /// Remove our pages from the manual's directory.
    Pages(PathBuf, Vec<PathBuf>),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(words) => write!(f, "run: {}", words.join(" ")),
            Self::End(home) => write!(f, "end every process of {}", home.display()),
            Self::Remove(path) => write!(f, "remove {}", path.display()),
            Self::Programs(paths) => {
                let dir = paths.first().and_then(|path| path.parent()).unwrap_or(Path::new(""));
                write!(f, "remove {} programs from {}", paths.len(), dir.display())
            }
            Self::Unline(path, _) => write!(f, "remove the line {LINE} from {}", path.display()),
            Self::Restore(path, _) => write!(f, "put {} back", path.display()),
            Self::Retire { link, service, .. } => {
                write!(f, "end {}, and remove {}", service.display(), link.display())
            }
            Self::Pages(dir, pages) => {
                write!(f, "remove {} pages of the manual from {}", pages.len(), dir.display())
            }
        }
    }
}

impl Uninstall {
    /// Plans, and does it.
    pub(crate) fn run(self, home: Option<&Path>) -> Result<(), Trouble> {
        if sys::user::euid() != 0 {
            return Err("only root can uninstall it".into());
        }
        let elsewhere = super::enter(self.root.as_deref())?;
        let root = self.root.clone().filter(|_| elsewhere);
        self.work(home, elsewhere).map_err(|why| super::below(root.as_deref(), why))
    }

    /// The same where it is to be done.
    fn work(self, home: Option<&Path>, elsewhere: bool) -> Result<(), Trouble> {
        let home = home.unwrap_or(Path::new(DEFAULT));
        super::is_roots(home)?;
        if elsewhere && Home::at(home).is_ok_and(|home| is_running(&home)) {
            return Err(format!("{} is at work there: end it there first", home.display()));
        }
        let wishes = Wishes::of(home, self.packaged, !elsewhere);
        let mut steps = if self.stop { Vec::new() } else { outside(&wishes)? };
        if !self.stop {
            steps.extend(retired(home));
        }
        // Below another root nothing runs, and a path there names other programs here.
        steps.extend((!elsewhere).then(|| Step::End(home.into())));
        if !self.stop {
            steps.extend(inside(home));
        }
        for step in &steps {
            say!("{step}");
            if !self.dry_run {
                carry(step)?;
            }
        }
        if !self.stop {
            say!("mail, queue, accounts and settings stay in {}", home.display());
        }
        Ok(())
    }
}

/// What is outside the home: what starts it first, so that nothing is started again.
fn outside(wishes: &Wishes) -> Result<Vec<Step>, Trouble> {
    let mut steps = Vec::new();
    for (boot, path) in starters::starters(wishes)? {
        let commands =
            boot.stop(wishes.live && Path::new("/run/systemd/system").exists()).into_iter();
        let words = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect();
        steps.extend(commands.map(|command| Step::Run(words(command))));
        steps.push(match boot {
            Boot::Inittab => Step::Unline(path, wishes.home.clone()),
            Boot::Systemd | Boot::Sysv | Boot::None => Step::Remove(path),
        });
    }
    for (link, found) in look::links(wishes)? {
        if found == Found::Link(link.to) {
            steps.push(Step::Remove(link.at.clone()));
            if let Some(kept) = look::last_kept(&link.at)? {
                steps.push(Step::Restore(link.at, kept));
            }
        }
    }
    Ok(steps)
}

/// Our programs, the links to them, the manual.
fn inside(home: &Path) -> Vec<Step> {
    let bin = home.join("bin");
    let entries = fs::read_dir(&bin).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let programs: Vec<PathBuf> = paths.filter(|path| is_ours(path)).collect();
    let programs = (!programs.is_empty()).then_some(Step::Programs(programs));
    let said = Some(home.join(SAID)).filter(|path| path.exists());
    let beside = beside(&bin).into_iter().chain(said).map(Step::Remove);
    let man = home.join("man");
    let pages = pages(&man);
    let pages = (!pages.is_empty()).then_some(Step::Pages(man, pages));
    programs.into_iter().chain(beside).chain(pages).collect()
}

/// What upgrades leave beside the programs: the version before, and whatever one that was cut off did
/// not come to remove.
fn beside(bin: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(bin).into_iter().flatten().flatten();
    let mut beside: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| is_beside(path)).collect();
    beside.sort();
    beside
}

fn is_beside(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let half = |binary: &&str| {
        let pid = name.strip_prefix(*binary).and_then(|rest| rest.strip_prefix('.'));
        let pid = pid.and_then(|rest| rest.strip_suffix(".new"));
        pid.is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|c| c.is_ascii_digit()))
    };
    let back = name.strip_prefix('.').and_then(|name| name.strip_suffix(".back"));
    let back = back.is_some_and(|name| BINARIES.contains(&name) || is_ours(path));
    BESIDE.contains(&&*name) || back || BINARIES.iter().any(half)
}

/// Our pages in a manual. What has the name of one and is written otherwise is stock's, or a site's.
fn pages(man: &Path) -> Vec<PathBuf> {
    let names = PAGES.lines().filter_map(|name| {
        let (_, section) = name.rsplit_once('.')?;
        Some(man.join(format!("man{section}")).join(name))
    });
    let ours = |path: &PathBuf| fs::read(path).is_ok_and(|text| text.starts_with(b".Dd "));
    names.filter(ours).collect()
}

/// The links to our services where the guide has svscan look: without our programs each would end as
/// often as that svscan starts it.
fn retired(home: &Path) -> Vec<Step> {
    let Some(home) = Home::at(home).ok() else { return Vec::new() };
    let places = Places::of(&home);
    if !places.guided {
        return Vec::new();
    }
    let entries = fs::read_dir(&places.scanned).into_iter().flatten().flatten();
    let links = entries.map(|entry| entry.path()).filter(|path| path.is_symlink());
    let retire = |link: PathBuf| {
        let dirs = services::NAMES.map(|name| places.services.join(name));
        let service = dirs.into_iter().find(|dir| services::same(&link, dir))?;
        Some(Step::Retire { link, service, svc: home.path("bin/svc") })
    };
    links.filter_map(retire).collect()
}

fn carry(step: &Step) -> Result<(), Trouble> {
    match step {
        Step::Run(words) => accounts::run(words),
        Step::End(home) => end(home),
        Step::Remove(path) => remove(path),
        Step::Programs(paths) => paths.iter().try_for_each(|path| remove(path)),
        Step::Unline(path, home) => unline(path, home),
        Step::Restore(path, kept) => about(path, fs::rename(kept, path)),
        Step::Retire { link, service, svc } => retire(link, service, svc),
        Step::Pages(dir, pages) => unpage(dir, pages),
    }
}

/// The link goes first: a svscan that sees it would start anew what ends.
fn retire(link: &Path, service: &Path, svc: &Path) -> Result<(), Trouble> {
    remove(link)?;
    let mut told = Command::new(svc);
    told.arg("-dx").arg(service).arg(service.join("log"));
    // Of what nobody watches there is nothing to end; what does not end so is ended by signals.
    let _ = told.stdin(Stdio::null()).stderr(Stdio::null()).status();
    Ok(())
}

/// Directories go too that have nothing left in them.
fn unpage(dir: &Path, pages: &[PathBuf]) -> Result<(), Trouble> {
    pages.iter().try_for_each(|page| remove(page))?;
    for dir in pages.iter().filter_map(|page| page.parent()).chain([dir]) {
        let _ = fs::remove_dir(dir);
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), Trouble> {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|about| about.is_dir());
    let removed = if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => about(path, removed),
    }
}

fn unline(path: &Path, home: &Path) -> Result<(), Trouble> {
    use std::os::unix::fs::PermissionsExt;
    let text = about(path, fs::read_to_string(path))?;
    let mode = about(path, fs::metadata(path))?.permissions().mode() & 0o7777;
    let ours = |line: &&str| line.starts_with(LINE) && starters::starts(line.as_bytes(), home);
    let rest: String = text.split_inclusive('\n').filter(|line| !ours(line)).collect();
    replace(path, mode, rest.as_bytes())
}

/// Ends svscan in its own order, then whoever is left.
fn end(home: &Path) -> Result<(), Trouble> {
    if let Some(pid) = Home::at(home).ok().as_ref().and_then(svscan_pid) {
        signal::kill(pid, Signal::Term).map_err(|e| format!("svscan, pid {pid}: {e}"))?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && sys::process::started(pid).is_ok() {
            sys::clock::sleep(AGAIN);
        }
    }
    match processes::end(home) {
        0 => Ok(()),
        left => Err(format!("{left} processes of {} do not end", home.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn only_our_programs_and_links_to_them_go() {
        let dir = Yard::new("uninstall");
        for name in ["qmail", "site-script"] {
            fs::write(dir.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("qmail", dir.join("qmail-send")).unwrap();
        std::os::unix::fs::symlink("/usr/local/bin/x", dir.join("qmail-getpw")).unwrap();
        let ours = |name: &str| is_ours(&dir.join(name));
        assert!(ours("qmail") && ours("qmail-send"));
        assert!(!ours("site-script") && !ours("qmail-getpw"));
    }

    #[test]
    fn what_upgrades_leave_beside_the_programs_goes_and_nothing_else() {
        let of = |name: &str| is_beside(&Path::new("/q/bin").join(name));
        for ours in
            [".before", ".before.new", ".before.filling", ".fresh", ".fresh.new", ".upgrade"]
        {
            assert!(of(ours), "{ours}");
        }
        assert!(of("qmail-net.4711.new") && of(".qmail.back"));
        for theirs in
            ["site", "qmail.mine.new", ".profile", ".x.back", "qmail..new", "site.4711.new"]
        {
            assert!(!of(theirs), "{theirs}");
        }
    }

    #[test]
    fn only_our_pages_go() {
        let man = Yard::new("uninstall-man");
        for dir in ["man1", "man8"] {
            fs::create_dir_all(man.join(dir)).unwrap();
        }
        for (name, text) in [
            ("man8/qmail-send.8", ".Dd today\n"),
            ("man8/qmail-start.8", ".TH qmail-start 8\n"),
            ("man1/site.1", ".Dd today\n"),
        ] {
            fs::write(man.join(name), text).unwrap();
        }
        let found = pages(&man);
        assert_eq!(found, [man.join("man8/qmail-send.8")]);
        unpage(&man, &found).unwrap();
        assert!(man.join("man1/site.1").exists() && man.join("man8/qmail-start.8").exists());
    }

    #[test]
    fn every_page_is_known() {
        let man = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../man");
        for entry in fs::read_dir(man).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(PAGES.lines().any(|page| page == name), "add {name} to boot/pages");
        }
    }

    #[test]
    fn only_links_to_our_services_are_retired() {
        let root = Yard::new("uninstall-lwq");
        for dir in ["q/supervise/qmail-send", "q/supervise/site", "other", "scan"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let link = |to: &str, at: &str| {
            std::os::unix::fs::symlink(root.join(to), root.join(at)).unwrap();
        };
        link("scan", "q/service");
        link("q/supervise/qmail-send", "scan/send");
        link("q/supervise/site", "scan/site");
        link("other", "scan/qmail-smtpd");
        let steps = retired(&root.join("q"));
        let [Step::Retire { link, service, .. }] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!(*link, root.join("scan/send"));
        assert_eq!(*service, root.join("q/supervise/qmail-send"));
        carry(&steps[0]).unwrap();
        assert!(!link.is_symlink() && root.join("scan/qmail-smtpd").is_symlink());
    }

    #[test]
    fn our_line_goes_and_every_other_stays() {
        let dir = Yard::new("inittab");
        let path = dir.join("inittab");
        let line = |home: &str| format!("SV:123456:respawn:{home}/bin/svscan {home}/service\n");
        let others = format!("id:2:initdefault:\n{}ca::ctrlaltdel:y", line("/srv/var/qmail"));
        fs::write(&path, format!("{}{others}", line("/var/qmail"))).unwrap();
        unline(&path, Path::new("/var/qmail")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), others);
    }
}
