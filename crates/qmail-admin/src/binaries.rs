//! What a binary of ours says of itself, asked so that nobody else's is run and none is waited for
//! without end.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use store::home::Home;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes of an answer.
const LONGEST: usize = 1 << 16;
/// Time between two looks whether it has ended.
const AGAIN: Duration = Duration::from_millis(2);
/// Others than the owner may write it.
const WRITE: u32 = 0o022;

/// Whether nobody but the home's owner, and root, decides what runs there.
pub(crate) fn is_trusted(home: &Home, about: &Metadata) -> bool {
    let theirs = about.uid() == home.owner() || about.uid() == 0;
    theirs && about.mode() & WRITE == 0
}

/// How `BINARY help` ends, and its list of programs.
///
/// # Errors
/// What the system says; `TimedOut` if it did not answer and end within 10 seconds: then it is killed.
pub(crate) fn answer(path: &Path) -> io::Result<(ExitStatus, String)> {
    answer_within(path, PATIENCE)
}

fn answer_within(path: &Path, limit: Duration) -> io::Result<(ExitStatus, String)> {
    let mut help = Command::new(path);
    // In another machine's root directory there may be no /dev/null.
    help.arg("help").stdin(Stdio::inherit()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = help.spawn()?;
    let said = heard(&mut child, limit);
    if said.is_err() {
        let _ = child.kill();
    }
    let status = child.wait()?;
    said.map(|said| (status, said))
}

/// All that it says until it ends.
fn heard(child: &mut Child, limit: Duration) -> io::Result<String> {
    let since = Instant::now();
    let late = || io::Error::from(ErrorKind::TimedOut);
    let left = || limit.checked_sub(since.elapsed()).ok_or_else(late);
    let (mut said, mut buf) = (Vec::new(), [0; 4096]);
    if let Some(out) = child.stdout.take() {
        while said.len() < LONGEST {
            let got = sys::fd::read_within(&out, &mut buf, left()?)?;
            said.extend_from_slice(buf.get(..got).unwrap_or_default());
            if got == 0 {
                break;
            }
        }
    }
    while child.try_wait()?.is_none() {
        left()?;
        sys::clock::sleep(AGAIN);
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permissions::replace;
    use yard::Yard;

    #[test]
    fn what_answers_is_heard_and_what_does_not_is_ended() {
        let yard = Yard::new("answer");
        let asked = |text: &str| {
            let path = yard.join("binary");
            replace(&path, 0o755, format!("#!/bin/sh\n{text}\n").as_bytes()).unwrap();
            loop {
                match answer_within(&path, Duration::from_millis(1500)) {
                    // A child of another test's, not yet what it will be, has the script open.
                    Err(e) if e.kind() == ErrorKind::ExecutableFileBusy => {}
                    answer => return answer,
                }
            }
        };
        let (status, said) = asked("echo a; echo b >&2; exec >&-; sleep 0.1; exit 3").unwrap();
        assert_eq!((status.code(), said.as_str()), (Some(3), "a\n"));
        let begun = Instant::now();
        for slow in ["exec sleep 60", "echo a; exec >&-; exec sleep 60", "sleep 3 & wait"] {
            assert_eq!(asked(slow).unwrap_err().kind(), ErrorKind::TimedOut, "{slow}");
        }
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
