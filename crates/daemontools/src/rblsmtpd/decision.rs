//! Whether a client is refused, and in which words.

use std::io;
use std::net::Ipv6Addr;
use std::time::Duration;

use base::plain;

/// How much of a list's text is passed on.
const TEXT: usize = 200;
/// What a client hears when a list cannot say anything.
const TROUBLE: &[u8] = b"temporary RBL lookup error";

/// One option, as they stand on the command line: each is for those behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Who is listed from here on is refused for good (553), or for now (451).
    ForGood(bool),
    /// Trouble with a list refuses the client, or does not.
    Closed(bool),
    /// A list of those who are refused.
    Reject(Vec<u8>),
    /// A list of those who are accepted.
    Accept(Vec<u8>),
    /// The client has to wait so long.
    Wait(Duration),
}

/// What is done with the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It gets its server.
    Accept,
    /// It hears this: a code and a text, one line without its end.
    Reject(Vec<u8>),
    /// It gets its server, which is told this: what a list says of it, in one line.
    Report(Vec<u8>),
    /// Nothing: it is gone.
    Gone,
}

/// Why the lists are not asked any further.
enum End {
    /// One has the client: whether that is for good, and its text.
    Listed(bool, Vec<u8>),
    /// The client did not wait.
    Gone,
}

/// Whom the lists are read of, and who waits.
pub(super) trait Lists {
    /// The text under a name, empty if there is none; an error if nobody could say.
    fn text(&mut self, name: &[u8]) -> io::Result<Vec<u8>>;
    /// Whether a name has an address.
    fn has(&mut self, name: &[u8]) -> io::Result<bool>;
    /// Returns after so long; at once, and false, when the client is gone.
    fn wait(&mut self, time: Duration) -> bool;
}

/// Decides on the client at `ip`. `given` is `$RBLSMTPD`, which decides without any list; what a list
/// says is only reported if somebody else is to `judge` it (`-i`).
pub(super) fn decide(
    given: Option<&[u8]>,
    ip: &[u8],
    steps: &[Step],
    judge: bool,
    lists: &mut dyn Lists,
) -> Verdict {
    match given {
        Some(b"") => Verdict::Accept,
        Some(given) => match given.strip_prefix(b"-") {
            Some(text) => Verdict::Reject(message(true, text)),
            None => Verdict::Reject(message(false, given)),
        },
        None => match ask(&backwards(ip), steps, lists) {
            None => Verdict::Accept,
            Some(End::Gone) => Verdict::Gone,
            Some(End::Listed(_, text)) if judge => Verdict::Report(line(b"[RBL info] ", &text)),
            Some(End::Listed(for_good, text)) => Verdict::Reject(message(for_good, &text)),
        },
    }
}

/// What the lists have against the client, asked one after the other.
fn ask(client: &[u8], steps: &[Step], lists: &mut dyn Lists) -> Option<End> {
    let (mut for_good, mut closed, mut trouble) = (false, false, false);
    for step in steps {
        match step {
            Step::ForGood(is) => for_good = *is,
            Step::Closed(is) => closed = *is,
            Step::Reject(base) => match lists.text(&[client, base].concat()) {
                Ok(text) if text.is_empty() => {}
                Ok(text) => return Some(End::Listed(for_good && !trouble, text)),
                Err(_) if closed => return Some(End::Listed(false, TROUBLE.to_vec())),
                Err(_) => trouble = true,
            },
            Step::Accept(base) => match lists.has(&[client, base].concat()) {
                Ok(false) => {}
                Ok(true) => return None,
                Err(_) if closed => trouble = true,
                Err(_) => return None,
            },
            Step::Wait(time) if lists.wait(*time) => {}
            Step::Wait(_) => return Some(End::Gone),
        }
    }
    None
}

/// The address as lists have it: its parts backwards, each with a dot (RFC 5782 §2.1, §2.4).
fn backwards(ip: &[u8]) -> Vec<u8> {
    let six = std::str::from_utf8(ip).ok().and_then(|ip| ip.parse::<Ipv6Addr>().ok());
    if let Some(six) = six {
        let hex = format!("{:032x}", six.to_bits());
        return hex.bytes().rev().flat_map(|digit| [digit, b'.']).collect();
    }
    if ip.is_empty() {
        return Vec::new();
    }
    ip.rsplit(|&byte| byte == b'.').flat_map(|part| [part, b"."].concat()).collect()
}

/// A refusal.
fn message(for_good: bool, text: &[u8]) -> Vec<u8> {
    line(if for_good { b"553 " } else { b"451 " }, text)
}

