//! Numbers nobody can guess.

use rustix::rand::{GetRandomFlags, getrandom};
use std::io;

/// Fills `bytes` from the kernel's generator.
pub fn fill(mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let got = rustix::io::retry_on_intr(|| getrandom(&mut *bytes, GetRandomFlags::empty()))?;
        bytes = bytes.get_mut(got..).unwrap_or_default();
    }
    Ok(())
}

/// A random number.
pub fn number() -> io::Result<u64> {
    let mut bytes = [0; 8];
    fill(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_numbers_differ() {
        assert_ne!(super::number().unwrap(), super::number().unwrap());
    }
}
