//! qmail-pspawn, and the test in qmail-popup's place.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use base::wire::login::{Answer, Login, Verb};
use sys::pass::{self, Kind};
use sys::signal::{Signal, kill};
use sys::spawn::wait;

use crate::stage::Place;
use yard::patience::LONG;

/// qmail-pspawn, ended with the test.
pub(crate) struct Pspawn {
    pid: u32,
    pub(crate) place: Place,
}

impl Pspawn {
    pub(crate) fn start(name: &str) -> Self {
        let place = Place::new(name);
        place.script("bin/qmail-pop3d", "echo \"$1 $(id -u) $HOME $(pwd) $USER\"; read x; echo $x");
        let hash = store::passwords::hash(b"secret", b"0123456789abcdef").unwrap();
        fs::write(place.home.join("users/passwords"), format!("joe@here.test:{hash}\n")).unwrap();
        place.run("qmail-newu");
        let pid = place.command("qmail-pspawn").spawn().unwrap();
        Self { pid, place }
    }

    /// Its answer, and the connection if it is welcome.
    pub(crate) fn ask(&self, verb: Verb, name: &str, secret: &str) -> (String, Option<OwnedFd>) {
        let path = self.place.home.join("pspawn/socket");
        let since = Instant::now();
        let sock = loop {
            match pass::connect(&path, Kind::Seqpacket) {
                Ok(sock) => break sock,
                Err(err) => assert!(since.elapsed() < LONG, "{err}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let (ours, theirs) = pass::pair(Kind::Stream).unwrap();
        let mut message = Vec::new();
        let login =
            Login { verb, name: name.as_bytes(), secret: secret.as_bytes(), timestamp: b"<1@h>" };
        login.encode(&mut message);
        pass::send(&sock, &message, &[theirs.as_fd()]).unwrap();
        let mut room = [0; 300];
        let n = sys::fd::read_within(&sock, &mut room, LONG).unwrap();
        match Answer::decode(&room[..n]).unwrap() {
            Answer::Welcome => ("welcome".into(), Some(ours)),
            Answer::Refused => ("refused".into(), None),
            Answer::Busy => ("busy".into(), None),
            Answer::Trouble(text) => (String::from_utf8_lossy(text).into_owned(), None),
        }
    }

    /// The mailbox is served as its user, in its home.
    pub(crate) fn mailbox_answers(&self, connection: Option<OwnedFd>) {
        let connection = connection.unwrap();
        sys::fd::write_all(&connection, b"QUIT\n").unwrap();
        let said = sys::fd::read_to_end(&connection, 1_000).unwrap();
        let home = self.place.home.join("mail/joe");
        let want = format!("Maildir {} {1} {1} joe\nQUIT\n", self.place.uid, home.display());
        assert_eq!(String::from_utf8(said).unwrap(), want);
    }
}

impl Drop for Pspawn {
    fn drop(&mut self) {
        let _ = kill(self.pid, Signal::Term);
        let _ = wait(self.pid);
    }
}
