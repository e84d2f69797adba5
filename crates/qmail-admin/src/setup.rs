//! `qmailctl setup`: a home made, or completed; what is there is kept.

use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use clap::Args;
use store::home::{Home, Roles};
use sys::at::At;
use sys::user::Ids;

use crate::install::is_plain;
use crate::permissions::{about, directory, enter, give, place, replace, unless_there};
use crate::places::{self, Places};
use crate::print::say;
use crate::scripts::{Listen, quoted};
use crate::{Trouble, accounts, belongings, binaries, services};

/// The uids and gids of the roles where the system has no accounts for them.
const PRIVATE_ROLES: &str = "\
# name:uid:gid of each role, for a system without qmail's accounts
alias:47790:42108
qmaild:47791:42108
qmaill:47792:42108
qmailp:47793:42108
qmailq:47794:42107
qmailr:47795:42107
qmails:47796:42107
";

/// Where programs look for who sends their mail.
const SENDMAIL: &str = "/usr/sbin/sendmail";
/// The binaries whose programs become links in `bin/`.
pub(crate) const BINARIES: [&str; 4] = ["daemontools", "qmail", "qmail-admin", "qmail-net"];

/// Make the home, or complete it.
#[derive(Args)]
pub(crate) struct Setup {
    /// The host's own name; the machine's if not given. Only used for a new home.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Where to hear SMTP; kept as it is if not given, 0.0.0.0:25 in a new home.
    #[arg(long, value_name = "ADDR:PORT")]
    smtp: Option<String>,
    /// Where to hear POP3; kept as it is if not given, 127.0.0.1:110 in a new home (passwords cross
    /// the wire in clear).
    #[arg(long, value_name = "ADDR:PORT")]
    pop3: Option<String>,
    /// Services, logs and rules where the guide "Life with qmail" has them: supervise/ with links in
    /// /service, /var/log/qmail, /etc/tcp.smtp. A home that has them there keeps them there.
    #[arg(long)]
    life_with_qmail: bool,
    /// What svscan looks at, with --life-with-qmail: /service, or /etc/service where only that is.
    #[arg(long, value_name = "DIR", requires = "life_with_qmail")]
    scan: Option<PathBuf>,
    /// The machine's name, asked before a chroot.
    #[arg(skip)]
    machine: Option<String>,
}

impl Setup {
    /// Makes a home without a machine round it, and says what is left to do there.
    pub(crate) fn run(mut self, home: Option<&Path>) -> Result<(), Trouble> {
        let root = home.map_or_else(above_this_program, |home| Ok(home.into()))?;
        if let Some(kept) = self.keep_name(&root) {
            say!("{kept}");
        }
        self.complete(&root)?;
        if let Some(hint) = sendmail_elsewhere(&root, sys::user::euid(), Path::new(SENDMAIL)) {
            say!("{hint}");
        }
        Ok(())
    }

    /// Makes everything that is not there; service scripts that nobody has changed are written anew.
    pub(crate) fn complete(self, root: &Path) -> Result<(), Trouble> {
        self.check()?;
        let listen = Listen {
            smtp: words(self.smtp.as_deref().unwrap_or("0.0.0.0:25"))?,
            pop3: words(self.pop3.as_deref().unwrap_or("127.0.0.1:110"))?,
        };
        let mut kept = Vec::new();
        kept.extend(self.smtp.is_none().then_some("qmail-smtpd"));
        kept.extend(self.pop3.is_none().then_some("qmail-pop3d"));
        about(root, std::fs::create_dir_all(root.join("control")))?;
        let home = Home::at(root).map_err(|e| e.to_string())?;
        crate::become_owner(&home)?;
        let places = self.places(&home)?;
        let roles = roles(&home)?;
        tree(&home, &roles, &places)?;
        links(&home)?;
        let lock = accounts::lock(&home)?;
        settings(&home, self.host.or(self.machine))?;
        drop(lock);
        // Before the services, which an install that was cut off is known by: it is finished by the next.
        if !services::is_by_hand(&places) {
            first_account(&home)?;
        }
        services::make(&home, &roles, &listen, &places, &kept)?;
        belongings::mend(&home, &roles, &places)?;
        services::show(&home, &places)
    }

