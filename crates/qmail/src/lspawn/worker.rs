//! A child of qmail-lspawn: finds out whose mailbox its first delivery is for and becomes that
//! user. If all there is to do is to write into a Maildir, it takes further deliveries for the same
//! recipient and leaves the waiting for the disk to qmail-lspawn; if not, it makes this one and ends.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use base::address::split;
use base::outcome::Outcome;
use base::wire::spawn::Delivery;
use store::users::{Account, Directory};
use sys::{fd, pass, signal, user};

use crate::local::{Job, Mailbox, Queued, Staged};
use crate::spawn::Letter;

use super::word::{MESSAGE, Tag, Word, words};

/// A bug of ours, or ids that cannot be had.
const BUG: i32 = 112;
/// The account is root's.
const ROOT: i32 = 113;
/// Where the channel to qmail-lspawn is.
const CHANNEL: i32 = 3;

/// The child's whole life; its exit code. It has everything qmail-lspawn has, so it gives all of it
/// up before it looks at what a stranger or a user wrote.
pub(super) fn run(
    users: &mut Directory,
    default: &[u8],
    delivery: &Delivery<'_>,
    letter: &Letter,
    out: &OwnedFd,
    channel: &OwnedFd,
) -> i32 {
    if wire(letter, out, channel).is_err() {
        return BUG;
    }
    let channel = fd::take(CHANNEL);
    if fd::set_cloexec(&channel, true).is_err() {
        return BUG;
    }
    signal::unblock_all();
    let (local, domain) = split(delivery.recipient);
    let account = match users.lookup(local) {
        Ok(account) => account,
        Err(err) => return i32::from(err.exit_code()),
    };
    if account.uid == 0 {
        return ROOT;
    }
    if !account.home.starts_with(b"/") || user::drop_to(&account.ids()).is_err() {
        return BUG;
    }
    let job = job(account, default, delivery, local, domain.unwrap_or_default());
    let file = File::from(fd::take(0));
    let code = match Mailbox::of(&job, &file) {
        Err(code) => code,
        Ok(mailbox) => {
            let worker = Worker { mailbox, job, channel, said: Vec::new() };
            worker.serve(delivery.slot, &file, letter.size).map_or(BUG, |()| 0)
        }
    };
    // Its number is known to programs as the standard input, whatever becomes of it.
    std::mem::forget(file);
    code
}

/// The letter at 0, the report at 1 and 2, the channel at 3, and nothing else.
fn wire(letter: &Letter, out: &OwnedFd, channel: &OwnedFd) -> io::Result<()> {
    fd::place(&letter.fd, 0)?;
    fd::place(out, 1)?;
    fd::place(out, 2)?;
    fd::place(channel, CHANNEL)?;
    fd::close_from(CHANNEL + 1);
    Ok(())
}

fn job(
    account: Account,
    default: &[u8],
    delivery: &Delivery<'_>,
    local: &[u8],
    domain: &[u8],
) -> Job {
    let Account { user, home, dash, ext, .. } = account;
    Job {
        user,
        home,
        local: local.to_vec(),
        dash,
        ext,
        domain: domain.to_vec(),
        sender: delivery.sender.to_vec(),
        default: default.to_vec(),
        queued: Some(queued(delivery)),
        dry: false,
    }
}

fn queued(delivery: &Delivery<'_>) -> Queued {
    let &Delivery { letter, birth, index, perhaps, .. } = delivery;
    Queued { birth, letter, index, perhaps }
}

/// What is told of a letter that cannot be shown or synced.
const TROUBLE: &[u8] = b"Temporary error on maildir delivery. (#4.3.0)\n";
/// What is said is sent when it is this long, in bytes, whatever there is still to do.
const ENOUGH: usize = MESSAGE / 4;

/// The child of a user who has nothing but a Maildir.
struct Worker {
    mailbox: Mailbox,
    /// The latest delivery.
    job: Job,
    channel: OwnedFd,
    /// Words that are not sent yet.
    said: Vec<u8>,
}

