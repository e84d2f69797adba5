//! What qmail-remote's output means (qmail-remote(8)). It heard a stranger, so its
//! word is taken apart again here.

use base::outcome::Outcome;
use sys::spawn::Status;

use crate::spawn::{Verdict, later};

/// The child is gone and has not said how the delivery went.
pub(super) fn crashed() -> Verdict {
    later("qmail-remote crashed.\n")
}

/// What a child that lives on has reported.
pub(super) fn reported(items: &[u8]) -> Verdict {
    if items.is_empty() { later("qmail-remote produced no output.\n") } else { read(items) }
}

/// The report of a program that makes one delivery.
pub(super) fn judge(status: Status, output: &[u8]) -> Verdict {
    match status {
        Status::Killed(_) => crashed(),
        Status::Exited(0) => reported(output),
        Status::Exited(111) => later("Unable to run qmail-remote.\n"),
        Status::Exited(_) => (Outcome::Never, b"Unable to run qmail-remote.\n".to_vec()),
    }
}

/// From bad to good.
fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Never => 0,
        Outcome::Later => 1,
        Outcome::Done => 2,
    }
}

/// The items that have their NUL. The last piece has none: it is empty, or it was cut.
fn whole(output: &[u8]) -> Vec<&[u8]> {
    let mut items: Vec<&[u8]> = output.split(|&c| c == 0).collect();
    items.pop();
    items
}

/// The message report among whole items.
fn message(items: &[&[u8]]) -> Option<Outcome> {
    let mut letters = items.iter().filter_map(|item| item.first());
    letters.find_map(|&letter| Outcome::from_letter(letter))
}

/// Reads items that end in NUL: recipient reports (`r`, `s`, `h`), then the message report (`K`,
/// `Z`, `D`). Bad news about the recipient outweighs good news about the message.
fn read(output: &[u8]) -> Verdict {
    let whole = whole(output);
    let message = message(&whole).unwrap_or(Outcome::Never);
    let outcome = match output.first() {
        Some(b's') => Outcome::Later,
        Some(b'h') => Outcome::Never,
        _ => message,
    };
    let Some(first) = whole.first() else { return (outcome, Vec::new()) };
    let mut text = first.get(1..).unwrap_or_default().to_vec();
    let second = output.split(|&c| c == 0).nth(1).and_then(|item| item.split_first());
    if let Some((letter, more)) = second
        && rank(message) <= rank(outcome)
        && Outcome::from_letter(*letter).is_some()
    {
        text.extend_from_slice(more);
    }
    (outcome, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(output: &[u8]) -> (char, String) {
        let (outcome, text) = judge(Status::Exited(0), output);
        (char::from(outcome.letter()), String::from_utf8(text).unwrap())
    }

    #[test]
    fn stocks_own_examples_come_out_the_same() {
        let rejected = said(b"h1.2.3.4 does not like recipient.\n\0DGiving up on 1.2.3.4.\n\0");
        let text = "1.2.3.4 does not like recipient.\nGiving up on 1.2.3.4.\n";
        assert_eq!(rejected, ('D', text.into()));
        assert_eq!(said(b"ssoft\n\0Dhard\n\0"), ('Z', "soft\nhard\n".into()));
        let taken = said(b"r\0K1.2.3.4 accepted message.\n\0");
        assert_eq!(taken, ('K', "1.2.3.4 accepted message.\n".into()));
        assert_eq!(said(b"hno\n\0Kyes\n\0"), ('D', "no\n".into()));
        assert_eq!(said(b"r\0Zlater\n\0"), ('Z', "later\n".into()));
        assert_eq!(said(b"ZSorry, no host.\n\0"), ('Z', "Sorry, no host.\n".into()));
    }

    #[test]
    fn ends_without_words_have_stocks_texts() {
        let text = |status, output: &[u8]| {
            let (outcome, text) = judge(status, output);
            format!("{}{}", char::from(outcome.letter()), String::from_utf8(text).unwrap())
        };
        assert_eq!(text(Status::Killed(9), b"r\0Kfine\0"), "Zqmail-remote crashed.\n");
        assert_eq!(text(Status::Exited(111), b""), "ZUnable to run qmail-remote.\n");
        assert_eq!(text(Status::Exited(1), b"Kx\0"), "DUnable to run qmail-remote.\n");
        assert_eq!(text(Status::Exited(0), b""), "Zqmail-remote produced no output.\n");
    }

    #[test]
    fn a_verdict_that_was_cut_off_or_made_up_is_no_success() {
        assert_eq!(said(b"r\0Kyes"), ('D', "yes".into()));
        assert_eq!(said(b"Kyes"), ('D', String::new()));
        assert_eq!(said(b"x\0y\0"), ('D', String::new()));
        assert_eq!(said(b"\0\0"), ('D', String::new()));
    }
}