    /// Asks this machine's name, if none was given: behind a chroot it may not be seen.
    pub(crate) fn look_for_name(&mut self) -> Result<(), Trouble> {
        if self.host.is_none() {
            self.machine = Some(host_name()?);
        }
        Ok(())
    }

    /// Whether what was given can be meant, asked before anything is done.
    pub(crate) fn check(&self) -> Result<(), Trouble> {
        self.listening()?;
        self.host.as_deref().map_or(Ok(()), check_host)?;
        self.scan.as_deref().map_or(Ok(()), is_plain)
    }

    /// Where servers were told to listen, as their scripts have it.
    pub(crate) fn listening(&self) -> Result<Vec<(&'static str, String)>, Trouble> {
        let given = [("qmail-smtpd", &self.smtp), ("qmail-pop3d", &self.pop3)];
        let given = given.into_iter().filter_map(|(name, at)| Some((name, at.as_deref()?)));
        given.map(|(name, at)| Ok((name, words(at)?))).collect()
    }

    /// A home that has a name keeps it; what to say of another that was given.
    pub(crate) fn keep_name(&mut self, home: &Path) -> Option<String> {
        let path = home.join("control/me");
        let me = std::fs::read_to_string(&path).ok()?.trim_end().to_owned();
        let host = self.host.take().filter(|host| !host.eq_ignore_ascii_case(&me))?;
        Some(format!(
            "{} has this home's name, {me}, which --host {host} does not change (mend: write it there, \
             into locals and rcpthosts, and run qmailctl restart)",
            path.display()
        ))
    }

    /// Whether the guide's places were asked for.
    pub(crate) const fn is_life_with_qmail(&self) -> bool {
        self.life_with_qmail
    }

    /// Where services, logs and rules are, or shall be: what stands is not moved.
    fn places(&self, home: &Home) -> Result<Places, Trouble> {
        let found = Places::of(home);
        if !self.life_with_qmail || found.guided {
            return match &self.scan {
                Some(dir) if *dir != found.scanned => Err(format!(
                    "{} is what svscan looks at for this home: leave --scan out",
                    found.scanned.display()
                )),
                _ => Ok(found),
            };
        }
        if found.scanned.exists() {
            return Err(format!(
                "{} has this home's services already: they stay there, leave --life-with-qmail out",
                found.scanned.display()
            ));
        }
        if home.is_private() {
            return Err("--life-with-qmail is for a home that root owns".into());
        }
        let scanned = match &self.scan {
            Some(dir) => about(dir, std::path::absolute(dir))?,
            None => places::scanned_here(),
        };
        is_plain(&scanned)?;
        Ok(Places::guided(home, &scanned))
    }
}

/// The home that this program's `bin/` lies in.
fn above_this_program() -> Result<PathBuf, Trouble> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let home = program.parent().filter(|dir| dir.ends_with("bin")).and_then(Path::parent);
    home.map(PathBuf::from).ok_or_else(|| "say which home: --home DIR".into())
}

/// `ADDR:PORT` as the two words tcpserver takes.
fn words(address: &str) -> Result<String, Trouble> {
    let parsed: std::net::SocketAddr = address
        .parse()
        .map_err(|_| format!("{address} is not ADDR:PORT (127.0.0.1:2525, [::1]:2525)"))?;
    // Every address of IPv6 means IPv4 too, as people expect; tcpserver's `::` would be IPv6 alone.
    let ip = match parsed.ip() {
        std::net::IpAddr::V6(ip) if ip.is_unspecified() => ":0".to_owned(),
        ip => ip.to_string(),
    };
    Ok(format!("{ip} {}", parsed.port()))
}

/// The roles; where root has no accounts for them, a private range is written to `users/roles`.
fn roles(home: &Home) -> Result<Roles, Trouble> {
    if let Ok(roles) = home.roles() {
        return Ok(roles);
    }
    let file = home.path("users/roles");
    if !file.exists() {
        directory(&home.path("users"), 0o755, &home.owner_ids())?;
        replace(&file, 0o644, PRIVATE_ROLES.as_bytes())?;
    }
    home.roles().map_err(|e| e.to_string())
}

