//! tell the sender that his letter was delivered, if he asks for it
//!
//! *Runs as* the recipient · *hears* a letter on descriptor 0 · *opens* nothing · *speaks to*
//! queued, or the program `$QMAILQUEUE` names

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;

use base::address::quote2;
use base::limits;
use letter::header::{Head, parts};
use letter::{addrlist, token822};
use sys::fd;

use super::requeue::{Trouble, requeue};
use super::{Stop, end, variable, words};

const USAGE: &str = "qreceipt: usage: qreceipt deliveryaddress";

/// The program.
pub(crate) fn main(args: &[OsString]) -> i32 {
    end("qreceipt", run(words(args)))
}

fn run(args: &[OsString]) -> Result<i32, Stop> {
    let address = args.first().ok_or(Stop::Usage(USAGE))?.as_bytes();
    let sender = variable("SENDER").ok_or(Stop::Usage(USAGE))?;
    // Nobody answers a bounce.
    if sender.is_empty() || sender == b"#@[]" {
        return Ok(0);
    }
    let fields = header().map_err(Trouble::Letter)?;
    if asks(&fields, address) {
        let notice = notice(&sender, address, value_of(&fields, "Message-ID").map(|(f, _)| f));
        requeue(&notice, |_| Ok(0), b"", [&sender[..]])?;
    }
    Ok(0)
}

/// The fields of the letter on descriptor 0; none if its header is longer than is read.
fn header() -> io::Result<Vec<Vec<u8>>> {
    let mut head = Head::new(limits::HEADER);
    let mut buf = vec![0; limits::CHUNK];
    while !head.is_over() {
        let n = fd::read(fd::stdin(), &mut buf)?;
        if n == 0 {
            break;
        }
        if head.feed(buf.get(..n).unwrap_or_default()).is_err() {
            return Ok(Vec::new());
        }
    }
    Ok(head.finish().0)
}

/// The first field of a name: all of it, and its value.
fn value_of<'f>(fields: &'f [Vec<u8>], name: &str) -> Option<(&'f [u8], &'f [u8])> {
    let named = fields.iter().filter_map(|field| Some((&field[..], parts(field)?)));
    let mut named = named.filter(|(_, (known, _))| known.eq_ignore_ascii_case(name.as_bytes()));
    named.next().map(|(field, (_, value))| (field, value))
}

/// Whether the header asks for notice of a delivery to this very address. A field that cannot be
/// read asks for nothing.
fn asks(fields: &[Vec<u8>], address: &[u8]) -> bool {
    let name = "Notice-Requested-Upon-Delivery-To";
    let values = fields.iter().filter_map(|field| parts(field));
    let values = values.filter(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
    let mut asked = false;
    for (_, value) in values {
        let Ok(tokens) = token822::parse(value) else { continue };
        let _unread = addrlist::rewrite(tokens, |one| {
            asked |= token822::unquote(one) == address;
            Ok(())
        });
    }
    asked
}

/// The letter to the sender.
fn notice(sender: &[u8], address: &[u8], message_id: Option<&[u8]>) -> Vec<u8> {
    let mut sender = quote2(sender);
    // What a stranger calls himself makes no line of the header.
    sender.iter_mut().filter(|c| **c == b'\n').for_each(|c| *c = b'_');
    let mut notice = [
        b"From: DELIVERY NOTICE SYSTEM <",
        &sender[..],
        b">\nTo: <",
        &sender,
        b">\nSubject: success notice\n\n\
          Hi! This is the qreceipt program. Your message was delivered to the\n\
          following address: ",
        address,
        b". Thanks for asking.\n",
    ]
    .concat();
    if let Some(field) = message_id {
        notice.extend_from_slice(b"Your ");
        notice.extend_from_slice(field);
    }
    notice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(header: &str) -> Vec<Vec<u8>> {
        header.split_inclusive('\n').map(|line| line.as_bytes().to_vec()).collect()
    }

    #[test]
    fn only_who_asks_for_this_very_address_gets_notice() {
        let asks = |value: &str| {
            let field = format!("notice-requested-upon-delivery-to: {value}\n");
            asks(&fields(&field), b"joe@x.org")
        };
        assert!(asks("joe@x.org") && asks("a@b, Joe <joe@x.org>, c@d") && asks("\"joe\"@x.org"));
        assert!(asks("(hi) joe @ x . org"));
        for no in ["Joe@x.org", "joe@x.or", "joe", "", "<", "x, joe@x.org.au"] {
            assert!(!asks(no), "{no}");
        }
    }

    #[test]
    fn a_notice_repeats_the_letters_id_and_no_stranger_adds_to_its_header() {
        let fields = fields("A: b\nMessage-Id: <1@x>\n");
        let id = value_of(&fields, "Message-ID").map(|(field, _)| field);
        let text = String::from_utf8(notice(b"a\nBcc: z@q", b"joe@x", id)).unwrap();
        assert_eq!(
            text,
            "From: DELIVERY NOTICE SYSTEM <\"a\\_Bcc: z\"@q>\nTo: <\"a\\_Bcc: z\"@q>\n\
             Subject: success notice\n\nHi! This is the qreceipt program. Your message was \
             delivered to the\nfollowing address: joe@x. Thanks for asking.\n\
             Your Message-Id: <1@x>\n"
        );
    }
}
