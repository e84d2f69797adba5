//! Deliveries to a user who has nothing but a Maildir, step by step, so that many can wait for the
//! disk together.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base::outcome::Outcome;
use store::disk::kernel::Kernel;
use store::maildir::{self, Earlier, Places, Source};

use crate::fences;

use super::run::{self, Plan};
use super::{End, Job, Stop, maildir as single, tell};

/// Letters up to this many bytes are read once, into memory.
const WHOLE: u64 = 1 << 20;
/// No file system's times are coarser than this.
const COARSE: Duration = Duration::from_secs(2);
/// Files that are kept open until they are shown, in case each must be synced by itself.
const OPEN: usize = 64;

/// What staging a letter led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Staged {
    /// It is written.
    Written,
    /// An earlier attempt had delivered it, for good.
    Earlier,
    /// It is not delivered: for now or for good, the report, and what lies behind it.
    Failed(Outcome, Vec<u8>, Option<String>),
    /// This mailbox is another one by now; somebody else must look.
    Moved,
}

/// A letter as it comes to a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Came<'a> {
    /// As a file of so many bytes.
    File(&'a File, u64),
    /// As it is.
    Here(&'a [u8]),
}

/// A letter that is not yet there for good.
#[derive(Debug)]
struct Waiting {
    places: Places,
    /// Its file, as long as it may have to be synced by itself.
    file: Option<OwnedFd>,
    shown: bool,
}

/// What was there, and the stamp `cur/` had before it was listed.
#[derive(Debug)]
struct Listed {
    earlier: Earlier,
    stamp: Option<SystemTime>,
}

/// The Maildir of a user who has nothing else, and what waits in it.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// As the instructions name it.
    dir: Vec<u8>,
    /// Device and inode.
    identity: (u64, u64),
    disk: Kernel,
    host: Vec<u8>,
    /// What was there when a repeated delivery came.
    earlier: Option<Listed>,
    waiting: BTreeMap<u32, Waiting>,
    buffer: Vec<u8>,
    /// What rules the first delivery.
    first: Option<Plan>,
}

impl Mailbox {
    /// Opens the mailbox the job leads to, if the job is nothing but a delivery into a Maildir.
    ///
    /// # Errors
    /// The delivery has been made, or not, and reported as [`super::deliver`] does.
    pub(crate) fn of(job: &Job, letter: &File) -> Result<Self, End> {
        let plan = match run::plan(job, letter) {
            Ok(plan) => plan,
            Err(stop) => return Err(tell(Err(stop))),
        };
        let Some(dir) = plan.only_maildir().map(<[u8]>::to_vec) else {
            return Err(tell(run::follow(job, letter, plan)));
        };
        let place = plan.place();
        Self::open(dir, plan).map_err(|stop| tell(Err(place.of(job, stop))))
    }

    fn open(dir: Vec<u8>, first: Plan) -> Result<Self, Stop> {
        let disk = single::open(&dir)?;
        let identity = identity(&dir).map_err(|err| single::trouble(&dir, "".as_ref(), &err))?;
        let (host, waiting, buffer) = (single::host(), BTreeMap::new(), Vec::new());
        // It has nothing else to do; a kernel that cannot hold it there keeps its user's rights.
        let _as_far_as_it_can = fences::mailbox(OsStr::from_bytes(&dir).as_ref()).close_paths();
        let (earlier, first) = (None, Some(first));
        Ok(Self { dir, identity, disk, host, earlier, waiting, buffer, first })
    }

    /// The device it is on.
    pub(crate) const fn device(&self) -> u64 {
        self.identity.0
    }

