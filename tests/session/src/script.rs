//! The format of a session file.

use std::fmt;

use base::netstring;

/// A session file, read.
///
/// ```text
/// # a comment
/// control me = mail.example.org     a line of a control file; said again, the next line of it
/// env RELAYCLIENT =                 a variable of the connection
/// mailbox alice@mail.example.org    an address that has a mailbox
/// account alice@mail.example.org secret
/// letter Subject: x\n\nhello\n      a letter in the last account's Maildir
/// queue Dqq permanent problem       the queue refuses every letter with these words
///
/// S: 220 mail.example.org ESMTP     a line of the server; <time> <pid> digits, <any> anything
/// C: HELO client.example            a line of the client, sent with CRLF
/// C= a\r\nb\n.\r\n\x00              bytes of the client, sent as they are
/// packet \nhello\n > a@b > c@d e@f  a QMTP packet of the client: letter, sender, recipients, with escapes
/// whole hello\n > a@b > c@d e@f     the same as a QMQP packet
/// N: Kok <time> qp <pid>            a netstring of the server
/// repeat 1000 C: RCPT TO:<u{n}@x>   the same a thousand times, {n} counting from 1
/// silence                           the client waits until the server loses patience
/// hang up                           the client goes
/// closed                            the server must have gone
/// Q: a@b > c@d e@f                  this letter must have been queued (none else may)
/// B: Subject: x                     a line of its body; `B=` for bytes with escapes
/// ```
///
/// The client's lines up to the server's next line are sent at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// How the server must be set up.
    pub settings: Vec<Setting>,
    /// What happens, with the file's line numbers.
    pub turns: Vec<(usize, Turn)>,
}

/// How a server must be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A line of a control file.
    Control(String, String),
    /// A variable of the connection.
    Env(String, String),
    /// An address that has a mailbox.
    Mailbox(String),
    /// An account: address and password.
    Account(String, String),
    /// A letter in the last account's Maildir.
    Letter(Vec<u8>),
    /// The queue's refusal, its first letter `D` or `Z`.
    Queue(String),
}

/// One step of a dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The client sends this.
    Client(Vec<u8>),
    /// The server says a line like this.
    Server(Vec<u8>),
    /// The server says a netstring like this.
    Answer(Vec<u8>),
    /// The client says nothing for too long.
    Silence,
    /// The client closes.
    HangUp,
    /// The server has closed.
    Closed,
    /// Sender and recipients of the next letter in the queue.
    Queued(Vec<Vec<u8>>),
    /// Bytes of that letter.
    Body(Vec<u8>),
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(bytes) => write!(f, "to send \"{}\"", bytes.escape_ascii()),
            Self::Server(line) | Self::Answer(line) => write!(f, "\"{}\"", line.escape_ascii()),
            Self::Closed => f.write_str("the end"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// A line of a session file that means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadScript {
    /// Which line, from 1.
    pub line: usize,
    /// The line.
    pub text: String,
}

impl fmt::Display for BadScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {} is no setting, C:, S: or other word of a session: {}",
            self.line, self.text
        )
    }
}

impl std::error::Error for BadScript {}

/// What one line means.
enum Meaning {
    Nothing,
    Setting(Setting),
    Turns(Vec<Turn>),
}

impl Script {
    /// Reads a file.
    ///
    /// # Errors
    /// [`BadScript`]: the first line that means nothing.
    pub fn parse(text: &str) -> Result<Self, BadScript> {
        let mut script = Self::default();
        for (at, text) in text.lines().enumerate() {
            let line = at.saturating_add(1);
            let bad = || BadScript { line, text: text.to_owned() };
            match meaning(text).ok_or_else(bad)? {
                Meaning::Nothing => {}
                Meaning::Setting(setting) => script.settings.push(setting),
                Meaning::Turns(turns) => turns.into_iter().for_each(|turn| script.add(line, turn)),
            }
        }
        Ok(script)
    }

    /// Appends a turn; what the client says in a row is sent in one go.
    fn add(&mut self, line: usize, turn: Turn) {
        match (self.turns.last_mut(), turn) {
            (Some((_, Turn::Client(before))), Turn::Client(more)) => before.extend(more),
            (_, turn) => self.turns.push((line, turn)),
        }
    }

    /// The lines of a control file the script wants, in order.
    pub fn control<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.settings.iter().filter_map(move |setting| match setting {
            Setting::Control(file, line) if file == name => Some(line.as_str()),
            _ => None,
        })
    }

    /// Whether a server that is set up with `given` can play this.
    pub fn suits(&self, given: &[Setting]) -> bool {
        self.settings.iter().all(|setting| given.contains(setting))
    }
}

fn meaning(line: &str) -> Option<Meaning> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.trim().is_empty() || line.starts_with('#') {
        return Some(Meaning::Nothing);
    }
    if let Some(rest) = line.strip_prefix("repeat ") {
        let (count, line) = rest.split_once(' ')?;
        return repeat(count.parse().ok()?, line).map(Meaning::Turns);
    }
    match setting(line) {
        Some(setting) => Some(Meaning::Setting(setting)),
        None => turn(line).map(|turn| Meaning::Turns(vec![turn])),
    }
}

