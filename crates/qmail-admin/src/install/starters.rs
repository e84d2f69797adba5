//! What starts a home with the machine, as far as that is there.

use std::path::{Path, PathBuf};

use super::boot::{Boot, UNIT};
use super::is_plain_byte;
use super::look::found;
use super::plan::{File, Found, Wishes};
use crate::Trouble;

/// What starts it. Where a svscan that is not ours keeps the services up, the machine starts that one:
/// a second would fight with it over them, unless somebody wants it or ours was set up before. Also
/// whether it is left to that svscan.
pub(super) fn boot(
    wishes: &Wishes,
    foreign: bool,
    scanned: &Path,
) -> Result<(Boot, bool), Trouble> {
    let boot = match wishes.boot {
        _ if wishes.packaged => return Ok((Boot::None, false)),
        Some(boot) => return Ok((boot, false)),
        None => Boot::here(),
    };
    let Some((path, _, _)) = boot.file(&wishes.home, scanned).filter(|_| foreign) else {
        return Ok((boot, foreign && boot == Boot::None));
    };
    Ok(match found(&path)? {
        Found::File(text) if starts(&text, &wishes.home) => (boot, false),
        _ => (Boot::None, true),
    })
}

/// Whether a text starts a home's svscan: it names it, and not as a part of another name.
pub(super) fn starts(text: &[u8], home: &Path) -> bool {
    let text = String::from_utf8_lossy(text);
    let svscan = home.join("bin/svscan");
    let svscan = svscan.to_string_lossy();
    let is_whole = |at: usize| {
        let before = text.get(..at).and_then(|before| before.bytes().next_back());
        !before.is_some_and(is_plain_byte)
    };
    text.match_indices(&*svscan).any(|(at, _)| is_whole(at))
}

/// What else starts it with the machine: set up by an earlier `--boot`.
pub(super) fn besides(wishes: &Wishes, boot: Boot) -> Result<Vec<(Boot, PathBuf)>, Trouble> {
    let mut starters = starters(wishes)?;
    starters.retain(|(other, _)| *other != boot);
    Ok(starters)
}

/// What starts the home with the machine, each with its file; none that is a package's business.
pub(super) fn starters(wishes: &Wishes) -> Result<Vec<(Boot, PathBuf)>, Trouble> {
    let (home, mut starters) = (&wishes.home, Vec::new());
    if wishes.packaged {
        return Ok(starters);
    }
    for boot in [Boot::Systemd, Boot::Sysv, Boot::Inittab] {
        let Some((path, _, _)) = boot.file(home, Path::new("/")) else { continue };
        if let Found::File(text) = found(&path)?
            && starts(&text, home)
        {
            starters.push((boot, path));
        }
    }
    Ok(starters)
}

/// Whether what starts it is in force.
pub(super) fn is_enabled(boot: Boot, running: bool, files: &[(File, Found)]) -> bool {
    let first = files.first().map(|(_, found)| found);
    let wants: PathBuf = Path::new("/etc/systemd/system/multi-user.target.wants").join(UNIT);
    match boot {
        Boot::Systemd => std::fs::symlink_metadata(wants).is_ok(),
        Boot::Sysv => is_in_runlevel() || (running && first != Some(&Found::Nothing)),
        // The line itself is what does it.
        Boot::Inittab | Boot::None => running,
    }
}

/// Whether System V's second runlevel starts it.
fn is_in_runlevel() -> bool {
    let entries = std::fs::read_dir("/etc/rc2.d").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.into_iter().any(|name| name.starts_with('S') && name.ends_with("qmail"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_homes_svscan_is_not_this_ones() {
        for boot in [Boot::Systemd, Boot::Sysv, Boot::Inittab] {
            let of = |home: &str| boot.file(Path::new(home), Path::new("/service")).unwrap().2;
            let home = Path::new("/var/qmail");
            assert!(starts(of("/var/qmail").as_bytes(), home), "{boot:?}");
            assert!(!starts(of("/srv/var/qmail").as_bytes(), home), "{boot:?}");
        }
    }
}
