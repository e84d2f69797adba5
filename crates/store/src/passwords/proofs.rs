//! Logins proven lately, so that a reader who looks for mail every few seconds need not pay for a
//! slow hash each time. Only a keyed digest of name and secret is kept, under a key that is made
//! anew at every start.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How long a proof holds.
pub const HOLDS: Duration = Duration::from_secs(60);
/// Proofs kept at most; then the old ones go, or all.
const PROOFS: usize = 4096;

/// A name and its secret, unreadable.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Proof([u8; 32]);

/// The proofs of one process: each with what was found out then (`T`), all of them made against one
/// state (`S`) of the files that decide it.
pub struct Proofs<S, T> {
    key: [u8; 32],
    of: Option<S>,
    until: HashMap<Proof, (Duration, T)>,
}

impl<S: PartialEq, T> Proofs<S, T> {
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

    /// What was found out against the same files less than [`HOLDS`] before `now` (since boot).
    /// Other files make all proofs void.
    pub fn holds(&mut self, proof: &Proof, files: S, now: Duration) -> Option<&T> {
        if self.of.as_ref() != Some(&files) {
            self.until.clear();
            self.of = Some(files);
        }
        self.until.get(proof).filter(|(until, _)| now < *until).map(|(_, found)| found)
    }

    /// Remembers what was found out against `files`; if they have changed since, it is worthless.
    pub fn remember(&mut self, proof: Proof, files: &S, found: T, now: Duration) {
        if self.of.as_ref() != Some(files) {
            return;
        }
        if self.until.len() >= PROOFS {
            self.until.retain(|_, (until, _)| now < *until);
        }
        if self.until.len() >= PROOFS {
            self.until.clear();
        }
        self.until.insert(proof, (now.saturating_add(HOLDS), found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_a_minute_and_for_one_list() {
        let mut proofs = Proofs::new().unwrap();
        let (list, other) = (1, 2);
        let at = Duration::from_secs;
        let proof = proofs.of(b"joe", b"x").unwrap();
        assert_eq!(proofs.holds(&proof, list, at(5)), None);
        proofs.remember(proof, &list, "joe's", at(5));
        assert_eq!(proofs.holds(&proof, list, at(64)), Some(&"joe's"));
        assert_eq!(proofs.holds(&proof, list, at(65)), None);
        let near = proofs.of(b"jo", b"ex").unwrap();
        assert_eq!(proofs.holds(&near, list, at(6)), None);
        assert_eq!(proofs.holds(&proof, other, at(6)), None);
        assert_eq!(proofs.holds(&proof, list, at(6)), None);
        proofs.remember(proof, &other, "joe's", at(6));
        assert_eq!(proofs.holds(&proof, other, at(7)), None);
    }

    #[test]
    fn every_process_has_a_key_of_its_own() {
        let of = || Proofs::<u8, ()>::new().unwrap().of(b"joe", b"x").unwrap();
        assert!(of() != of());
    }
}