/// Something in a home, with its mode and owner.
pub(crate) type Part = (PathBuf, u32, Ids);

/// The directories of a home.
pub(crate) fn directories(home: &Home, roles: &Roles, places: &Places) -> Vec<Part> {
    let root = home.owner_ids();
    let group = |ids: &Ids, gid| Ids { gid, ..ids.clone() };
    let own: &[&str] = if places.guided {
        // Whoever knows the guide, and its checker, looks for the last three.
        &["supervise", "boot", "doc", "man"]
    } else {
        &["service", "log"]
    };
    let ours = [".", "bin", "control", "users", "mail"].iter().chain(own);
    let ours = ours.map(|dir| (*dir, 0o755, root.clone()));
    let theirs = [
        ("alias", 0o2755, group(&roles.alias, roles.qmail)),
        ("queue", 0o755, roles.qmailq.clone()),
        ("pspawn", 0o750, group(&root, roles.nofiles)),
    ];
    ours.chain(theirs).map(|(dir, mode, owner)| (home.path(dir), mode, owner)).collect()
}

/// The files that two roles lock or write in place.
pub(crate) fn locked(home: &Home, roles: &Roles) -> Vec<Part> {
    let file = |(name, mode, owner): (&str, u32, &Ids)| (home.path(name), mode, owner.clone());
    let files = [
        ("queue/lock/sendmutex", 0o600, &roles.qmails),
        ("queue/lock/tcpto", 0o644, &roles.qmailr),
        ("queue/lock/tcpto6", 0o644, &roles.qmailr),
    ];
    files.into_iter().map(file).collect()
}

/// Makes the directories. Once the queue is its role's, root has no business below it.
fn tree(home: &Home, roles: &Roles, places: &Places) -> Result<(), Trouble> {
    for (path, mode, owner) in directories(home, roles, places) {
        if path == home.path("queue") {
            locks(home, roles)?;
        }
        directory(&path, mode, &owner)?;
    }
    Ok(())
}

/// The files that two roles lock or write in place, each its owner's, in a directory that is
/// neither's, so that root may make there what is missing.
/// Stock's own directory of locks belongs to a role; it is taken from it before anything is made there.
/// All through one descriptor: who has the queue could put another directory in this one's place.
fn locks(home: &Home, roles: &Roles) -> Result<(), Trouble> {
    let path = home.path("queue/lock");
    let root = home.owner_ids();
    let dir = about(&path, enter(&path))?;
    about(&path, give(&dir, 0o755, &root))?;
    let texts: [&[u8]; 3] = [b"", &[0; 1024], &[0; 2048]];
    for ((path, mode, owner), text) in locked(home, roles).into_iter().zip(texts) {
        let name = Path::new(path.file_name().unwrap_or_default());
        about(&path, place(&dir, name, mode, &owner, text))?;
    }
    Ok(())
}

/// One link in `bin/` for every program; each binary says which programs it holds.
pub(crate) fn links(home: &Home) -> Result<(), Trouble> {
    for binary in BINARIES {
        let path = home.path("bin").join(binary);
        if !home.is_private()
            && !binaries::is_trusted(home, &about(&path, std::fs::metadata(&path))?)
        {
            let it = quoted(&path);
            return Err(format!(
                "{} may be written by others than root: it is not run (mend: chown 0:0 {it} && chmod go-w {it})",
                path.display()
            ));
        }
        let (status, text) = about(&path, binaries::answer(&path))?;
        if !status.success() {
            return Err(format!("{} does not run here: {status}", path.display()));
        }
        for name in text.lines().filter_map(|line| line.split_whitespace().next()) {
            link(&home.path("bin").join(name), binary)?;
        }
    }
    Ok(())
}