    /// The Maildir itself.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.disk.as_fd()
    }

    /// Writes a letter where nobody sees it.
    pub(crate) fn stage(&mut self, slot: u32, job: &Job, letter: Came<'_>) -> Staged {
        match self.try_stage(slot, job, letter) {
            Ok(staged) => staged,
            Err(stop) => {
                let outcome = if stop.code == 100 { Outcome::Never } else { Outcome::Later };
                Staged::Failed(outcome, [&stop.text[..], b"\n"].concat(), stop.cause)
            }
        }
    }

    fn try_stage(&mut self, slot: u32, job: &Job, letter: Came<'_>) -> Result<Staged, Stop> {
        let (letter, size) = match letter {
            Came::File(letter, size) => (letter, size),
            Came::Here(bytes) => return self.judge(slot, job, bytes),
        };
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.clear();
        let staged = if size > WHOLE {
            self.judge(slot, job, letter)
        } else {
            read(letter, size, &mut bytes).and_then(|()| self.judge(slot, job, &bytes[..]))
        };
        self.buffer = bytes;
        staged
    }

    /// Finds again what rules the delivery. If anything speaks against it, that is for a child to say
    /// that can see more than this one.
    fn judge<S: Source + ?Sized>(
        &mut self,
        slot: u32,
        job: &Job,
        letter: &S,
    ) -> Result<Staged, Stop> {
        match self.first.take().map_or_else(|| run::plan(job, letter), Ok) {
            Ok(plan) => {
                let written = self.write(slot, job, &plan, letter);
                written.map_err(|stop| plan.place().of(job, stop))
            }
            Err(_) => Ok(Staged::Moved),
        }
    }

    fn write<S: Source + ?Sized>(
        &mut self,
        slot: u32,
        job: &Job,
        plan: &Plan,
        letter: &S,
    ) -> Result<Staged, Stop> {
        let same = plan.only_maildir() == Some(&self.dir[..]);
        if !same || identity(&self.dir).ok() != Some(self.identity) {
            return Ok(Staged::Moved);
        }
        let head = plan.lines.head();
        let sizes = maildir::measure(&head, letter);
        let sizes = sizes.map_err(|err| single::stop(&self.dir, "new".as_ref(), &err))?;
        let name = single::name(job.queued, 0, &self.host, &sizes);
        if job.queued.is_some_and(|queued| queued.perhaps) && self.was_there(&name)? {
            return Ok(Staged::Earlier);
        }
        let places = Places::of(&name, std::process::id());
        let staged = maildir::stage(&self.disk, &places, &head, letter);
        let file = staged.map_err(|err| single::stop(&self.dir, places.file(), &err))?;
        let keep = self.waiting.len() < OPEN;
        let file = keep.then_some(file);
        self.waiting.insert(slot, Waiting { places, file, shown: false });
        Ok(Staged::Written)
    }

    fn was_there(&mut self, name: &OsStr) -> Result<bool, Stop> {
        self.look_for(name).map_err(|err| single::trouble(&self.dir, name.as_ref(), &err))
    }

    /// Another worker may have shown the letter since the list was made. Then it is in `new/`, or a
    /// reader has moved it to `cur/`, which tells that something came; our own letters do not.
    fn look_for(&mut self, name: &OsStr) -> io::Result<bool> {
        let dir: &Path = OsStr::from_bytes(&self.dir).as_ref();
        if let Some(Listed { earlier, stamp }) = &self.earlier {
            if earlier.holds(&self.disk, name)? {
                return Ok(true);
            }
            // In the order in which it would go through them.
            let shown = std::fs::symlink_metadata(dir.join("new").join(name)).is_ok();
            if !shown && stamp.is_some() && quiet(dir) == *stamp {
                return Ok(false);
            }
        }
        let stamp = quiet(dir);
        let listed = self.earlier.insert(Listed { earlier: Earlier::list(&self.disk)?, stamp });
        listed.earlier.holds(&self.disk, name)
    }

    /// Lets readers see a letter whose bytes are durable.
    ///
    /// # Errors
    /// It has been taken back.
    pub(crate) fn show(&mut self, slot: u32) -> Result<(), Stop> {
        let Some(waiting) = self.waiting.get_mut(&slot) else { return Err(unknown()) };
        waiting.file = None;
        match maildir::show(&self.disk, &waiting.places) {
            Ok(()) => {
                waiting.shown = true;
                Ok(())
            }
            Err(err) => {
                let stop = single::trouble(&self.dir, waiting.places.file(), &err);
                self.withdraw(slot);
                Err(stop)
            }
        }
    }

    /// The letter is there for good.
    pub(crate) fn over(&mut self, slot: u32) {
        self.waiting.remove(&slot);
    }

    /// Takes a letter back; true if there was one to take.
    pub(crate) fn withdraw(&mut self, slot: u32) -> bool {
        let waiting = self.waiting.remove(&slot);
        waiting.map(|waiting| maildir::withdraw(&self.disk, &waiting.places)).is_some()
    }

    /// Makes a letter durable by itself, shown or not.
    ///
    /// # Errors
    /// It has been taken back.
    pub(crate) fn settle_alone(&mut self, slot: u32) -> Result<(), Stop> {
        let Some(Waiting { places, file, shown }) = self.waiting.remove(&slot) else {
            return Err(unknown());
        };
        let settled = if shown {
            maildir::settle_alone(&self.disk, &places, None)
        } else {
            file.map_or_else(|| places.open(&self.disk), Ok)
                .and_then(|file| maildir::settle_alone(&self.disk, &places, Some(&file)))
        };
        settled.map_err(|err| {
            maildir::withdraw(&self.disk, &places);
            single::trouble(&self.dir, places.file(), &err)
        })
    }
}

