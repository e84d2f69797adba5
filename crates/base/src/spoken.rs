//! The envelope as `qmail-queue` and whoever stands in for it hear it on descriptor 1:
//! `F<sender>\0T<recipient>\0…\0` (qmail-queue(8)).

use alloc::vec::Vec;

use crate::limits;

/// Why this is no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unspoken {
    /// A record begins with another letter.
    Format,
    /// An address has more than [`limits::ADDRESS`] bytes, or the whole more than
    /// [`limits::LOGGED_ENVELOPE`].
    TooLong,
}

/// Makes `sender\0recipient\0…` of it, in whatever pieces it comes.
#[derive(Debug, Default)]
pub struct Ear {
    state: State,
    /// Bytes of the address so far, without its letter and NUL.
    len: usize,
    block: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Address,
    Between,
}

impl Ear {
    /// Takes the next bytes; true if the envelope is complete. What follows is not looked at.
    ///
    /// # Errors
    /// [`Unspoken`].
    pub fn take(&mut self, bytes: &[u8]) -> Result<bool, Unspoken> {
        for &byte in bytes {
            match (self.state, byte) {
                (State::Start, b'F') | (State::Between, b'T') => {
                    (self.state, self.len) = (State::Address, 0);
                }
                (State::Between, 0) => return self.fits().map(|()| true),
                (State::Start | State::Between, _) => return Err(Unspoken::Format),
                (State::Address, 0) => {
                    self.block.push(0);
                    self.state = State::Between;
                }
                (State::Address, byte) => self.put(byte)?,
            }
        }
        self.fits().map(|()| false)
    }

    fn fits(&self) -> Result<(), Unspoken> {
        if self.block.len() > limits::LOGGED_ENVELOPE { Err(Unspoken::TooLong) } else { Ok(()) }
    }

    /// Sender and recipients so far, each ended by a NUL.
    pub fn block(&self) -> &[u8] {
        &self.block
    }

    fn put(&mut self, byte: u8) -> Result<(), Unspoken> {
        self.len = self.len.saturating_add(1);
        if self.len > limits::ADDRESS {
            return Err(Unspoken::TooLong);
        }
        self.block.push(byte);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Result<Option<Vec<u8>>, Unspoken> {
        let mut ear = Ear::default();
        let done = ear.take(bytes)?;
        Ok(done.then_some(ear.block))
    }

    #[test]
    fn an_envelope_is_taken_in_any_pieces() {
        let bytes = b"Fs@x\0Ta@b\0T\0\0";
        let block = b"s@x\0a@b\0\0".to_vec();
        assert_eq!(whole(bytes), Ok(Some(block.clone())));
        let mut ear = Ear::default();
        let (last, rest) = bytes.split_last().unwrap();
        for byte in rest {
            assert_eq!(ear.take(&[*byte]), Ok(false));
        }
        assert_eq!((ear.take(&[*last]), ear.block()), (Ok(true), &block[..]));
    }

    #[test]
    fn an_end_before_the_final_nul_is_no_envelope() {
        for cut in [&b""[..], b"Fs", b"Fs\0", b"Fs\0Ta", b"Fs\0Ta\0"] {
            assert_eq!(whole(cut), Ok(None));
        }
    }

    #[test]
    fn other_letters_are_a_format_error() {
        for bad in [&b"Ts\0"[..], b"\0", b"Fs\0Fx\0", b"Fs\0x"] {
            assert_eq!(whole(bad), Err(Unspoken::Format));
        }
    }

    #[test]
    fn an_envelope_that_is_too_long_is_none_though_it_comes_in_one_piece() {
        let recipient = [b"T", &alloc::vec![b'a'; limits::ADDRESS][..], b"\0"].concat();
        let many = limits::LOGGED_ENVELOPE / limits::ADDRESS;
        let bytes = [b"Fs\0", &recipient.repeat(many)[..], b"\0"].concat();
        assert_eq!(whole(&bytes), Err(Unspoken::TooLong));
    }

    #[test]
    fn an_address_may_have_1002_bytes_and_no_more() {
        let with = |len| [b"F", &alloc::vec![b'a'; len][..], b"\0\0"].concat();
        assert!(whole(&with(1002)).is_ok());
        assert_eq!(whole(&with(1003)), Err(Unspoken::TooLong));
    }
}
