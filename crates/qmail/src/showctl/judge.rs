//! Settings in order as far as their form goes, with which a program does not start, puts letters off, or
//! does something else than they say. Judged by what the programs themselves read them with.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base::{limits, route};
use store::control::Control;
use store::home::Home;

use super::lines;
use super::troubles::OFTEN;

/// Files that hold a host's name.
const HOSTS: [&str; 10] = [
    "me",
    "bouncehost",
    "defaultdomain",
    "defaulthost",
    "doublebouncehost",
    "envnoathost",
    "helohost",
    "idhost",
    "localiphost",
    "plusdomain",
];
/// Files whose lines, or names before a colon, are domains.
const DOMAINS: [&str; 4] = ["locals", "morercpthosts", "percenthack", "rcpthosts"];
/// Files that qmail-send judges.
pub(super) const POLICY: [&str; 3] = ["concurrencydestination", "pauses", "priority"];

/// What is wrong with a file's text.
pub(super) fn text(home: &Home, file: &str, path: &str, text: &[u8]) -> Vec<String> {
    let line = lines::first(text);
    match file {
        "dnsservers" => each(path, text, |line| match route::server(line) {
            Some(_) => None,
            None => Some(
                "is no address of a DNS server: every remote letter is put off (mend: write ip, ip:port or [ip]:port)",
            ),
        }),
        "outgoingip" => each(path, text, |line| match route::address(line) {
            Some(_) => None,
            None => {
                Some("is no address: every remote letter is put off (mend: write an IP address)")
            }
        }),
        "checkpassword" => program(home, path, line).into_iter().collect(),
        _ if HOSTS.contains(&file) => host(path, line).into_iter().collect(),
        _ if DOMAINS.contains(&file) => each(path, text, domain),
        _ if POLICY.contains(&file) => {
            let why = crate::send::unusable(&Control::new(home), file);
            why.map(|why| format!("{why} (qmail-send does not start with it)"))
                .into_iter()
                .collect()
        }
        _ => number(file, path, lines::digits(line)).into_iter().collect(),
    }
}

fn each(path: &str, text: &[u8], wrong: impl Fn(&[u8]) -> Option<&'static str>) -> Vec<String> {
    let bad = lines::numbered(text)
        .filter_map(|(n, line)| wrong(line).map(|why| format!("{path} line {n} {why}")));
    bad.take(OFTEN).collect()
}

fn host(path: &str, line: &[u8]) -> Option<String> {
    let inside = line.trim_ascii();
    // What begins with # is told of by itself.
    let odd = !line.starts_with(b"#") && inside.iter().any(|c| !c.is_ascii_graphic());
    odd.then(|| {
        format!("{path} line 1 is no host's name: it has a blank, or what is not ASCII, in it (mend: correct it)")
    })
}

fn domain(line: &[u8]) -> Option<&'static str> {
    if line.contains(&b'*') {
        return Some(
            "has a *, which stands for nothing (mend: .example.org is every name below it)",
        );
    }
    let blank = line.trim_ascii().iter().any(u8::is_ascii_whitespace);
    blank.then_some("has a blank in it, as no domain has (mend: write one domain a line)")
}

/// Numbers that are not taken as they are.
fn number(file: &str, path: &str, digits: &[u8]) -> Option<String> {
    let number = std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?;
    let most = match file {
        "concurrencylocal" => u64::from(limits::LOCAL_DELIVERIES),
        "concurrencyremote" => u64::from(limits::REMOTE_DELIVERIES),
        _ => u64::MAX,
    };
    if number > most {
        return Some(format!(
            "{path} line 1 is more than {most}, which is in force (mend: write at most {most})"
        ));
    }
    let timeout =
        number == 0 && ["timeoutconnect", "timeoutremote", "timeoutsmtpd"].contains(&file);
    timeout.then(|| {
        format!("{path} line 1 is 0, and hardly a peer is so quick (mend: write seconds, or remove the file)")
    })
}

/// The program that judges logins, if it is named by its path.
fn program(home: &Home, path: &str, line: &[u8]) -> Option<String> {
    let word = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
    if !word.contains(&b'/') {
        return None;
    }
    let named = home.root().join(Path::new(std::ffi::OsStr::from_bytes(word)));
    let runs = std::fs::metadata(named);
    let runs = runs.is_ok_and(|there| there.is_file() && there.permissions().mode() & 0o111 != 0);
    let word = String::from_utf8_lossy(word);
    (!runs).then(|| {
        format!("{path} line 1 names {word}, which is no program that can be run: nobody can log in (mend: correct it)")
    })
}
