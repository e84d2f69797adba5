//! Streams of packets, whole and cut into pieces, and those that are none.

use super::*;

/// All parts of a stream fed in pieces of this size, the letter's bytes joined.
fn parts(mut packets: Packets, stream: &[u8], size: usize) -> (Vec<Part>, Vec<u8>, Option<Broken>) {
    let (mut parts, mut letter) = (Vec::new(), Vec::new());
    for mut piece in stream.chunks(size) {
        while let Some(part) = packets.take(&mut piece, &mut letter) {
            match part {
                Ok(Part::Body(_)) => {}
                Ok(part) => parts.push(part),
                Err(broken) => return (parts, letter, Some(broken)),
            }
        }
    }
    (parts, letter, None)
}

fn one(packets: fn() -> Packets, stream: &[u8]) -> (Vec<Part>, Vec<u8>, Option<Broken>) {
    let whole = parts(packets(), stream, usize::MAX);
    for size in [1, 2, 3, 7] {
        assert_eq!(parts(packets(), stream, size), whole, "by {size}");
    }
    whole
}

fn addressed(sender: Option<&[u8]>, recipients: &[Option<&[u8]>]) -> Vec<Part> {
    let own = |address: &Option<&[u8]>| address.map(<[u8]>::to_vec);
    let mut parts = alloc::vec![Part::Letter, Part::Sender(own(&sender))];
    parts.extend(recipients.iter().map(|r| Part::Recipient(own(r))));
    parts.push(Part::End);
    parts
}

#[test]
fn a_qmtp_stream_is_one_letter_after_the_other_however_it_is_cut() {
    let stream = b"5:\nab\r\n,3:a@b,10:3:c@d,1:e,,7:\rx\r\ny\r\n,0:,0:,";
    let (found, letter, broken) = one(Packets::qmtp, stream);
    let first = addressed(Some(b"a@b"), &[Some(b"c@d"), Some(b"e")]);
    assert_eq!(found, [first, addressed(Some(b""), &[])].concat());
    assert_eq!((&letter[..], broken), (&b"ab\r\nx\ny\n"[..], None));
}

#[test]
fn a_qmqp_stream_is_one_letter_as_it_is() {
    let inner = b"4:a\r\nb,3:a@b,3:c@d,0:,";
    let stream = [alloc::format!("{}:", inner.len()).as_bytes(), inner, b","].concat();
    let (found, letter, broken) = one(Packets::qmqp, &stream);
    assert_eq!(found, addressed(Some(b"a@b"), &[Some(b"c@d"), Some(b"")]));
    assert_eq!((&letter[..], broken), (&b"a\r\nb"[..], None));
    let (_, _, broken) = one(Packets::qmqp, &[&stream[..], b"0"].concat());
    assert_eq!(broken, Some(Broken::Format));
}

#[test]
fn what_is_no_packet_is_known_at_once() {
    for bad in ["x", ":", "0:", "1:x", "2:\nx;", "2:\nx,x", "2:\nx,0:,3:1:ab", "2:\nx,0:,2:1:a,"] {
        assert_eq!(one(Packets::qmtp, bad.as_bytes()).2, Some(Broken::Format), "{bad:?}");
    }
    for bad in ["0:,", "4:0:,0:", "6:0:,0:,x", "9:5:aaaaa,0:,,", "7:0:,0:,1:,"] {
        assert_eq!(one(Packets::qmqp, bad.as_bytes()).2, Some(Broken::Format), "{bad:?}");
    }
    for long in ["200000001", "99999999999999999999999"] {
        assert_eq!(one(Packets::qmtp, long.as_bytes()).2, Some(Broken::TooLong));
    }
    assert_eq!(one(Packets::qmtp, b"200000000:\n").2, None);
}

#[test]
fn an_address_is_bounded_and_its_packet_goes_on() {
    let just = [b'a'; limits::PACKET_ADDRESS - 1];
    let over = [b'a'; limits::PACKET_ADDRESS];
    let stream = [
        b"2:\nx,1000:",
        &over[..],
        b",",
        b"2016:999:",
        &just[..],
        b",1000:",
        &over[..],
        b",3:a\0b,,",
    ]
    .concat();
    let (found, _, broken) = one(Packets::qmtp, &stream);
    assert_eq!(broken, None);
    assert_eq!(found, addressed(None, &[Some(&just), None, None]));
}

#[test]
fn in_a_letter_of_crlf_no_other_line_end_is_taken() {
    for (body, kept) in [("a\rb", "a"), ("a\nb\r\n", "a"), ("a\r\nb\r", "a\nb"), ("\r\r\n", "")] {
        let stream = alloc::format!("{}:\r{body},0:,0:,", body.len() + 1);
        let (found, letter, broken) = one(Packets::qmtp, stream.as_bytes());
        assert_eq!(found[..2], [Part::Letter, Part::Stray], "{body:?}");
        assert_eq!((found.len(), &letter[..], broken), (4, kept.as_bytes(), None));
    }
}

#[test]
fn a_letter_that_has_been_passed_on_a_hundred_times_is_looping() {
    for (times, looping) in [(99, false), (100, true)] {
        let letter = alloc::format!("{}\r\nReceived: no more\r\n", "Received: x\r\n".repeat(times));
        let stream = alloc::format!("{}:\r{letter},0:,0:,", letter.len() + 1);
        let (found, _, broken) = one(Packets::qmtp, [stream.clone(), stream].concat().as_bytes());
        assert_eq!(broken, None);
        let count = found.iter().filter(|part| **part == Part::Looping).count();
        assert_eq!(count, if looping { 2 } else { 0 });
    }
}

#[test]
fn nobody_lists_recipients_without_end() {
    let many = "0:,".repeat(limits::PACKET_RECIPIENTS + 1);
    let stream = alloc::format!("2:\nx,0:,{}:{many},", many.len());
    assert_eq!(parts(Packets::qmtp(), stream.as_bytes(), usize::MAX).2, Some(Broken::TooLong));
}
