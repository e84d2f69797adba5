//! What an installation takes: the steps from what is there to what should be. Nothing is done here.

use std::fmt;
use std::path::{Path, PathBuf};

use super::accounts::{GROUPS, ROLES, Tools};
use super::boot::{Boot, LINE};
use crate::Trouble;
use crate::print::say;

/// What was asked for.
#[derive(Debug)]
pub(super) struct Wishes {
    /// The home.
    pub(super) home: PathBuf,
    /// What starts it; else what the machine has.
    pub(super) boot: Option<Boot>,
    /// A package brings what is outside the home.
    pub(super) packaged: bool,
    /// This machine, not another's root directory.
    pub(super) live: bool,
    /// As the guide has it, with links where svscan looks.
    pub(super) life_with_qmail: bool,
    /// Where servers were told to listen: a service, and the words of its script.
    pub(super) listening: Vec<(&'static str, String)>,
    /// What to say of a name that was given to a home that has another.
    pub(super) kept_name: Option<String>,
}

impl Wishes {
    /// Of a home, on this machine or below another root.
    pub(super) fn of(home: &Path, packaged: bool, live: bool) -> Self {
        Self {
            home: home.into(),
            boot: None,
            packaged,
            live,
            life_with_qmail: false,
            listening: Vec::new(),
            kept_name: None,
        }
    }
}

/// What is there.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) tools: Tools,
    /// The home's own list of roles is there: no accounts are needed.
    pub(super) numbered: bool,
    /// Groups and accounts that are there.
    pub(super) groups: Vec<String>,
    pub(super) accounts: Vec<String>,
    /// The binaries that are not in `bin/` as they should be.
    pub(super) stale: Vec<&'static str>,
    /// What in the home is missing or not as it should be.
    pub(super) wrong: Vec<String>,
    /// Files outside the home (and the manual) as they should be, with what stands there.
    pub(super) files: Vec<(File, Found)>,
    /// Links as they should be, with what stands there.
    pub(super) links: Vec<(Link, Found)>,
    /// What will start it.
    pub(super) boot: Boot,
    /// A svscan is at work in the home.
    pub(super) running: bool,
    /// An upgrade was begun and has come to no end.
    pub(super) begun: bool,
    /// What svscan looks at, if a svscan that is not ours keeps the services up and is left to start
    /// them.
    pub(super) left_to: Option<PathBuf>,
    /// What else starts it with the machine, each with its file.
    pub(super) besides: Vec<(Boot, PathBuf)>,
    /// What starts it is in force already.
    pub(super) enabled: bool,
    /// What starts it is at work, and can be told.
    pub(super) live: bool,
}

/// A file as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    pub(super) text: Vec<u8>,
    /// It is only a line at the end of a file that is somebody else's.
    pub(super) line: bool,
}

/// A link as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) at: PathBuf,
    pub(super) to: PathBuf,
    /// A name that nothing has yet, for what stands there.
    pub(super) spare: PathBuf,
}