/// There is no such letter.
fn unknown() -> Stop {
    Stop::soft("Internal qmail-lspawn bug.")
}

/// When something last came into `cur/` or left it; `None` if that was so lately that more could
/// come without another time.
fn quiet(dir: &Path) -> Option<SystemTime> {
    let stamp = std::fs::metadata(dir.join("cur")).and_then(|meta| meta.modified()).ok()?;
    let age = SystemTime::now().duration_since(stamp).ok()?;
    (age > COARSE).then_some(stamp)
}

/// Which directory a name stands for now.
fn identity(dir: &[u8]) -> io::Result<(u64, u64)> {
    let meta = std::fs::metadata(OsStr::from_bytes(dir))?;
    Ok((meta.dev(), meta.ino()))
}

/// Reads the whole letter.
fn read(letter: &File, size: u64, into: &mut Vec<u8>) -> Result<(), Stop> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    into.resize(size, 0);
    match letter.read_at(into, 0) {
        Ok(n) if n == size => Ok(()),
        Ok(_) => Err(run::unread(&io::ErrorKind::UnexpectedEof.into())),
        Err(err) => Err(run::unread(&err)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn a_letter_that_another_has_shown_since_the_list_was_made_is_found() {
        let dir = Yard::new("staged-since");
        for below in ["tmp", "new", "cur"] {
            std::fs::create_dir_all(dir.join(below)).unwrap();
        }
        let hours_ago = |hours: u64| {
            let cur = File::open(dir.join("cur")).unwrap();
            cur.set_modified(SystemTime::now() - Duration::from_secs(3600 * hours)).unwrap();
        };
        let mut mailbox = Mailbox {
            dir: dir.as_os_str().as_bytes().to_vec(),
            identity: (0, 0),
            disk: Kernel::at(&dir).unwrap(),
            host: Vec::new(),
            earlier: None,
            waiting: BTreeMap::new(),
            buffer: Vec::new(),
            first: None,
        };
        hours_ago(2);
        let mut has = |name: &str| mailbox.look_for(name.as_ref()).unwrap();
        assert!(!has("1.moved") && !has("2.shown"));
        // Another worker shows it and its reader moves it on at once.
        File::create(dir.join("cur/1.moved:2,S")).unwrap();
        hours_ago(1);
        assert!(has("1.moved"));
        File::create(dir.join("new/2.shown")).unwrap();
        assert!(has("2.shown") && !has("3.never"));
        // What has come within a time's grain: nothing may be concluded from an equal stamp.
        hours_ago(0);
        assert!(!has("4.late"));
        File::create(dir.join("cur/4.late")).unwrap();
        hours_ago(0);
        assert!(has("4.late"));
    }
}
