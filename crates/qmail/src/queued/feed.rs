//! Lists that are sent as fast as their hearers take them, and no faster.

use base::outcome::Outcome;
use base::wire::queue::{Answer, Entry, Envelope, progress_block};
use store::disk::kernel::Kernel;
use store::queue::Queue;

use super::client::{Client, Following, Listing};
use super::request::complain;
use super::server::{Server, TROUBLE};

/// Bytes of a list to put into a client's outbox at a time.
const FEED: usize = 256 << 10;

impl Server {
    /// Gives every client with a list as much of it as it takes.
    pub(super) fn feed(&mut self) {
        for token in self.streaming.clone() {
            let Some(client) = self.clients.get_mut(&token) else {
                self.streaming.remove(&token);
                continue;
            };
            while client.out.waiting() < FEED && next_piece(&mut self.queue, client) {}
            if !client.is_streaming() {
                self.streaming.remove(&token);
            }
            self.with_client(token, |_| ());
        }
    }
}

/// Puts the next piece of a client's list into its outbox; false if there is none (yet).
fn next_piece(queue: &mut Queue<Kernel>, client: &mut Client) -> bool {
    if let Some(listing) = client.listing {
        client.listing = match listing {
            Listing::Letters { sent, boundary } => next_letter(queue, client, sent, boundary),
            Listing::Paragraphs { id, from } => next_paragraph(queue, client, id, from),
        };
        return true;
    }
    client.following.is_some_and(|following| next_news(queue, client, following))
}

fn next_letter(
    queue: &mut Queue<Kernel>,
    client: &mut Client,
    sent: u64,
    boundary: u64,
) -> Option<Listing> {
    let Some(id) = queue.index().after(sent).map(|(id, _)| id).filter(|&id| id < boundary) else {
        client.out.push(&Answer::End);
        return None;
    };
    put_entry(queue, client, id, true);
    Some(Listing::Letters { sent: id, boundary })
}

fn next_paragraph(
    queue: &mut Queue<Kernel>,
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

fn next_news(queue: &mut Queue<Kernel>, client: &mut Client, following: Following) -> bool {
    let Following { boundary, ended, .. } = following;
    let next = queue.index().after(following.sent).map(|(id, _)| id);
    if !ended && next.is_none_or(|id| id >= boundary) {
        client.out.push(&Answer::End);
        client.following = Some(Following { ended: true, ..following });
        return true;
    }
    let Some(id) = next else { return false };
    put_entry(queue, client, id, id < boundary);
    client.following = Some(Following { sent: id, ..following });
    true
}

/// Describes a letter. One that cannot be read any more is left out, loudly.
fn put_entry(queue: &mut Queue<Kernel>, client: &mut Client, id: u64, old: bool) {
    let block = match queue.envelope(id) {
        Ok(block) => block,
        Err(error) => return complain(id, &error),
    };
    let Some(known) = queue.index().get(id) else { return };
    let progress = progress_block(known.progress());
    let (uid, pid) = (known.uid, known.pid);
    let entry = Envelope::new(&block).and_then(|envelope| {
        Entry::new(id, known.birth, known.size, uid, pid, old, envelope, &progress)
    });
    if let Ok(entry) = entry {
        client.out.push(&Answer::Entry(entry));
    }
}
