//! What starts the home with the machine: a unit of systemd, a script of System V's, a line of
//! `/etc/inittab`.

use std::io::Read;
use std::path::{Path, PathBuf};

use base::service::{LONGEST, Status};
use clap::ValueEnum;
use store::home::Home;

use super::accounts::program;
use crate::places::Places;

/// Where the home remembers what `--boot` said, so that a second run does not say otherwise.
pub(super) const SAID: &str = ".boot";
/// The unit's name.
pub(super) const UNIT: &str = "qmail.service";
/// The line of inittab begins so.
pub(super) const LINE: &str = "SV:";
/// Where the unit goes.
const UNITS: &str = "/etc/systemd/system";
/// The unit and the script as they are for a home in `/var/qmail`.
const UNIT_TEXT: &str = include_str!("../../boot/qmail.service");
const SCRIPT_TEXT: &str = include_str!("../../boot/qmail.init");
/// The home and the directory of services those texts name.
const NAMED: (&str, &str) = ("/var/qmail", "/var/qmail/service");

/// What makes these directories read-only for the unit (systemd.exec(5)).
const PROTECT: &str = "ProtectSystem=full\n";
const READ_ONLY: [&str; 4] = ["/etc", "/usr", "/boot", "/efi"];

/// Sums of the unit and of the script in every version ([`is_ours`]).
const SUMS: [u32; 6] =
    [0x164c_65c2, 0xbe88_da75, 0xc69f_8811, 0xb565_1911, 0x27e0_eb85, 0x3abf_12e1];

/// What starts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Boot {
    /// A unit.
    Systemd,
    /// A script in /etc/init.d.
    Sysv,
    /// A line in /etc/inittab.
    Inittab,
    /// Something of the administrator's.
    None,
}

impl Boot {
    /// What `--boot` said of a home before.
    pub(super) fn remembered(home: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(home.join(SAID)).ok()?;
        Self::from_str(text.trim_end(), true).ok()
    }

    /// As that is written down.
    pub(super) fn said(self) -> String {
        let value = self.to_possible_value();
        format!("{}\n", value.as_ref().map_or("", |value| value.get_name()))
    }

    /// What this machine has.
    pub(super) fn here() -> Self {
        let is = |path: &str| Path::new(path).exists();
        if (is("/run/systemd/system") || is(UNITS)) && program("systemctl").is_some() {
            Self::Systemd
        } else if is("/etc/init.d") && (is("/etc/rc2.d") || is("/sbin/openrc")) {
            Self::Sysv
        } else if is("/etc/inittab") {
            Self::Inittab
        } else {
            Self::None
        }
    }

    /// The file that starts it, with its mode and text; for inittab, the line.
    pub(super) fn file(self, home: &Path, scanned: &Path) -> Option<(PathBuf, u32, String)> {
        let of = |text: &str| fit(text, home, scanned);
        match self {
            Self::Systemd => {
                let text = writable(&of(UNIT_TEXT), scanned);
                Some((Path::new(UNITS).join(UNIT), 0o644, text))
            }
            Self::Sysv => Some(("/etc/init.d/qmail".into(), 0o755, of(SCRIPT_TEXT))),
            Self::Inittab => {
                let (bin, scanned) = (home.join("bin"), scanned.display());
                let line = format!("{LINE}123456:respawn:{}/svscan {scanned}\n", bin.display());
                Some(("/etc/inittab".into(), 0o644, line))
            }
            Self::None => None,
        }
    }

    /// The commands that have it started with the machine, and now.
    pub(super) fn start(self, live: bool) -> Vec<Vec<&'static str>> {
        match self {
            Self::Systemd if live => {
                vec![vec!["systemctl", "daemon-reload"], vec!["systemctl", "enable", "--now", UNIT]]
            }
            Self::Systemd => vec![vec!["systemctl", "enable", UNIT]],
            Self::Sysv => {
                let mut commands = Vec::new();
                if program("update-rc.d").is_some() {
                    commands.push(vec!["update-rc.d", "qmail", "defaults"]);
                } else if program("rc-update").is_some() {
                    commands.push(vec!["rc-update", "add", "qmail"]);
                }
                if live {
                    commands.push(vec!["/etc/init.d/qmail", "start"]);
                }
                commands
            }
            Self::Inittab if live => vec![vec!["telinit", "q"]],
            Self::Inittab | Self::None => Vec::new(),
        }
    }

    /// The commands that undo these; the home is stopped by itself.
    pub(super) fn stop(self, live: bool) -> Vec<Vec<&'static str>> {
        match self {
            Self::Systemd if live => vec![vec!["systemctl", "disable", "--now", UNIT]],
            Self::Systemd => vec![vec!["systemctl", "disable", UNIT]],
            Self::Sysv if program("update-rc.d").is_some() => {
                vec![vec!["update-rc.d", "-f", "qmail", "remove"]]
            }
            Self::Sysv if program("rc-update").is_some() => vec![vec!["rc-update", "del", "qmail"]],
            Self::Sysv | Self::Inittab | Self::None => Vec::new(),
        }
    }
}

