//! Whole bounces, put together as qmail-send does it, and their pieces.

use super::*;
use alloc::format;
use alloc::string::String;

fn names() -> Names {
    Names {
        from: b"MAILER-DAEMON".to_vec(),
        host: b"mx.example.org".to_vec(),
        double_to: b"postmaster".to_vec(),
        double_host: b"dd.example.org".to_vec(),
        max: 0,
    }
}

const LETTER: &[u8] = b"Received: by us\nSubject: x\n\nhi\nhi again\n";

fn whole_of(
    letter: &[u8],
    max: u64,
    sender: &[u8],
    paragraphs: &[Vec<u8>],
) -> (String, &'static [u8], Vec<u8>) {
    let names = Names { max, ..names() };
    let (kind, size) = (Kind::of(sender), letter.len() as u64);
    let bounce = Bounce { kind, names: &names, seam: 0xfeed, first: letter, size };
    let (from, to) = kind.envelope(&names).unwrap();
    let mut text = bounce.head(&to, b"22 Nov 2026 13:46:57 -0000");
    text.extend(paragraphs.concat());
    text.extend(bounce.copy());
    text.extend(paragraphs.iter().flat_map(|paragraph| status(paragraph)));
    text.extend(bounce.attach());
    text.extend(bounce.fits(letter, 0));
    text.extend(bounce.tail());
    (String::from_utf8(text).unwrap(), from, to)
}

fn whole(sender: &[u8], paragraphs: &[Vec<u8>]) -> (String, &'static [u8], Vec<u8>) {
    whole_of(LETTER, 0, sender, paragraphs)
}

pub(super) fn group(address: &[u8], report: &[u8]) -> String {
    String::from_utf8(status(&paragraph(address, report))).unwrap()
}

#[test]
fn a_bounce_is_stocks_text_in_a_report() {
    let paragraphs = [paragraph(b"a@b", b"Sorry. (#5.1.1)\n"), paragraph(b"c@d", b"No")];
    let (text, from, to) = whole(b"s@x.org", &paragraphs);
    assert_eq!((from, &to[..]), (&b""[..], &b"s@x.org"[..]));
    assert_eq!(
        text,
        "Date: 22 Nov 2026 13:46:57 -0000\n\
         From: MAILER-DAEMON@mx.example.org\n\
         To: s@x.org\n\
         Subject: failure notice\n\
         Auto-Submitted: auto-replied\n\
         MIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status;\n \
         boundary=\"=_0000000000000000000000000000feed\"\n\
         Content-Transfer-Encoding: 8bit\n\
         \n\
         Hi. This is the qmail-send program at mx.example.org.\n\
         --=_0000000000000000000000000000feed\n\
         Content-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: 8bit\n\
         \n\
         Hi. This is the qmail-send program at mx.example.org.\n\
         I'm afraid I wasn't able to deliver your message to the following addresses.\n\
         This is a permanent error; I've given up. Sorry it didn't work out.\n\
         \n\
         <a@b>:\n\
         Sorry. (#5.1.1)\n\
         \n\
         <c@d>:\n\
         No\n\
         \n\
         --- Below this line is a copy of the message.\n\
         \n\
         Return-Path: <s@x.org>\n\
         Received: by us\n\
         Subject: x\n\
         \n\
         --=_0000000000000000000000000000feed\n\
         Content-Type: message/delivery-status\n\
         \n\
         Reporting-MTA: dns; mx.example.org\n\
         \n\
         Final-Recipient: rfc822; a@b\n\
         Action: failed\n\
         Status: 5.1.1\n\
         Diagnostic-Code: x-qmail; Sorry. (#5.1.1)\n\
         \n\
         Final-Recipient: rfc822; c@d\n\
         Action: failed\n\
         Status: 5.0.0\n\
         Diagnostic-Code: x-qmail; No\n\
         \n\
         --=_0000000000000000000000000000feed\n\
         Content-Type: message/rfc822\n\
         Content-Transfer-Encoding: 8bit\n\
         \n\
         Return-Path: <s@x.org>\n\
         Received: by us\nSubject: x\n\nhi\nhi again\n\
         \n\
         --=_0000000000000000000000000000feed--\n"
    );
}

#[test]
fn a_bounce_that_bounces_goes_to_the_postmaster() {
    let (text, from, to) = whole(b"", &[paragraph(b"a@b", b"no\n")]);
    assert_eq!((from, &to[..]), (DOUBLE_SENDER, &b"postmaster@dd.example.org"[..]));
    assert!(text.contains("\nTo: postmaster@dd.example.org\nSubject: failure notice\n"));
    assert!(text.contains(
        "\n\n\
         Hi. This is the qmail-send program at mx.example.org.\n\
         I tried to deliver a bounce message to this address, but the bounce bounced!\n\
         \n\
         <a@b>:\n\
         no\n\
         \n\
         --- Below this line is the original bounce.\n\
         \n\
         Return-Path: <>\n\
         Received: by us\nSubject: x\n\n--="
    ));
}

