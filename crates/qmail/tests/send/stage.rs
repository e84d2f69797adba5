//! A home with the real queued, and spawners played by hand.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use base::outcome::Outcome;
use base::text0;
use base::time::Moment;
use base::wire::frame;
use base::wire::queue::{Envelope, Origin};
use base::wire::spawn::{Delivery, MAX_DELIVERY, Report};
use store::client::QueueClient;
use store::disk::kernel::Kernel;
use store::queue::{Config, Content, NewLetter, Queue};
use sys::fd;
use sys::signal::{Signal, kill};
use sys::spawn::{Command, Status, wait};
use yard::Yard;

const PROGRAM: &str = env!("CARGO_BIN_EXE_qmail");
const PATIENCE: Duration = Duration::from_secs(60);

/// One end of a pipe and what came through it.
pub(crate) struct Ear {
    fd: OwnedFd,
    heard: Vec<u8>,
    /// Between two looks.
    pause: Duration,
}

impl Ear {
    fn new(fd: OwnedFd) -> Self {
        Self { fd, heard: Vec::new(), pause: Duration::ZERO }
    }

    /// One that lets some time pass after each few lines.
    pub(crate) fn slow(self) -> Self {
        Self { pause: Duration::from_millis(1), ..self }
    }

    /// Reads until `found` finds something.
    fn until<T>(&mut self, mut found: impl FnMut(&mut Vec<u8>) -> Option<T>) -> T {
        let since = Instant::now();
        let mut buf = [0; 4096];
        loop {
            if let Some(value) = found(&mut self.heard) {
                return value;
            }
            let left = PATIENCE.saturating_sub(since.elapsed());
            let n = match fd::read_within(&self.fd, &mut buf, left) {
                Ok(n) if n > 0 => n,
                other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&self.heard)),
            };
            self.heard.extend_from_slice(&buf[..n]);
            std::thread::sleep(self.pause);
        }
    }

    /// The text up to and with the first line that contains `end`.
    pub(crate) fn lines_until(&mut self, end: &str) -> String {
        self.until(|heard| {
            let text = String::from_utf8(heard.clone()).unwrap();
            let at = text.find(end)?;
            let stop = at + text[at..].find('\n')? + 1;
            heard.drain(..stop);
            Some(text[..stop].to_owned())
        })
    }
}

/// A delivery as a spawner is told of it.
pub(crate) struct Told {
    pub(crate) slot: u32,
    pub(crate) letter: u64,
    pub(crate) perhaps: bool,
    pub(crate) sender: String,
    pub(crate) recipient: String,
}

/// A spawner played by hand.
pub(crate) struct Spawner {
    commands: Ear,
    reports: OwnedFd,
}

impl Spawner {
    /// The next delivery it is to make.
    pub(crate) fn next(&mut self) -> Told {
        self.commands.until(|heard| {
            let (frame, used) = frame::take(heard, MAX_DELIVERY).unwrap()?;
            let d = Delivery::decode(frame).unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let (sender, recipient) = (text(d.sender), text(d.recipient));
            let (slot, letter, perhaps) = (d.slot, d.letter, d.perhaps);
            heard.drain(..used);
            Some(Told { slot, letter, perhaps, sender, recipient })
        })
    }

    /// Ends a delivery.
    pub(crate) fn report(&self, slot: u32, outcome: Outcome, text: &str) {
        let mut bytes = Vec::new();
        Report::Ended { slot, outcome: Some(outcome), text: text.as_bytes() }.encode(&mut bytes);
        fd::write_all(&self.reports, &bytes).unwrap();
    }
}

