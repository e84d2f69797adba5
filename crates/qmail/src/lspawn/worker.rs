//! A child of qmail-lspawn: finds out whose mailbox its first delivery is for and becomes that
//! user. If all there is to do is to write into a Maildir, it takes further deliveries for the same
//! recipient and leaves the waiting for the disk to qmail-lspawn; if not, it makes this one and ends.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use base::address::split;
use base::outcome::Outcome;
use base::wire::spawn::Delivery;
use store::home::Home;
use store::users::{Account, Directory, assign};
use sys::signal::Signal;
use sys::spawn::exec;
use sys::{errno, fd, log, pass, process, signal, user};

use crate::local::{Came, End, Job, Mailbox, Queued, Staged, Stop};
use crate::spawn::Letter;

use super::word::{MESSAGE, Tag, Word, words};

/// A bug of ours, or ids that cannot be had.
const BUG: i32 = 112;
/// The account is root's.
const ROOT: i32 = 113;
/// Bytes of `users/assign` in which the line is looked for.
const ASSIGN: u64 = 256 << 20;
/// A site's own qmail-local cannot be run.
const UNRUNNABLE: i32 = 120;
/// Where the channel to qmail-lspawn is.
const CHANNEL: i32 = 3;
/// Where qmail-lspawn's log is: what is told of a delivery there, the report has qmail's words for.
const LOG: i32 = 4;

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
    let (channel, log) = (fd::take(CHANNEL), Log(fd::take(LOG)));
    if [&channel, &log.0].into_iter().any(|fd| fd::set_cloexec(fd, true).is_err()) {
        return BUG;
    }
    signal::unblock_all();
    // If the delivery has to be ended, its programs end with it.
    let _may_be_ended_alone = process::new_group();
    let (local, domain) = split(delivery.recipient);
    let (account, assigned) = match users.lookup_from(local) {
        Ok(found) => found,
        Err(err) => {
            log.say(delivery, &err.to_string());
            return i32::from(err.exit_code());
        }
    };
    if let Some(why) = is_root(users.home(), &account, assigned, local) {
        log.say(delivery, &why);
        return ROOT;
    }
    if !account.home.starts_with(b"/") {
        let [user, home] = [&account.user, &account.home].map(|s| String::from_utf8_lossy(s));
        let mend = "is no absolute path (mend: users/assign, or what qmail-getpw answers)";
        log.say(delivery, &format!("the home {home:?} of {user} {mend}"));
        return BUG;
    }
    if let Err(err) = user::drop_to(&account.ids()) {
        let (uid, gid, why) = (account.uid, account.gid, errno::text(&err));
        log.say(delivery, &format!("unable to become uid {uid} gid {gid}: {why}"));
        return BUG;
    }
    let job = job(account, default, delivery, local, domain.unwrap_or_default());
    if let Some(why) = site_program(users.home(), &job) {
        log.say(delivery, &why);
        return UNRUNNABLE;
    }
    let file = File::from(fd::take(0));
    let code = match Mailbox::of(&job, &file) {
        Err(End { code, cause }) => {
            cause.iter().for_each(|cause| log.say(delivery, cause));
            code
        }
        Ok(mailbox) => {
            let worker = Worker { mailbox, job, channel, log, said: Vec::new() };
            worker.serve(delivery, &file, letter.size()).map_or(BUG, |()| 0)
        }
    };
    // Its number is known to programs as the standard input, whatever becomes of it.
    std::mem::forget(file);
    code
}

/// What an account has of root's that nothing is delivered with: its uid, or its group where
/// `users/assign` says so and programs change users. A user's own group is the system's business.
fn of_root(account: &Account, assigned: bool, private: bool) -> Option<&'static str> {
    match (account.uid, account.gid) {
        (0, _) => Some("uid 0"),
        (_, 0) if assigned && !private => Some("gid 0"),
        _ => None,
    }
}

/// Why nothing is delivered to an account that is root's, if it is.
fn is_root(home: &Home, account: &Account, assigned: bool, local: &[u8]) -> Option<String> {
    let what = of_root(account, assigned, home.is_private())?;
    let user = String::from_utf8_lossy(&account.user);
    if !assigned {
        return Some(format!("{user} has {what}: nothing is delivered as root"));
    }
    let path = home.path("users/assign");
    let mut text = Vec::new();
    let opened = sys::file::open_read(&path);
    // What cannot be read, or is not what was compiled, has no line to name.
    let _unread = opened.and_then(|file| file.take(ASSIGN).read_to_end(&mut text));
    let line = assign::line_of(&text, local).map(|line| format!(" line {line}"));
    let (path, line) = (path.display(), line.unwrap_or_default());
    Some(format!(
        "{path}{line} gives {user} {what}: nothing is delivered as root (mend: name another, and \
         run qmail-newu)"
    ))
}

/// Becomes a site's own qmail-local, if there is one; why that failed.
fn site_program(home: &Home, job: &Job) -> Option<String> {
    let name = "bin/qmail-local";
    let failed = match home.replacement("qmail-local") {
        Ok(None) => return None,
        Ok(Some(program)) => {
            signal::default(Signal::Pipe);
            let head = [name.as_bytes(), b"--"];
            let words = head.into_iter().chain(job.words()).map(OsStr::from_bytes);
            let argv: Vec<OsString> = words.map(OsString::from).collect();
            let moved = std::env::set_current_dir(home.root());
            moved.err().unwrap_or_else(|| exec(program.as_os_str(), &argv, None))
        }
        Err(err) => err,
    };
    let (path, why) = (home.path(name), errno::text(&failed));
    Some(format!("unable to run {}: {why} (mend: run qmailctl setup)", path.display()))
}

