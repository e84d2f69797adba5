//! What a Maildir file's name says of its letter: when it came, and by which id POP3 knows it.

use base::fnv;
use std::io::Write;

/// The longest unique id (RFC 1939 §7).
const UID: usize = 70;

/// What a name says, found in one pass: a mailbox may have a million of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// Seconds and microseconds of the delivery, if the name says so: `SECS.M<µs>…` as we and most
    /// others write it, or at least `SECS.…`.
    pub(super) time: Option<(u64, u64)>,
    /// Bytes before the colon: what stays the same while flags change.
    pub(super) stem: usize,
    /// Bytes that tell the letter from all others: the stem, of our own names without the sizes.
    pub(super) id: usize,
}

/// Takes a file's name apart; never fails, since anybody may have made it.
pub(super) fn parse(name: &[u8]) -> Parts {
    let (time, rest, is_ours) = unique(name);
    let parsed = name.len().saturating_sub(rest.len());
    let rest = rest.iter().position(|&c| c == b':').unwrap_or(rest.len());
    let stem = parsed.saturating_add(rest);
    let id = name.get(..stem).filter(|_| is_ours).and_then(before_sizes);
    Parts { time, stem, id: id.unwrap_or(stem) }
}

/// The time, what follows the part that is understood, and whether that part is ours:
/// `<secs>.M<µs>Q<id>R<n>[I<n>].<host>`. Only ours: of a foreign name every part may count.
fn unique(name: &[u8]) -> (Option<(u64, u64)>, &[u8], bool) {
    let Some((secs, rest)) = digits(name) else { return (None, name, false) };
    let [b'.', rest @ ..] = rest else { return (None, rest, false) };
    let Some((micros, after)) = lettered(b'M', rest) else { return (Some((secs, 0)), rest, false) };
    let time = Some((secs, micros));
    let queued = lettered(b'Q', after).and_then(|(_, rest)| lettered(b'R', rest));
    let Some((_, rest)) = queued else { return (time, after, false) };
    let rest = lettered(b'I', rest).map_or(rest, |(_, rest)| rest);
    (time, rest, matches!(rest, [b'.', ..]))
}

/// The number behind this letter, and the rest.
fn lettered(letter: u8, text: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = text.split_first()?;
    if *first == letter { digits(rest) } else { None }
}

/// Where `,S=` begins, from the end: the host before it may be anything.
fn before_sizes(stem: &[u8]) -> Option<usize> {
    stem.windows(3).rposition(|three| three == b",S=")
}

/// How long the letter is on the wire, by what our own names say behind the id, truly:
/// `,S=…,W=<bytes>`.
pub(super) fn wire(sizes: &[u8]) -> Option<u64> {
    let (_, rest) = digits(sizes.strip_prefix(b",S=")?)?;
    let (wire, end) = digits(rest.strip_prefix(b",W=")?)?;
    end.is_empty().then_some(wire)
}

/// Appends what POP3 knows the letter by: its id, or a hash of it if that is too long or odd. It
/// must stay what it is while flags change and letters move from `new` to `cur`.
pub(super) fn put_uid(id: &[u8], out: &mut Vec<u8>) {
    // Without an early end, which the common case does not have.
    let graphic = || id.iter().fold(true, |all, c| all & c.is_ascii_graphic());
    if (1..=UID).contains(&id.len()) && graphic() {
        out.extend_from_slice(id);
    } else {
        out.extend(hash(id));
    }
}

/// 128 bits that stay the same for ever, in hex: two FNV-1a hashes with different seeds. Nobody
/// gains by a collision but confusion in his own mailbox.
pub(super) fn hash(bytes: &[u8]) -> Vec<u8> {
    let mut hex = Vec::with_capacity(32);
    let (a, b) = (fnv(bytes), fnv::hash(0x9ae1_6a3b_2f90_404f, bytes.iter().copied()));
    let _infallible = write!(hex, "{a:016x}{b:016x}");
    hex
}

/// 64 bits that stay the same for ever.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    fnv::hash(fnv::BASIS, bytes.iter().copied())
}

/// The number of at most 19 digits that `text` begins with, and the rest.
fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let (mut number, mut rest) = (0_u64, text);
    while let [c @ b'0'..=b'9', behind @ ..] = rest {
        number = number.wrapping_mul(10).wrapping_add(u64::from(c.wrapping_sub(b'0')));
        rest = behind;
    }
    // 19 nines fit 64 bits.
    let length = text.len().saturating_sub(rest.len());
    (1..=19).contains(&length).then_some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &[u8]) -> &[u8] {
        &name[..parse(name).id]
    }

    fn uid(name: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_uid(id(name), &mut out);
        out
    }

    #[test]
    fn our_ids_leave_out_the_sizes_and_keep_everything_unique() {
        let cut = |name: &str| String::from_utf8(uid(name.as_bytes())).unwrap();
        assert_eq!(cut("17.M5Q3R0.mx.test,S=10,W=12:2,S"), "17.M5Q3R0.mx.test");
        assert_eq!(cut("17.M5Q3R0I2.mx.test,S=10,W=12"), "17.M5Q3R0I2.mx.test");
        assert_eq!(cut("17.M5Q3R0"), "17.M5Q3R0");
        assert_eq!(cut("17.M5Q3R0.h,S=1,S=10,W=12:2,"), "17.M5Q3R0.h,S=1");
        assert_eq!(cut("17.28547.vm,S=10"), "17.28547.vm,S=10");
        assert_eq!(cut("17.28547.vm:2,S"), "17.28547.vm");
        assert_eq!(cut("17:2,S"), "17");
    }

    #[test]
    fn the_stem_ends_at_the_first_colon_wherever_it_is() {
        for (name, stem) in [
            ("17.M5Q3R0.h,S=1,W=1:2,S", 19),
            ("17.M5Q3R0:h,S=1,W=1:2,S", 9),
            ("17.M5:Q3R0.h", 5),
            ("17.:x", 3),
            (":2,S", 0),
            ("", 0),
            ("x", 1),
        ] {
            assert_eq!(parse(name.as_bytes()).stem, stem, "{name}");
            assert!(parse(name.as_bytes()).id <= stem, "{name}");
        }
    }

    #[test]
    fn only_our_own_names_are_believed_about_the_length() {
        let believed = |name: &str| {
            let parts = parse(name.as_bytes());
            wire(&name.as_bytes()[parts.id..parts.stem])
        };
        assert_eq!(believed("17.M5Q3R0.mx.test,S=10,W=12"), Some(12));
        assert_eq!(believed("17.M5Q3R0I2.mx.test,S=10,W=12:2,S"), Some(12));
        for foreign in [
            "17.M5P3V7.mx,S=10,W=12",
            "17.M5Q3R0.mx.test",
            "17.M5Q3R0.mx.test,S=10",
            "17.M5Q3R0.mx.test,W=12,S=10",
            "17.M5Q3R0.mx.test,S=10,W=12,X=1",
            "17.M5Q3R0.mx.test,S=10,W=",
            "letter",
        ] {
            assert_eq!(believed(foreign), None, "{foreign}");
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
        let time = |name: &[u8]| parse(name).time;
        assert_eq!(time(b"17.M5Q3R0.mx"), Some((17, 5)));
        assert_eq!(time(b"17.M5P3.mx"), Some((17, 5)));
        assert_eq!(time(b"17.28547.vm"), Some((17, 0)));
        assert_eq!(time(b"17.Mx"), Some((17, 0)));
        for none in [&b"letter.txt"[..], b"17", b"17-x", b"99999999999999999999.x"] {
            assert_eq!(time(none), None);
        }
    }
}
