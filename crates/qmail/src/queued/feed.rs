//! Lists that are sent as fast as their hearers take them, and no faster.

use std::collections::VecDeque;

use base::outcome::Outcome;
use base::wire::queue::{Answer, Entry, progress_block};
use store::disk::kernel::Kernel;
use store::queue::Queue;

use super::client::{Client, Following, Listing};
use super::request::complain;
use super::server::{Server, TROUBLE};

/// Bytes of a list to put into a client's outbox at a time.
const FEED: usize = 256 << 10;

impl Server {
    /// Gives every client with a list as much of it as it takes; true if one has taken all it was
    /// given and there is more.
    pub(super) fn feed(&mut self) -> bool {
        let mut more = false;
        for token in std::mem::take(&mut self.streaming) {
            let Some(client) = self.clients.get_mut(token) else { continue };
            let released = (self.follower == Some(token)).then_some(&mut self.released);
            put_released(&self.queue, client, released);
            while client.out.waiting() < FEED && next_piece(&self.queue, client) {}
            let given = client.out.waiting() >= FEED;
            // Puts it back among those with a list, if it has one still.
            self.with_client(token, |_| ());
            more |= given && self.clients.get_mut(token).is_some_and(|c| c.out.waiting() < FEED);
        }
        more
    }
}

/// Puts the next piece of a client's list into its outbox; false if there is none (yet).
fn next_piece(queue: &Queue<Kernel>, client: &mut Client) -> bool {
    if let Some(listing) = client.listing {
        client.listing = match listing {
            Listing::Letters { sent, boundary } => next_letter(queue, client, sent, boundary),
            Listing::Held { sent, boundary } => next_held(queue, client, sent, boundary),
            Listing::Paragraphs { id, from } => next_paragraph(queue, client, id, from),
        };
        return true;
    }
    client.following.is_some_and(|following| next_news(queue, client, following))
}

/// The next letter above a number; an error if it is there and not on disk yet: nobody may deliver
/// what a power cut could take back, while its sender is told to come again.
fn next_on_disk(queue: &Queue<Kernel>, above: u64) -> Result<Option<u64>, ()> {
    let next = queue.index().after(above).map(|(id, _)| id);
    if next.is_some_and(|id| !queue.is_on_disk(id)) { Err(()) } else { Ok(next) }
}

/// Tells the follower of letters that were let go after it had been led past them.
fn put_released(
    queue: &Queue<Kernel>,
    client: &mut Client,
    released: Option<&mut VecDeque<(u64, bool)>>,
) {
    let Some(released) = released else { return };
    while client.out.waiting() < FEED
        && let Some((id, old)) = released.pop_front_if(|(id, _)| queue.is_on_disk(*id))
    {
        if queue.index().mark(id).is_none() {
            put_entry(queue, client, id, old);
        }
    }
}

/// The next held letter, and what it is held for.
fn next_held(
    queue: &Queue<Kernel>,
    client: &mut Client,
    sent: u64,
    boundary: u64,
) -> Option<Listing> {
    let next = queue.index().held_after(sent);
    let Some((id, mark)) = next.filter(|&(id, _)| id < boundary) else {
        client.out.push(&Answer::End);
        return None;
    };
    if queue.is_on_disk(id) {
        client.out.push(&Answer::Held(mark));
        put_entry(queue, client, id, true);
    }
    Some(Listing::Held { sent: id, boundary })
}

fn next_letter(
    queue: &Queue<Kernel>,
    client: &mut Client,
    sent: u64,
    boundary: u64,
) -> Option<Listing> {
    let next = queue.index().after(sent).map(|(id, _)| id);
    let Some(id) = next.filter(|&id| id < boundary) else {
        client.out.push(&Answer::End);
        return None;
    };
    if queue.is_on_disk(id) && queue.index().mark(id).is_none() {
        put_entry(queue, client, id, true);
    }
    Some(Listing::Letters { sent: id, boundary })
}

fn next_paragraph(
    queue: &Queue<Kernel>,
    client: &mut Client,
    id: u64,
    from: u32,
) -> Option<Listing> {
    match queue.paragraph_from(id, from) {
        Ok(Some((index, paragraph))) => {
            client.out.push(&Answer::Paragraph(&paragraph));
            Some(Listing::Paragraphs { id, from: index.saturating_add(1) })
        }
        Ok(None) => {
            client.out.push(&Answer::End);
            None
        }
        Err(error) => {
            complain(id, &error);
            client.out.push(&Answer::Refused(Outcome::Later, TROUBLE));
            None
        }
    }
}

fn next_news(queue: &Queue<Kernel>, client: &mut Client, following: Following) -> bool {
    let Following { boundary, ended, .. } = following;
    let Ok(next) = next_on_disk(queue, following.sent) else { return false };
    if !ended && next.is_none_or(|id| id >= boundary) {
        client.out.push(&Answer::End);
        client.following = Some(Following { ended: true, ..following });
        return true;
    }
    let Some(id) = next else { return false };
    if queue.index().mark(id).is_none() {
        put_entry(queue, client, id, id < boundary);
    }
    client.following = Some(Following { sent: id, ..following });
    true
}

/// Describes a letter. One that cannot be read any more is left out, loudly.
fn put_entry(queue: &Queue<Kernel>, client: &mut Client, id: u64, old: bool) {
    let Some(known) = queue.index().get(id) else { return };
    let progress = progress_block(known.progress());
    let told = queue.describe(id, |told| {
        let (birth, size, uid, pid) = (told.birth, told.size, told.uid, told.pid);
        let entry = Entry::new(id, birth, size, uid, pid, old, told.envelope, &progress);
        if let Ok(entry) = entry {
            client.out.push(&Answer::Entry(entry));
        }
    });
    if let Err(error) = told {
        complain(id, &error);
    }
}
