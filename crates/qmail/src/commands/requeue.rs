//! A letter that is sent on from here: back into the queue, with a line of ours on top.

use std::io;

use base::{limits, text0};
use store::home::Home;
use sys::fd;

use super::Stop;
use crate::inject::Fatal;
use crate::inject::enqueue::Outlet;

/// Why a letter was not sent on.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It cannot be read.
    Letter(io::Error),
    /// The queue does not take it.
    Queue(Fatal),
}

impl From<Fatal> for Trouble {
    fn from(fatal: Fatal) -> Self {
        Self::Queue(fatal)
    }
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Letter(err) => Self::unable("read message", &err),
            Trouble::Queue(Fatal { text, code }) => Self::Fatal(text, code),
        }
    }
}

/// Queues `head`, and behind it what `read` gives until it gives nothing, for all `recipients`: at
/// queued, or at `$QMAILQUEUE`. The number the log knows the letter by.
pub(crate) fn requeue<'a>(
    head: &[u8],
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    sender: &[u8],
    recipients: impl IntoIterator<Item = &'a [u8]>,
) -> Result<u32, Trouble> {
    let homeless = |_| Fatal { text: b"qq trouble in home directory (#4.3.0)".to_vec(), code: 111 };
    let home = Home::find().map_err(homeless)?;
    let mut outlet = Outlet::queue(&home)?;
    let pid = outlet.pid();
    outlet.put(head)?;
    let mut buf = vec![0; limits::CHUNK];
    loop {
        let n = read(&mut buf).map_err(Trouble::Letter)?;
        match buf.get(..n) {
            None | Some([]) => break,
            Some(piece) => outlet.put(piece)?,
        }
    }
    let mut envelope = Vec::new();
    text0::put(&mut envelope, sender);
    recipients.into_iter().for_each(|recipient| text0::put(&mut envelope, recipient));
    outlet.commit(&envelope)?;
    Ok(pid)
}

/// [`requeue`] of the letter on descriptor 0.
pub(super) fn requeue_stdin<'a>(
    head: &[u8],
    sender: &[u8],
    recipients: impl IntoIterator<Item = &'a [u8]>,
) -> Result<u32, Stop> {
    Ok(requeue(head, fd::read_stdin, sender, recipients)?)
}
