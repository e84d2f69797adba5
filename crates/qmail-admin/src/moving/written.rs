//! By what a letter that was written into another queue is known again, wherever that queue went
//! since: when it was queued, which is its file's time there, its size, and its sender.

use std::collections::BTreeSet;

use base::wire::queue::Mark;
use store::client::QueueClient;
use store::stock::Found;

use super::{lost, name};
use crate::Trouble;

/// The letters that are held since they were exported, each as any file system would have kept it.
pub(super) fn all(client: &mut QueueClient) -> Result<BTreeSet<Mark>, Trouble> {
    let mut all = BTreeSet::new();
    let list = client.held(|mark, entry| {
        if mark.is_export() {
            let sender = entry.envelope.sender();
            all.extend(kept(entry.birth.micros(), entry.size).map(|words| is(words, sender)));
        }
    });
    list.map(|()| all).map_err(|e| lost(&e))
}

/// A letter of another queue.
pub(super) fn found(letter: &Found) -> Mark {
    let (secs, nanos) = letter.kind.written;
    is([secs.cast_unsigned(), nanos.cast_unsigned(), letter.kind.size], &letter.sender)
}

/// Seconds, nanoseconds and size; some file systems keep no more than seconds.
fn kept(birth: u64, size: u64) -> [[u64; 3]; 2] {
    let (secs, micros) = (birth / 1_000_000, birth % 1_000_000);
    [[secs, micros.saturating_mul(1_000), size], [secs, 0, size]]
}

fn is(words: [u64; 3], sender: &[u8]) -> Mark {
    let words: Vec<u64> = words.into_iter().chain(sender.iter().map(|&c| c.into())).collect();
    Mark::exported(name(&words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_known_by_its_moment_whole_or_in_seconds_and_no_other_is() {
        let [exact, coarse] = kept(1_700_000_000_123_456, 99).map(|words| is(words, b"s@x"));
        assert_eq!(exact, is([1_700_000_000, 123_456_000, 99], b"s@x"));
        assert_eq!(coarse, is([1_700_000_000, 0, 99], b"s@x"));
        for other in [
            is([1_700_000_000, 123_457_000, 99], b"s@x"),
            is([1_700_000_000, 123_456_000, 98], b"s@x"),
            is([1_700_000_000, 123_456_000, 99], b"s@y"),
        ] {
            assert!(other.is_export() && other != exact && other != coarse);
        }
    }
}
