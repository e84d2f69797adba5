//! Logins proven lately, so that a reader who looks for mail every few seconds need not pay for a
//! slow hash each time. Only a keyed digest of name and secret is kept, under a key that is made
//! anew at every start.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::users::Stamp;

/// How long a proof holds.
pub const HOLDS: Duration = Duration::from_secs(60);
/// Proofs kept at most; then the old ones go, or all.
const PROOFS: usize = 4096;

/// A name and its secret, unreadable.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Proof([u8; 32]);

/// The proofs of one process.
pub struct Proofs {
    key: [u8; 32],
    of: Option<Stamp>,
    until: HashMap<Proof, Duration>,
}

impl Proofs {
    /// None yet, under a new key.
    ///
    /// # Errors
    /// The kernel has no random bytes.
    pub fn new() -> io::Result<Self> {
        let mut key = [0; 32];
        sys::random::fill(&mut key)?;
        Ok(Self { key, of: None, until: HashMap::new() })
    }

    /// The proof of a name and its secret.
    pub fn of(&self, name: &[u8], secret: &[u8]) -> Option<Proof> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        // The length keeps apart what would otherwise run together.
        mac.update(&(name.len() as u64).to_le_bytes());
        mac.update(name);
        mac.update(secret);
        Some(Proof(mac.finalize().into_bytes().into()))
    }

    /// Whether it was proven against the same list of passwords less than [`HOLDS`] before `now`
    /// (since boot). Another list makes all proofs void.
    pub fn holds(&mut self, proof: &Proof, list: Stamp, now: Duration) -> bool {
        if self.of != Some(list) {
            self.until.clear();
            self.of = Some(list);
        }
        self.until.get(proof).is_some_and(|until| now < *until)
    }

    /// Remembers a proof made against `list`; one made against a list since replaced is worthless.
    pub fn remember(&mut self, proof: Proof, list: Stamp, now: Duration) {
        if self.of != Some(list) {
            return;
        }
        if self.until.len() >= PROOFS {
            self.until.retain(|_, until| now < *until);
        }
        if self.until.len() >= PROOFS {
            self.until.clear();
        }
        self.until.insert(proof, now.saturating_add(HOLDS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(name: &str) -> Stamp {
        Stamp::of(&std::fs::metadata(name).unwrap())
    }

    #[test]
    fn a_proof_holds_for_a_minute_and_for_one_list() {
        let mut proofs = Proofs::new().unwrap();
        let (list, other) = (stamp("/"), stamp("/dev/null"));
        let at = Duration::from_secs;
        let proof = proofs.of(b"joe", b"x").unwrap();
        assert!(!proofs.holds(&proof, list, at(5)));
        proofs.remember(proof, list, at(5));
        assert!(proofs.holds(&proof, list, at(64)) && !proofs.holds(&proof, list, at(65)));
        let near = proofs.of(b"jo", b"ex").unwrap();
        assert!(!proofs.holds(&near, list, at(6)));
        assert!(!proofs.holds(&proof, other, at(6)) && !proofs.holds(&proof, list, at(6)));
        proofs.remember(proof, other, at(6));
        assert!(!proofs.holds(&proof, other, at(7)));
    }

    #[test]
    fn every_process_has_a_key_of_its_own() {
        let of = || Proofs::new().unwrap().of(b"joe", b"x").unwrap();
        assert!(of() != of());
    }
}
