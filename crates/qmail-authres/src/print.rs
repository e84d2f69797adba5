//! The header that tells the verdicts (RFC 8601).
//!
//! What a stranger wrote is printed whole or not at all: a name that was cut or mended would be
//! somebody else's.

use std::fmt::Write;

/// The longest domain that is printed, in bytes (RFC 1035 §2.3.4).
const DOMAIN: usize = 255;
/// The longest address that is printed, in bytes (RFC 5321 §4.5.3.1: 64, the `@`, 255).
const ADDRESS: usize = 320;

/// Everything there is to say of a letter. The words are RFC 8601's (§2.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdicts {
    /// Whether the client may send for the sender's domain.
    pub spf: Spf,
    /// One for each signature that was looked at; none if the letter has none.
    pub dkim: Vec<Dkim>,
    /// Whether either speaks for the author's domain.
    pub dmarc: Dmarc,
}

/// The verdict of RFC 7208.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spf {
    /// The result.
    pub word: &'static str,
    /// Of whom.
    pub identity: Identity,
}

/// Of whom SPF speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The envelope sender.
    MailFrom(String),
    /// The name the client gave, where the sender is no address.
    Helo(String),
    /// Neither is known.
    Nobody,
}

/// The verdict of RFC 6376 on one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dkim {
    /// The result.
    pub word: &'static str,
    /// Who signed; empty if the signature cannot be read.
    pub domain: String,
    /// With which key; empty likewise.
    pub selector: String,
}

/// The verdict of RFC 9989.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dmarc {
    /// The result.
    pub word: &'static str,
    /// The author's domain; empty if there is not exactly one.
    pub domain: String,
}

/// The header field, folded, each line ended by LF. `host` has been through [`is_domain`].
pub(crate) fn header(host: &str, verdicts: &Verdicts) -> String {
    let mut text = format!("Authentication-Results: {host}");
    method(&mut text, "spf", verdicts.spf.word);
    match &verdicts.spf.identity {
        Identity::MailFrom(sender) => property(&mut text, "smtp.mailfrom", address(sender)),
        Identity::Helo(name) => property(&mut text, "smtp.helo", domain(name)),
        Identity::Nobody => {}
    }
    for dkim in &verdicts.dkim {
        method(&mut text, "dkim", dkim.word);
        property(&mut text, "header.d", domain(&dkim.domain));
        property(&mut text, "header.s", domain(&dkim.selector));
    }
    if verdicts.dkim.is_empty() {
        method(&mut text, "dkim", "none");
    }
    method(&mut text, "dmarc", verdicts.dmarc.word);
    property(&mut text, "header.from", domain(&verdicts.dmarc.domain));
    text.push('\n');
    text
}

/// Begins a line: `; spf=pass`. Writing to a string does not fail.
fn method(text: &mut String, name: &str, word: &str) {
    let _never = write!(text, ";\n {name}={word}");
}

fn property(text: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        let _never = write!(text, " {name}={value}");
    }
}

/// The address, or its domain where the local part cannot be printed without quotes.
fn address(sender: &str) -> Option<&str> {
    let (local, host) = sender.rsplit_once('@')?;
    let host = domain(host)?;
    let whole = sender.len() <= ADDRESS && !local.is_empty() && local.bytes().all(is_local);
    Some(if whole { sender } else { host })
}

fn domain(name: &str) -> Option<&str> {
    is_domain(name).then_some(name)
}

/// Letters, digits, dots, hyphens and underscores, at most 255.
pub(crate) fn is_domain(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    !name.is_empty() && name.len() <= DOMAIN && name.bytes().all(plain)
}

/// What may stand in a local part without quotes (RFC 5322 §3.2.3, `dot-atom-text`).
fn is_local(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(sender: &str, signer: &str, author: &str) -> Verdicts {
        Verdicts {
            spf: Spf { word: "pass", identity: Identity::MailFrom(sender.to_owned()) },
            dkim: vec![Dkim { word: "fail", domain: signer.to_owned(), selector: "s1".to_owned() }],
            dmarc: Dmarc { word: "pass", domain: author.to_owned() },
        }
    }

    #[test]
    fn each_verdict_has_a_line_of_its_own() {
        let text = header("mx.example", &verdicts("a+b=c@d.example", "e.example", "f.example"));
        assert_eq!(
            text,
            "Authentication-Results: mx.example;\n spf=pass smtp.mailfrom=a+b=c@d.example;\n \
             dkim=fail header.d=e.example header.s=s1;\n dmarc=pass header.from=f.example\n"
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let nothing = Verdicts {
            spf: Spf { word: "none", identity: Identity::Nobody },
            dkim: Vec::new(),
            dmarc: Dmarc { word: "none", domain: String::new() },
        };
        let want = "Authentication-Results: h;\n spf=none;\n dkim=none;\n dmarc=none\n";
        assert_eq!(header("h", &nothing), want);
        let helo = Spf { word: "fail", identity: Identity::Helo("mail.d.example".to_owned()) };
        let text = header("h", &Verdicts { spf: helo, ..nothing });
        assert!(text.contains("\n spf=fail smtp.helo=mail.d.example;\n"), "{text}");
    }

    #[test]
    fn a_stranger_adds_no_line_no_verdict_and_no_comment() {
        let bare = "Authentication-Results: h;\n spf=pass;\n dkim=fail header.s=s1;\n dmarc=pass\n";
        let long = "x".repeat(DOMAIN + 1);
        let hostile = [
            "a.example\r\nX-Evil: 1",
            "a.example; dmarc=pass",
            "a.example dkim=pass",
            "a.example(",
            "\"a.example\"",
            "a\0.example",
            "\u{e9}.example",
            "\u{7f}",
            "",
            &long,
        ];
        for name in hostile {
            assert_eq!(header("h", &verdicts(&format!("u@{name}"), name, name)), bare, "{name:?}");
        }
    }

    #[test]
    fn a_local_part_that_needs_quotes_leaves_the_domain() {
        let long = "x".repeat(ADDRESS);
        for local in ["", "a b", "\"a b\"", "a;spf", "a@b", "a\nb", "a\u{e9}", "(a)", &long] {
            let sender = format!("{local}@d.example");
            assert_eq!(address(&sender), Some("d.example"), "{sender:?}");
        }
        assert_eq!(address("nobody"), None);
    }
}
