//! What differs from run to run, made the same: places, numbers, times. Pure.
//!
//! What is made the same in what a program showed is made the same in what was expected, too: a
//! step may say `<date>` or any date.

use std::collections::HashMap;

/// Directories that have a name in the steps.
#[derive(Debug)]
pub(crate) struct Places {
    /// `$QMAIL`.
    pub home: String,
    /// `$T`.
    pub scratch: String,
}

/// Numbers that keep the order of their first appearance, by the word before them.
#[derive(Default)]
struct Orders(HashMap<&'static str, Vec<String>>);

impl Orders {
    /// This letter is gone: its number may be another's from now on.
    fn forget(&mut self, number: &str) {
        for known in self.0.get_mut("msg").into_iter().flatten().filter(|n| *n == number) {
            known.clear();
        }
    }

    /// The number that stands for this one, from 1.
    fn place(&mut self, word: &'static str, number: &str) -> String {
        let known = self.0.entry(word).or_default();
        let at = known.iter().position(|n| n == number).unwrap_or_else(|| {
            known.push(number.to_owned());
            known.len() - 1
        });
        (at + 1).to_string()
    }
}

/// Makes all the lines of one stream comparable.
pub(crate) fn normalise(lines: &[String], places: &Places) -> Vec<String> {
    let mut orders = Orders::default();
    lines.iter().map(|text| line(&named(text, places), &mut orders)).collect()
}

/// The same with the names of directories put in.
fn named(text: &str, places: &Places) -> String {
    let mut text = text.to_owned();
    let mut both = [(&places.home, "$QMAIL"), (&places.scratch, "$T")];
    both.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    for (path, name) in both {
        if !path.is_empty() {
            text = text.replace(path.as_str(), name);
        }
    }
    text
}

/// How much of the rest is replaced, and by what. Rules see what was written so far.
type Rule = fn(&str, &str, &mut Orders) -> Option<(usize, String)>;

const RULES: [Rule; 10] =
    [label, asctime, date, message_id, greeting, file_name, size, clock, order, passing];

fn line(text: &str, orders: &mut Orders) -> String {
    let mut done = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let hit = RULES.iter().find_map(|rule| rule(&done, rest, orders));
        let (taken, put) = hit.unwrap_or_else(|| (next.len_utf8(), next.to_string()));
        done.push_str(&put);
        rest = rest.get(taken..).unwrap_or_default();
    }
    done
}

/// How many of the first bytes satisfy this.
fn run(text: &str, of: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|&byte| of(byte)).count()
}

fn digits(text: &str) -> usize {
    run(text, |byte| byte.is_ascii_digit())
}

/// Whether nothing before belongs to the same word.
fn fresh(done: &str) -> bool {
    !done.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '.')
}

/// A whole number at the start of the rest, unless it continues one.
fn number<'a>(done: &str, rest: &'a str) -> Option<&'a str> {
    let length = digits(rest);
    if length == 0 || done.ends_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    rest.get(..length)
}

/// Matches a shape: `9` a digit, `D` a month, `W` a day of the week, else the byte itself.
fn shaped(text: &str, shape: &str) -> bool {
    const MONTHS: &str = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    const DAYS: &str = "Sun Mon Tue Wed Thu Fri Sat";
    let mut rest = text;
    for kind in shape.chars() {
        let length = if matches!(kind, 'D' | 'W') { 3 } else { 1 };
        let Some((now, then)) = rest.split_at_checked(length) else { return false };
        let fits = match kind {
            '9' => now.bytes().all(|byte| byte.is_ascii_digit()),
            'D' => MONTHS.split(' ').any(|month| month == now),
            'W' => DAYS.split(' ').any(|day| day == now),
            other => now.starts_with(other),
        };
        if !fits {
            return false;
        }
        rest = then;
    }
    true
}

