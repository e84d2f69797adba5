//! Sending the letter on: one new letter for all addresses (dot-qmail(5)).

use std::fs::File;

use store::maildir::Source;

use super::Stop;
use crate::commands::requeue::{Trouble, requeue};

/// Queues `delivered_to` and the letter for all `recipients`. The number the log knows it by.
pub(super) fn forward(
    letter: &File,
    delivered_to: &[u8],
    sender: &[u8],
    recipients: &[Vec<u8>],
) -> Result<u32, Stop> {
    let mut at = 0_u64;
    let read = |buf: &mut [u8]| {
        let n = letter.read_at(buf, at)?;
        at = at.saturating_add(n as u64);
        Ok(n)
    };
    let queued = requeue(delivered_to, read, sender, recipients.iter().map(Vec::as_slice));
    queued.map_err(|trouble| {
        let (text, code) = match trouble {
            Trouble::Letter(_) => (b"qq read error (#4.3.0)".to_vec(), 111),
            Trouble::Queue(fatal) => (fatal.text, fatal.code),
        };
        Stop { text: [b"Unable to forward message: ", &text[..], b"."].concat(), code, cause: None }
    })
}