/// The letter at 0, the report at 1 and 2, the channel at 3, the log at 4, and nothing else.
fn wire(letter: &Letter, out: &OwnedFd, channel: &OwnedFd) -> io::Result<()> {
    let log = fd::stderr().try_clone_to_owned()?;
    fd::place(letter.fd()?, 0)?;
    fd::place(out, 1)?;
    fd::place(out, 2)?;
    fd::place(channel, CHANNEL)?;
    fd::place(log, LOG)?;
    fd::close_from(LOG + 1);
    Ok(())
}

/// qmail-lspawn's log.
struct Log(OwnedFd);

impl Log {
    /// Why a delivery did not come about.
    fn say(&self, delivery: &Delivery<'_>, cause: &str) {
        let (letter, to) = (delivery.letter, String::from_utf8_lossy(delivery.recipient));
        log::say_to(&self.0, "qmail-local", format_args!("msg {letter} to {to}: {cause}"));
    }

    /// The same of one among several; its file says which.
    fn say_of(&self, user: &[u8], cause: &str) {
        let user = String::from_utf8_lossy(user);
        log::say_to(&self.0, "qmail-local", format_args!("{user}: {cause}"));
    }
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
    log: Log,
    /// Words that are not sent yet.
    said: Vec<u8>,
}

impl Worker {
    /// Makes the first delivery and all that come after it, until qmail-lspawn hangs up.
    fn serve(mut self, first: &Delivery<'_>, letter: &File, size: u64) -> io::Result<()> {
        let mut open = Vec::new();
        Word::Open(self.mailbox.device()).encode(&mut open);
        pass::send(&self.channel, &open, &[self.mailbox.dir()])?;
        self.stage(first, Came::File(letter, size));
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
                        let letter = letters.next().ok_or(io::ErrorKind::InvalidData)?;
                        self.take(&delivery, Came::File(&letter, size));
                    }
                    Word::Letter(bytes, delivery) => self.take(&delivery, Came::Here(bytes)),
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

    /// Makes one more delivery.
    fn take(&mut self, delivery: &Delivery<'_>, letter: Came<'_>) {
        self.job.sender = delivery.sender.to_vec();
        self.job.queued = Some(queued(delivery));
        self.stage(delivery, letter);
    }

    fn stage(&mut self, delivery: &Delivery<'_>, letter: Came<'_>) {
        let slot = delivery.slot;
        let tag = match self.mailbox.stage(slot, &self.job, letter) {
            Staged::Written => Tag::Staged,
            Staged::Earlier => Tag::Done,
            Staged::Moved => Tag::NotMine,
            Staged::Failed(outcome, text, cause) => {
                cause.iter().for_each(|cause| self.log.say(delivery, cause));
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
    fn each(
        &mut self,
        tag: Tag,
        mut slots: Vec<u32>,
        act: impl Fn(&mut Mailbox, u32) -> Result<(), Stop>,
    ) {
        slots.retain(|&slot| {
            let Err(stop) = act(&mut self.mailbox, slot) else { return true };
            stop.cause().iter().for_each(|cause| self.log.say_of(&self.job.user, cause));
            let word = Word::Failed { slot, outcome: Outcome::Later, text: TROUBLE };
            word.encode(&mut self.said);
            false
        });
        self.say(tag, slots);
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

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    fn account(uid: u32, gid: u32) -> Account {
        let (user, home) = (b"joe".to_vec(), b"/home/joe".to_vec());
        Account { user, uid, gid, home, dash: Vec::new(), ext: Vec::new() }
    }

    #[test]
    fn root_is_known_by_its_uid_and_in_users_assign_also_by_its_group() {
        assert_eq!(of_root(&account(0, 5), false, true), Some("uid 0"));
        assert_eq!(of_root(&account(5, 0), true, false), Some("gid 0"));
        assert_eq!(of_root(&account(5, 0), false, false), None);
        assert_eq!(of_root(&account(5, 0), true, true), None);
        assert_eq!(of_root(&account(5, 5), true, false), None);
    }

    #[test]
    fn a_root_group_found_in_users_assign_stays_one_whatever_becomes_of_the_file() {
        let dir = Yard::new("lspawn-root");
        std::fs::create_dir_all(dir.join("users")).unwrap();
        let home = Home::at(&dir).unwrap();
        let line = b"=joe:joe:5:0:/home/joe:::\n.\n";
        let cdb = dir.join("users/cdb");
        std::fs::write(&cdb, assign::compile(line).unwrap()).unwrap();
        let mut users = Directory::new(&home);
        let (account, assigned) = users.lookup_from(b"joe").unwrap();
        std::fs::write(&cdb, "damaged").unwrap();
        assert!(assigned && users.lookup_from(b"joe").is_err());
        let why = is_root(&home, &account, assigned, b"joe");
        assert_eq!(why.is_some(), !home.is_private(), "{why:?}");
    }
}