#[test]
fn a_third_bounce_is_told_to_nobody_and_a_list_hears_at_its_own_address() {
    assert_eq!(Kind::of(b"#@[]"), Kind::Triple);
    assert_eq!(Kind::of(b"#@[]").envelope(&names()), None);
    assert_eq!(Kind::of(b"list-@h.org-@[]"), Kind::Single(b"list-@h.org"));
    assert_eq!(Kind::of(b"-@[]"), Kind::Double);
}

#[test]
fn a_senders_line_end_ends_no_line_of_the_header() {
    let (text, ..) = whole(b"a b@c\nBcc: x@y\n\n\rz", &[]);
    assert!(text.contains("\nTo: \"a b@c_Bcc: x\"@y__?z\nSubject: "), "{text}");
    assert_eq!(text.matches("\nReturn-Path: <\"a b@c_Bcc: x\"@y__?z>\n").count(), 2);
}

#[test]
fn a_paragraph_holds_no_empty_line() {
    assert_eq!(paragraph(b"a@b", b"one\n\n\ntwo"), b"<a@b>:\none\n//two\n\n");
    assert_eq!(paragraph(b"a@b", b"\nx\n"), b"<a@b>:\n/x\n\n");
    assert_eq!(paragraph(b"a\n@b", b""), b"<a_@b>:\n\n");
    assert_eq!(paragraph(b"a@b", b"cut\0here"), b"<a@b>:\ncut\n\n");
}

#[test]
fn a_paragraph_is_clean_and_its_lines_are_short() {
    assert_eq!(paragraph(b"a\r@b", b"\x1b[2J\r\tx\xc3\xa9\n"), b"<a?@b>:\n?[2J?\tx\xc3\xa9\n\n");
    for len in [899, 900, 901, 1_800, 1_801, 9_999] {
        let text = paragraph(b"a@b", &[&b"x".repeat(len)[..], b"\ny\n"].concat());
        assert!(text.split(|&c| c == b'\n').all(|line| line.len() <= limits::BOUNCE_LINE));
        assert_eq!(text.iter().filter(|&&c| c == b'x').count(), len);
        assert!(!text.contains(&b'/') && text.ends_with(b"x\ny\n\n"), "{len}");
    }
}

#[test]
fn a_shortened_paragraph_keeps_its_address() {
    let short = paragraph(b"a@b", b"short\n");
    assert_eq!(shortened(&short), short);
    let long = shortened(&paragraph(&[b'a'; 1_002], &b"x\n".repeat(5_000)));
    assert!(long.len() < 1_002 + limits::BOUNCE_LINE + 9 && long.ends_with(b"x\n\n"));
    assert_eq!(long.windows(2).filter(|two| two == b"\n\n").count(), 1);
}

#[test]
fn a_long_letter_is_cut_at_a_line_and_the_bounce_says_so() {
    let (text, ..) = whole_of(LETTER, 32, b"s@x", &[]);
    assert!(text.ends_with(
        "Content-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\n\
         Return-Path: <s@x>\nReceived: by us\nSubject: x\n\nhi\n\
         \n--- End of message stripped.\n\n--=_0000000000000000000000000000feed--\n"
    ));
    for max in [0, LETTER.len() as u64, 99] {
        let (text, ..) = whole_of(LETTER, max, b"s@x", &[]);
        assert!(text.contains("hi again\n\n--=") && !text.contains("stripped"), "{max}");
    }
}

#[test]
fn what_is_cut_in_its_header_comes_back_as_header_lines() {
    let (text, ..) = whole_of(LETTER, 20, b"s@x", &[]);
    assert!(text.ends_with(
        "Content-Type: text/rfc822-headers\nContent-Transfer-Encoding: 8bit\n\n\
         Return-Path: <s@x>\nReceived: by us\n\
         \n--- End of message stripped.\n\n--=_0000000000000000000000000000feed--\n"
    ));
    assert!(text.contains("Return-Path: <s@x>\nReceived: by us\n\n--="), "the copy is cut, too");
}

#[test]
fn a_letter_in_pieces_is_cut_where_it_would_be_in_one() {
    let names = Names { max: 10, ..names() };
    let kind = Kind::Single(b"s@x");
    let bounce = Bounce { kind, names: &names, seam: 1, first: b"", size: 99 };
    assert_eq!(bounce.fits(b"a\nb", 0), b"a\nb");
    assert_eq!(bounce.fits(b"c\nd\nefghijklmn", 3), b"c\nd\n");
    assert_eq!(bounce.fits(b"abcdefghijklm", 0), b"abcdefghij", "a line without end is cut");
    assert_eq!((bounce.fits(b"xyz", 10), bounce.fits(b"xyz", 99)), (&b""[..], &b""[..]));
}

#[test]
fn odd_letters_have_a_copy_of_their_header() {
    for (letter, copy) in [
        ("", ""),
        ("\nbody\n", ""),
        ("no line end", ""),
        ("Subject: x\n", "Subject: x\n"),
        ("Subject: x\n\n", "Subject: x\n"),
        ("A: 1\ncut", "A: 1\n"),
    ] {
        let (text, ..) = whole_of(letter.as_bytes(), 0, b"s@x", &[]);
        let end = format!("Return-Path: <s@x>\n{copy}\n--=_");
        assert!(text.contains(&end), "{letter:?}: {text}");
    }
}