/// One line that is safe for a client and a log.
fn line(begin: &[u8], text: &[u8]) -> Vec<u8> {
    let mut line = begin.to_vec();
    plain::put(&mut line, text.get(..TEXT).unwrap_or(text), b'?');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Lists as a table: a name's text, or trouble. Those asked for are remembered.
    #[derive(Default)]
    struct Table {
        texts: BTreeMap<&'static str, Option<&'static str>>,
        asked: Vec<String>,
        waited: Duration,
        /// How long the client waits; as long as it must, without.
        patience: Option<Duration>,
    }

    impl Lists for Table {
        fn text(&mut self, name: &[u8]) -> io::Result<Vec<u8>> {
            let name = String::from_utf8(name.to_vec()).unwrap();
            let found = self.texts.get(&*name).copied();
            self.asked.push(name);
            match found {
                Some(Some(text)) => Ok(text.into()),
                Some(None) => Err(io::ErrorKind::TimedOut.into()),
                None => Ok(Vec::new()),
            }
        }

        fn has(&mut self, name: &[u8]) -> io::Result<bool> {
            self.text(name).map(|text| !text.is_empty())
        }

        fn wait(&mut self, time: Duration) -> bool {
            self.waited = self.waited.saturating_add(time);
            self.patience.is_none_or(|patience| self.waited <= patience)
        }
    }

    /// The decision on 192.0.2.1 with `-r x` as `rx`, and so on; `listed` is in list l, list t is in
    /// trouble.
    fn decided(line: &str) -> String {
        judged(line, false).0
    }

    /// The same, by somebody else if so said, and how many seconds it took.
    fn judged(line: &str, judge: bool) -> (String, u64) {
        let mut table = Table::default();
        table.texts.insert("1.2.0.192.l", Some("listed"));
        table.texts.insert("1.2.0.192.t", None);
        let steps = line.split_whitespace().map(|word| match word.split_at(1) {
            ("b", _) => Step::ForGood(true),
            ("B", _) => Step::ForGood(false),
            ("c", _) => Step::Closed(true),
            ("C", _) => Step::Closed(false),
            ("w", time) => Step::Wait(Duration::from_secs(time.parse().unwrap())),
            ("r", base) => Step::Reject(base.into()),
            (_, base) => Step::Accept(base.into()),
        });
        let steps: Vec<_> = steps.collect();
        let text = match decide(None, b"192.0.2.1", &steps, judge, &mut table) {
            Verdict::Accept => "accept".to_owned(),
            Verdict::Gone => "gone".to_owned(),
            Verdict::Reject(text) | Verdict::Report(text) => String::from_utf8(text).unwrap(),
        };
        (text, table.waited.as_secs())
    }

    #[test]
    fn the_first_list_that_has_the_client_decides() {
        assert_eq!(decided(""), "accept");
        assert_eq!(decided("rother"), "accept");
        assert_eq!(decided("rother rl"), "451 listed");
        assert_eq!(decided("al rl"), "accept");
        assert_eq!(decided("rl al"), "451 listed");
    }

    #[test]
    fn options_are_for_what_stands_behind_them() {
        assert_eq!(decided("b rl"), "553 listed");
        assert_eq!(decided("rl b"), "451 listed");
        assert_eq!(decided("b B rl"), "451 listed");
    }

    #[test]
    fn trouble_is_passed_over_or_refuses_and_makes_the_rest_temporary() {
        assert_eq!(decided("rt"), "accept");
        assert_eq!(decided("c rt"), "451 temporary RBL lookup error");
        assert_eq!(decided("c C rt"), "accept");
        assert_eq!(decided("b rt rl"), "451 listed");
        assert_eq!(decided("at rl"), "accept");
        assert_eq!(decided("b c at rl"), "451 listed");
    }

    #[test]
    fn who_is_decided_on_does_not_wait() {
        assert_eq!(judged("w2 rother w3", false), ("accept".to_owned(), 5));
        assert_eq!(judged("w2 rl w3", false), ("451 listed".to_owned(), 2));
        assert_eq!(judged("al w3", false), ("accept".to_owned(), 0));
    }

    #[test]
    fn of_a_client_that_is_gone_nobody_is_asked() {
        let mut table = Table { patience: Some(Duration::from_secs(2)), ..Table::default() };
        let steps = [2, 1].map(|secs| Step::Wait(Duration::from_secs(secs)));
        let steps = [&steps[..], &[Step::Reject(b"l".to_vec())]].concat();
        assert_eq!(decide(None, b"192.0.2.1", &steps, false, &mut table), Verdict::Gone);
        assert!(table.asked.is_empty());
    }

    #[test]
    fn what_a_list_says_is_reported_if_somebody_else_judges() {
        assert_eq!(judged("b rl", true).0, "[RBL info] listed");
        assert_eq!(judged("c rt", true).0, "[RBL info] temporary RBL lookup error");
        assert_eq!(judged("al rl", true).0, "accept");
        let refused = decide(Some(b"no"), b"192.0.2.1", &[], true, &mut Table::default());
        assert_eq!(refused, Verdict::Reject(b"451 no".to_vec()), "a rule's word stands");
    }

    #[test]
    fn the_variable_decides_and_nobody_is_asked() {
        let mut table = Table::default();
        let steps = [Step::Reject(b"l".to_vec()), Step::Wait(Duration::from_secs(1))];
        let mut given = |text: &[u8]| decide(Some(text), b"192.0.2.1", &steps, false, &mut table);
        assert_eq!(given(b""), Verdict::Accept);
        assert_eq!(given(b"Go away"), Verdict::Reject(b"451 Go away".to_vec()));
        assert_eq!(given(b"-Go away\r\n"), Verdict::Reject(b"553 Go away??".to_vec()));
        assert_eq!(given(b"-"), Verdict::Reject(b"553 ".to_vec()));
        assert_eq!(given(&[b'x'; 300]), Verdict::Reject([&b"451 "[..], &[b'x'; 200]].concat()));
        assert!(table.asked.is_empty() && table.waited.is_zero());
    }

    #[test]
    fn an_address_is_asked_for_backwards() {
        assert_eq!(backwards(b"192.0.2.1"), b"1.2.0.192.");
        assert_eq!(backwards(b""), b"");
        let six = backwards(b"2001:db8::1");
        assert!(six.starts_with(b"1.0.0.0.") && six.ends_with(b"8.b.d.0.1.0.0.2."));
        assert_eq!(six.len(), 64);
    }
}
