//! The run scripts of the services, as people know them from Life with qmail.

use std::path::Path;

use store::home::{Home, Roles};
use sys::user::Ids;

use crate::places::Places;

/// So begins the second line of what setup writes; a sum of all the rest follows.
const MARK: &str = "# Written by qmailctl setup (";
/// And so it goes on behind the sum.
const REST: &str = "). Changed in any way it is yours, and stays as it is.\n";
/// The line as it was before it had a sum, and only where the guide has scripts.
const OLD: &str =
    "# Written by qmailctl setup. Without this line it is yours and stays as it is.\n";
/// What every script of ours begins with.
const SHELL: &str = "#!/bin/sh\n";

/// A script with the line that says who wrote it.
fn marked(text: &str) -> String {
    let rest = text.strip_prefix(SHELL).unwrap_or(text);
    format!("{SHELL}{MARK}{:08x}{REST}{rest}", base::cdb::hash(rest.as_bytes()))
}

/// Whether setup has had a hand in this script, whoever changed it since.
pub(crate) fn is_marked(text: &str) -> bool {
    text.contains("# Written by qmailctl setup")
}

/// Whether a script is as setup has written it, now or before, so that it may be written anew as
/// `fresh`: its sum is right; or it has the old line; or it is from when there was no line.
pub(crate) fn is_ours(there: &str, fresh: &str) -> bool {
    let below = there.strip_prefix(SHELL).unwrap_or(there);
    match below.split_once('\n') {
        Some((line, rest)) if line.starts_with(MARK) => there == marked(rest),
        _ if there.contains(OLD) => true,
        _ => {
            let fresh: String =
                fresh.split_inclusive('\n').filter(|line| !line.starts_with(MARK)).collect();
            bones(there) == bones(&fresh)
        }
    }
}

/// The words of a script but for those that differ from home to home, and from version to version:
/// the roles' numbers, where a server listens, and the limits it had not always.
fn bones(script: &str) -> Vec<&str> {
    let words: Vec<&str> = script.split_whitespace().collect();
    let word = |at: Option<usize>| at.and_then(|at| words.get(at)).copied().unwrap_or_default();
    let is_limit = |word: &str| {
        word.ends_with("/control/concurrencyaddress")
            || word.ends_with("/control/concurrencynetwork")
    };
    let is_server = |word: &str| word.ends_with("/qmail-smtpd") || word.ends_with("/qmail-popup");
    let varies = |at: usize| {
        let (last, now) = (word(at.checked_sub(1)), word(Some(at)));
        let (next, after) = (word(at.checked_add(1)), word(at.checked_add(2)));
        last.ends_with("/setuidgid")
            || matches!(last, "-u" | "-g")
            || matches!(now, "-m" | "-M") && is_limit(next)
            || is_limit(now)
            || is_server(next)
            || is_server(after)
    };
    words.iter().enumerate().filter(|(at, _)| !varies(*at)).map(|(_, word)| *word).collect()
}

/// One service: its name and its run script; each has a logger.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) run: String,
}

/// Where the two servers listen, as `address port` for tcpserver.
pub(crate) struct Listen {
    pub(crate) smtp: String,
    pub(crate) pop3: String,
}

/// Every service of a home, in the order in which they are best started.
pub(crate) fn services(
    home: &Home,
    roles: &Roles,
    listen: &Listen,
    places: &Places,
) -> Vec<Service> {
    let bin = quoted(&home.path("bin"));
    let control = quoted(&home.path("control"));
    let queued = become_role(home, &roles.qmailq);
    let ids = listener_ids(home, &roles.qmaild);
    let [rules, _] = places.compiled().map(|file| quoted(&file));
    let asked = format!(
        "read -r LOCAL < {control}/me\nread -r MAX < {control}/concurrencyincoming\n\
         case $MAX in ''|*[!0-9]*|0*)\n  \
         echo \"{control}/concurrencyincoming is not a number from 1 up: taking 100\"; MAX=100;;\nesac\n"
    );
    let limits = format!("-m {control}/concurrencyaddress -M {control}/concurrencynetwork");
    let listener =
        format!("{bin}/tcpserver -v -f -R -H -l \"$LOCAL\" -c \"$MAX\" {limits} -b 128{ids}");
    let (delivery, start) = deliveries(home);
    let smtp = format!("{listener} -x {rules} {} {bin}/qmail-smtpd", listen.smtp);
    let pop3 = format!("{listener} {} {bin}/qmail-popup \"$LOCAL\"", listen.pop3);
    [
        ("queued", "", format!("{queued}{bin}/qmail-queued")),
        ("pspawn", "", format!("{bin}/qmail-pspawn")),
        ("qmail-send", &*delivery, start),
        ("qmail-smtpd", &*asked, smtp),
        ("qmail-pop3d", &*asked, pop3),
    ]
    .into_iter()
    .map(|(name, before, command)| Service {
        name,
        run: match name {
            "qmail-send" if places.guided => {
                marked(&format!("{SHELL}exec {}\n", quoted(&home.path("rc"))))
            }
            _ => script(home, before, &command),
        },
    })
    .collect()
}

