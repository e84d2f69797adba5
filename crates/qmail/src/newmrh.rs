//! compile control/morercpthosts into control/morercpthosts.cdb
//!
//! *Runs as* the home's owner · *hears* nobody · *opens* `control/morercpthosts` · *speaks to*
//! nobody

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};

use base::{cdb, limits};
use store::home::Home;
use sys::file::{Step, replace};

/// 0, or 111 with a `fatal:` line.
pub(crate) fn main(_args: &[OsString]) -> i32 {
    match compile() {
        Ok(()) => 0,
        Err(why) => {
            let _ = writeln!(io::stderr(), "qmail-newmrh: fatal: {why}");
            111
        }
    }
}

/// Puts stock's words before an error's.
fn unable(doing: &'static str) -> impl Fn(io::Error) -> String {
    move |err| format!("unable to {doing}: {}", sys::errno::text(&err))
}

fn compile() -> Result<(), String> {
    let home = Home::find().map_err(|err| format!("unable to chdir: {err}"))?;
    let at = |name: &str| home.path("control").join(name);
    let file = fs::File::open(at("morercpthosts")).map_err(unable("read control/morercpthosts"))?;
    let mut text = Vec::new();
    let read = file.take(limits::CONTROL_FILE as u64 + 1).read_to_end(&mut text);
    read.map_err(unable("read control/morercpthosts"))?;
    if text.len() > limits::CONTROL_FILE {
        return Err("unable to read control/morercpthosts: it is too long".to_owned());
    }
    let hosts = cdb::build(hosts(&text).map(|host| (host, b"")));
    let hosts =
        hosts.map_err(|err| format!("unable to write to control/morercpthosts.tmp: {err}"))?;
    // As with stock's umask 033, whatever ours is: everybody may read it, only the owner may
    // write.
    let made = replace(&at("morercpthosts.cdb"), &at("morercpthosts.tmp"), 0o644, &hosts);
    made.map_err(|(step, err)| {
        let doing = match step {
            Step::Open | Step::Write => "write to control/morercpthosts.tmp",
            Step::Move => "move control/morercpthosts.tmp to control/morercpthosts.cdb",
        };
        unable(doing)(err)
    })
}

/// The lines that count, as qmail-smtpd asks for them.
fn hosts(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let lines = text.split(|&c| c == b'\n').map(|line| {
        let keep = line.iter().rposition(|c| !b" \t".contains(c));
        line.get(..keep.map_or(0, |at| at.saturating_add(1))).unwrap_or(line).to_ascii_lowercase()
    });
    lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_in_lower_case_without_blanks_and_comments() {
        let hosts: Vec<_> = hosts(b"Ex.ORG \t\n\n# no\n.Sub.org\n x").collect();
        assert_eq!(hosts, [&b"ex.org"[..], b".sub.org", b" x"]);
    }
}