fn repeat(count: u32, line: &str) -> Option<Vec<Turn>> {
    (1..=count).map(|n| turn(&line.replace("{n}", &n.to_string()))).collect()
}

fn setting(line: &str) -> Option<Setting> {
    let (word, rest) = line.split_once(' ')?;
    let pair = || rest.split_once('=').map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()));
    match word {
        "control" => pair().map(|(name, line)| Setting::Control(name, line)),
        "env" => pair().map(|(name, value)| Setting::Env(name, value)),
        "mailbox" => Some(Setting::Mailbox(rest.trim().to_owned())),
        "account" => {
            rest.split_once(' ').map(|(a, p)| Setting::Account(a.to_owned(), p.to_owned()))
        }
        "letter" => unescape(rest).map(Setting::Letter),
        "queue" => Some(Setting::Queue(rest.to_owned())),
        _ => None,
    }
}

fn turn(line: &str) -> Option<Turn> {
    let whole = |rest: &str, end: &str| [rest, end].concat().into_bytes();
    match line.trim_end() {
        "silence" => return Some(Turn::Silence),
        "hang up" => return Some(Turn::HangUp),
        "closed" => return Some(Turn::Closed),
        "C:" => return Some(Turn::Client(b"\r\n".to_vec())),
        "B:" => return Some(Turn::Body(b"\n".to_vec())),
        "S:" => return Some(Turn::Server(Vec::new())),
        _ => {}
    }
    if let Some(rest) = line.strip_prefix("packet ") {
        return packet(rest, false).map(Turn::Client);
    }
    if let Some(rest) = line.strip_prefix("whole ") {
        return packet(rest, true).map(Turn::Client);
    }
    let (tag, rest) = line.split_at_checked(3)?;
    match tag {
        "C: " => Some(Turn::Client(whole(rest, "\r\n"))),
        "C= " => unescape(rest).map(Turn::Client),
        "S: " => Some(Turn::Server(whole(rest, ""))),
        "N: " => Some(Turn::Answer(whole(rest, ""))),
        "B: " => Some(Turn::Body(whole(rest, "\n"))),
        "B= " => unescape(rest).map(Turn::Body),
        "Q: " => envelope(rest).map(Turn::Queued),
        _ => None,
    }
}

/// `letter > sender > recipient recipient`, with escapes, as a packet of QMTP or (`whole`) QMQP.
fn packet(text: &str, whole: bool) -> Option<Vec<u8>> {
    let (letter, rest) = text.split_once(" > ")?;
    let mut addresses = envelope(rest)?.into_iter();
    let (mut packet, mut list) = (Vec::new(), Vec::new());
    netstring::put(&mut packet, &unescape(letter)?);
    netstring::put(&mut packet, &addresses.next()?);
    addresses.for_each(|recipient| netstring::put(&mut list, &recipient));
    if !whole {
        netstring::put(&mut packet, &list);
        return Some(packet);
    }
    let mut wrapped = Vec::new();
    netstring::put(&mut wrapped, &[packet, list].concat());
    Some(wrapped)
}

/// `sender > recipient recipient`, with escapes; the empty address is `<>`.
fn envelope(text: &str) -> Option<Vec<Vec<u8>>> {
    let (sender, recipients) = text.split_once(" > ")?;
    let words = [sender.trim()].into_iter().chain(recipients.split_whitespace());
    words.map(|word| if word == "<>" { Some(Vec::new()) } else { unescape(word) }).collect()
}

/// `\r \n \t \\ \s` (a space) `\xHH`; any other backslash is an error.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&c, more)) = rest.split_first() {
        rest = more;
        if c != b'\\' {
            bytes.push(c);
            continue;
        }
        let (&escape, more) = rest.split_first()?;
        rest = more;
        bytes.push(match escape {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b's' => b' ',
            b'\\' => b'\\',
            b'x' => {
                let (hex, more) = rest.split_at_checked(2)?;
                rest = more;
                u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_settings_and_turns() {
        let text = "# hello\ncontrol me = a.b\nenv RELAYCLIENT =\n\nS: 220 x\nC: A\nC= b\\r\\n\\x00\n\
            repeat 2 C: R{n}\nC:\nhang up\nQ: <> > a@b c\nB: x\n";
        let script = Script::parse(text).unwrap();
        assert_eq!(script.control("me").collect::<Vec<_>>(), ["a.b"]);
        assert_eq!(script.settings[1], Setting::Env("RELAYCLIENT".into(), String::new()));
        let turns: Vec<Turn> = script.turns.into_iter().map(|(_, turn)| turn).collect();
        assert_eq!(
            turns,
            [
                Turn::Server(b"220 x".to_vec()),
                Turn::Client(b"A\r\nb\r\n\0R1\r\nR2\r\n\r\n".to_vec()),
                Turn::HangUp,
                Turn::Queued(vec![vec![], b"a@b".to_vec(), b"c".to_vec()]),
                Turn::Body(b"x\n".to_vec()),
            ]
        );
    }

    #[test]
    fn a_line_that_means_nothing_is_named() {
        for line in ["X: y", "C= \\q", "repeat x C: y", "control me", "hangup", "C:x"] {
            let bad = Script::parse(&format!("S: 220\n{line}\n")).unwrap_err();
            assert_eq!((bad.line, bad.text.as_str()), (2, line));
        }
    }
}
