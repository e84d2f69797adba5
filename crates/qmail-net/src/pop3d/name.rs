//! What a Maildir file's name says of its letter: when it came, and by which id POP3 knows it.

use std::io::Write;

/// The longest unique id (RFC 1939 §7).
const UID: usize = 70;

/// Seconds and microseconds of the delivery, if the name says so: `SECS.M<µs>…` as we and most
/// others write it, or at least `SECS.…`.
pub(super) fn time(name: &[u8]) -> Option<(u64, u64)> {
    let (secs, rest) = digits(name)?;
    let rest = rest.strip_prefix(b".")?;
    let micros = rest.strip_prefix(b"M").and_then(digits).map_or(0, |(micros, _)| micros);
    Some((secs, micros))
}

/// The unique id: the name up to the colon, and of our own names without the sizes; of what does
/// not fit an id a hash of it. It must stay what it is while flags change and letters move from
/// `new` to `cur`.
pub(super) fn uid(stem: &[u8]) -> Vec<u8> {
    let id = id(stem);
    let fits = (1..=UID).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    if fits { id.to_vec() } else { hash(id) }
}

/// What tells the letter from all others: the stem, of our own names without the sizes.
pub(super) fn id(stem: &[u8]) -> &[u8] {
    ours(stem).map_or(stem, |(id, _)| id)
}

/// How long the letter is on the wire, of our own names, which say it truly: `…,S=…,W=<bytes>`.
pub(super) fn wire(stem: &[u8]) -> Option<u64> {
    let (_, sizes) = ours(stem)?;
    let (_, rest) = digits(sizes.strip_prefix(b",S=")?)?;
    let (wire, end) = digits(rest.strip_prefix(b",W=")?)?;
    end.is_empty().then_some(wire)
}

/// One of our own names, taken apart: what makes it unique, `<secs>.M<µs>Q<id>R<n>[I<n>].<host>`,
/// and `,S=…,W=…`. Only ours: of a foreign name every part may count.
fn ours(stem: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = stem;
    for letter in [&b""[..], b".M", b"Q", b"R"] {
        (_, rest) = digits(rest.strip_prefix(letter)?)?;
    }
    if let Some(numbered) = rest.strip_prefix(b"I") {
        (_, rest) = digits(numbered)?;
    }
    rest.strip_prefix(b".")?;
    let sizes = stem.windows(3).rposition(|three| three == b",S=")?;
    stem.split_at_checked(sizes)
}

/// 128 bits that stay the same for ever, in hex: two FNV-1a hashes with different seeds. Nobody
/// gains by a collision but confusion in his own mailbox.
pub(super) fn hash(bytes: &[u8]) -> Vec<u8> {
    let mut hex = Vec::with_capacity(32);
    let (a, b) = (fnv(bytes), seeded(0x9ae1_6a3b_2f90_404f, bytes));
    let _infallible = write!(hex, "{a:016x}{b:016x}");
    hex
}

/// 64 bits that stay the same for ever.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    seeded(0xcbf2_9ce4_8422_2325, bytes)
}

fn seeded(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |h, &c| (h ^ u64::from(c)).wrapping_mul(0x0100_0000_01b3))
}

/// The number `text` begins with, and the rest.
fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|c| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    let number = digits.iter().try_fold(0_u64, |number, &c| {
        number.checked_mul(10)?.checked_add(u64::from(c.wrapping_sub(b'0')))
    })?;
    (end > 0).then_some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_ids_leave_out_the_sizes_and_keep_everything_unique() {
        let cut = |stem: &str| String::from_utf8(uid(stem.as_bytes())).unwrap();
        assert_eq!(cut("17.M5Q3R0.mx.test,S=10,W=12"), "17.M5Q3R0.mx.test");
        assert_eq!(cut("17.M5Q3R0I2.mx.test,S=10,W=12"), "17.M5Q3R0I2.mx.test");
        assert_eq!(cut("17.28547.vm,S=10"), "17.28547.vm,S=10");
        assert_eq!(cut("17.28547.vm"), "17.28547.vm");
    }

    #[test]
    fn only_our_own_names_are_believed_about_the_length() {
        assert_eq!(wire(b"17.M5Q3R0.mx.test,S=10,W=12"), Some(12));
        assert_eq!(wire(b"17.M5Q3R0I2.mx.test,S=10,W=12"), Some(12));
        for foreign in [
            &b"17.M5P3V7.mx,S=10,W=12"[..],
            b"17.M5Q3R0.mx.test",
            b"17.M5Q3R0.mx.test,S=10",
            b"17.M5Q3R0.mx.test,W=12,S=10",
            b"17.M5Q3R0.mx.test,S=10,W=12,X=1",
            b"17.M5Q3R0.mx.test,S=10,W=",
            b"letter",
        ] {
            assert_eq!(wire(foreign), None);
        }
    }

    #[test]
    fn what_is_no_id_becomes_one() {
        for bad in [&b""[..], b"a b", b"\xc3\xa9", &[b'x'; 71]] {
            let id = uid(bad);
            assert_eq!(id.len(), 32);
            assert!(id.iter().all(u8::is_ascii_hexdigit));
            assert_eq!(id, uid(bad));
        }
        assert_ne!(uid(b"a b"), uid(b"a c"));
        assert_eq!(uid(&[b'x'; 70]), [b'x'; 70]);
    }

    #[test]
    fn the_time_is_in_the_name() {
        assert_eq!(time(b"17.M5Q3R0.mx"), Some((17, 5)));
        assert_eq!(time(b"17.28547.vm"), Some((17, 0)));
        assert_eq!(time(b"letter.txt"), None);
        assert_eq!(time(b"99999999999999999999.x"), None);
    }
}
