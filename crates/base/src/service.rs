//! What supervise tells of its service: the 18 bytes of `supervise/status` that every svstat reads,
//! and the lines of `supervise/state` that say what the 18 bytes have no room for.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt::{self, Write};
use core::str;

use crate::tai::{BYTES as LABEL, Label};

/// Length of `supervise/status`.
pub const LENGTH: usize = 18;
/// The longest `supervise/state`, in bytes.
pub const LONGEST: usize = 4096;
/// The exit code that a `finish` is told of a run that a signal ended (as s6 has it), or of which
/// nobody knows how it ended: then there is no signal either.
pub const NO_CODE: u16 = 256;

/// What the administrator wants of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Start it whenever it is down.
    Up,
    /// Leave it down.
    Down,
    /// Started once; do not start it again.
    Once,
}

impl Want {
    const fn byte(self) -> u8 {
        match self {
            Want::Up => b'u',
            Want::Down => b'd',
            Want::Once => 0,
        }
    }

    const fn of_byte(byte: u8) -> Self {
        match byte {
            b'u' => Want::Up,
            b'd' => Want::Down,
            _ => Want::Once,
        }
    }

    /// `up`, `down` or `once`.
    pub const fn word(self) -> &'static str {
        match self {
            Want::Up => "up",
            Want::Down => "down",
            Want::Once => "once",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        [Want::Up, Want::Down, Want::Once].into_iter().find(|want| want.word() == word)
    }
}

/// One state of a service, as `supervise/status` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// When the pid last changed.
    pub since: Label,
    /// The service's pid; 0: it is down.
    pub pid: u32,
    /// Stopped by SIGSTOP through supervise.
    pub paused: bool,
    /// Byte 17.
    pub want: Want,
}

impl Status {
    /// The 18 bytes; the pid is little-endian, unlike the label.
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let (label, rest) = bytes.split_at_mut(LABEL);
        label.copy_from_slice(self.since.as_bytes());
        let (pid, flags) = rest.split_at_mut(4);
        pid.copy_from_slice(&self.pid.to_le_bytes());
        flags.copy_from_slice(&[u8::from(self.paused && self.pid != 0), self.want.byte()]);
        bytes
    }

    /// Reads the first 18 bytes; none if there are fewer. More are another supervise's extras.
    pub fn decode(bytes: &[u8]) -> Option<Status> {
        let (label, rest) = bytes.split_first_chunk::<LABEL>()?;
        let (pid, rest) = rest.split_first_chunk::<4>()?;
        let [paused, want, ..] = rest else { return None };
        Some(Status {
            since: Label::from_bytes(*label),
            pid: u32::from_le_bytes(*pid),
            paused: *paused != 0,
            want: Want::of_byte(*want),
        })
    }
}

/// One process among all there ever were on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// Clock ticks from boot to its start.
    pub started: u64,
    /// The boot's name.
    pub boot: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} {}", self.pid, self.started, self.boot)
    }
}

impl Identity {
    /// Reads `PID START BOOT`, and gives what follows after a further blank.
    pub fn parse(line: &str) -> Option<(Self, Option<&str>)> {
        let mut words = line.splitn(4, ' ');
        let pid = words.next()?.parse().ok()?;
        let started = words.next()?.parse().ok()?;
        let boot = words.next().filter(|boot| !boot.is_empty())?.to_owned();
        Some((Identity { pid, started, boot }, words.next()))
    }
}

/// Whether a service has said that it can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It does not say such things (no `notification-fd`), or it is down.
    Untold,
    /// It has not yet.
    NotYet,
    /// It did, then.
    Since(Label),
}

/// How a run ended, as its `finish` is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The exit code, or [`NO_CODE`].
    pub code: u16,
    /// The signal that ended it, or 0.
    pub signal: u8,
}

