//! write the settings of a new home from the host's name
//!
//! *Runs as* the home's owner · *hears* nobody · *opens* `control/me` and six others · *speaks to*
//! whoever called it, on descriptor 1

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use store::home::Home;

/// `config-fast fqdn`: 0; 100 without a name, 111 if a file cannot be written.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let name = args.get(1).map(|name| name.as_bytes()).filter(|name| is_host(name));
    let Some(name) = name.and_then(|name| std::str::from_utf8(name).ok()) else {
        return fatal("config-fast", 100, "usage: config-fast fqdn");
    };
    let home = match Home::find() {
        Ok(home) => home,
        Err(err) => return fatal("config-fast", 111, &err.to_string()),
    };
    match settings(&home, name) {
        Ok(()) => 0,
        Err(why) => fatal("config-fast", 111, &why),
    }
}

/// Says on descriptor 2 why it is given up.
pub(super) fn fatal(program: &str, code: i32, why: &str) -> i32 {
    let _ = writeln!(io::stderr(), "{program}: fatal: {why}");
    code
}

/// Whether a name can be a host's.
pub(super) fn is_host(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&c| c.is_ascii_alphanumeric() || b".-_".contains(&c))
}

/// Says a line on descriptor 1.
pub(super) fn say(text: &str) -> Result<(), String> {
    let said = sys::fd::write_all(io::stdout(), format!("{text}\n").as_bytes());
    said.map_err(|err| format!("unable to write: {}", sys::errno::text(&err)))
}

fn settings(home: &Home, fqdn: &str) -> Result<(), String> {
    say(&format!("Your fully qualified host name is {fqdn}."))?;
    names(home, fqdn)?;
    for file in ["locals", "rcpthosts"] {
        say(&format!("Putting {fqdn} into control/{file}..."))?;
        put(home, file, &format!("{fqdn}\n"), Add::Behind)?;
    }
    say(&format!("Now qmail will refuse to accept SMTP messages except to {fqdn}."))?;
    say("Make sure to change rcpthosts if you add hosts to locals or virtualdomains!")
}

/// Writes the host's name, and what completes names without a domain.
pub(super) fn names(home: &Home, fqdn: &str) -> Result<(), String> {
    let domain = fqdn.split_once('.').map_or(fqdn, |(_, domain)| domain);
    let last = fqdn.rmatch_indices('.').nth(1);
    let last = last.and_then(|(at, _)| fqdn.get(at.saturating_add(1)..)).unwrap_or(fqdn);
    for (file, text) in [("me", fqdn), ("defaultdomain", domain), ("plusdomain", last)] {
        say(&format!("Putting {text} into control/{file}..."))?;
        put(home, file, &format!("{text}\n"), Add::Anew)?;
    }
    Ok(())
}

/// What becomes of what a file holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Add {
    /// It goes.
    Anew,
    /// It stays.
    Behind,
}

/// Writes lines into a control file.
pub(super) fn put(home: &Home, file: &str, lines: &str, how: Add) -> Result<(), String> {
    let path = home.path("control").join(file);
    let mut options = fs::OpenOptions::new();
    let add = how == Add::Behind;
    let opened = options.create(true).write(!add).append(add).truncate(!add).open(&path);
    let written = opened.and_then(|mut out| {
        out.write_all(lines.as_bytes())?;
        out.set_permissions(fs::Permissions::from_mode(0o644))?;
        out.sync_all()
    });
    written.map_err(|err| format!("{}: {}", path.display(), sys::errno::text(&err)))
}
