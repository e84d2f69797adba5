//! Sending the letter on: one new letter for all addresses (spec `qmail-local.md` §4.4).

use std::fs::File;
use std::io;

use base::outcome::Outcome;
use base::wire::queue::{Envelope, Origin};
use base::{limits, text0};
use store::client::{QueueClient, Refusal};
use store::home::Home;
use store::maildir::Source;

use super::Stop;

/// Queues `delivered_to` and the letter for all `recipients`. The number the log knows it by: our
/// process id.
pub(super) fn forward(
    letter: &File,
    delivered_to: &[u8],
    sender: &[u8],
    recipients: &[Vec<u8>],
) -> Result<u32, Stop> {
    match queue(letter, delivered_to, sender, recipients) {
        Ok(_) => Ok(std::process::id()),
        Err(refusal) => {
            let text = [b"Unable to forward message: ", &refusal.text[..], b"."].concat();
            Err(match refusal.outcome {
                Outcome::Never => Stop::hard(text),
                Outcome::Later | Outcome::Done => Stop::soft(text),
            })
        }
    }
}

fn queue(
    letter: &File,
    delivered_to: &[u8],
    sender: &[u8],
    recipients: &[Vec<u8>],
) -> Result<u64, Refusal> {
    let mut block = Vec::new();
    text0::put(&mut block, sender);
    recipients.iter().for_each(|recipient| text0::put(&mut block, recipient));
    let envelope = Envelope::new(&block).map_err(|_| Refusal {
        outcome: Outcome::Never,
        text: b"envelope address too long for qq (#5.1.3)".to_vec(),
    })?;
    let home = Home::find().map_err(io::Error::other)?;
    let mut queued = QueueClient::connect(&home)?;
    queued.begin(Origin::Local)?;
    queued.chunk(delivered_to)?;
    let (mut buf, mut at) = (vec![0; limits::CHUNK], 0_u64);
    loop {
        let n = letter.read_at(&mut buf, at).map_err(|_| unreadable())?;
        match buf.get(..n) {
            None | Some([]) => return queued.commit(&envelope),
            Some(piece) => queued.chunk(piece)?,
        }
        at = at.saturating_add(n as u64);
    }
}

fn unreadable() -> Refusal {
    Refusal { outcome: Outcome::Later, text: b"qq read error (#4.3.0)".to_vec() }
}