/// Whether a unit or a script is as we have written it, now or before, for whatever home.
pub(super) fn is_ours(text: &str) -> bool {
    let Some((before, after)) = text.split_once("/bin/svscan ") else { return false };
    let home = before.rsplit(['=', '"', '\n']).next().unwrap_or_default();
    let scanned = after.split(['"', '\n']).next().unwrap_or_default();
    if !home.starts_with('/') || !scanned.starts_with('/') {
        return false;
    }
    let text: String =
        text.split_inclusive('\n').filter(|line| !line.starts_with("ReadWritePaths=")).collect();
    let usual = text.replace(scanned, "\0").replace(home, NAMED.0).replace('\0', NAMED.1);
    SUMS.contains(&base::cdb::hash(usual.as_bytes()))
}

/// A text for another home, or another directory of services.
fn fit(text: &str, home: &Path, scanned: &Path) -> String {
    // The longer name first, as the shorter begins it; by way of a byte no text has.
    let text = text.replace(NAMED.1, "\0").replace(NAMED.0, &home.to_string_lossy());
    text.replace('\0', &scanned.to_string_lossy())
}

/// The unit with leave to write to a directory of services that lies where it makes everything
/// read-only: without its lock there svscan would not know of another.
fn writable(unit: &str, scanned: &Path) -> String {
    match READ_ONLY.iter().any(|dir| scanned.starts_with(dir)) {
        true => unit.replace(PROTECT, &format!("{PROTECT}ReadWritePaths=-{}\n", scanned.display())),
        false => unit.to_owned(),
    }
}

/// The svscan at work in a home, if there is one of ours: whom the file it locks names, if that is a
/// svscan that stands there. The lock itself is not asked: who asks has it for a moment, and a svscan
/// that starts just then would give up.
pub(crate) fn svscan_pid(home: &Home) -> Option<u32> {
    let scanned = Places::of(home).scanned;
    let lock = std::fs::File::open(scanned.join(".svscan.lock")).ok()?;
    let mut text = String::new();
    lock.take(20).read_to_string(&mut text).ok()?;
    let pid = text.trim_end().parse().ok()?;
    is_svscan(pid, &scanned).then_some(pid)
}

/// Whether a process is a svscan that looks at this directory, as far as that may be seen.
fn is_svscan(pid: u32, scanned: &Path) -> bool {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = words.split(|&byte| byte == 0).take(2);
    let named = words.any(|word| word.rsplit(|&byte| byte == b'/').next() == Some(b"svscan"));
    let places = (std::fs::metadata(format!("/proc/{pid}/cwd")), std::fs::metadata(scanned));
    let elsewhere = matches!(places, (Ok(at), Ok(dir)) if !sys::file::is_same(&at, &dir));
    named && !elsewhere
}

/// Whether somebody keeps a home's services up: our svscan, or any supervise, started by whatever
/// that svscan is.
pub(crate) fn is_running(home: &Home) -> bool {
    svscan_pid(home).is_some() || is_supervised(home)
}

/// Whether one of a home's services, loggers aside, is up, as any supervise writes it.
pub(super) fn is_up(home: &Home) -> bool {
    let services = crate::facts::services(home, &Places::of(home)).unwrap_or_default();
    services.iter().filter(|dir| !dir.ends_with("log")).any(|dir| {
        let heard = sys::file::has_reader(dir.join("supervise/ok")).unwrap_or(false);
        let status = sys::file::open_read(dir.join("supervise/status"));
        let status = status.and_then(|file| sys::fd::read_to_end(file, LONGEST));
        let status = status.ok().and_then(|bytes| Status::decode(&bytes));
        heard && status.is_some_and(|status| status.pid != 0)
    })
}

