//! How many mailboxes are open, in all and of each account: after the login no listener counts them.

use std::collections::HashMap;

use base::limits;

/// Whose mailbox it is: see [`super::nests::key`].
pub(super) type Key = Vec<u8>;

/// Why one more is too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Of this account.
    Account,
    /// Of all.
    House,
}

/// The mailboxes that are open or being opened.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    all: usize,
    of: HashMap<Key, usize>,
}

impl Crowd {
    /// Counts one more.
    ///
    /// # Errors
    /// [`Full`]; then it is not counted.
    pub(super) fn enter(&mut self, key: &[u8]) -> Result<(), Full> {
        let here = self.of.get(key).copied().unwrap_or(0);
        if here >= limits::MAILBOX_SESSIONS {
            return Err(Full::Account);
        }
        if self.all >= limits::MAILBOXES_OPEN {
            return Err(Full::House);
        }
        self.all = self.all.saturating_add(1);
        self.of.insert(key.to_vec(), here.saturating_add(1));
        Ok(())
    }

    /// One that was counted is closed.
    pub(super) fn leave(&mut self, key: &[u8]) {
        let Some(here) = self.of.get_mut(key) else { return };
        self.all = self.all.saturating_sub(1);
        *here = here.saturating_sub(1);
        if *here == 0 {
            self.of.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_cannot_take_all_the_room_and_all_cannot_take_more_than_there_is() {
        let mut crowd = Crowd::default();
        for _ in 0..limits::MAILBOX_SESSIONS {
            assert_eq!(crowd.enter(b"joe"), Ok(()));
        }
        assert_eq!(crowd.enter(b"joe"), Err(Full::Account));
        crowd.leave(b"joe");
        assert_eq!(crowd.enter(b"joe"), Ok(()));
        let rest = limits::MAILBOXES_OPEN - limits::MAILBOX_SESSIONS;
        for other in 0..rest {
            assert_eq!(crowd.enter(&other.to_le_bytes()), Ok(()));
        }
        assert_eq!(crowd.enter(b"ann"), Err(Full::House));
        crowd.leave(b"nobody");
        assert_eq!(crowd.enter(b"ann"), Err(Full::House));
        crowd.leave(b"joe");
        assert_eq!(crowd.enter(b"ann"), Ok(()));
    }
}
