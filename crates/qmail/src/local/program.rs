//! Delivery to a program of the recipient's choice (dot-qmail(5)).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use base::outcome::Outcome;
use sys::spawn::{Command, Status, wait};

use super::Stop;

/// What a program's end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// On to the next line.
    Next,
    /// Well done, and the lines that follow do not count.
    Enough,
}

/// Runs `/bin/sh -c command` on descriptor 0, which stands at the letter's beginning. The
/// variables come from strangers: the shell gets them as they are, never as text to be read.
pub(super) fn deliver(
    command: &[u8],
    variables: &[(&'static str, Vec<u8>)],
) -> Result<Verdict, Stop> {
    let shell = "/bin/sh";
    let mut run = Command::new(shell).argv0("sh").arg("-c").arg(OsStr::from_bytes(command));
    // An inherited value would be somebody else's.
    run = run.env_remove("DEFAULT");
    for (name, value) in variables {
        run = run.env(name, OsStr::from_bytes(value));
    }
    let child = run.spawn().map_err(|err| Stop::unable(b"run /bin/sh", &err, "4.3.0"))?;
    let status = wait(child)
        .map_err(|err| Stop::soft("Aack, child crashed. (#4.3.0)").because("wait for it", &err))?;
    judge(status).map_err(|mut stop| {
        // The report has only qmail's words for it.
        stop.cause = matches!(status, Status::Killed(_)).then(|| format!("child {child} {status}"));
        stop
    })
}

/// What stock makes of an exit code. The program has said itself what there is to say.
fn judge(status: Status) -> Result<Verdict, Stop> {
    match status {
        Status::Exited(99) => Ok(Verdict::Enough),
        Status::Exited(code) => match Outcome::of_program(code) {
            Outcome::Done => Ok(Verdict::Next),
            Outcome::Never => Err(Stop::hard("")),
            Outcome::Later => Err(Stop::soft("")),
        },
        Status::Killed(_) => Err(Stop::soft("Aack, child crashed. (#4.3.0)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_mean_what_they_mean_to_stock() {
        assert_eq!(judge(Status::Exited(0)), Ok(Verdict::Next));
        assert_eq!(judge(Status::Exited(99)), Ok(Verdict::Enough));
        for hard in [100, 64, 65, 70, 76, 77, 78, 112] {
            assert_eq!(judge(Status::Exited(hard)), Err(Stop::hard("")));
        }
        for soft in [1, 71, 74, 75, 111, 255] {
            assert_eq!(judge(Status::Exited(soft)), Err(Stop::soft("")));
        }
        assert_eq!(judge(Status::Killed(9)).unwrap_err().code, 111);
    }

    #[test]
    fn the_shell_gets_the_variables_as_they_are() {
        let variables = [("SENDER", b"$(exit 3)\n`exit 4`".to_vec())];
        let command = b"test \"$SENDER\" = '$(exit 3)\n`exit 4`' && exit 99";
        assert_eq!(deliver(command, &variables), Ok(Verdict::Enough));
    }
}