/// What stands somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Link(PathBuf),
    File(Vec<u8>),
    /// A link to a program in a home of ours.
    Ours,
    /// What starts something with the machine, and is not as we have written it. Whether it is our
    /// svscan that it starts.
    Foreign(bool),
    /// A directory, say.
    Other,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Run a command of the machine's.
    Run(Vec<String>),
    /// Have the home completed by `setup`, for these reasons.
    Complete(Vec<String>),
    /// Put a binary into `bin/`; nothing runs yet.
    Put(&'static str),
    /// Put these into `bin/` under the services at work.
    Upgrade(Vec<&'static str>),
    /// Write a file.
    Write(File),
    /// Add a line to a file.
    Append(File),
    /// Keep what stands there under another name.
    Keep(PathBuf, PathBuf),
    /// Make a link in the place of another of ours.
    Relink(Link),
    /// Make a link.
    Link(Link),
    /// Say something: it cannot be done here.
    Tell(String),
}

impl Step {
    /// Says it, with why.
    pub(super) fn tell(&self) -> Result<(), Trouble> {
        say!("{self}");
        if let Self::Complete(why) = self {
            for why in why {
                say!("  {why}");
            }
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(words) => write!(f, "run: {}", words.join(" ")),
            Self::Complete(_) => f.write_str("make or complete the home:"),
            Self::Put(binary) => write!(f, "put bin/{binary}"),
            Self::Upgrade(binaries) if binaries.is_empty() => {
                f.write_str("finish the upgrade that was cut off")
            }
            Self::Upgrade(binaries) => {
                write!(f, "put {} under the services at work", binaries.join(", "))
            }
            Self::Write(file) => write!(f, "write {} ({:04o})", file.path.display(), file.mode),
            Self::Append(file) => {
                let line = String::from_utf8_lossy(&file.text);
                write!(f, "add to {}: {}", file.path.display(), line.trim_end())
            }
            Self::Keep(path, spare) => {
                write!(f, "keep {} as {}", path.display(), spare.display())
            }
            Self::Link(link) | Self::Relink(link) => {
                write!(f, "link {} -> {}", link.at.display(), link.to.display())
            }
            Self::Tell(text) => f.write_str(text),
        }
    }
}

/// Where things are kept that stood in our way, one after the other.
pub(super) fn kept(path: &Path) -> impl Iterator<Item = PathBuf> {
    let ends = ["", ".2", ".3", ".4", ".5", ".6", ".7", ".8", ".9"];
    let name = path.as_os_str().to_owned();
    ends.into_iter().map(move |end| {
        let mut name = name.clone();
        name.push(".before-qmail");
        name.push(end);
        name.into()
    })
}

/// The steps, in their order; none if everything is there.
pub(super) fn steps(wishes: &Wishes, facts: &Facts) -> Vec<Step> {
    let mut steps: Vec<Step> = wishes.kept_name.clone().map(Step::Tell).into_iter().collect();
    steps.extend(roles(wishes, facts));
    if facts.begun || (facts.running && !facts.stale.is_empty()) {
        steps.push(Step::Upgrade(facts.stale.clone()));
    } else {
        steps.extend(facts.stale.iter().copied().map(Step::Put));
    }
    if !facts.wrong.is_empty() {
        steps.push(Step::Complete(facts.wrong.clone()));
    }
    steps.extend(facts.files.iter().filter_map(|(file, found)| write(file, found)));
    for (link, found) in &facts.links {
        steps.extend(relink(link, found));
    }
    steps.extend(start(wishes, facts));
    steps.extend(facts.besides.iter().map(|(boot, path)| Step::Tell(besides(*boot, path))));
    steps
}

/// What is said of another thing that starts it: the second of two svscans finds the first at work, and
/// fails.
fn besides(boot: Boot, path: &Path) -> String {
    let path = path.display();
    let commands = boot.stop(false).into_iter().map(|words| words.join(" "));
    let end = match boot {
        Boot::Inittab => format!("remove the line {LINE} from it"),
        _ => commands.chain([format!("rm {path}")]).collect::<Vec<String>>().join(" && "),
    };
    format!("{path} starts it with the machine, too: one is enough (mend: {end})")
}

/// Groups and accounts that are missing.
fn roles(wishes: &Wishes, facts: &Facts) -> Vec<Step> {
    if facts.numbered {
        return Vec::new();
    }
    let missing = |known: &[String], name: &str| !known.iter().any(|known| known == name);
    let groups = GROUPS.iter().filter(|name| missing(&facts.groups, name));
    let groups = groups.map(|name| facts.tools.group(name));
    let accounts = ROLES.iter().filter(|(name, ..)| missing(&facts.accounts, name));
    let home = |below: &str| match below {
        "" => wishes.home.clone(),
        below => wishes.home.join(below),
    };
    let accounts =
        accounts.map(|(name, group, below)| facts.tools.account(name, group, &home(below)));
    let commands: Vec<Vec<String>> = groups.chain(accounts).collect();
    if facts.tools == Tools::None && !commands.is_empty() {
        let text = "no program here makes accounts: the roles get numbers, in users/roles";
        return vec![Step::Tell(text.into())];
    }
    commands.into_iter().map(Step::Run).collect()
}

/// A file that is not as it should be.
fn write(file: &File, found: &Found) -> Option<Step> {
    match found {
        Found::File(there) if file.line => {
            let has = there.split(|&byte| byte == b'\n').any(|line| {
                let wanted = file.text.strip_suffix(b"\n").unwrap_or(&file.text);
                line == wanted
            });
            (!has).then(|| Step::Append(file.clone()))
        }
        Found::File(there) if *there == file.text => None,
        Found::Other => Some(Step::Tell(format!("{} is in the way", file.path.display()))),
        Found::Foreign(_) => Some(Step::Tell(format!(
            "{} stays: somebody has changed it, or it is another's (remove it to have ours)",
            file.path.display()
        ))),
        Found::Nothing | Found::Link(_) | Found::File(_) | Found::Ours => {
            Some(Step::Write(file.clone()))
        }
    }
}

/// A link that is not as it should be; what stands there is kept.
fn relink(link: &Link, found: &Found) -> Vec<Step> {
    let make = Step::Link(link.clone());
    match found {
        Found::Link(to) if *to == link.to => Vec::new(),
        Found::Nothing => vec![make],
        Found::Ours => vec![Step::Relink(link.clone())],
        Found::Link(_) | Found::File(_) => {
            vec![Step::Keep(link.at.clone(), link.spare.clone()), make]
        }
        Found::Foreign(_) | Found::Other => {
            vec![Step::Tell(format!("{} is in the way", link.at.display()))]
        }
    }
}

/// What starts it, unless that is in force.
fn start(wishes: &Wishes, facts: &Facts) -> Vec<Step> {
    // What is masked cannot be started, and another's script starts another's.
    let foreign = facts.files.iter().any(|(_, found)| *found == Found::Foreign(false));
    if let Some(scanned) = &facts.left_to {
        let text = format!(
            "the svscan that looks at {} is not ours: it is left to start the services; see that the \
             machine starts it (--boot sets up ours instead)",
            scanned.display()
        );
        return vec![Step::Tell(text)];
    }
    if wishes.packaged || facts.enabled || foreign {
        return Vec::new();
    }
    if facts.boot == Boot::None {
        let (home, service) = (wishes.home.display(), wishes.home.join("service"));
        let text =
            format!("start it yourself, with the machine: {home}/bin/svscan {}", service.display());
        return vec![Step::Tell(text)];
    }
    let commands = facts.boot.start(facts.live && !facts.running).into_iter();
    let words = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect();
    commands.map(|command| Step::Run(words(command))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes() -> Wishes {
        Wishes::of(Path::new("/var/qmail"), false, true)
    }

    /// A machine on which everything is done.
    fn done() -> Facts {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let unit = File { path: "/u".into(), mode: 0o644, text: b"x\n".into(), line: false };
        let link = Link {
            at: "/usr/sbin/sendmail".into(),
            to: "/var/qmail/bin/sendmail".into(),
            spare: "/usr/sbin/sendmail.before-qmail".into(),
        };
        Facts {
            tools: Tools::Shadow,
            numbered: false,
            groups: all(&GROUPS),
            accounts: ROLES.iter().map(|(name, ..)| (*name).to_owned()).collect(),
            stale: Vec::new(),
            wrong: Vec::new(),
            files: vec![(unit, Found::File(b"x\n".into()))],
            links: vec![(link.clone(), Found::Link(link.to))],
            boot: Boot::Systemd,
            running: true,
            begun: false,
            left_to: None,
            besides: Vec::new(),
            enabled: true,
            live: true,
        }
    }

    #[test]
    fn where_everything_is_there_nothing_is_to_be_done() {
        assert_eq!(steps(&wishes(), &done()), []);
    }

    #[test]
    fn only_what_is_missing_is_made_and_by_the_machines_own_programs() {
        let facts =
            Facts { accounts: vec!["alias".into()], groups: vec!["qmail".into()], ..done() };
        let steps = steps(&wishes(), &facts);
        assert_eq!(steps.len(), 1 + ROLES.len() - 1);
        assert_eq!(steps[0].to_string(), "run: groupadd --system nofiles");
        let facts = Facts { numbered: true, ..facts };
        assert_eq!(super::steps(&wishes(), &facts), []);
        let facts = Facts { numbered: false, tools: Tools::None, ..facts };
        assert!(matches!(&super::steps(&wishes(), &facts)[..], [Step::Tell(_)]));
    }

    #[test]
    fn binaries_under_running_services_are_an_upgrade() {
        let facts = Facts { stale: vec!["qmail"], ..done() };
        assert_eq!(steps(&wishes(), &facts), [Step::Upgrade(vec!["qmail"])]);
        let facts = Facts { running: false, ..facts };
        assert_eq!(steps(&wishes(), &facts), [Step::Put("qmail")]);
        let cut_off = Facts { begun: true, stale: Vec::new(), ..facts };
        assert_eq!(steps(&wishes(), &cut_off), [Step::Upgrade(Vec::new())]);
    }

    #[test]
    fn what_is_left_to_somebody_is_said() {
        let facts = Facts { left_to: Some("/service".into()), boot: Boot::None, ..done() };
        let [Step::Tell(said)] = &steps(&wishes(), &facts)[..] else { panic!() };
        assert!(said.contains("looks at /service is not ours"), "{said}");
        let wishes = Wishes { kept_name: Some("it stays".into()), ..wishes() };
        assert_eq!(steps(&wishes, &done()), [Step::Tell("it stays".into())]);
    }

    #[test]
    fn what_starts_it_besides_is_said_and_stays() {
        let besides = vec![(Boot::Inittab, "/etc/inittab".into()), (Boot::Systemd, "/u".into())];
        let facts = Facts { besides, ..done() };
        let steps: Vec<String> = steps(&wishes(), &facts).iter().map(ToString::to_string).collect();
        assert!(steps[0].ends_with("(mend: remove the line SV: from it)"), "{steps:?}");
        assert!(
            steps[1].ends_with("(mend: systemctl disable qmail.service && rm /u)"),
            "{steps:?}"
        );
        assert_eq!(steps.len(), 2);
    }

    #[test]
    fn the_sendmail_that_was_there_is_kept() {
        let mut facts = done();
        facts.links[0].1 = Found::File(b"postfix".into());
        let steps: Vec<String> = steps(&wishes(), &facts).iter().map(ToString::to_string).collect();
        let want = [
            "keep /usr/sbin/sendmail as /usr/sbin/sendmail.before-qmail",
            "link /usr/sbin/sendmail -> /var/qmail/bin/sendmail",
        ];
        assert_eq!(steps, want);
    }

    #[test]
    fn a_link_of_ours_is_not_kept() {
        let mut facts = done();
        facts.links[0].1 = Found::Ours;
        assert_eq!(steps(&wishes(), &facts), [Step::Relink(facts.links[0].0.clone())]);
    }

    #[test]
    fn what_somebody_has_made_of_the_unit_stays_and_is_started_only_if_it_starts_ours() {
        for starts_ours in [true, false] {
            let mut facts = Facts { enabled: false, ..done() };
            facts.files[0].1 = Found::Foreign(starts_ours);
            let steps = steps(&wishes(), &facts);
            assert!(matches!(&steps[0], Step::Tell(text) if text.starts_with("/u stays")));
            assert_eq!(steps.iter().any(|step| matches!(step, Step::Run(_))), starts_ours);
        }
    }

    #[test]
    fn a_line_of_inittab_is_added_once() {
        let text = b"SV:123456:respawn:x\n".to_vec();
        let file = File { path: "/etc/inittab".into(), mode: 0o644, text, line: true };
        let there = |text: &[u8]| Found::File(text.into());
        assert_eq!(write(&file, &there(b"id:2:\n")), Some(Step::Append(file.clone())));
        assert_eq!(write(&file, &there(b"id:2:\nSV:123456:respawn:x\n")), None);
    }
}