/// A program's link. Stock's program in its place goes; what a site has put there, a script or a link
/// to a program of its own, stays.
fn link(at: &Path, to: &str) -> Result<(), Trouble> {
    match std::fs::read_link(at) {
        Ok(now) if now == Path::new(to) => return Ok(()),
        Ok(now) if BINARIES.iter().any(|binary| now == Path::new(binary)) || !at.exists() => {}
        Ok(now) => return kept(at, &format!("a link to {}", now.display())),
        Err(_) if is_own_script(at) => return kept(at, "a script"),
        Err(_) => {}
    }
    let fresh = at.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    about(at, symlink(to, &fresh).and_then(|()| std::fs::rename(&fresh, at)))
}

/// A binary of ours in `bin/`, or a link to one.
pub(crate) fn is_ours(path: &Path) -> bool {
    let ours = |name: &Path| BINARIES.iter().any(|binary| name == Path::new(binary));
    match std::fs::read_link(path) {
        Ok(to) => ours(&to),
        Err(_) => path.file_name().is_some_and(|name| ours(Path::new(name))),
    }
}

fn kept(at: &Path, what: &str) -> Result<(), Trouble> {
    say!("{} stays: {what}; without it there would be a program of ours", at.display());
    Ok(())
}

/// Whether a file is a script, and none of stock's: its `qmail-qstat` counts files that our queue does
/// not have.
fn is_own_script(path: &Path) -> bool {
    /// The second line of stock's.
    const STOCKS: &[u8] = b"# WARNING: This file was auto-generated. Do not edit!";
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(256).read_to_end(&mut head));
    let second = head.split(|&byte| byte == b'\n').nth(1);
    read.is_ok() && head.starts_with(b"#!") && second != Some(STOCKS)
}

/// The control files a new home needs. One that has a name already has meant what it left to the
/// defaults.
fn settings(home: &Home, host: Option<String>) -> Result<(), Trouble> {
    let control = home.path("control");
    if !control.join("me").exists() {
        let host = host.map_or_else(host_name, Ok)?;
        check_host(&host)?;
        // The name last: whoever was interrupted goes on where that happened.
        for name in ["locals", "rcpthosts", "me"] {
            unless_there(&control.join(name), &format!("{}\n", host.to_lowercase()))?;
        }
    }
    unless_there(&control.join("defaultdelivery"), "./Maildir/\n")?;
    unless_there(&control.join("concurrencyincoming"), "100\n")
}

fn check_host(host: &str) -> Result<(), Trouble> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b".-".contains(&c);
    match !host.is_empty() && host.bytes().all(plain) {
        true => Ok(()),
        false => Err(format!("{host:?} is not a host name")),
    }
}

/// The machine's own name.
fn host_name() -> Result<String, Trouble> {
    let path = Path::new("/proc/sys/kernel/hostname");
    about(path, std::fs::read_to_string(path)).map(|name| name.trim_end().to_owned())
}

/// An account for whoever runs this, its password in a file only they can read; postmaster and
/// the other names every site must have lead to it. None in a home that somebody has arranged: an
/// account goes before `alias/`, and would take the letters of whom `.qmail-NAME` there leads to.
fn first_account(home: &Home) -> Result<(), Trouble> {
    let file = home.path("account");
    if file.exists() {
        return Ok(());
    }
    let name = caller()?;
    let arranged = |name: &str| home.path("alias").join(format!(".qmail-{name}")).exists();
    let names = [name.as_str(), "postmaster", "mailer-daemon"];
    if home.path("users/assign").exists() || names.into_iter().any(arranged) {
        return Ok(());
    }
    let password = accounts::random_password()?;
    accounts::add(home, &name, password.as_bytes())?;
    for alias in ["postmaster", "mailer-daemon", "abuse", "root"] {
        let path = home.path("alias").join(format!(".qmail-{alias}"));
        if alias != name {
            unless_there(&path, &format!("&{name}\n"))?;
        }
    }
    let text = format!("{name}:{password}\n");
    let made = At::open(home.root()).and_then(|dir| {
        place(&dir, Path::new("account"), 0o600, &home.owner_ids(), text.as_bytes())
    });
    about(&file, made)
}

