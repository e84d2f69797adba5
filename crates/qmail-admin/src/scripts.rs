//! The run scripts of the services, as people know them from Life with qmail.

use std::path::Path;

use store::home::{Home, Roles};
use sys::user::Ids;

use crate::places::Places;

/// The second line of what is written where the guide has it. Whoever wants a script for his own
/// removes it; what does not have it is never written again.
pub(crate) const MARK: &str =
    "# Written by qmailctl setup. Without this line it is yours and stays as it is.\n";

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
                format!("#!/bin/sh\n{MARK}exec {}\n", quoted(&home.path("rc")))
            }
            _ => script(home, places, before, &command),
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
pub(crate) fn rc(home: &Home, places: &Places) -> String {
    let (delivery, start) = deliveries(home);
    script(home, places, &delivery, &start)
}

/// A logger's run script.
pub(crate) fn logger(home: &Home, roles: &Roles, places: &Places, name: &str) -> String {
    let dir = quoted(&places.log(name));
    let drop = become_role(home, &roles.qmaill);
    let bin = quoted(&home.path("bin"));
    script(home, places, "", &format!("{drop}{bin}/multilog t s1000000 n20 {dir}"))
}

/// A shell script that says its errors where its log goes. The program begins with an empty
/// environment: what svscan was started with is nobody's business there, least of all a `.qmail`
/// program's. One shell and no more: how soon mail is accepted after a start is the sum of these.
fn script(home: &Home, places: &Places, before: &str, command: &str) -> String {
    let (home, bin) = (quoted(home.root()), quoted(&home.path("bin")));
    let mark = if places.guided { MARK } else { "" };
    format!(
        "#!/bin/sh\n{mark}exec 2>&1\nPATH={bin}:/usr/bin:/bin\n{before}\
         exec /usr/bin/env -i PATH=\"$PATH\" QMAILHOME={home} \\\n  {command}\n"
    )
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
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
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
}
