//! What `qmail-smtpd` says, to the byte.

use alloc::vec::Vec;
use core::fmt::Write as _;

use base::outcome::Outcome;

/// A reply. Its text is stock's; where stock has none, it is that of the patch people know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The first line of a session.
    Greeting,
    /// To HELO.
    Hello,
    /// To EHLO: what we can do.
    Extensions,
    /// To MAIL, RCPT, NOOP.
    Ok,
    /// To RSET.
    Flushed,
    /// To VRFY.
    Try,
    /// To HELP.
    Help,
    /// To QUIT.
    Bye,
    /// To DATA.
    GoAhead,
    /// The letter is on disk.
    Queued {
        /// When, in seconds since the epoch.
        secs: u64,
        /// The process that queued it.
        pid: u32,
    },
    /// The queue did not take the letter, and why.
    Refused(Outcome, Vec<u8>),
    /// The queue cannot be reached.
    NoQueue,
    /// The letter has been around too often.
    TooManyHops,
    /// The letter is, or is announced to be, larger than `databytes`.
    TooLarge,
    /// An address nobody can use.
    Syntax,
    /// RCPT or DATA before MAIL.
    MailFirst,
    /// DATA before RCPT.
    RcptFirst,
    /// The sender is in badmailfrom.
    BadSender,
    /// The recipient's domain is not ours, and the client may not relay.
    NotAllowed,
    /// The recipient's domain is ours, the name is nobody's.
    NoMailbox,
    /// The recipient cannot be judged just now.
    Unsure,
    /// A recipient over the limit.
    TooManyRecipients,
    /// A verb we do not know.
    Unimplemented,
    /// A command line over the limit.
    LineTooLong,
    /// The last bad command this client could afford.
    TooManyBadCommands,
    /// The last command without a letter that this client could afford.
    TooManyIdleCommands,
    /// The last recipient this client may have refused.
    TooManyRefused,
    /// A command line does not end.
    EndlessLine,
    /// The client is too slow for a time when places are short.
    TooBusy,
    /// LF without CR in a letter.
    StrayLf,
    /// CR without LF in a letter.
    StrayCr,
    /// The client was silent for too long.
    Timeout,
    /// A control file cannot be read.
    NoControls,
}

impl Reply {
    /// Appends the reply, all its lines ended by CRLF. `name` is `control/smtpgreeting`.
    pub fn encode(&self, name: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Greeting => put(out, &[b"220 ", name, b" ESMTP"]),
            Self::Hello => put(out, &[b"250 ", name]),
            Self::Extensions => {
                put(out, &[b"250-", name]);
                put(out, &[b"250-PIPELINING"]);
                put(out, &[b"250 8BITMIME"]);
            }
            Self::Bye => put(out, &[b"221 ", name]),
            Self::Queued { secs, pid } => {
                let mut text = alloc::string::String::new();
                // Writing to a String cannot fail.
                let _ = write!(text, "250 ok {secs} qp {pid}");
                put(out, &[text.as_bytes()]);
            }
            Self::Refused(Outcome::Never, text) => put(out, &[b"554 ", &printable(text)]),
            Self::Refused(Outcome::Later | Outcome::Done, text) => {
                put(out, &[b"451 ", &printable(text)]);
            }
            fixed => put(out, &[fixed.fixed().as_bytes()]),
        }
    }

    /// Why a session ends, if that is of interest to who looks after this host.
    pub const fn complaint(&self) -> Option<&'static str> {
        match self {
            Self::TooManyIdleCommands => Some("too many commands without a letter"),
            Self::TooManyRefused => Some("too many refused recipients"),
            Self::EndlessLine => Some("line without end"),
            Self::TooBusy => Some("too busy to wait any longer"),
            _ => None,
        }
    }

    /// The text of a reply that is always the same; empty for the others.
    const fn fixed(&self) -> &'static str {
        match self {
            Self::Greeting
            | Self::Hello
            | Self::Extensions
            | Self::Bye
            | Self::Queued { .. }
            | Self::Refused(..) => "",
            Self::Ok => "250 ok",
            Self::Flushed => "250 flushed",
            Self::Try => "252 send some mail, i'll try my best",
            Self::Help => "214 qmail-rs, after qmail: https://cr.yp.to/qmail.html",
            Self::GoAhead => "354 go ahead",
            Self::NoQueue => "451 qqt failure (#4.3.0)",
            Self::TooManyHops => "554 too many hops, this message is looping (#5.4.6)",
            Self::TooLarge => "552 sorry, that message size exceeds my databytes limit (#5.3.4)",
            Self::Syntax => "555 syntax error (#5.5.4)",
            Self::MailFirst => "503 MAIL first (#5.5.1)",
            Self::RcptFirst => "503 RCPT first (#5.5.1)",
            Self::BadSender => "553 sorry, your envelope sender is in my badmailfrom list (#5.7.1)",
            Self::NotAllowed => {
                "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)"
            }
            Self::NoMailbox => "550 sorry, no mailbox here by that name (#5.1.1)",
            Self::Unsure => "451 sorry, I can't look up that mailbox now (#4.3.0)",
            Self::TooManyRecipients => "452 too many recipients (#4.5.3)",
            Self::Unimplemented => "502 unimplemented (#5.5.1)",
            Self::LineTooLong => "500 line too long (#5.5.2)",
            Self::TooManyBadCommands => "421 too many bad commands (#4.7.0)",
            Self::TooManyIdleCommands => "421 too many commands without a letter (#4.7.0)",
            Self::TooManyRefused => "421 too many refused recipients (#4.7.0)",
            Self::EndlessLine => "421 line without end (#4.5.2)",
            Self::TooBusy => "421 too busy to wait any longer (#4.4.2)",
            Self::StrayLf => "451 See https://cr.yp.to/docs/smtplf.html.",
            Self::StrayCr => "451 bare CR in message (#5.6.11)",
            Self::Timeout => "451 timeout (#4.4.2)",
            Self::NoControls => "421 unable to read controls (#4.3.0)",
        }
    }
}

/// Appends a line.
fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(b"\r\n");
}

/// A text from another program, so that it can neither end our line nor hide anything.
fn printable(text: &[u8]) -> Vec<u8> {
    text.iter().map(|&c| if c.is_ascii_control() { b'?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(reply: &Reply) -> Vec<u8> {
        let mut out = Vec::new();
        reply.encode(b"mail.example.org", &mut out);
        out
    }

    #[test]
    fn ehlo_is_answered_in_stock_order() {
        let want = b"250-mail.example.org\r\n250-PIPELINING\r\n250 8BITMIME\r\n";
        assert_eq!(said(&Reply::Extensions), want);
    }

    #[test]
    fn names_and_numbers_are_filled_in() {
        assert_eq!(said(&Reply::Greeting), b"220 mail.example.org ESMTP\r\n");
        let queued = Reply::Queued { secs: 1_795_355_129, pid: 11_757 };
        assert_eq!(said(&queued), b"250 ok 1795355129 qp 11757\r\n");
    }

    #[test]
    fn a_refusal_of_the_queue_cannot_add_a_line() {
        let sly = Reply::Refused(Outcome::Never, b"no\r\n250 ok".to_vec());
        assert_eq!(said(&sly), b"554 no??250 ok\r\n");
        let later = Reply::Refused(Outcome::Later, b"qq out of memory (#4.3.0)".to_vec());
        assert_eq!(said(&later), b"451 qq out of memory (#4.3.0)\r\n");
    }
}
