//! Logging in to a server (RFC 4954): CRAM-MD5, PLAIN, LOGIN, whichever it offers first of these.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;

use super::Reply;
use crate::sasl;

/// A name and a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub name: Vec<u8>,
    /// The secret.
    pub secret: Vec<u8>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", String::from_utf8_lossy(&self.name))
    }
}

/// What a server offers of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms {
    /// The secret is not said, only that one knows it (RFC 2195).
    pub cram_md5: bool,
    /// Both in one line (RFC 4616).
    pub plain: bool,
    /// First the name, then the secret.
    pub login: bool,
}

impl Mechanisms {
    /// Adds what a line of the answer to `EHLO` lists: `AUTH PLAIN LOGIN`, or `AUTH=` of old.
    pub(super) fn add(&mut self, line: &[u8]) {
        let mut words = line.split(|c| b" =".contains(c));
        if !words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"AUTH")) {
            return;
        }
        for word in words {
            self.cram_md5 |= word.eq_ignore_ascii_case(b"CRAM-MD5");
            self.plain |= word.eq_ignore_ascii_case(b"PLAIN");
            self.login |= word.eq_ignore_ascii_case(b"LOGIN");
        }
    }
}

/// What the server's next reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// `AUTH CRAM-MD5`: it says what is to be digested.
    Challenge,
    /// `AUTH LOGIN`: it asks for the name.
    Name,
    /// The name: it asks for the secret.
    Secret,
    /// All there is to say.
    Last,
}

/// What follows a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Say this line, and wait at the step.
    Say(Vec<u8>, Step),
    /// The server knows us now.
    In,
    /// It does not.
    Refused,
}

impl Login {
    /// How to begin with a server that offers this; nothing if there is no way.
    pub(super) fn begin(&self, offered: Mechanisms) -> Option<(Vec<u8>, Step)> {
        if offered.cram_md5 {
            Some((b"AUTH CRAM-MD5\r\n".to_vec(), Step::Challenge))
        } else if offered.plain {
            Some(([&b"AUTH PLAIN "[..], &line(&self.both())].concat(), Step::Last))
        } else if offered.login {
            Some((b"AUTH LOGIN\r\n".to_vec(), Step::Name))
        } else {
            None
        }
    }

    /// Name and secret as PLAIN joins them (RFC 4616 §2).
    fn both(&self) -> Vec<u8> {
        [&b"\0"[..], &self.name, b"\0", &self.secret].concat()
    }

    /// Whether some words of the server have the secret in them: one that does not know a command may
    /// repeat it, and what is reported stands in the log and some day in a bounce.
    pub(super) fn is_betrayed_by(&self, words: &[u8]) -> bool {
        let forms = [self.secret.clone(), sasl::encode(&self.secret), sasl::encode(&self.both())];
        let holds = |form: &Vec<u8>| words.windows(form.len().max(1)).any(|window| window == form);
        forms.iter().any(holds)
    }

    /// What the reply at a step leads to.
    pub(super) fn go_on(&self, step: Step, reply: &Reply) -> Next {
        match (step, reply.code) {
            (_, 235) => Next::In,
            (Step::Challenge, 334) => {
                let said = reply.lines().next().unwrap_or_default().trim_ascii();
                let Ok(challenge) = sasl::decode(said) else { return Next::Refused };
                let Some(digest) = digest(&self.secret, &challenge) else { return Next::Refused };
                let proof = [&self.name[..], b" ", digest.as_bytes()].concat();
                Next::Say(line(&proof), Step::Last)
            }
            (Step::Name, 334) => Next::Say(line(&self.name), Step::Secret),
            (Step::Secret, 334) => Next::Say(line(&self.secret), Step::Last),
            _ => Next::Refused,
        }
    }
}

/// What proves that one knows the secret (RFC 2195 §2), in hexadecimal digits. Every length of secret
/// is a key.
fn digest(secret: &[u8], challenge: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Md5>::new_from_slice(secret).ok()?;
    mac.update(challenge);
    Some(mac.finalize().into_bytes().iter().map(|byte| alloc::format!("{byte:02x}")).collect())
}

/// A message as it is said.
fn line(message: &[u8]) -> Vec<u8> {
    [sasl::encode(message).as_slice(), b"\r\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login { name: b"tim".to_vec(), secret: b"tanstaaftanstaaf".to_vec() }
    }

    fn offered(lines: &[&str]) -> Mechanisms {
        let mut found = Mechanisms::default();
        lines.iter().for_each(|line| found.add(line.as_bytes()));
        found
    }

    fn reply(code: u16, text: &str) -> Reply {
        Reply { code, text: alloc::format!("{code} {text}\n").into_bytes() }
    }

    #[test]
    fn the_best_of_what_is_offered_is_taken() {
        let begun = |lines: &[&str]| login().begin(offered(lines)).map(|(line, _)| line);
        assert_eq!(begun(&["SIZE", "AUTH LOGIN PLAIN CRAM-MD5"]).unwrap(), b"AUTH CRAM-MD5\r\n");
        let plain = begun(&["AUTH=LOGIN", "auth plain"]).unwrap();
        assert_eq!(plain, b"AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n");
        assert_eq!(begun(&["AUTH=LOGIN"]).unwrap(), b"AUTH LOGIN\r\n");
        assert_eq!(begun(&["AUTH GSSAPI", "AUTHOR PLAIN"]), None);
    }

    #[test]
    fn the_example_of_rfc_2195() {
        let challenge = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+";
        let next = login().go_on(Step::Challenge, &reply(334, challenge));
        let proof = b"dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw\r\n";
        assert_eq!(next, Next::Say(proof.to_vec(), Step::Last));
        assert_eq!(login().go_on(Step::Challenge, &reply(334, "no base64")), Next::Refused);
    }

    #[test]
    fn a_server_that_repeats_the_secret_is_found_out() {
        let plain = login().begin(offered(&["AUTH PLAIN"])).unwrap().0;
        let repeated = [&b"500 what is "[..], plain.trim_ascii_end(), b"?\n"].concat();
        assert!(login().is_betrayed_by(&repeated));
        assert!(login().is_betrayed_by(b"535 dGFuc3RhYWZ0YW5zdGFhZg== is wrong\n"));
        assert!(login().is_betrayed_by(b"535 tanstaaftanstaaf is wrong\n"));
        assert!(!login().is_betrayed_by(b"535 no, tim\n") && !login().is_betrayed_by(b""));
        let none = Login { name: b"tim".to_vec(), secret: Vec::new() };
        assert!(!none.is_betrayed_by(b"535 no\n"));
    }

    #[test]
    fn name_and_secret_are_said_when_asked_for() {
        let name = login().go_on(Step::Name, &reply(334, "VXNlcm5hbWU6"));
        assert_eq!(name, Next::Say(b"dGlt\r\n".to_vec(), Step::Secret));
        let secret = login().go_on(Step::Secret, &reply(334, ""));
        assert_eq!(secret, Next::Say(b"dGFuc3RhYWZ0YW5zdGFhZg==\r\n".to_vec(), Step::Last));
        assert_eq!(login().go_on(Step::Last, &reply(235, "ok")), Next::In);
        for (step, code) in [(Step::Last, 535), (Step::Last, 334), (Step::Name, 454)] {
            assert_eq!(login().go_on(step, &reply(code, "")), Next::Refused);
        }
    }
}