impl fmt::Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (NO_CODE, 0) => out.write_str("nobody saw how"),
            (NO_CODE, signal) => write!(out, "signal {signal}"),
            (code, _) => write!(out, "exit code {code}"),
        }
    }
}

/// All that supervise tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The supervise that wrote this.
    pub supervise: Option<Identity>,
    /// The 18 bytes.
    pub status: Status,
    /// Whether it can be used.
    pub ready: Ready,
    /// The pid of the `finish` that runs; 0: none does.
    pub finish: u32,
    /// How often the service has been started since the machine was.
    pub starts: u64,
    /// How its last run ended, and when.
    pub last: Option<(End, Label)>,
    /// Its `finish` said that it must not be started again.
    pub failed: bool,
}

impl Facts {
    /// What can be said where there are only the 18 bytes.
    pub const fn of_status(status: Status) -> Self {
        Facts {
            supervise: None,
            status,
            ready: Ready::Untold,
            finish: 0,
            starts: 0,
            last: None,
            failed: false,
        }
    }

    /// The lines of the file.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        let mut line = |key: &str, value: &dyn fmt::Display| {
            // A String takes whatever is written.
            let _ = writeln!(out, "{key} {value}");
        };
        if let Some(supervise) = &self.supervise {
            line("supervise", supervise);
        }
        line("pid", &self.status.pid);
        line("since", &Text(self.status.since));
        line("paused", &u8::from(self.status.paused && self.status.pid != 0));
        line("want", &self.status.want.word());
        match self.ready {
            Ready::Untold => line("ready", &"-"),
            Ready::NotYet => line("ready", &0),
            Ready::Since(label) => line("ready", &Text(label)),
        }
        line("finish", &self.finish);
        line("starts", &self.starts);
        if let Some((end, at)) = self.last {
            line("last", &format_args!("{} {} {}", end.code, end.signal, Text(at)));
        }
        line("failed", &u8::from(self.failed));
        out
    }

    /// Reads the lines; none if the pid, its time or what is wanted is not told, or if a line that
    /// we know says what it cannot. Lines we do not know are a later supervise's.
    pub fn parse(bytes: &[u8]) -> Option<Facts> {
        let text = str::from_utf8(bytes).ok().filter(|text| text.len() <= LONGEST)?;
        // A file cut off in the middle is none, even if what is cut off is a number's last digit.
        let text = text.strip_suffix('\n')?;
        let find = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.find(|(each, _)| *each == key).map(|(_, value)| value)
        };
        let status = Status {
            since: label(find("since")?)?,
            pid: find("pid")?.parse().ok()?,
            paused: flag(find("paused"))?,
            want: Want::of_word(find("want")?)?,
        };
        Some(Facts {
            supervise: match find("supervise") {
                Some(value) => Some(Identity::parse(value)?.0),
                None => None,
            },
            status,
            ready: match find("ready") {
                None | Some("-") => Ready::Untold,
                Some("0") => Ready::NotYet,
                Some(value) => Ready::Since(label(value)?),
            },
            finish: number(find("finish"))?,
            starts: number(find("starts"))?,
            last: match find("last") {
                Some(value) => Some(end(value)?),
                None => None,
            },
            failed: flag(find("failed"))?,
        })
    }
}

/// A label as text.
struct Text(Label);

impl fmt::Display for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.print().iter().try_for_each(|&byte| out.write_char(char::from(byte)))
    }
}

fn label(text: &str) -> Option<Label> {
    Label::parse(text.as_bytes()).filter(|(_, rest)| rest.is_empty()).map(|(label, _)| label)
}

/// 0 or 1; nothing is 0.
fn flag(text: Option<&str>) -> Option<bool> {
    match text {
        None | Some("0") => Some(false),
        Some("1") => Some(true),
        Some(_) => None,
    }
}

/// A number; nothing is 0.
fn number<T: str::FromStr + Default>(text: Option<&str>) -> Option<T> {
    text.map_or_else(|| Some(T::default()), |text| text.parse().ok())
}

