//! What the end of a child that made a delivery means (qmail-lspawn(8)).

use std::time::Duration;

use base::limits;
use base::outcome::Outcome;
use sys::spawn::Status;

use crate::spawn::{Verdict, later};

/// What stock reports for each end of a delivery.
pub(super) fn judge(status: Status, output: &[u8]) -> Verdict {
    let Status::Exited(code) = status else { return crashed() };
    match code {
        0 => (Outcome::Done, clipped(output)),
        111 | 71 | 74 | 75 => (Outcome::Later, clipped(output)),
        112 => later("Internal qmail-lspawn bug.\n"),
        113 => later("Not allowed to perform deliveries as root.\n"),
        115 => later("NFS failure in qmail-local.\n"),
        116 => later("Unable to find alias user!\n"),
        117 => later("Trouble reading users/cdb in qmail-lspawn.\n"),
        118 => later("Temporary failure in qmail-lspawn.\n"),
        119 => later("Out of memory in qmail-lspawn.\n"),
        120 => later("Unable to run qmail-local.\n"),
        121 => later("Unable to run qmail-getpw.\n"),
        126 => (Outcome::Never, b"Unable to run qmail-local.\n".to_vec()),
        _ => (Outcome::Never, clipped(output)),
    }
}

/// A delivery whose process was killed.
pub(super) fn crashed() -> Verdict {
    later("qmail-local crashed.\n")
}

/// A delivery that was ended because it took longer than this.
pub(super) fn late(patience: Duration) -> Verdict {
    let seconds = patience.as_secs();
    later(&format!(
        "Delivery took longer than {seconds} seconds (control/timeoutlocal). (#4.3.0)\n"
    ))
}

/// Output up to its first NUL; too much of it is cut and says so.
pub(super) fn clipped(output: &[u8]) -> Vec<u8> {
    const CUT: &[u8] = b"\nError report too long, sorry.\n";
    let most = limits::LOCAL_OUTPUT;
    let mut text = output.to_vec();
    if text.len() > most {
        text.truncate(most.saturating_sub(CUT.len()).saturating_sub(3));
        text.extend_from_slice(CUT);
    }
    let nul = text.iter().position(|&c| c == 0).unwrap_or(text.len());
    text.truncate(nul);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_has_stocks_report() {
        let judge = |code, output: &[u8]| {
            let (outcome, text) = judge(Status::Exited(code), output);
            (outcome.letter(), String::from_utf8(text).unwrap())
        };
        assert_eq!(judge(0, b"did 1+0+0\n"), (b'K', "did 1+0+0\n".into()));
        for soft in [111, 71, 74, 75] {
            assert_eq!(judge(soft, b"x\0y"), (b'Z', "x".into()));
        }
        for hard in [100, 1, 99, 64, 255] {
            assert_eq!(judge(hard, b"no"), (b'D', "no".into()));
        }
        assert_eq!(judge(113, b""), (b'Z', "Not allowed to perform deliveries as root.\n".into()));
        assert_eq!(judge(126, b""), (b'D', "Unable to run qmail-local.\n".into()));
        let crashed = super::judge(Status::Killed(11), b"half a rep");
        assert_eq!(crashed, (Outcome::Later, b"qmail-local crashed.\n".to_vec()));
    }

    #[test]
    fn too_long_a_report_says_so() {
        let exact = vec![b'x'; 3000];
        assert_eq!(clipped(&exact), exact);
        let cut = clipped(&[b'x'; 3001]);
        assert!(cut.len() <= 3000 && cut.ends_with(b"x\nError report too long, sorry.\n"));
    }
}