/// A home of its own with a queue.
pub(crate) struct Place {
    pub(crate) home: Yard,
    queued: Option<u32>,
}

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let home = Yard::new(&format!("qs-{name}"));
        for dir in ["control", "users", "queue/lock"] {
            fs::create_dir_all(home.join(dir)).unwrap();
        }
        fs::write(home.join("control/me"), "here.test\n").unwrap();
        let names = ["alias", "qmaild", "qmaill", "qmailp", "qmailq", "qmailr", "qmails"];
        let roles = (47790..).zip(names).map(|(uid, name)| format!("{name}:{uid}:42107\n"));
        fs::write(home.join("users/roles"), roles.collect::<String>()).unwrap();
        let mut place = Self { home, queued: None };
        place.start_queued();
        place
    }

    pub(crate) fn start_queued(&mut self) {
        self.queued = Some(self.command("qmail-queued").spawn().unwrap());
        let since = Instant::now();
        while QueueClient::connect_at(&self.home.join("queue/queued")).is_err() {
            assert!(since.elapsed() < PATIENCE, "queued does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn kill_queued(&mut self) {
        if let Some(pid) = self.queued.take() {
            kill(pid, Signal::Kill).unwrap();
            wait(pid).unwrap();
        }
    }

    /// Begins anew with a queue of so many letters, none of them tried.
    pub(crate) fn fill(&mut self, letters: usize) {
        self.kill_queued();
        let disk = Kernel::at(&self.home.join("queue")).unwrap();
        let (mut queue, _) = Queue::open(disk, Config::default()).unwrap();
        for n in 0..letters {
            let envelope = format!("s{n}@far.test\0u{}@here.test\0", n % 100);
            let new = NewLetter {
                birth: Moment::from_secs(1_000_000_000),
                uid: 1,
                pid: 2,
                finishes: None,
                envelope: Envelope::new(envelope.as_bytes()).unwrap(),
                content: Content::Inline(b"\nhi\n"),
            };
            queue.accept(&new).unwrap();
        }
        queue.commit().unwrap();
        drop(queue);
        self.start_queued();
    }

    fn command(&self, name: &str) -> Command<'static> {
        let command = Command::new(PROGRAM).argv0(name).env("QMAILHOME", &self.home);
        command.env_remove("QMAILQUEUE")
    }

    fn client(&self) -> QueueClient {
        QueueClient::connect_at(&self.home.join("queue/queued")).unwrap()
    }

    pub(crate) fn queue(&self, sender: &str, recipients: &[&str], letter: &[u8]) -> u64 {
        let mut client = self.client();
        client.begin(Origin::Local).unwrap();
        client.chunk(letter).unwrap();
        let mut block = Vec::new();
        for field in std::iter::once(&sender).chain(recipients) {
            text0::put(&mut block, field.as_bytes());
        }
        client.commit(&Envelope::new(&block).unwrap()).unwrap()
    }

    /// How many letters are in the queue.
    pub(crate) fn letters(&self) -> usize {
        let mut count = 0;
        self.client().list(|_| count += 1).unwrap();
        count
    }

    pub(crate) fn text(&self, letter: u64) -> String {
        let (fd, _) = self.client().open(letter).unwrap();
        String::from_utf8(fd::read_to_end(fd, 16 << 20).unwrap()).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.kill_queued();
    }
}

/// qmail-send, wired to the test.
pub(crate) struct Send {
    pub(crate) pid: u32,
    pub(crate) log: Ear,
    pub(crate) local: Spawner,
    pub(crate) remote: Spawner,
}

impl Send {
    pub(crate) fn start(place: &Place) -> Self {
        Self::start_with(place, |command| command)
    }

    pub(crate) fn start_with(
        place: &Place,
        change: impl FnOnce(Command<'static>) -> Command<'static>,
    ) -> Self {
        let pipes: Vec<_> = (0..7).map(|_| fd::pipe().unwrap()).collect();
        let [log, lc, lr, rc, rr, cc, ca]: [_; 7] = pipes.try_into().unwrap();
        let mut ceiling = Vec::new();
        Report::Ceiling(5).encode(&mut ceiling);
        fd::write_all(&lr.1, &ceiling).unwrap();
        fd::write_all(&rr.1, &ceiling).unwrap();
        let ends = [log.1, lc.1, lr.0, rc.1, rr.0, cc.1, ca.0];
        let mut command = change(place.command("qmail-send"));
        for (number, end) in (0..).zip(ends) {
            command = command.fd(end, number);
        }
        let pid = command.spawn().unwrap();
        drop(command);
        let socket = place.home.join("queue/queued");
        std::thread::spawn(move || clean(&cc.0, &ca.1, &socket));
        let local = Spawner { commands: Ear::new(lc.0), reports: lr.1 };
        let remote = Spawner { commands: Ear::new(rc.0), reports: rr.1 };
        Self { pid, log: Ear::new(log.0), local, remote }
    }

    pub(crate) fn log_until(&mut self, end: &str) -> String {
        self.log.lines_until(end)
    }

    /// Ends it as `svc -t` does.
    pub(crate) fn term(mut self) -> Status {
        kill(self.pid, Signal::Term).unwrap();
        self.log_until("status: exiting");
        wait(self.pid).unwrap()
    }
}

/// qmail-clean.
fn clean(requests: &OwnedFd, answers: &OwnedFd, socket: &Path) {
    let mut heard = Vec::new();
    let mut buf = [0; 512];
    loop {
        let n = fd::read(requests, &mut buf).unwrap();
        if n == 0 {
            return;
        }
        heard.extend_from_slice(&buf[..n]);
        while let Some(at) = heard.iter().position(|&c| c == 0) {
            let request = String::from_utf8(heard.drain(..=at).collect()).unwrap();
            let id = request.trim_end_matches('\0').strip_prefix("foop/").unwrap();
            let client = QueueClient::connect_at(socket);
            let gone = client.is_ok_and(|mut client| client.finish(id.parse().unwrap()).is_ok());
            let _ = fd::write_all(answers, if gone { b"+" } else { b"!" });
        }
    }
}
