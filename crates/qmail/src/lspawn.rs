//! make local deliveries, each as its user
//!
//! *Runs as* root (as the home's owner in a private home) · *hears* qmail-send · *opens*
//! `users/cdb`, `/etc/passwd` · *speaks to* queued (for letters), its children, each of which
//! becomes a user before it reads a letter or a user's file

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use base::address::split;
use base::limits;
use base::outcome::Outcome;
use base::wire::spawn::Delivery;
use store::users::{Account, Directory};
use sys::spawn::{self, Fork, Status};
use sys::{fd, signal, user};

use crate::local::{self, Job, Queued};
use crate::spawn::{Children, Ending, Letters, Spawner, Verdict};

/// A bug of ours, or ids that cannot be had.
const BUG: i32 = 112;
/// The account is root's.
const ROOT: i32 = 113;

pub(crate) fn main(args: &[OsString]) -> i32 {
    let Some(default) = args.get(1) else { return 100 };
    crate::spawn::serve("qmail-lspawn", |home| {
        let default = default.as_bytes().to_vec();
        Lspawn { users: Directory::new(home), default, children: Children::default() }
    })
}

struct Lspawn {
    users: Directory,
    default: Vec<u8>,
    children: Children,
}

impl Spawner for Lspawn {
    const OUTPUT: usize = limits::LOCAL_OUTPUT;

    fn start(
        &mut self,
        slot: u32,
        delivery: &Delivery<'_>,
        letters: &mut Letters,
        out: OwnedFd,
    ) -> Result<(), Verdict> {
        let (local, _) = split(delivery.recipient);
        if local.is_empty() {
            // The trash address.
            return Err((Outcome::Done, Vec::new()));
        }
        let letter = letters.open(delivery.letter)?;
        // The child finds the users in memory if they can be read, and says so if they cannot.
        self.users.refresh();
        match spawn::fork() {
            Ok(Fork::Parent(pid)) => {
                self.children.add(pid, slot);
                Ok(())
            }
            Ok(Fork::Child) => self.child(delivery, &letter, &out),
            Err(_) => Err((Outcome::Later, b"qmail-spawn unable to fork. (#4.3.0)\n".to_vec())),
        }
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    fn endings(&mut self) -> Vec<(u32, Ending)> {
        self.children.endings()
    }

    fn judge(&self, ending: Ending, output: &[u8]) -> Verdict {
        judge(ending, output)
    }
}

impl Lspawn {
    /// The child's whole life. It has everything the parent has, so it gives all of it up before
    /// it looks at what a stranger or a user wrote.
    fn child(&mut self, delivery: &Delivery<'_>, letter: &OwnedFd, out: &OwnedFd) -> ! {
        spawn::exit(match Self::wire(letter, out) {
            Ok(()) => self.deliver(delivery),
            Err(_) => BUG,
        })
    }

    /// The letter at 0, the report at 1 and 2, and nothing else.
    fn wire(letter: &OwnedFd, out: &OwnedFd) -> std::io::Result<()> {
        fd::place(letter, 0)?;
        fd::place(out, 1)?;
        fd::place(out, 2)?;
        fd::close_from(3);
        Ok(())
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) -> i32 {
        signal::unblock_all();
        let (local, domain) = split(delivery.recipient);
        let account = match self.users.lookup(local) {
            Ok(account) => account,
            Err(err) => return i32::from(err.exit_code()),
        };
        if account.uid == 0 {
            return ROOT;
        }
        if !account.home.starts_with(b"/") || user::drop_to(&account.ids()).is_err() {
            return BUG;
        }
        let job = self.job(account, delivery, local, domain.unwrap_or_default());
        let letter = File::from(fd::take(0));
        let code = local::deliver(&job, &letter);
        std::mem::forget(letter);
        code
    }

    fn job(&self, account: Account, delivery: &Delivery<'_>, local: &[u8], domain: &[u8]) -> Job {
        let &Delivery { letter, birth, index, perhaps, sender, .. } = delivery;
        let Account { user, home, dash, ext, .. } = account;
        Job {
            user,
            home,
            local: local.to_vec(),
            dash,
            ext,
            domain: domain.to_vec(),
            sender: sender.to_vec(),
            default: self.default.clone(),
            queued: Some(Queued { birth, letter, index, perhaps }),
            dry: false,
        }
    }
}

/// What stock reports for each end of a delivery (spec `qmail-overview.md` §6.4).
fn judge(ending: Ending, output: &[u8]) -> Verdict {
    let said = |outcome, text: &str| (outcome, text.as_bytes().to_vec());
    let later = |text| said(Outcome::Later, text);
    let code = match ending {
        Ending::Known(Status::Exited(code)) => code,
        Ending::Known(Status::Killed(_)) | Ending::Lost => {
            return later("qmail-local crashed.\n");
        }
    };
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
        126 => said(Outcome::Never, "Unable to run qmail-local.\n"),
        _ => (Outcome::Never, clipped(output)),
    }
}

/// Output up to its first NUL; too much of it is cut and says so.
fn clipped(output: &[u8]) -> Vec<u8> {
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
            let (outcome, text) = judge(Ending::Known(Status::Exited(code)), output);
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
        let crashed = super::judge(Ending::Known(Status::Killed(11)), b"half a rep");
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