/// How deliveries are started: what the script asks first, and its command.
fn deliveries(home: &Home) -> (String, String) {
    let [control, bin] = ["control", "bin"].map(|dir| quoted(&home.path(dir)));
    (
        format!("DELIVERY=$(cat {control}/defaultdelivery)\n"),
        format!("{bin}/qmail-start \"${{DELIVERY:-./Maildir/}}\""),
    )
}

/// The script `rc` in the home, which starts deliveries where the guide has it.
pub(crate) fn rc(home: &Home) -> String {
    let (delivery, start) = deliveries(home);
    script(home, &delivery, &start)
}

/// A logger's run script.
pub(crate) fn logger(home: &Home, roles: &Roles, places: &Places, name: &str) -> String {
    let dir = quoted(&places.log(name));
    let drop = become_role(home, &roles.qmaill);
    let bin = quoted(&home.path("bin"));
    script(home, "", &format!("{drop}{bin}/multilog t s1000000 n20 {dir}"))
}

/// A shell script that says its errors where its log goes. The program begins with an empty
/// environment: what svscan was started with is nobody's business there, least of all a `.qmail`
/// program's. One shell and no more: how soon mail is accepted after a start is the sum of these.
fn script(home: &Home, before: &str, command: &str) -> String {
    let (home, bin) = (quoted(home.root()), quoted(&home.path("bin")));
    marked(&format!(
        "{SHELL}exec 2>&1\nPATH={bin}:/usr/bin:/bin\n{before}\
         exec /usr/bin/env -i PATH=\"$PATH\" QMAILHOME={home} \\\n  {command}\n"
    ))
}

/// The words that make a program run as a role; none in a private home.
fn become_role(home: &Home, role: &Ids) -> String {
    if home.is_private() {
        return String::new();
    }
    format!("{}/setuidgid {}:{} ", quoted(&home.path("bin")), role.uid, role.gid)
}

/// tcpserver's own way of becoming a role.
fn listener_ids(home: &Home, role: &Ids) -> String {
    if home.is_private() { String::new() } else { format!(" -u {} -g {}", role.uid, role.gid) }
}

/// A path as one word of the shell.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@=,".contains(c);
    if text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word() {
        assert_eq!(quoted(Path::new("/var/qmail")), "/var/qmail");
        assert_eq!(quoted(Path::new("/tmp/a b's")), r"'/tmp/a b'\''s'");
    }

    #[test]
    fn a_script_is_ours_until_somebody_changes_it() {
        let plain =
            "#!/bin/sh\nexec 2>&1\nexec /q/bin/setuidgid 7:8 /q/bin/multilog t n20 /q/log/x\n";
        let fresh = marked(plain);
        assert!(is_marked(&fresh) && is_ours(&fresh, &fresh));
        // An earlier version's text, its line right.
        assert!(is_ours(&marked("#!/bin/sh\nexec other\n"), &fresh));
        for changed in [fresh.replace("n20", "b2G"), plain.replace("n20", "b2G"), "x".to_owned()] {
            assert!(!is_ours(&changed, &fresh), "{changed}");
        }
        // From before there was a line, also of a machine with other roles.
        assert!(is_ours(plain, &fresh) && is_ours(&plain.replace("7:8", "9:8"), &fresh));
        assert!(is_ours(&format!("#!/bin/sh\n{OLD}exec other\n"), &fresh));
    }

    #[test]
    fn an_older_servers_script_is_ours_wherever_it_listens() {
        let limits = " -m /q/control/concurrencyaddress -M /q/control/concurrencynetwork";
        let server = |limits: &str, at: &str| {
            format!(
                "#!/bin/sh\nexec tcpserver{limits} -b 128 -u 7 -g 8 -x /q/r.cdb {at} /q/bin/qmail-smtpd\n"
            )
        };
        let fresh = marked(&server(limits, "0.0.0.0 25"));
        assert!(is_ours(&server("", "127.0.0.1 2525"), &fresh));
        assert!(!is_ours(&server("", "0.0.0.0 25").replace("128", "256"), &fresh));
    }
}
