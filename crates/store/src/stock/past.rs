//! From records there to a letter here: addresses as they were before qmail-send rewrote them, and
//! for each recipient how far it is.

use base::event::Channel;
use base::limits;
use base::time::Moment;
use base::wire::queue::Progress;

use super::Part;
use super::letter::{Found, Recipient};
use super::paragraphs::{fitting, paragraphs};
use crate::users::{Route, Routing, resolve};

/// A letter due within so many seconds of its birth was not tried yet: qmail-send writes the files
/// some time after the letter came, and never tries again so soon.
const FRESH: u64 = 10;

/// A letter as it enters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entered {
    /// Every recipient, not rewritten, and how far it is.
    pub recipients: Vec<(Vec<u8>, Progress)>,
    /// Of those that failed, by their place, what is to be told.
    pub paragraphs: Vec<(u32, Vec<u8>)>,
}

/// The address that [`resolve`] makes `rewritten` from on that channel; `None` if the control files
/// lead it elsewhere.
pub fn original(routing: &Routing, channel: Channel, rewritten: &[u8]) -> Option<Vec<u8>> {
    let wanted = |address: &[u8]| match (resolve(routing, address), channel) {
        (Route::Local(to), Channel::Local) | (Route::Remote(to), Channel::Remote) => {
            to == rewritten
        }
        _ => false,
    };
    if wanted(rewritten) {
        return Some(rewritten.to_vec());
    }
    // A virtual domain's prefix and a dash were put in front.
    let dashes = rewritten.iter().enumerate().filter(|&(_, &c)| c == b'-');
    let rests = dashes.filter_map(|(at, _)| rewritten.get(at.saturating_add(1)..));
    rests.filter(|rest| rest.contains(&b'@')).find(|rest| wanted(rest)).map(<[u8]>::to_vec)
}

impl Found {
    /// Brings the letter here; `reroute` also if the control files would now lead a recipient
    /// elsewhere.
    ///
    /// # Errors
    /// Why it cannot, and which of its files says so.
    pub fn enter(&self, routing: &Routing, reroute: bool) -> Result<Entered, (Part, String)> {
        if self.sender.len() > limits::ADDRESS {
            return Err((Part::Info, "its sender is too long".to_owned()));
        }
        let mut entered = Entered::default();
        for recipient in &self.recipients {
            let part = recipient.part();
            let address = here(routing, recipient, reroute).map_err(|why| (part, why))?;
            if address.len() > limits::ADDRESS {
                return Err((part, "it has a recipient that is too long".to_owned()));
            }
            entered.recipients.push((address, self.progress(recipient)));
        }
        self.tell(&mut entered).map_err(|why| (Part::Bounce, why))?;
        Ok(entered)
    }

    fn progress(&self, recipient: &Recipient) -> Progress {
        let due = match recipient.channel {
            None => None,
            Some(Channel::Local) => self.times.local,
            Some(Channel::Remote) => self.times.remote,
        };
        match due {
            _ if recipient.done => Progress::Done,
            Some(due) if due.since(self.birth) > FRESH * 1_000_000 => Progress::Deferred(due),
            _ => Progress::Waiting,
        }
    }

    /// Gives each paragraph to its recipient: one that is done; else one whose mark a crash has
    /// lost; else one that is named nowhere any more, since all of its channel were done.
    fn tell(&self, entered: &mut Entered) -> Result<(), String> {
        for paragraph in paragraphs(&self.bounce)? {
            let name = paragraph.address;
            let place =
                self.named(entered, name, true).or_else(|| self.named(entered, name, false));
            let place = match place {
                Some(place) => place,
                None if name.len() > limits::ADDRESS => {
                    return Err("its bounce names a recipient that is too long".to_owned());
                }
                None => {
                    entered.recipients.push((name.to_vec(), Progress::Failed));
                    entered.recipients.len().saturating_sub(1)
                }
            };
            if let Some((_, progress)) = entered.recipients.get_mut(place) {
                *progress = Progress::Failed;
            }
            let index =
                u32::try_from(place).map_err(|_| "it has too many recipients".to_owned())?;
            entered.paragraphs.push((index, fitting(paragraph.text)));
        }
        entered.paragraphs.sort_by_key(|(index, _)| *index);
        Ok(())
    }

    /// The first recipient of that name of whom nothing is told yet.
    fn named(&self, entered: &Entered, name: &[u8], done: bool) -> Option<usize> {
        let all = self.recipients.iter().zip(&entered.recipients).enumerate();
        let mut open = all.filter(|(_, (there, (_, progress)))| {
            there.done == done && *progress != Progress::Failed
        });
        let found = open
            .find(|(_, (there, (address, _)))| same(&there.address, name) || same(address, name));
        found.map(|(place, _)| place)
    }
}

/// A bounce names an address with `_` for every line end.
fn same(address: &[u8], name: &[u8]) -> bool {
    let shown = |&c: &u8| if c == b'\n' { b'_' } else { c };
    address.len() == name.len() && address.iter().map(shown).eq(name.iter().copied())
}

fn here(routing: &Routing, recipient: &Recipient, reroute: bool) -> Result<Vec<u8>, String> {
    let Some(channel) = recipient.channel else { return Ok(recipient.address.clone()) };
    // Nobody will be led anywhere any more.
    let settled = recipient.done || reroute;
    match original(routing, channel, &recipient.address) {
        Some(address) => Ok(address),
        None if settled => Ok(recipient.address.clone()),
        None => {
            let to = String::from_utf8_lossy(&recipient.address).into_owned();
            let way = if channel == Channel::Local { "local" } else { "remote" };
            Err(format!(
                "it has the {way} recipient {to}, which control/locals and control/virtualdomains \
                 here would lead elsewhere: make them say what they said there, or give --reroute"
            ))
        }
    }
}

impl Entered {
    /// The first moment anybody is due, of those on the way that `on` says; `birth` of one who was
    /// never tried.
    pub fn due(waiting: impl Iterator<Item = Progress>, birth: Moment) -> Option<Moment> {
        let due = |progress| match progress {
            Progress::Waiting => Some(birth),
            Progress::Deferred(at) => Some(at),
            Progress::Done | Progress::Failed => None,
        };
        waiting.filter_map(due).min()
    }
}