/// `@` and 24 hexadecimal digits.
fn label(_: &str, rest: &str, _: &mut Orders) -> Option<(usize, String)> {
    let hex = run(rest.strip_prefix('@')?, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (hex == 24).then(|| (25, "<tai>".into()))
}

/// `Sun Nov 22 13:46:39 2026`.
fn asctime(_: &str, rest: &str, _: &mut Orders) -> Option<(usize, String)> {
    shaped(rest, "W D 99 99:99:99 9999").then(|| (24, "<date>".into()))
}

/// `2 Nov 2026 13:46:57 -0000`, without the zone as well; a day with a zero before it is none.
fn date(done: &str, rest: &str, _: &mut Orders) -> Option<(usize, String)> {
    let day = number(done, rest).filter(|day| day.len() <= 2 && !day.starts_with('0'))?.len();
    let then = rest.get(day..)?;
    if !shaped(then, " D 9999 99:99:99") {
        return None;
    }
    let zone = then.get(18..)?;
    let zone = if shaped(zone, " +9999") || shaped(zone, " -9999") { 6 } else { 0 };
    // Shapes count months as one letter, their text is three.
    Some((day + 18 + zone, "<date>".into()))
}

/// `20261122134657.1234.qmail`.
fn message_id(done: &str, rest: &str, _: &mut Orders) -> Option<(usize, String)> {
    let stamp = number(done, rest).filter(|stamp| stamp.len() == 14)?.len();
    let pid = digits(rest.get(stamp..)?.strip_prefix('.')?);
    let end = stamp + 1 + pid;
    (pid > 0 && rest.get(end..)?.starts_with(".qmail")).then(|| (end + 6, "<id>".into()))
}

/// `<1234.1795355197@`, as qmail-popup greets.
fn greeting(done: &str, rest: &str, _: &mut Orders) -> Option<(usize, String)> {
    let pid = number(done, rest).filter(|_| done.ends_with('<'))?.len();
    let seconds = digits(rest.get(pid..)?.strip_prefix('.')?);
    let end = pid + 1 + seconds;
    (seconds == 10 && rest.get(end..)?.starts_with('@')).then(|| (end, "#.<time>".into()))
}

/// How long the seconds of our days are, at the start of the rest.
fn seconds(done: &str, rest: &str) -> Option<usize> {
    let number = number(done, rest).filter(|_| fresh(done))?;
    (number.len() == 10 && number.starts_with(['1', '2'])).then_some(10)
}

/// A file of a Maildir, up to its flags.
fn file_name(done: &str, rest: &str, _: &mut Orders) -> Option<(usize, String)> {
    let mut end = seconds(done, rest)?;
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let middle = run(rest.get(end..)?.strip_prefix('.')?, word);
    end += 1 + middle;
    let host = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    let after = run(rest.get(end..)?.strip_prefix('.')?, host);
    end += 1 + after;
    while let Some(part) = rest.get(end..).and_then(|rest| rest.strip_prefix(',')) {
        let value = digits(part.get(2..).unwrap_or_default());
        if value == 0 || part.as_bytes().get(1) != Some(&b'=') {
            break;
        }
        end += 3 + value;
    }
    (middle > 0 && after > 0).then(|| (end, "<name>".into()))
}

/// How many bytes a letter has in the log and in qmail-qread's list: its trace has numbers in it.
fn size(done: &str, rest: &str, _: &mut Orders) -> Option<(usize, String)> {
    let number = number(done, rest)?;
    let logged = done.ends_with(": bytes ") && rest.get(number.len()..)?.starts_with(" from");
    let listed = done.strip_suffix("  ").and_then(|done| {
        let (_, number) = done.rsplit_once("GMT  #")?;
        Some(digits(number) == number.len() || number == "#")
    });
    (logged || listed == Some(true)).then(|| (number.len(), "#".into()))
}

/// Seconds since 1970, with a fraction or a process id behind them.
fn clock(done: &str, rest: &str, _: &mut Orders) -> Option<(usize, String)> {
    let length = seconds(done, rest)?;
    let more = rest.get(length..)?.strip_prefix('.').map_or(0, digits);
    let fraction = if (1..=9).contains(&more) { more + 1 } else { 0 };
    Some((length + fraction, "<time>".into()))
}

/// Numbers whose order matters.
fn order(done: &str, rest: &str, orders: &mut Orders) -> Option<(usize, String)> {
    const BEFORE: [(&str, &str); 5] = [
        ("msg ", "msg"),
        ("GMT  #", "msg"),
        ("bounce/", "msg"),
        ("todo/", "msg"),
        ("delivery ", "delivery"),
    ];
    let number = number(done, rest)?;
    let (_, word) = BEFORE.into_iter().find(|(before, _)| done.ends_with(before))?;
    let place = orders.place(word, number);
    if done.ends_with("end msg ") {
        orders.forget(number);
    }
    Some((number.len(), place))
}

/// Numbers that mean nothing tomorrow: process ids, uids and tcpserver's ports.
fn passing(done: &str, rest: &str, _: &mut Orders) -> Option<(usize, String)> {
    const BEFORE: [&str; 8] =
        ["qp ", "qp_", "pid ", "uid ", "(qmail ", "server: ok ", "server: deny ", "server: end "];
    let number = number(done, rest)?;
    let named = BEFORE.iter().any(|before| done.ends_with(before));
    let port = done.starts_with("tcpserver: ")
        && done.ends_with(':')
        && number.len() >= 4
        && !rest.get(number.len()..)?.starts_with('.');
    (named || port).then(|| (number.len(), "#".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> String {
        let places = Places { home: "/tmp/q".into(), scratch: "/tmp/q.t".into() };
        normalise(&[text.to_owned()], &places).remove(0)
    }

    #[test]
    fn what_changes_from_run_to_run_is_made_the_same() {
        for (text, same) in [
            ("/tmp/q/bin /tmp/q.t/log", "$QMAIL/bin $T/log"),
            ("250 ok 1795355129 qp 11757", "250 ok <time> qp #"),
            ("did_0+2+0/qp_30738/", "did_0+2+0/qp_#/"),
            (
                "Received: (qmail 12 invoked by uid 0); 2 Nov 2026 13:46:57 -0000",
                "Received: (qmail # invoked by uid #); <date>",
            ),
            ("From a Sun Nov 22 13:46:39 2026", "From a <date>"),
            (
                "22 Nov 2026 13:46:38 GMT  #10111052  249  <s@x.org> ",
                "<date> GMT  #1  #  <s@x.org> ",
            ),
            ("@4000000037c219bf2ef02e94 x", "<tai> x"),
            ("Message-ID: <20261122134657.1234.qmail@mx>", "Message-ID: <<id>@mx>"),
            ("+OK <12.1795355197@mx>", "+OK <#.<time>@mx>"),
            ("new/1795355197.28547.vm:2,", "new/<name>:2,"),
            ("1795355197.M12Q7R0.mx.example.org,S=307,W=317", "<name>"),
            ("me-1795355197.281@x", "me-<time>@x"),
            ("qmail: 1795355197.123456 status", "qmail: <time> status"),
            (
                "info msg 77: bytes 249 from <s> qp 28543 uid 0",
                "info msg 1: bytes # from <s> qp # uid #",
            ),
            (
                "tcpserver: ok 9014 mx:127.0.0.1:46647 :127.0.0.1::38491",
                "tcpserver: ok # mx:127.0.0.1:# :127.0.0.1::#",
            ),
            ("tcpserver: end 9014 status 768", "tcpserver: end # status 768"),
        ] {
            assert_eq!(one(text), same);
            assert_eq!(one(same), same, "twice is once");
        }
    }

    #[test]
    fn what_does_not_change_stays() {
        for text in [
            "02 Nov 2026 13:46:57 -0000",
            "status: local 1/10 remote 0/20",
            "Sun Nov  2 13:46:39 2026",
            "127.0.0.1 accepted message",
            "1000 1795355 12345678901",
            "a1795355197",
            "@40000000",
        ] {
            assert_eq!(one(text), text);
        }
    }

    #[test]
    fn letters_and_deliveries_are_counted_in_their_order() {
        let lines =
            ["new msg 70", "starting delivery 9: msg 70", "new msg 60", "end msg 70", "new msg 70"];
        let places = Places { home: String::new(), scratch: String::new() };
        let lines = lines.map(str::to_owned);
        assert_eq!(
            normalise(&lines, &places),
            ["new msg 1", "starting delivery 1: msg 1", "new msg 2", "end msg 1", "new msg 3"]
        );
    }
}
