//! The letter that tells a sender what could not be delivered: QSBMF, the qmail-send bounce
//! message format (spec `qmail-queue.md` §8), to the byte.

use alloc::vec::Vec;

use base::address::{quote, quote2};

/// What is added to the last report of a letter that has been in the queue too long.
pub const TOO_LONG: &[u8] =
    b"I'm not going to try again; this message has been in the queue too long.\n";

/// The sender of a double bounce; a failure of a letter from it is told to nobody.
pub const DOUBLE_SENDER: &[u8] = b"#@[]";

/// The control values a bounce is written with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// `control/bouncefrom`: the local part of its `From`.
    pub from: Vec<u8>,
    /// `control/bouncehost`: the host of its `From`, also named in the text.
    pub host: Vec<u8>,
    /// `control/doublebounceto`: who hears of bounces that bounce.
    pub double_to: Vec<u8>,
    /// `control/doublebouncehost`: where that is.
    pub double_host: Vec<u8>,
}

/// Who is to hear of a letter's failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// The letter's sender, at this address (a VERP sender without its `-@[]`).
    Single(&'a [u8]),
    /// The letter was a bounce itself: the postmaster.
    Double,
    /// The letter was a double bounce: nobody.
    Triple,
}

impl<'a> Kind<'a> {
    /// Decides by the envelope sender of the letter that failed.
    pub fn of(sender: &'a [u8]) -> Self {
        match sender.strip_suffix(b"-@[]").unwrap_or(sender) {
            b"" => Self::Double,
            DOUBLE_SENDER => Self::Triple,
            to => Self::Single(to),
        }
    }

    /// The envelope of the bounce: sender, recipient; `None` if there is none.
    pub fn envelope(self, names: &Names) -> Option<(&'static [u8], Vec<u8>)> {
        match self {
            Self::Single(to) => Some((b"", to.to_vec())),
            Self::Double => {
                Some((DOUBLE_SENDER, [&names.double_to[..], b"@", &names.double_host].concat()))
            }
            Self::Triple => None,
        }
    }
}

/// Everything before the paragraphs. `date` is the value of the `Date` field
/// (`22 Nov 2026 13:46:57 -0000`), `recipient` that of [`Kind::envelope`].
pub fn head(kind: Kind<'_>, names: &Names, recipient: &[u8], date: &[u8]) -> Vec<u8> {
    let intro: &[u8] = match kind {
        Kind::Single(_) => {
            b"I'm afraid I wasn't able to deliver your message to the following addresses.\n\
              This is a permanent error; I've given up. Sorry it didn't work out.\n\n"
        }
        Kind::Double | Kind::Triple => {
            b"I tried to deliver a bounce message to this address, but the bounce bounced!\n\n"
        }
    };
    [
        b"Date: ",
        date,
        b"\nFrom: ",
        &quote(&names.from),
        b"@",
        &names.host,
        b"\nTo: ",
        &quote2(recipient),
        b"\nSubject: failure notice\n\nHi. This is the qmail-send program at ",
        &names.host,
        b".\n",
        intro,
    ]
    .concat()
}

/// What stands between the paragraphs and the bytes of the letter that failed.
pub fn tail(kind: Kind<'_>) -> Vec<u8> {
    let (line, to): (&[u8], _) = match kind {
        Kind::Single(sender) => (b"--- Below this line is a copy of the message.\n\n", sender),
        Kind::Double | Kind::Triple => {
            (b"--- Below this line is the original bounce.\n\n", &b""[..])
        }
    };
    [line, b"Return-Path: <", &quote2(to), b">\n"].concat()
}