impl Worker {
    /// Makes the first delivery and all that come after it, until qmail-lspawn hangs up.
    fn serve(mut self, slot: u32, letter: &File, size: u64) -> io::Result<()> {
        let mut open = Vec::new();
        Word::Open(self.mailbox.device()).encode(&mut open);
        pass::send(&self.channel, &open, &[self.mailbox.dir()])?;
        self.stage(slot, letter, size);
        nowhere()?;
        let mut room = vec![0; MESSAGE];
        loop {
            let (length, fds) = self.hear(&mut room)?;
            let message = room.get(..length).unwrap_or_default();
            if message.is_empty() {
                return Ok(());
            }
            let words = words(message).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            let mut letters = fds.into_iter().map(File::from);
            for word in words {
                match word {
                    Word::Job(size, delivery) => {
                        self.job.sender = delivery.sender.to_vec();
                        self.job.queued = Some(queued(&delivery));
                        let letter = letters.next().ok_or(io::ErrorKind::InvalidData)?;
                        self.stage(delivery.slot, &letter, size);
                    }
                    Word::Slots(tag, slots) => self.heed(tag, slots),
                    Word::Open(_) | Word::Failed { .. } => {}
                }
            }
        }
    }

    /// The next message; what was said is sent before waiting for it.
    fn hear(&mut self, room: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        if self.said.len() < ENOUGH {
            match pass::recv_now(&self.channel, room, 1) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                heard => return heard,
            }
        }
        if !self.said.is_empty() {
            pass::send(&self.channel, &self.said, &[])?;
            self.said.clear();
        }
        pass::recv(&self.channel, room, 1)
    }

    fn stage(&mut self, slot: u32, letter: &File, size: u64) {
        let tag = match self.mailbox.stage(slot, &self.job, letter, size) {
            Staged::Written => Tag::Staged,
            Staged::Earlier => Tag::Done,
            Staged::Moved => Tag::NotMine,
            Staged::Failed(outcome, text) => {
                Word::Failed { slot, outcome, text: &text }.encode(&mut self.said);
                return;
            }
        };
        self.say(tag, vec![slot]);
    }

    fn heed(&mut self, tag: Tag, slots: Vec<u32>) {
        let mailbox = &mut self.mailbox;
        match tag {
            Tag::Over => slots.into_iter().for_each(|slot| mailbox.over(slot)),
            Tag::Withdraw => {
                for slot in &slots {
                    mailbox.withdraw(*slot);
                }
                self.say(Tag::Withdrawn, slots);
            }
            Tag::Show => self.each(Tag::Shown, slots, Mailbox::show),
            Tag::Alone => self.each(Tag::Done, slots, Mailbox::settle_alone),
            Tag::Staged | Tag::Shown | Tag::Done | Tag::Withdrawn | Tag::NotMine => {}
        }
    }

    /// Does something with each; says for which it worked.
    fn each(&mut self, tag: Tag, slots: Vec<u32>, act: impl Fn(&mut Mailbox, u32) -> bool) {
        let (well, failed): (Vec<u32>, Vec<u32>) =
            slots.into_iter().partition(|slot| act(&mut self.mailbox, *slot));
        for slot in failed {
            let word = Word::Failed { slot, outcome: Outcome::Later, text: TROUBLE };
            word.encode(&mut self.said);
        }
        self.say(tag, well);
    }

    fn say(&mut self, tag: Tag, slots: Vec<u32>) {
        if !slots.is_empty() {
            Word::Slots(tag, slots).encode(&mut self.said);
        }
    }
}

/// Puts something without end or use at 0 to 2: the first letter is not held for ever, and its
/// report's end is seen.
fn nowhere() -> io::Result<()> {
    let (read, write) = fd::pipe()?;
    fd::place(&read, 0)?;
    fd::place(&write, 1)?;
    fd::place(&write, 2)
}
