//! write the settings of a new home from the host's name
//!
//! *Runs as* the home's owner · *hears* nobody · *opens* `control/me` and six others · *speaks to*
//! whoever called it, on descriptor 1

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base::limits;
use store::home::Home;
use sys::file;

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
    !name.is_empty()
        && !name.starts_with(b"-")
        && name.iter().all(|&c| c.is_ascii_alphanumeric() || b".-_".contains(&c))
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

/// Puts lines into a control file, which everybody may read. Whoever reads it meanwhile, or after a
/// power cut, has all of the old file or all of the new.
pub(super) fn put(home: &Home, name: &str, lines: &str, how: Add) -> Result<(), String> {
    let control = home.path("control");
    let (path, tmp) = (control.join(name), control.join(format!("{name}.tmp")));
    let wrong = |err: io::Error| format!("{}: {}", path.display(), sys::errno::text(&err));
    let mut text = match how {
        Add::Anew => Vec::new(),
        Add::Behind => whole_lines(&path).map_err(wrong)?,
    };
    text.extend_from_slice(lines.as_bytes());
    file::replace(&path, &tmp, 0o644, &text).map_err(|(_, err)| wrong(err))
}

/// What a file holds, if there is one; its last line is ended.
fn whole_lines(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = match file::open_read(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => sys::fd::read_to_end(opened?, limits::CONTROL_FILE)?,
    };
    if text.last().is_some_and(|&last| last != b'\n') {
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn a_line_is_put_behind_all_that_are_there_or_in_their_place() {
        let dir = Yard::new("config-fast");
        std::fs::create_dir_all(dir.join("control")).unwrap();
        let home = Home::at(&dir).unwrap();
        let locals = || std::fs::read_to_string(dir.join("control/locals")).unwrap();
        put(&home, "locals", "a\n", Add::Behind).unwrap();
        std::fs::write(dir.join("control/locals"), "a\nb").unwrap();
        put(&home, "locals", "c\n", Add::Behind).unwrap();
        assert_eq!(locals(), "a\nb\nc\n");
        put(&home, "locals", "d\n", Add::Anew).unwrap();
        assert_eq!(locals(), "d\n");
        assert_eq!(std::fs::read_dir(dir.join("control")).unwrap().count(), 1);
    }
}