/// The paragraph of one recipient: `<address>:`, the report, an empty line (spec §8.1).
///
/// `address` has its virtual-domain prefix removed. An empty line inside the report would end
/// the paragraph early for whoever parses the bounce: its line feed becomes `/`.
pub fn paragraph(address: &[u8], report: &[u8]) -> Vec<u8> {
    let report = report.split(|&c| c == 0).next().unwrap_or_default();
    let mut text = Vec::with_capacity(address.len().saturating_add(report.len()).saturating_add(6));
    text.push(b'<');
    text.extend(address.iter().map(|&c| if c == b'\n' { b'_' } else { c }));
    text.extend_from_slice(b">:\n");
    text.extend_from_slice(report);
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    // The last byte ends the report's last line: it stays.
    let last = text.len().saturating_sub(1);
    let mut before = 0;
    for (at, byte) in text.iter_mut().enumerate() {
        let here = *byte;
        if here == b'\n' && before == b'\n' && at < last {
            *byte = b'/';
        }
        before = here;
    }
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn names() -> Names {
        Names {
            from: b"MAILER-DAEMON".to_vec(),
            host: b"mx.example.org".to_vec(),
            double_to: b"postmaster".to_vec(),
            double_host: b"dd.example.org".to_vec(),
        }
    }

    fn whole(sender: &[u8], paragraphs: &[Vec<u8>]) -> (String, &'static [u8], Vec<u8>) {
        let kind = Kind::of(sender);
        let (from, to) = kind.envelope(&names()).unwrap();
        let head = head(kind, &names(), &to, b"22 Nov 2026 13:46:57 -0000");
        let letter = [head, paragraphs.concat(), tail(kind), b"Subject: x\n\nhi\n".to_vec()];
        (String::from_utf8(letter.concat()).unwrap(), from, to)
    }

    #[test]
    fn a_bounce_reads_as_stock_writes_it() {
        let paragraphs = [paragraph(b"a@b", b"Sorry.\n"), paragraph(b"c@d", b"No")];
        let (text, from, to) = whole(b"s@x.org", &paragraphs);
        assert_eq!((from, &to[..]), (&b""[..], &b"s@x.org"[..]));
        assert_eq!(
            text,
            "Date: 22 Nov 2026 13:46:57 -0000\n\
             From: MAILER-DAEMON@mx.example.org\n\
             To: s@x.org\n\
             Subject: failure notice\n\
             \n\
             Hi. This is the qmail-send program at mx.example.org.\n\
             I'm afraid I wasn't able to deliver your message to the following addresses.\n\
             This is a permanent error; I've given up. Sorry it didn't work out.\n\
             \n\
             <a@b>:\n\
             Sorry.\n\
             \n\
             <c@d>:\n\
             No\n\
             \n\
             --- Below this line is a copy of the message.\n\
             \n\
             Return-Path: <s@x.org>\n\
             Subject: x\n\nhi\n"
        );
    }

    #[test]
    fn a_bounce_that_bounces_goes_to_the_postmaster() {
        let (text, from, to) = whole(b"", &[paragraph(b"a@b", b"no\n")]);
        assert_eq!((from, &to[..]), (DOUBLE_SENDER, &b"postmaster@dd.example.org"[..]));
        assert_eq!(
            text,
            "Date: 22 Nov 2026 13:46:57 -0000\n\
             From: MAILER-DAEMON@mx.example.org\n\
             To: postmaster@dd.example.org\n\
             Subject: failure notice\n\
             \n\
             Hi. This is the qmail-send program at mx.example.org.\n\
             I tried to deliver a bounce message to this address, but the bounce bounced!\n\
             \n\
             <a@b>:\n\
             no\n\
             \n\
             --- Below this line is the original bounce.\n\
             \n\
             Return-Path: <>\n\
             Subject: x\n\nhi\n"
        );
    }

    #[test]
    fn a_third_bounce_is_told_to_nobody_and_a_list_hears_at_its_own_address() {
        assert_eq!(Kind::of(b"#@[]"), Kind::Triple);
        assert_eq!(Kind::of(b"#@[]").envelope(&names()), None);
        assert_eq!(Kind::of(b"list-@h.org-@[]"), Kind::Single(b"list-@h.org"));
        assert_eq!(Kind::of(b"-@[]"), Kind::Double);
    }

    #[test]
    fn a_paragraph_holds_no_empty_line() {
        assert_eq!(paragraph(b"a@b", b"one\n\n\ntwo"), b"<a@b>:\none\n//two\n\n");
        assert_eq!(paragraph(b"a@b", b"\nx\n"), b"<a@b>:\n/x\n\n");
        assert_eq!(paragraph(b"a\n@b", b""), b"<a_@b>:\n\n");
        assert_eq!(paragraph(b"a@b", b"cut\0here"), b"<a@b>:\ncut\n\n");
    }
}
