//! What our programs say to each other: one `encode` and one `decode` for every message.
//!
//! A message is a frame: one tag byte, a length (32 bits, little-endian), that many bytes. The
//! receiver checks everything; nonsense is [`Malformed`] and ends that peer, never the receiver.

pub mod frame;
pub mod login;
pub mod queue;
pub mod spawn;

use alloc::vec::Vec;
use core::fmt;

/// A peer sent something our own programs never send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed message from a peer")
    }
}

impl core::error::Error for Malformed {}

/// Takes fixed-width numbers and NUL-ended text from the front of a message body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.bytes::<1>().map(|[b]| b)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// Bytes up to a NUL, at most `max` of them.
    pub(crate) fn text(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let end = self.0.iter().take(max.saturating_add(1)).position(|&c| c == 0);
        let (text, rest) = self.0.split_at_checked(end.ok_or(Malformed)?).ok_or(Malformed)?;
        self.0 = rest.get(1..).ok_or(Malformed)?;
        Ok(text)
    }

    /// Everything that is left, at most `max` bytes.
    pub(crate) fn rest(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let rest = core::mem::take(&mut self.0);
        if rest.len() > max { Err(Malformed) } else { Ok(rest) }
    }

    /// Insists that nothing is left.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Puts the numbers that [`Reader`] takes.
pub(crate) fn put_u32(out: &mut Vec<u8>, n: u32) {
    out.extend_from_slice(&n.to_le_bytes());
}

/// Puts the numbers that [`Reader`] takes.
pub(crate) fn put_u64(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&n.to_le_bytes());
}