/// Whether a supervise watches one of a home's services, as svok asks it.
fn is_supervised(home: &Home) -> bool {
    let services = crate::facts::services(home, &Places::of(home)).unwrap_or_default();
    // Of a service nobody has ever watched there is no `ok`.
    services.iter().any(|dir| sys::file::has_reader(dir.join("supervise/ok")).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::{Kept, Yard};

    #[test]
    fn the_texts_are_fitted_to_the_home() {
        let (home, scanned) = (Path::new("/srv/mail"), Path::new("/service"));
        for boot in [Boot::Systemd, Boot::Sysv, Boot::Inittab] {
            let (_, _, text) = boot.file(home, scanned).unwrap();
            assert!(text.contains("/srv/mail/bin/svscan /service"), "{text}");
            assert!(!text.contains("/var/qmail"), "{text}");
        }
        let (path, mode, _) = Boot::Sysv.file(home, scanned).unwrap();
        assert_eq!((path, mode), ("/etc/init.d/qmail".into(), 0o755));
        assert_eq!(Boot::None.file(home, scanned), None);
    }

    #[test]
    fn what_was_said_of_the_boot_is_remembered() {
        let home = home("said");
        assert_eq!(Boot::remembered(home.root()), None);
        for boot in [Boot::None, Boot::Systemd, Boot::Sysv, Boot::Inittab] {
            std::fs::write(home.path(SAID), boot.said()).unwrap();
            assert_eq!(Boot::remembered(home.root()), Some(boot));
        }
    }

    #[test]
    fn what_we_write_is_known_as_ours_and_what_somebody_changed_is_not() {
        for (home, scanned) in [
            ("/var/qmail", "/var/qmail/service"),
            ("/var/qmail", "/service"),
            ("/srv/mail", "/etc/service"),
            ("/srv/mail", "/srv/mail/service"),
        ] {
            for boot in [Boot::Systemd, Boot::Sysv] {
                let (path, _, text) = boot.file(Path::new(home), Path::new(scanned)).unwrap();
                let sum = base::cdb::hash(
                    match boot {
                        Boot::Systemd => UNIT_TEXT,
                        _ => SCRIPT_TEXT,
                    }
                    .as_bytes(),
                );
                assert!(is_ours(&text), "{}: add {sum:#010x} to SUMS", path.display());
                assert!(!is_ours(&text.replace("60", "90").replace("130", "90")));
            }
        }
        assert!(!is_ours("") && !is_ours("ExecStart=/usr/bin/svscan /service\n"));
    }

    #[test]
    fn the_unit_for_the_usual_home_is_the_file_itself() {
        let (home, scanned) = (Path::new("/var/qmail"), Path::new("/var/qmail/service"));
        assert_eq!(fit(UNIT_TEXT, home, scanned), UNIT_TEXT);
        assert_eq!(fit(SCRIPT_TEXT, home, scanned), SCRIPT_TEXT);
    }

    #[test]
    fn where_the_unit_sees_services_below_etc_it_may_write_to_them() {
        let unit = |scanned: &str| {
            let file = Boot::Systemd.file(Path::new("/var/qmail"), Path::new(scanned));
            file.map(|(_, _, text)| text).unwrap()
        };
        assert!(unit("/etc/service").contains("\nReadWritePaths=-/etc/service\n"));
        assert!(!unit("/service").contains("ReadWritePaths"));
        assert!(!unit("/etcetera/service").contains("ReadWritePaths"));
    }

    fn home(name: &str) -> Kept<Home> {
        let root = Yard::new(&format!("boot-{name}"));
        std::fs::create_dir_all(root.join("service/queued/supervise")).unwrap();
        let home = Home::at(&root).unwrap();
        root.keep(home)
    }

    #[test]
    fn who_is_named_in_the_lock_is_looked_at_and_the_lock_is_nobodys() {
        use std::os::unix::process::CommandExt;
        let home = home("svscan");
        let lock = home.path("service/.svscan.lock");
        let asleep = |at: &Path| {
            let mut sleep = std::process::Command::new("sleep");
            let child = sleep.arg("60").arg0("/somewhere/svscan").current_dir(at).spawn().unwrap();
            // Its words are there a moment after it has begun.
            while std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap().is_empty() {
                std::thread::yield_now();
            }
            child
        };
        let mut found = Vec::new();
        for at in [home.path("service"), home.path(".")] {
            let mut svscan = asleep(&at);
            std::fs::write(&lock, format!("{}\n", svscan.id())).unwrap();
            found.push(svscan_pid(&home) == Some(svscan.id()));
            svscan.kill().unwrap();
            svscan.wait().unwrap();
            assert_eq!(svscan_pid(&home), None);
        }
        std::fs::write(&lock, format!("{}\n", std::process::id())).unwrap();
        assert_eq!((found, svscan_pid(&home)), (vec![true, false], None));
    }

    #[test]
    fn any_supervise_tells_that_a_home_is_at_work() {
        let home = home("supervise");
        let ok = home.path("service/queued/supervise/ok");
        sys::file::mkfifo(&ok, 0o600).unwrap();
        assert!(!is_running(&home));
        let supervise = sys::file::open_read(&ok).unwrap();
        assert!(is_running(&home) && !is_up(&home));
        let status = |pid| Status {
            since: base::tai::Label::new(1, 0),
            pid,
            paused: false,
            want: base::service::Want::Up,
        };
        for (pid, up) in [(7, true), (0, false)] {
            std::fs::write(ok.with_file_name("status"), status(pid).encode()).unwrap();
            assert_eq!(is_up(&home), up);
        }
        drop(supervise);
        // Another test's child may hold it until it is the program it is to be.
        yard::patience::eventually("nobody watches", || !is_running(&home));
    }
}