/// The name of the user at the terminal, also under sudo. Nobody reads mail as root: where that is all
/// that is known, the account is the postmaster's, and root's mail goes there too.
fn caller() -> Result<String, Trouble> {
    let found = sys::user::by_uid(sys::user::uid()).map_err(|e| format!("/etc/passwd: {e}"))?;
    let own = found.map(|user| String::from_utf8_lossy(&user.name).into_owned());
    let name = std::env::var("SUDO_USER").ok().or(own).unwrap_or_else(|| "postmaster".into());
    let plain = name.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c));
    let person = plain && !name.is_empty() && !name.eq_ignore_ascii_case("root");
    Ok(if person { name.to_lowercase() } else { "postmaster".into() })
}

/// What is left for root to do where programs look for who sends the machine's mail. Any other home is
/// one more beside the machine's own mail, which is to stay as it is.
fn sendmail_elsewhere(root: &Path, uid: u32, sendmail: &Path) -> Option<String> {
    let ours = root.join("bin/sendmail");
    let machines = root == Path::new(store::home::DEFAULT) && uid == 0;
    let linked = std::fs::canonicalize(sendmail).ok();
    (machines && linked != std::fs::canonicalize(&ours).ok()).then(|| {
        let (sendmail, ours) = (sendmail.display(), ours.display());
        format!("{sendmail} does not lead to {ours}: qmailctl install has it do so")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    fn given(smtp: Option<&str>, host: Option<&str>, scan: Option<&str>) -> Setup {
        let own = |word: Option<&str>| word.map(str::to_owned);
        Setup {
            host: own(host),
            smtp: own(smtp),
            pop3: None,
            life_with_qmail: scan.is_some(),
            scan: scan.map(PathBuf::from),
            machine: None,
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_before_anything_is_done() {
        let refused = |setup: Setup| setup.check().unwrap_err();
        assert!(refused(given(Some("nonsense"), None, None)).contains("is not ADDR:PORT"));
        assert!(refused(given(None, Some("a b"), None)).contains("is not a host name"));
        for dir in ["/srv/my services", "/srv/100%", "/srv/a\nb", "/srv/'a'", "/srv/$a"] {
            assert!(refused(given(None, None, Some(dir))).contains("only letters"), "{dir}");
        }
        assert_eq!(given(Some("127.0.0.1:25"), Some("a.org"), Some("/srv/s")).check(), Ok(()));
    }

    #[test]
    fn a_script_of_stocks_goes_and_one_of_the_sites_stays() {
        let yard = Yard::new("setup-scripts");
        let stocks = "#!/bin/sh\n# WARNING: This file was auto-generated. Do not edit!\nfind /\n";
        let sites = "#!/bin/sh\nexec /usr/local/bin/filter\n";
        for (name, text, goes) in [("stocks", stocks, true), ("sites", sites, false)] {
            let at = yard.join(name);
            std::fs::write(&at, text).unwrap();
            link(&at, "qmail").unwrap();
            assert_eq!(std::fs::read_link(&at).is_ok(), goes, "{name}");
        }
    }

    #[test]
    fn only_of_the_machines_own_mail_is_it_told_where_sendmail_leads() {
        let yard = Yard::new("setup-sendmail");
        let there = yard.join("sendmail");
        std::fs::write(&there, "").unwrap();
        let said = sendmail_elsewhere(Path::new(store::home::DEFAULT), 0, &there).unwrap();
        assert!(
            said.ends_with(
                "does not lead to /var/qmail/bin/sendmail: qmailctl install has it do so"
            )
        );
        assert_eq!(sendmail_elsewhere(Path::new(store::home::DEFAULT), 1000, &there), None);
        assert_eq!(sendmail_elsewhere(Path::new("/srv/other"), 0, &there), None);
    }

    #[test]
    fn a_name_given_to_a_home_that_has_one_is_told_and_left_out() {
        let home = Yard::new("setup-name");
        std::fs::create_dir_all(home.join("control")).unwrap();
        let keep = |host: &str| given(None, Some(host), None).keep_name(&home);
        assert_eq!(keep("new.example.org"), None);
        std::fs::write(home.join("control/me"), "old.example.org\n").unwrap();
        let said = keep("new.example.org").unwrap();
        assert!(said.contains("old.example.org, which --host new.example.org does not"), "{said}");
        assert_eq!(keep("OLD.example.org"), None);
    }
}
