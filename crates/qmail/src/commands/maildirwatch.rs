//! show what is new in a Maildir, again and again
//!
//! *Runs as* whoever calls it · *hears* its environment · *opens* the Maildir · *speaks to* the
//! terminal on descriptor 1

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::time::Duration;

use base::limits;
use sys::{clock, fd, file};

use super::maildir::{self, Found};
use super::screen::{Glance, glance, plain};
use super::{Stop, end, needed_later};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_secs(30);
/// Letters on a screen, the newest.
const SHOWN: usize = 1_000;
/// Characters of subject and body.
const TEXT: usize = 158;

/// The program. It ends with its terminal.
pub(crate) fn main(_args: &[OsString]) -> i32 {
    end("maildirwatch", watch().map(|never| match never {}))
}

fn watch() -> Result<Infallible, Stop> {
    let maildir = needed_later("MAILDIR")?;
    let _ = file::umask(0o077);
    maildir::enter(&maildir)?;
    loop {
        maildir::clean(clock::now());
        let screen = screen(&maildir::letters(&["new"])?);
        fd::write_all(fd::stdout(), screen.as_bytes())
            .map_err(|err| Stop::unable("write output", &err))?;
        clock::sleep(PAUSE);
    }
}

/// The screen, made empty first.
fn screen(letters: &[Found]) -> String {
    let newest = letters.get(letters.len().saturating_sub(SHOWN)..).unwrap_or_default();
    // One that has gone since is not shown.
    let shown = newest.iter().filter_map(|found| {
        let letter = File::open(&found.path).ok()?;
        glance(|buf| fd::read(&letter, buf)).ok()
    });
    shown.fold("\x1b[;H\x1b[;J".into(), |screen, letter| screen + &entry(&letter))
}

/// A letter on the screen.
fn entry(letter: &Glance) -> String {
    let [path, to, from] = [&letter.return_path, &letter.delivered_to, &letter.from]
        .map(|address| plain(address, limits::ADDRESS));
    let bold = if from.is_empty() { from } else { format!("\x1b[1m{from}\x1b[0m\n") };
    format!("FROM <{path}> TO <{to}>\n{bold}{}\n\n", plain(&letter.text, TEXT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_from_whom_to_whom_and_what() {
        let letter = Glance {
            return_path: b"a@b".to_vec(),
            delivered_to: b"c@d".to_vec(),
            from: b"A\x1b <a@b>".to_vec(),
            text: vec![b'x'; 200],
        };
        let want = "FROM <a@b> TO <c@d>\n\x1b[1mA/ <a@b>\x1b[0m\n";
        assert_eq!(entry(&letter), format!("{want}{}\n\n", "x".repeat(TEXT)));
        assert_eq!(entry(&Glance::default()), "FROM <> TO <>\n\n\n");
    }
}
