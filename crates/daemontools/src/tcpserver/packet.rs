//! DNS messages, as far as names for addresses and addresses for names need them (RFC 1035 §4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kinds of records asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    A = 1,
    Ptr = 12,
    Txt = 16,
    Aaaa = 28,
}

/// What a record of these kinds says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Name(Vec<u8>),
    Address(IpAddr),
    /// The strings of a TXT record, one behind the other.
    Text(Vec<u8>),
}

/// What a message says about a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The records, none if there are none of the kind or no such name.
    Records(Vec<Record>),
    /// The whole answer did not fit: ask over TCP.
    Truncated,
    /// The server cannot say.
    Trouble,
    /// No answer to this question, or no DNS message at all.
    NotOurs,
}

/// The most records taken from one message.
const RECORDS: usize = 64;
/// Compression pointers followed in one name.
const JUMPS: usize = 32;
/// A name's length in a message (RFC 1035 §2.3.4).
const NAME: usize = 255;
/// Header bytes.
const HEADER: usize = 12;

/// The question for the name of an address.
pub(super) fn reverse(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let hex = format!("{:032x}", ip.to_bits());
            hex.chars().rev().map(|digit| format!("{digit}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

/// A question about `name`; `None` if that is no name (RFC 1035 §2.3.4).
pub(super) fn question(id: u16, name: &[u8], kind: Kind) -> Option<Vec<u8>> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.strip_suffix(b".").unwrap_or(name).split(|&byte| byte == b'.') {
        let label = plain(label);
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend(label);
    }
    message.push(0);
    if message.len() > HEADER + NAME {
        return None;
    }
    message.extend([0, kind as u8, 0, 1]);
    Some(message)
}

/// What `message` answers to `question`.
pub(super) fn answer(question: &[u8], message: &[u8], kind: Kind) -> Answer {
    let Some((&[a, b, flags, code, ..], rest)) = message.split_first_chunk::<HEADER>() else {
        return Answer::NotOurs;
    };
    let (id, asked) = question.split_at_checked(HEADER).unwrap_or_default();
    let echoed = rest.get(..asked.len()).is_some_and(|echo| echo.eq_ignore_ascii_case(asked));
    if !id.starts_with(&[a, b]) || flags & 0x80 == 0 || !echoed {
        return Answer::NotOurs;
    }
    match code & 0x0f {
        0 if flags & 0x02 != 0 => Answer::Truncated,
        0 => records(message, question.len(), kind).map_or(Answer::Trouble, Answer::Records),
        3 => Answer::Records(Vec::new()),
        _ => Answer::Trouble,
    }
}

/// The records of the kind asked for, whatever name they hang on: an alias may stand between.
fn records(message: &[u8], mut at: usize, kind: Kind) -> Option<Vec<Record>> {
    let count = u16::from_be_bytes(*message.get(6..)?.first_chunk()?);
    let mut found = Vec::new();
    for _ in 0..count {
        let (_, after) = name(message, at)?;
        let fixed: &[u8; 10] = message.get(after..)?.first_chunk()?;
        let [k0, k1, c0, c1, _, _, _, _, l0, l1] = *fixed;
        let data = after.checked_add(fixed.len())?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        at = data.checked_add(length)?;
        let bytes = message.get(data..at)?;
        let ours = [k0, k1] == [0, kind as u8] && [c0, c1] == [0, 1];
        if ours && found.len() < RECORDS {
            found.extend(record(message, data, bytes, kind));
        }
    }
    Some(found)
}

fn record(message: &[u8], at: usize, bytes: &[u8], kind: Kind) -> Option<Record> {
    match kind {
        Kind::Ptr => name(message, at).map(|(name, _)| Record::Name(name)),
        Kind::Txt => strings(bytes).map(Record::Text),
        Kind::A => {
            let octets: [u8; 4] = bytes.try_into().ok()?;
            Some(Record::Address(Ipv4Addr::from(octets).into()))
        }
        Kind::Aaaa => {
            let octets: [u8; 16] = bytes.try_into().ok()?;
            Some(Record::Address(Ipv6Addr::from(octets).into()))
        }
    }
}

/// Strings, each behind its length (RFC 1035 §3.3.14).
fn strings(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (string, rest) = rest.split_at_checked(usize::from(*length))?;
        text.extend_from_slice(string);
        bytes = rest;
    }
    Some(text)
}

/// The name at a place, in text, and where what follows it begins.
fn name(message: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut text = Vec::new();
    let mut length = 0_usize;
    let mut after = None;
    for _ in 0..JUMPS {
        loop {
            let size = *message.get(at)?;
            let next = at.checked_add(1)?;
            if size & 0xc0 == 0xc0 {
                let low = *message.get(next)?;
                after = after.or(next.checked_add(1));
                at = usize::from(u16::from_be_bytes([size & 0x3f, low]));
                break;
            }
            if size == 0 {
                let text = if text.is_empty() { b".".to_vec() } else { text };
                return Some((text, after.unwrap_or(next)));
            }
            let end = next.checked_add(usize::from(size)).filter(|_| size < 64)?;
            length = length.saturating_add(usize::from(size)).saturating_add(1);
            if length > NAME {
                return None;
            }
            if !text.is_empty() {
                text.push(b'.');
            }
            put_label(&mut text, message.get(next..end)?);
            at = end;
        }
    }
    None
}

/// The bytes of a label written by [`put_label`].
fn plain(label: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = label;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.first_chunk::<3>().filter(|_| byte == b'\\').and_then(octal);
        bytes.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    bytes
}

fn octal(digits: &[u8; 3]) -> Option<u8> {
    let digit = |sum: u32, digit: &u8| {
        Some(sum.saturating_mul(8).saturating_add(char::from(*digit).to_digit(8)?))
    };
    u8::try_from(digits.iter().try_fold(0, digit)?).ok()
}

/// A label as qmail's tools write it: in lower case, odd bytes as `\ooo`.
pub(super) fn put_label(text: &mut Vec<u8>, label: &[u8]) {
    for byte in label.to_ascii_lowercase() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => text.push(byte),
            _ => text.extend(format!("\\{byte:03o}").into_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to a question: `records` of the kind, each with its data.
    fn reply(question: &[u8], code: u8, records: &[(u8, &[u8])]) -> Vec<u8> {
        let mut message = question.to_vec();
        message[2] = 0x81;
        message[3] = 0x80 | code;
        message[7] = u8::try_from(records.len()).unwrap();
        for (kind, data) in records {
            message.extend([0xc0, 12, 0, *kind, 0, 1, 0, 0, 0, 60, 0]);
            message.push(u8::try_from(data.len()).unwrap());
            message.extend(*data);
        }
        message
    }

    #[test]
    fn an_address_is_asked_for_backwards() {
        assert_eq!(reverse("1.2.3.4".parse().unwrap()), "4.3.2.1.in-addr.arpa");
        let six = reverse("2001:db8::1".parse().unwrap());
        assert!(six.starts_with("1.0.0.0.") && six.ends_with("8.b.d.0.1.0.0.2.ip6.arpa"));
    }

    #[test]
    fn a_name_comes_back_in_lower_case_with_odd_bytes_told() {
        let asked = question(7, b"4.3.2.1.in-addr.arpa", Kind::Ptr).unwrap();
        let message = reply(&asked, 0, &[(5, b"\x01x\x00"), (12, b"\x04MA l\x02ex\xc0\x14")]);
        // 0xc0 0x14 points into the question, at its in-addr.
        let want = Record::Name(b"ma\\040l.ex.in-addr.arpa".to_vec());
        assert_eq!(answer(&asked, &message, Kind::Ptr), Answer::Records(vec![want]));
    }

    #[test]
    fn addresses_come_back_and_no_such_name_is_none() {
        let asked = question(7, b"mail.example.org.", Kind::A).unwrap();
        let message = reply(&asked, 0, &[(1, &[1, 2, 3, 4]), (1, &[1, 2, 3])]);
        let want = Answer::Records(vec![Record::Address("1.2.3.4".parse().unwrap())]);
        assert_eq!(answer(&asked, &message, Kind::A), want);
        assert_eq!(answer(&asked, &reply(&asked, 3, &[]), Kind::A), Answer::Records(vec![]));
        assert_eq!(answer(&asked, &reply(&asked, 2, &[]), Kind::A), Answer::Trouble);
    }

    #[test]
    fn the_strings_of_a_text_are_one_and_one_that_goes_on_outside_is_none() {
        let asked = question(7, b"4.3.2.1.rbl.example", Kind::Txt).unwrap();
        let message = reply(&asked, 0, &[(16, b"\x03see\x00\x02 x"), (16, b"\x05four"), (16, b"")]);
        let want = [b"see x".to_vec(), Vec::new()].map(Record::Text);
        assert_eq!(answer(&asked, &message, Kind::Txt), Answer::Records(want.to_vec()));
    }

    #[test]
    fn another_id_or_another_question_is_not_ours() {
        let asked = question(7, b"a.example", Kind::A).unwrap();
        let other = question(8, b"a.example", Kind::A).unwrap();
        assert_eq!(answer(&asked, &reply(&other, 0, &[]), Kind::A), Answer::NotOurs);
        let other = question(7, b"b.example", Kind::A).unwrap();
        assert_eq!(answer(&asked, &reply(&other, 0, &[]), Kind::A), Answer::NotOurs);
        assert_eq!(answer(&asked, &asked, Kind::A), Answer::NotOurs);
        assert_eq!(answer(&asked, b"", Kind::A), Answer::NotOurs);
    }

    #[test]
    fn a_name_that_points_at_itself_ends() {
        let asked = question(7, b"x.example", Kind::Ptr).unwrap();
        let here = u8::try_from(asked.len() + 12).unwrap();
        let message = reply(&asked, 0, &[(12, &[1, b'a', 0xc0, here])]);
        assert_eq!(answer(&asked, &message, Kind::Ptr), Answer::Records(vec![]));
    }

    #[test]
    fn no_message_cut_or_bent_is_followed_outside() {
        let asked = question(7, b"4.3.2.1.in-addr.arpa", Kind::Ptr).unwrap();
        let message = reply(&asked, 0, &[(12, b"\x04mail\x07example\x00")]);
        for cut in 0..message.len() {
            answer(&asked, &message[..cut], Kind::Ptr);
        }
        for at in 0..message.len() {
            for byte in [0, 0x3f, 0x40, 0xc0, 0xff] {
                let mut bent = message.clone();
                bent[at] = byte;
                if let Answer::Records(records) = answer(&asked, &bent, Kind::Ptr) {
                    assert!(records.len() <= RECORDS);
                }
            }
        }
    }

    #[test]
    fn a_label_written_with_escapes_is_asked_for_as_it_was() {
        for label in [&b"ho t"[..], b"a.b\\", b"\xff\0"] {
            let mut text = Vec::new();
            put_label(&mut text, label);
            assert_eq!(plain(&text), label);
        }
        assert_eq!(plain(b"a\\9\\+12\\12"), b"a\\9\\+12\\12");
    }

    #[test]
    fn what_is_no_name_is_not_asked_for() {
        for name in [&b""[..], b"a..b", &[b'x'; 64]] {
            assert_eq!(question(1, name, Kind::A), None);
        }
        assert_eq!(question(1, &b"a.".repeat(128), Kind::A), None);
        assert!(question(1, &b"a.".repeat(127), Kind::A).is_some());
    }
}
