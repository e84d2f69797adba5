//! `Received` lines: the trace each hop leaves on top of a letter (RFC 5321 §4.4).

use alloc::format;
use alloc::vec::Vec;

use base::time::Moment;

use crate::date;

/// Who handed a letter to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invoker {
    /// The user `alias`.
    Alias,
    /// A network program, running as qmaild.
    Network,
    /// qmail-send, for a bounce.
    Bounce,
    /// Any other user.
    Uid(u32),
}

/// The queue's own line: `Received: (qmail <pid> invoked by uid <n>); <date>`, with its LF.
pub fn queued(pid: u32, invoker: Invoker, at: Moment) -> Vec<u8> {
    let date = date::rfc822(at);
    match invoker {
        Invoker::Alias => format!("Received: (qmail {pid} invoked by alias); {date}\n"),
        Invoker::Network => format!("Received: (qmail {pid} invoked from network); {date}\n"),
        Invoker::Bounce => format!("Received: (qmail {pid} invoked for bounce); {date}\n"),
        Invoker::Uid(uid) => format!("Received: (qmail {pid} invoked by uid {uid}); {date}\n"),
    }
    .into_bytes()
}

/// How a letter came over the network; the bytes are as the stranger or the resolver gave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop<'a> {
    /// `$TCPREMOTEHOST`, or `unknown`.
    pub host: &'a [u8],
    /// What HELO or EHLO said, if it was said.
    pub helo: Option<&'a [u8]>,
    /// `$TCPREMOTEINFO`, if there is any.
    pub info: Option<&'a [u8]>,
    /// `$TCPREMOTEIP`, or `unknown`.
    pub ip: &'a [u8],
    /// `$TCPLOCALHOST`, else `$TCPLOCALIP`, else `unknown`.
    pub local: &'a [u8],
    /// `SMTP`, `ESMTPS`, `QMTP`, …
    pub protocol: &'a [u8],
}

impl Hop<'_> {
    /// The line (folded into two), with its LF. The HELO name is shown if it is not the host's.
    pub fn print(&self, at: Moment) -> Vec<u8> {
        let mut line = b"Received: from ".to_vec();
        put(&mut line, self.host);
        if let Some(helo) = self.helo.filter(|helo| !helo.eq_ignore_ascii_case(self.host)) {
            line.extend_from_slice(b" (HELO ");
            put(&mut line, helo);
            line.push(b')');
        }
        line.extend_from_slice(b" (");
        if let Some(info) = self.info {
            put(&mut line, info);
            line.push(b'@');
        }
        put(&mut line, self.ip);
        line.extend_from_slice(b")\n  by ");
        put(&mut line, self.local);
        line.extend_from_slice(b" with ");
        put(&mut line, self.protocol);
        line.extend_from_slice(b"; ");
        line.extend_from_slice(date::rfc822(at).as_bytes());
        line.push(b'\n');
        line
    }
}

/// Appends text with every byte that could forge or break the field turned into `?`.
fn put(line: &mut Vec<u8>, text: &[u8]) {
    line.extend(text.iter().map(|&c| if is_safe(c) { c } else { b'?' }));
}

/// Whether a byte a stranger chose may stand in a `Received` line.
const fn is_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'.' | b'@' | b'%' | b'+' | b'/' | b'=' | b':' | b'-' | b'[' | b']')
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Moment = Moment::from_secs(812_090_814);

    #[test]
    fn the_queue_says_who_invoked_it() {
        assert_eq!(
            queued(7, Invoker::Uid(1000), AT),
            b"Received: (qmail 7 invoked by uid 1000); 26 Sep 1995 04:46:54 -0000\n"
        );
        assert!(queued(7, Invoker::Network, AT).starts_with(b"Received: (qmail 7 invoked from n"));
    }

    #[test]
    fn a_hop_names_the_client_and_shows_a_helo_that_differs() {
        let hop = Hop {
            host: b"mail.example.org",
            helo: Some(b"MAIL.example.org"),
            info: None,
            ip: b"192.0.2.1",
            local: b"mx",
            protocol: b"SMTP",
        };
        assert_eq!(
            hop.print(AT),
            b"Received: from mail.example.org (192.0.2.1)\n  by mx with SMTP; \
              26 Sep 1995 04:46:54 -0000\n"
        );
        let hop = Hop { helo: Some(b"a b(\n_[1]"), info: Some(b"joe"), ..hop };
        assert!(
            hop.print(AT)
                .starts_with(b"Received: from mail.example.org (HELO a?b???[1]) (joe@192.0.2.1)\n")
        );
    }
}
