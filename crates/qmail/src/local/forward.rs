//! Sending the letter on: one new letter for all addresses (spec `qmail-local.md` §4.4).

use std::fs::File;

use base::{limits, text0};
use store::home::Home;
use store::maildir::Source;

use super::Stop;
use crate::inject::Fatal;
use crate::inject::enqueue::Outlet;

/// Queues `delivered_to` and the letter for all `recipients`. The number the log knows it by.
pub(super) fn forward(
    letter: &File,
    delivered_to: &[u8],
    sender: &[u8],
    recipients: &[Vec<u8>],
) -> Result<u32, Stop> {
    queue(letter, delivered_to, sender, recipients).map_err(|Fatal { text, code }| Stop {
        text: [b"Unable to forward message: ", &text[..], b"."].concat(),
        code,
        cause: None,
    })
}

fn queue(
    letter: &File,
    delivered_to: &[u8],
    sender: &[u8],
    recipients: &[Vec<u8>],
) -> Result<u32, Fatal> {
    let later = |text: &str| Fatal { text: text.into(), code: 111 };
    let home = Home::find().map_err(|_| later("qq trouble in home directory (#4.3.0)"))?;
    let mut outlet = Outlet::queue(&home)?;
    let pid = outlet.pid();
    outlet.put(delivered_to)?;
    let (mut buf, mut at) = (vec![0; limits::CHUNK], 0_u64);
    loop {
        let n = letter.read_at(&mut buf, at).map_err(|_| later("qq read error (#4.3.0)"))?;
        match buf.get(..n) {
            None | Some([]) => break,
            Some(piece) => outlet.put(piece)?,
        }
        at = at.saturating_add(n as u64);
    }
    let mut envelope = Vec::new();
    text0::put(&mut envelope, sender);
    recipients.iter().for_each(|recipient| text0::put(&mut envelope, recipient));
    outlet.commit(&envelope).map(|()| pid)
}
