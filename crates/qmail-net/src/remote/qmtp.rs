//! A letter by QMTP, to a relay that `qmtproutes` names.

use std::io::{self, Read};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use base::limits;
use proto::qmtp::client::{self, Answers};

use super::Order;
use super::letter::Letter;
use super::talk::Ended;

/// Bytes written and read at a time.
const PIECE: usize = 64 << 10;

/// Sends one letter and hears what becomes of each recipient. Before a byte of the letter has been
/// read another relay may be tried, and after that none: the letter may be a pipe.
pub(super) fn carry(
    stream: &TcpStream,
    peer: IpAddr,
    order: &Order,
    letter: &mut Letter,
    limit: Duration,
) -> Ended {
    let peer = peer.to_string().into_bytes();
    match say(stream, order, letter, limit) {
        Ok(()) => {}
        Err(Failed::Unreadable) => return judged(b"ZUnable to read message. (#4.3.0)\n".to_vec()),
        Err(Failed::TooLong) => {
            let text = b"DSorry, QMTP carries no letter as long as this one. (#5.3.4)\n";
            return judged(text.to_vec());
        }
        Err(Failed::Lost) => return judged(died(&peer, b"")),
    }
    match hear(stream, order.recipients.len(), limit) {
        Some(answers) => Ended::Judged(answers.items(&peer)),
        None => judged(died(&peer, b"Possible duplicate! ")),
    }
}

/// Why a letter has not gone out.
enum Failed {
    Unreadable,
    TooLong,
    Lost,
}

fn judged(item: Vec<u8>) -> Ended {
    Ended::Judged(vec![item])
}

fn died(peer: &[u8], perhaps: &[u8]) -> Vec<u8> {
    [b"ZConnected to ", peer, b" but connection died. ", perhaps, b"(#4.4.2)\n"].concat()
}

/// Writes the whole packet.
fn say(
    stream: &TcpStream,
    order: &Order,
    letter: &mut Letter,
    limit: Duration,
) -> Result<(), Failed> {
    let most = limits::PACKET.saturating_sub(1);
    // The length goes out first.
    let (size, pipe) = match letter.length() {
        Some(size) => (size, None),
        None => {
            let text = read_all(letter, most).map_err(|_| Failed::Unreadable)?;
            (text.len() as u64, Some(text))
        }
    };
    if size > most {
        return Err(Failed::TooLong);
    }
    let write = |bytes: &[u8]| sys::fd::write_all_within(stream, bytes, limit);
    let mut held = pipe.as_deref();
    let mut read = |room: &mut [u8]| match &mut held {
        Some(text) => text.read(room),
        None => letter.read(room),
    };
    let (mut out, mut room, mut left) = (client::head(size), vec![0; PIECE], size);
    while left > 0 {
        let len = read(&mut room).map_err(|_| Failed::Unreadable)?;
        // A letter that is shorter than it was cannot be ended any more.
        left = left.checked_sub(len as u64).filter(|_| len > 0).ok_or(Failed::Unreadable)?;
        out.extend_from_slice(room.get(..len).unwrap_or_default());
        if out.len() >= PIECE {
            write(&out).map_err(|_| Failed::Lost)?;
            out.clear();
        }
    }
    let recipients = order.recipients.iter().map(Vec::as_slice);
    out.extend(client::tail(&order.sender, recipients));
    out.chunks(PIECE).try_for_each(write).map_err(|_| Failed::Lost)
}

/// A letter that does not say how long it is; at most one byte more than `most`.
fn read_all(letter: &mut Letter, most: u64) -> io::Result<Vec<u8>> {
    let (mut text, mut room) = (Vec::new(), vec![0; PIECE]);
    loop {
        let read = letter.read(&mut room)?;
        text.extend_from_slice(room.get(..read).unwrap_or_default());
        if read == 0 || text.len() as u64 > most {
            return Ok(text);
        }
    }
}

/// The answers, all of them in one time limit.
fn hear(stream: &TcpStream, recipients: usize, limit: Duration) -> Option<Answers> {
    let (mut answers, mut room) = (Answers::new(recipients), vec![0; PIECE]);
    let since = Instant::now();
    loop {
        let left = limit.saturating_sub(since.elapsed());
        let read = sys::fd::read_within(stream, &mut room, left).ok().filter(|&read| read > 0)?;
        if answers.take(room.get(..read)?).ok()? {
            return Some(answers);
        }
    }
}
