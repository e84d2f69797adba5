//! A client that keeps a ledger: letters with a number, what was acknowledged, and a look at what
//! became of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::tally::Trouble;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The letter with number `n`; its last line tells whether it is whole.
pub(crate) fn letter(n: u32) -> String {
    format!(
        "Subject: {n}\n\n{}end of {n}\n",
        "Nothing is lost until it is looked for.\n".repeat(50)
    )
}

/// The number in a letter's own subject, which is its last, if the letter is whole.
fn number(text: &str) -> Option<u32> {
    let mut subjects = text.lines().filter_map(|line| line.strip_prefix("Subject: ")?.parse().ok());
    subjects.next_back().filter(|&n| text.contains(&letter(n)))
}

/// A running server and where it hears.
#[derive(Clone)]
pub(crate) struct Site {
    pub home: PathBuf,
    pub host: String,
    pub smtp: String,
    pub pop3: String,
}

/// What is in a Maildir: how often each letter, and what is not whole.
#[derive(Default)]
pub(crate) struct Mailbox {
    pub letters: BTreeMap<u32, Vec<PathBuf>>,
    pub torn: Vec<PathBuf>,
}

impl Site {
    /// Sends a letter; a success is the server's promise.
    pub(crate) fn send(&self, n: u32, from: &str, to: &str) -> Result<(), Trouble> {
        let mut talk = Talk::begin(&self.smtp)?;
        talk.hear("220")?;
        talk.ask("EHLO ledger.example.net\r\n", "250")?;
        talk.ask(&format!("MAIL FROM:<{from}>\r\n"), "250")?;
        talk.ask(&format!("RCPT TO:<{to}>\r\n"), "250")?;
        talk.ask("DATA\r\n", "354")?;
        talk.ask(&format!("{}.\r\n", letter(n).replace('\n', "\r\n")), "250")?;
        let _promised_already = talk.ask("QUIT\r\n", "221");
        Ok(())
    }

    /// Fetches and deletes every letter. `asked` gets those that may be gone, whatever the outcome;
    /// a success promises that they are.
    pub(crate) fn fetch(
        &self,
        user: &str,
        secret: &str,
        asked: &mut Vec<u32>,
    ) -> Result<(), Trouble> {
        let mut talk = Talk::begin(&self.pop3)?;
        talk.hear("+OK")?;
        talk.ask(&format!("USER {user}\r\n"), "+OK")?;
        talk.ask(&format!("PASS {secret}\r\n"), "+OK")?;
        let stat = talk.ask("STAT\r\n", "+OK ")?;
        let count: u32 = stat.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
        for index in 1..=count {
            talk.ask(&format!("RETR {index}\r\n"), "+OK")?;
            let text = talk.hear_all()?;
            match number(&text) {
                Some(n) => asked.push(n),
                None => return Err(format!("a letter that is not whole, of {} bytes", text.len())),
            }
            talk.ask(&format!("DELE {index}\r\n"), "+OK")?;
        }
        talk.ask("QUIT\r\n", "+OK").map(drop)
    }

    /// What is in an account's Maildir.
    pub(crate) fn mailbox(&self, user: &str) -> Mailbox {
        let (mut mailbox, mut files) = (Mailbox::default(), BTreeSet::new());
        for part in ["new", "cur"] {
            let dir = self.home.join("mail").join(&self.host).join(user).join("Maildir").join(part);
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let Ok(text) = std::fs::read(entry.path()) else { continue };
                // One file with a name in each is one letter, on its way to cur.
                if entry.metadata().is_ok_and(|m| !files.insert(m.ino())) {
                    continue;
                }
                match number(&String::from_utf8_lossy(&text)) {
                    Some(n) => mailbox.letters.entry(n).or_default().push(entry.path()),
                    None => mailbox.torn.push(entry.path()),
                }
            }
        }
        mailbox
    }

    /// Whether both servers greet.
    pub(crate) fn greets(&self) -> bool {
        let greets =
            |at: &str, wanted: &str| Talk::begin(at).is_ok_and(|mut t| t.hear(wanted).is_ok());
        greets(&self.smtp, "220") && greets(&self.pop3, "+OK")
    }

    /// How many letters are in the queue; none while it cannot be asked.
    pub(crate) fn queued(&self) -> Option<u32> {
        let out = std::process::Command::new(self.home.join("bin/qmail-qstat"))
            .env("QMAILHOME", &self.home)
            .output()
            .ok()?;
        let text = String::from_utf8(out.stdout).ok()?;
        text.lines().next()?.strip_prefix("messages in queue: ")?.parse().ok()
    }

    /// Has qmail-send try every delivery now.
    pub(crate) fn try_now(&self) {
        let mut svc = std::process::Command::new(self.home.join("bin/svc"));
        let _ = svc.arg("-a").arg(self.home.join("service/qmail-send")).status();
    }
}

/// Waits until something holds, or `within` has passed; whether it held.
pub(crate) fn wait(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + within;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One conversation.
struct Talk(BufReader<TcpStream>);

impl Talk {
    fn begin(address: &str) -> Result<Self, Trouble> {
        let address: SocketAddr = address.parse().map_err(|_| format!("{address}: no address"))?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|e| e.to_string())?;
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(PATIENCE));
        Ok(Self(BufReader::new(stream)))
    }

    fn line(&mut self) -> Result<String, Trouble> {
        let mut line = Vec::new();
        let n = self.0.read_until(b'\n', &mut line).map_err(|e| e.to_string())?;
        if n == 0 { Err("hung up".into()) } else { Ok(String::from_utf8_lossy(&line).into_owned()) }
    }

    /// The last line of an answer that begins with `wanted`.
    fn hear(&mut self, wanted: &str) -> Result<String, Trouble> {
        loop {
            let line = self.line()?;
            if !line.starts_with(wanted) {
                return Err(line.trim_end().into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }

    /// The lines up to a dot.
    fn hear_all(&mut self) -> Result<String, Trouble> {
        let mut text = String::new();
        loop {
            let line = self.line()?;
            if line == ".\r\n" {
                return Ok(text);
            }
            text.push_str(line.strip_suffix("\r\n").unwrap_or(&line));
            text.push('\n');
        }
    }

    fn ask(&mut self, text: &str, wanted: &str) -> Result<String, Trouble> {
        self.0.get_mut().write_all(text.as_bytes()).map_err(|e| e.to_string())?;
        self.hear(wanted)
    }
}
