//! The records of one letter.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base::event::Channel;
use base::text0;
use base::time::Moment;

use super::{Damage, Part, State, Stock};

/// A recipient as it stands in `todo`, `local` or `remote`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The address: rewritten, unless it is from `todo`.
    pub address: Vec<u8>,
    /// Whose file it was in; `None` in `todo`.
    pub channel: Option<Channel>,
    /// Marked `D`: delivered, or failed.
    pub done: bool,
}

impl Recipient {
    /// Whose file it was in.
    pub fn part(&self) -> Part {
        match self.channel {
            None => Part::Todo,
            Some(Channel::Local) => Part::Local,
            Some(Channel::Remote) => Part::Remote,
        }
    }
}

/// When a letter's channels are due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// `local`.
    pub local: Option<Moment>,
    /// `remote`.
    pub remote: Option<Moment>,
}

/// What `mess` says of a letter: its name as long as it lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// When the file was written; seconds and nanoseconds.
    pub written: (i64, i64),
    /// Bytes.
    pub size: u64,
}

/// One letter of that queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// When it was queued.
    pub birth: Moment,
    /// Who queued it, and with which process, as far as that is known.
    pub queued_by: (Option<u32>, Option<u32>),
    /// The envelope sender.
    pub sender: Vec<u8>,
    /// Local ones first.
    pub recipients: Vec<Recipient>,
    /// When they are due.
    pub times: Times,
    /// What `bounce` holds.
    pub bounce: Vec<u8>,
    /// Its file.
    pub kind: Kind,
}

impl Stock {
    /// All that is known of a letter in that state.
    ///
    /// # Errors
    /// [`Damage`]: a file is missing, cannot be read, or does not say what it should.
    pub fn letter(&self, number: u64, state: State) -> Result<Found, Damage> {
        let Some((mess, path)) = self.open_file(Part::Mess, number)? else {
            let path = self.path(Part::Todo, number).or_else(|| self.path(Part::Info, number));
            let path = path.map(Path::display);
            return Err(match path {
                Some(path) => Damage(format!("{path}: there is no letter in mess")),
                None => Damage(format!("{number}: there is no such letter")),
            });
        };
        let unreadable =
            |e: std::io::Error| Damage(format!("{}: {}", path.display(), sys::errno::text(&e)));
        let about = mess.metadata().map_err(unreadable)?;
        let kind = Kind { written: (about.mtime(), about.mtime_nsec()), size: about.len() };
        match state {
            State::Queued => self.queued(number, kind),
            _ => self.preprocessed(number, kind),
        }
    }

    fn queued(&self, number: u64, kind: Kind) -> Result<Found, Damage> {
        let (bytes, birth) = self.required(Part::Todo, number)?;
        let (sender, recipients, queued_by) =
            envelope(&bytes).map_err(|why| self.damage(Part::Todo, number, why))?;
        let address = |address: Vec<u8>| Recipient { address, channel: None, done: false };
        let recipients = recipients.into_iter().map(address).collect();
        let (times, bounce) = Default::default();
        Ok(Found { birth, queued_by, sender, recipients, times, bounce, kind })
    }

    fn preprocessed(&self, number: u64, kind: Kind) -> Result<Found, Damage> {
        let (info, birth) = self.required(Part::Info, number)?;
        let sender = match &*info {
            [b'F', sender @ .., 0] if !sender.contains(&0) => sender.to_vec(),
            _ => return Err(self.damage(Part::Info, number, "is not F, a sender and one NUL")),
        };
        let mut recipients = Vec::new();
        let mut due = |part, which| -> Result<Option<Moment>, Damage> {
            let Some((bytes, due)) = self.read(part, number)? else { return Ok(None) };
            let found = channel(&bytes).map_err(|why| self.damage(part, number, why))?;
            recipients.extend(found.into_iter().map(|(address, done)| Recipient {
                address,
                channel: Some(which),
                done,
            }));
            Ok(Some(due))
        };
        let times = Times {
            local: due(Part::Local, Channel::Local)?,
            remote: due(Part::Remote, Channel::Remote)?,
        };
        let bounce = self.read(Part::Bounce, number)?.map(|(bytes, _)| bytes).unwrap_or_default();
        let queued_by = (None, None);
        Ok(Found { birth, queued_by, sender, recipients, times, bounce, kind })
    }

    fn required(&self, part: Part, number: u64) -> Result<(Vec<u8>, Moment), Damage> {
        self.read(part, number)?.ok_or_else(|| self.damage(part, number, "is gone"))
    }

    /// Something is wrong with a letter's file.
    pub fn damage(&self, part: Part, number: u64, why: &str) -> Damage {
        match self.path(part, number) {
            Some(path) => Damage(format!("{}: {why}", path.display())),
            None => Damage(format!("{}/{number}: {why}", part.name())),
        }
    }
}

/// Sender, recipients, and who queued it.
type Envelope = (Vec<u8>, Vec<Vec<u8>>, (Option<u32>, Option<u32>));

/// The records of `todo`: `u<uid>`, `p<pid>`, `F<sender>`, then `T<recipient>` each.
///
/// # Errors
/// What is wrong with them.
pub fn envelope(bytes: &[u8]) -> Result<Envelope, &'static str> {
    let fields = text0::fields(bytes).ok_or("does not end in a NUL: it was cut short")?;
    let (mut sender, mut recipients, mut by) = (None, Vec::new(), (None, None));
    for field in fields {
        match field {
            [b'u', uid @ ..] => by.0 = decimal(uid),
            [b'p', pid @ ..] => by.1 = decimal(pid),
            [b'F', from @ ..] => sender = Some(from.to_vec()),
            [b'T', to @ ..] => recipients.push(to.to_vec()),
            _ => return Err("has a record of an unknown type"),
        }
    }
    Ok((sender.ok_or("has no sender")?, recipients, by))
}

fn decimal(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The records of `local` or `remote`: addresses, and whether each is done.
///
/// # Errors
/// What is wrong with them.
pub fn channel(bytes: &[u8]) -> Result<Vec<(Vec<u8>, bool)>, &'static str> {
    let fields = text0::fields(bytes).ok_or("does not end in a NUL: it was cut short")?;
    let record = |field: &[u8]| match field {
        [b'T', to @ ..] => Ok((to.to_vec(), false)),
        [b'D', to @ ..] => Ok((to.to_vec(), true)),
        _ => Err("has a record of an unknown type"),
    };
    fields.map(record).collect()
}