fn end(text: &str) -> Option<(End, Label)> {
    let mut words = text.splitn(3, ' ');
    let code = words.next()?.parse().ok().filter(|code| *code <= NO_CODE)?;
    let signal = words.next()?.parse().ok()?;
    Some((End { code, signal }, label(words.next()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    /// As the original wrote it: up, pid 30212, wants up.
    const OBSERVED: [u8; 18] =
        [0x40, 0, 0, 0, 0x6b, 2, 0xf1, 0x5e, 0, 0xee, 0x13, 0x44, 4, 0x76, 0, 0, 0, 0x75];

    fn facts() -> Facts {
        Facts {
            supervise: Some(Identity { pid: 12, started: 3456, boot: "a-b".into() }),
            status: Status::decode(&OBSERVED).unwrap(),
            ready: Ready::Since(Label::new(9, 500)),
            finish: 0,
            starts: 7,
            last: Some((End { code: NO_CODE, signal: 15 }, Label::new(8, 500))),
            failed: true,
        }
    }

    #[test]
    fn a_status_of_the_original_reads_and_writes_the_same() {
        let status = Status::decode(&OBSERVED).unwrap();
        assert_eq!((status.pid, status.paused, status.want), (30212, false, Want::Up));
        assert_eq!(status.encode(), OBSERVED);
    }

    #[test]
    fn a_short_file_is_no_status_and_a_long_one_is() {
        assert_eq!(Status::decode(&OBSERVED[..17]), None);
        assert!(Status::decode(&[&OBSERVED[..], b"xx"].concat()).is_some());
    }

    #[test]
    fn without_a_pid_nothing_is_paused() {
        let status = Status { pid: 0, paused: true, ..Status::decode(&OBSERVED).unwrap() };
        assert_eq!(status.encode()[16], 0);
    }

    #[test]
    fn facts_read_back_whatever_they_are() {
        let mut all = facts();
        assert_eq!(Facts::parse(all.encode().as_bytes()), Some(all.clone()));
        for ready in [Ready::Untold, Ready::NotYet] {
            all = Facts { ready, supervise: None, last: None, failed: false, ..all };
            assert_eq!(Facts::parse(all.encode().as_bytes()), Some(all.clone()));
        }
    }

    #[test]
    fn unknown_lines_are_no_harm_and_missing_or_torn_ones_are() {
        let text = facts().encode();
        assert_eq!(Facts::parse(format!("{text}weather fine\n").as_bytes()), Some(facts()));
        for key in ["pid", "since", "want"] {
            let without: String =
                text.lines().filter(|l| !l.starts_with(key)).map(|l| format!("{l}\n")).collect();
            assert_eq!(Facts::parse(without.as_bytes()), None, "{key}");
        }
        for cut in 0..text.len() {
            let found = Facts::parse(&text.as_bytes()[..cut]);
            assert!(found.is_none_or(|found| found.status == facts().status), "{cut}");
        }
        assert_eq!(Facts::parse(format!("{text}{}\n", " ".repeat(LONGEST)).as_bytes()), None);
        assert_eq!(Facts::parse(b"pid 1\nsince @4\nwant up\n"), None);
    }

    #[test]
    fn an_identity_reads_back_and_shows_what_follows() {
        let (identity, rest) = Identity::parse("1 2 boot finish").unwrap();
        assert_eq!((identity.to_string().as_str(), rest), ("1 2 boot", Some("finish")));
        assert_eq!(Identity::parse("1 2"), None);
        assert_eq!(Identity::parse("1 2 "), None);
    }

    #[test]
    fn an_end_says_how() {
        let end = |code, signal| End { code, signal }.to_string();
        assert_eq!(end(3, 0), "exit code 3");
        assert_eq!(end(NO_CODE, 9), "signal 9");
        assert_eq!(end(NO_CODE, 0), "nobody saw how");
    }
}
