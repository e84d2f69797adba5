//! The home of a server under test.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use session::{Queued, Script, Setting};
use sys::user::Ids;
use yard::Yard;

/// Under whom a test that runs as root lets the server run.
pub(crate) const NOBODY: u32 = 47_790;

/// Stands in for qmail-queue: keeps letter and envelope, or refuses with `$SAYS`.
const QUEUE: &str = r#"#!/bin/sh
base=$(pwd)/queue/$(date +%s%N).$$
cat > $base.letter
cat <&1 > $base.envelope
if [ -n "$SAYS" ]; then rm $base.*; printf %s "$SAYS" >&6; exit 82; fi
exit 0
"#;

/// A home that belongs to one script.
pub(crate) struct House {
    pub(crate) root: Yard,
    pub(crate) env: Vec<(String, String)>,
}

impl House {
    pub(crate) fn new(name: &str) -> Self {
        let root = Yard::new(&format!("sessions-{name}"));
        for dir in ["control", "users", "queue", "alias"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        yard::script(&root.join("queue.sh"), QUEUE);
        let house = Self { root, env: Vec::new() };
        house.give_away();
        house
    }

    /// A home of root's would not be private.
    fn give_away(&self) {
        if sys::user::euid() == 0 {
            for below in ["", "control", "users", "queue", "alias"] {
                chown(self.root.join(below), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
    }

    pub(crate) fn ids() -> Option<Ids> {
        let root = sys::user::euid() == 0;
        root.then(|| Ids { uid: NOBODY, gid: NOBODY, groups: vec![NOBODY] })
    }

    /// Writes what a script wants.
    pub(crate) fn furnish(&mut self, script: &Script) {
        for dir in ["control", "users", "queue"] {
            for entry in std::fs::read_dir(self.root.join(dir)).unwrap() {
                let path = entry.unwrap().path();
                if !path.ends_with("queued") {
                    std::fs::remove_file(path).unwrap();
                }
            }
        }
        let text = |name: &str| self.root.join(name).display().to_string();
        self.env = [
            ("QMAILHOME", text("")),
            ("QMAILQUEUE", text("queue.sh")),
            ("TCPREMOTEIP", "127.0.0.1".into()),
            ("TCPLOCALIP", "127.0.0.1".into()),
            ("TCPREMOTEHOST", "client.example".into()),
        ]
        .map(|(k, v)| (k.to_owned(), v))
        .to_vec();
        let mut accounts = String::new();
        for setting in &script.settings {
            match setting {
                Setting::Control(name, line) => self.control(name, line),
                Setting::Env(name, value) => self.env.push((name.clone(), value.clone())),
                Setting::Queue(words) => self.env.push(("SAYS".to_owned(), words.clone())),
                Setting::Mailbox(address) => {
                    let local = address.split('@').next().unwrap();
                    accounts += &format!("={local}:{local}:1:1:{}:::\n", self.root.display());
                }
                Setting::Account(..) | Setting::Letter(_) => panic!("{setting:?} is of POP3"),
            }
        }
        let cdb = store::users::assign::compile(format!("{accounts}.\n").as_bytes()).unwrap();
        std::fs::write(self.root.join("users/cdb"), cdb).unwrap();
    }

    fn control(&self, name: &str, line: &str) {
        if name == "morercpthosts" {
            let cdb = base::cdb::build([(line, "")]).unwrap();
            return std::fs::write(self.root.join("control/morercpthosts.cdb"), cdb).unwrap();
        }
        let path = self.root.join("control").join(name);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(path, format!("{before}{line}\n")).unwrap();
    }

    /// What the queue script has kept: letters whose envelope is whole.
    pub(crate) fn queued(&self) -> Vec<Queued> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(self.root.join("queue"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ext| ext == "envelope"))
            .collect();
        paths.sort();
        paths.iter().filter_map(|path| kept(path)).collect()
    }
}

/// One letter of the queue script; `None` if it was given up.
fn kept(path: &Path) -> Option<Queued> {
    let envelope = std::fs::read(path).unwrap();
    let fields = envelope.strip_suffix(b"\0\0")?;
    let envelope: Vec<Vec<u8>> = fields.split(|c| *c == 0).map(|f| f[1..].to_vec()).collect();
    let letter = std::fs::read(path.with_extension("letter")).unwrap();
    Some(Queued { envelope, body: without_trace(&letter) })
}

/// A letter without the `Received` line of the server, once that is found to be right.
pub(crate) fn without_trace(letter: &[u8]) -> Vec<u8> {
    let mut lines = letter.split_inclusive(|c| *c == b'\n');
    let first = lines.next().unwrap();
    assert!(first.starts_with(b"Received: from client.example "), "{}", first.escape_ascii());
    let second = lines.next().unwrap();
    let by: [&[u8]; 3] = [b"SMTP", b"QMTP", b"QMQP"];
    let by = by.map(|protocol| [b"  by 127.0.0.1 with ", protocol, b"; "].concat());
    assert!(by.iter().any(|by| second.starts_with(by)), "{}", second.escape_ascii());
    assert!(second.ends_with(b" -0000\n"), "{}", second.escape_ascii());
    lines.collect::<Vec<_>>().concat()
}
