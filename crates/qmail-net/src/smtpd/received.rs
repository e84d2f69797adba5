//! The `Received` line this program writes on top of a letter.

use base::time::Moment;
use letter::received::Hop;

use super::circumstances::Circumstances;

/// `Received: from … by … with SMTP; date` for this connection (stock `qmail-smtpd`); or with
/// another protocol.
pub(crate) fn line(
    about: &Circumstances,
    protocol: &[u8],
    helo: Option<&[u8]>,
    now: Moment,
) -> Vec<u8> {
    let unknown = || b"unknown".to_vec();
    let local = about.get("TCPLOCALHOST").or_else(|| about.get("TCPLOCALIP"));
    let info = about.get("TCPREMOTEINFO");
    let hop = Hop {
        host: &about.get("TCPREMOTEHOST").unwrap_or_else(unknown),
        helo,
        info: info.as_deref(),
        ip: &about.get("TCPREMOTEIP").unwrap_or_else(unknown),
        local: &local.unwrap_or_else(unknown),
        protocol,
    };
    hop.print(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(block: &[u8], helo: Option<&[u8]>) -> String {
        let now = Moment::from_secs(1_200_999_609);
        String::from_utf8(line(&Circumstances::of_handover(block), b"SMTP", helo, now)).unwrap()
    }

    #[test]
    fn the_line_says_who_and_when() {
        let block = b"TCPREMOTEHOST=localhost\0TCPREMOTEIP=127.0.0.1\0TCPLOCALHOST=here.example\0";
        assert_eq!(
            said(block, Some(b"")),
            "Received: from localhost (HELO ) (127.0.0.1)\n  by here.example with SMTP; \
             22 Jan 2008 11:00:09 -0000\n"
        );
        assert!(said(b"", None).starts_with("Received: from unknown (unknown)\n  by unknown with"));
    }

    #[test]
    fn nothing_from_outside_can_end_the_line() {
        let block = b"TCPREMOTEHOST=a\nb\0TCPREMOTEINFO=(x)\0TCPREMOTEIP=::1\0TCPLOCALIP=[::2]\0";
        let want = "Received: from a?b (HELO ??[1]) (?x?@::1)\n  by [::2] with SMTP; ";
        assert!(said(block, Some(b";\t[1]")).starts_with(want));
    }
}
