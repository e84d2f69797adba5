//! One run under a fault: letters are accepted, delivered, bounced, fetched and deleted, and
//! whatever was promised is looked for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::tracer::{Fault, LOG, Point, Tree};
use crate::ledger::mail::{Site, wait};
use crate::tally::Trouble;

/// How long the programs may take to come round.
const WITHIN: Duration = Duration::from_secs(120);
/// How long a bounce may take that could not be queued: it is tried again after two minutes.
const AGAIN: Duration = Duration::from_secs(400);
/// How long a delivery may take before qmail-send is told to hurry.
const HURRY: Duration = Duration::from_secs(2);
/// How long a letter that is settled may stay in the queue: its removal failed, and is tried again
/// minutes later.
const LITTER: Duration = Duration::from_secs(5);

/// How long a line may take into the log: multilog pauses for seconds after a failure.
const LOGGED: Duration = Duration::from_secs(60);

/// How long a letter to a healthy server may take before another one is sent.
const DELIVERED: Duration = Duration::from_secs(20);

/// How a run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The call was not made this time.
    NotReached,
    /// Nobody noticed.
    Absorbed,
    /// A client was told to come again, or a delivery was tried again.
    Repeated,
    /// A program ended, and was there again.
    Restarted,
}

/// A run's outcome and what is wrong with it.
pub(crate) struct Report {
    pub outcome: Outcome,
    pub wrong: Vec<String>,
    /// The log does not say what happened.
    pub silent: bool,
    /// Where it happened, and what followed.
    pub story: String,
}

/// A server under watch and the ledger of what it promised.
pub(crate) struct Session {
    tree: Tree,
    site: Site,
    secret: String,
    next: u32,
    /// Acknowledged, not yet asked to be deleted.
    expected: BTreeSet<u32>,
    /// Letters that bounce, acknowledged, not yet seen.
    bounces: BTreeSet<u32>,
    /// Whatever else may be there, at most once.
    allowed: BTreeSet<u32>,
}

impl Session {
    /// Starts a server in a home that was prepared.
    pub(crate) fn start(site: Site, secret: String) -> Result<Self, Trouble> {
        let svscan = site.home.join("bin/svscan");
        let tree = Tree::start(&[&svscan, &site.home.join("service")], &site.home, false)?;
        let mut session = Self {
            tree,
            site,
            secret,
            next: 1,
            expected: BTreeSet::new(),
            bounces: BTreeSet::new(),
            allowed: BTreeSet::new(),
        };
        if !wait(WITHIN, || session.site.greets() && session.site.queued().is_some()) {
            return Err(format!("no server within {WITHIN:?}: {}", session.logged(&[])));
        }
        // The first letter meets programs that have just started; it is not part of any run.
        let first = session.run(None, false);
        match first.wrong.first() {
            Some(why) => Err(why.clone()),
            None => Ok(session),
        }
    }

    /// How often each program makes each call in one run without a fault.
    pub(crate) fn record(&mut self, restart: bool) -> Vec<((String, &'static str), u32)> {
        self.run(None, restart);
        let counts = &self.tree.watch().counts;
        counts.iter().map(|(key, count)| (key.clone(), *count)).collect()
    }

    /// Stops the server.
    pub(crate) fn stop(self) {
        let _ = sys::signal::kill(self.tree.pid, sys::signal::Signal::Term);
        wait(WITHIN, || self.tree.has_ended());
    }

    /// One run; with `restart` the services are told to begin anew first.
    pub(crate) fn run(&mut self, fault: Option<(&Point, Fault)>, restart: bool) -> Report {
        let before = self.log_lengths();
        {
            let mut watch = self.tree.watch();
            watch.counts.clear();
            watch.ends.clear();
            watch.hit = None;
            watch.armed = fault.map(|(point, fault)| (point.clone(), fault));
        }
        if restart {
            self.restart();
        }
        let mut wrong = Vec::new();
        let left = self.left();
        let repeated = self.work(left, &mut wrong);
        let (hit, ends, orphan) = {
            let mut watch = self.tree.watch();
            watch.armed = None;
            (watch.hit.take(), std::mem::take(&mut watch.ends), watch.orphan)
        };
        self.judge(&mut wrong);
        let died = ends.iter().any(|end| is_death(end) && !(restart && end.ends_with("SIGTERM")));
        let outcome = match (&hit, died, repeated) {
            (None, ..) => Outcome::NotReached,
            (Some(_), true, _) => Outcome::Restarted,
            (Some(_), false, true) => Outcome::Repeated,
            (Some(_), false, false) => Outcome::Absorbed,
        };
        if outcome != Outcome::NotReached && !self.is_healthy() {
            wrong.push("the server does not take and deliver a letter any more".into());
        }
        // A logger that failed a moment ago may still be pausing.
        let tells = || fault.is_none_or(|(_, fault)| names(&self.logged(&before), fault));
        // Who is killed when its parent has ended, with its service, has nobody left to tell of it.
        let unseen = orphan && fault.is_some_and(|(_, fault)| fault == Fault::Kill);
        let silent = outcome > Outcome::Absorbed && !unseen && !wait(LOGGED, tells);
        let logged = self.logged(&before);
        let story = format!("{} {ends:?} {}", hit.unwrap_or_default(), tail(&logged));
        Report { outcome, wrong, silent, story }
    }

    /// Letters that the last run left in the queue, once those have gone that are seen already and
    /// only wait for a sync: else this run would be over before its own have gone.
    fn left(&self) -> u32 {
        wait(LITTER, || self.site.queued() == Some(0));
        self.site.queued().unwrap_or(0)
    }

    /// Sends a letter and a bouncing one, fetches what is there; whether anything had to be
    /// repeated. `left` letters may stay in the queue.
    fn work(&mut self, left: u32, wrong: &mut Vec<String>) -> bool {
        let host = self.site.host.clone();
        let mut repeated = false;
        let secret = self.secret.clone();
        for (from, to) in
            [("x@example.net".to_owned(), "inbox"), (format!("sender@{host}"), "broken")]
        {
            let taken = wait(WITHIN, || {
                let n = self.next;
                self.next += 1;
                let sent = self.site.send(n, &from, &format!("{to}@{host}"));
                let known = match (&sent, to) {
                    (Ok(()), "inbox") => &mut self.expected,
                    (Ok(()), _) => &mut self.bounces,
                    (Err(_), _) => &mut self.allowed,
                };
                known.insert(n);
                repeated |= sent.is_err();
                sent.is_ok()
            });
            if !taken {
                wrong.push(format!("no letter to {to} is taken"));
            }
        }
        let fetched = wait(WITHIN, || {
            let mut asked = Vec::new();
            let done = self.site.fetch("inbox", &secret, &mut asked);
            for n in asked {
                self.expected.remove(&n);
                self.allowed.insert(n);
            }
            repeated |= done.is_err();
            done.is_ok()
        });
        if !fetched {
            wrong.push("POP3 does not work".into());
        }
        let begun = Instant::now();
        let mut hurried = begun;
        let settled = wait(AGAIN, || {
            if hurried.elapsed() > HURRY {
                repeated = true;
                hurried = Instant::now();
                self.site.try_now();
            }
            let rests = self.site.queued().is_some_and(|n| n <= left || begun.elapsed() > LITTER);
            rests && self.missing().is_empty()
        });
        if !settled {
            wrong.push(format!(
                "not delivered: {:?}, in the queue: {:?}",
                self.missing(),
                self.site.queued()
            ));
        }
        repeated
    }

    /// Acknowledged letters that cannot be seen.
    fn missing(&self) -> Vec<u32> {
        let (inbox, sender) = (self.site.mailbox("inbox"), self.site.mailbox("sender"));
        let absent = self.expected.iter().filter(|n| !inbox.letters.contains_key(n));
        let unheard = self.bounces.iter().filter(|n| !sender.letters.contains_key(n));
        absent.chain(unheard).copied().collect()
    }

    /// Everything exactly once and whole; bounces that were seen are taken away.
    fn judge(&mut self, wrong: &mut Vec<String>) {
        for user in ["inbox", "sender"] {
            let mailbox = self.site.mailbox(user);
            wrong.extend(mailbox.torn.iter().map(|path| format!("torn: {}", path.display())));
            for (n, paths) in &mailbox.letters {
                if paths.len() > 1 {
                    wrong.push(format!("{n} is there {} times: {paths:?}", paths.len()));
                }
                let known = [&self.expected, &self.bounces, &self.allowed];
                if !known.iter().any(|set| set.contains(n)) {
                    wrong.push(format!("{n} in {user} was never sent"));
                }
                if user == "sender" {
                    for path in paths {
                        let _ = std::fs::remove_file(path);
                    }
                }
            }
        }
        self.bounces.clear();
    }

    /// Whether a letter is taken and delivered.
    fn is_healthy(&mut self) -> bool {
        let to = format!("inbox@{}", self.site.host);
        wait(WITHIN, || {
            let n = self.next;
            self.next += 1;
            if self.site.send(n, "x@example.net", &to).is_err() {
                self.allowed.insert(n);
                return false;
            }
            self.expected.insert(n);
            wait(DELIVERED, || self.missing().is_empty())
        })
    }

    /// Tells every service to begin anew, and waits until they are there.
    fn restart(&self) {
        for name in ["queued", "qmail-send", "pspawn", "qmail-smtpd", "qmail-pop3d"] {
            let mut svc = Command::new(self.site.home.join("bin/svc"));
            let _ = svc.arg("-t").arg(self.site.home.join("service").join(name)).status();
        }
        std::thread::sleep(Duration::from_millis(100));
        // The greeting says nothing of who checks the logins.
        let logins = self.site.home.join("pspawn/socket");
        let checks = || sys::pass::connect(&logins, sys::pass::Kind::Seqpacket).is_ok();
        wait(WITHIN, || self.site.greets() && self.site.queued().is_some() && checks());
    }

    fn logs(&self) -> Vec<PathBuf> {
        let dirs = std::fs::read_dir(self.site.home.join("log")).into_iter().flatten().flatten();
        let logs = dirs.map(|dir| dir.path().join("current"));
        logs.chain([self.site.home.join(LOG)]).collect()
    }

    fn log_lengths(&self) -> Vec<(PathBuf, u64)> {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
        self.logs().into_iter().map(|path| (path.clone(), length(&path))).collect()
    }

    /// What was logged since.
    fn logged(&self, since: &[(PathBuf, u64)]) -> String {
        let mut text = String::new();
        for path in self.logs() {
            let from = since.iter().find(|(known, _)| *known == path).map_or(0, |(_, n)| *n);
            let all = std::fs::read(&path).unwrap_or_default();
            let from = usize::try_from(from).unwrap_or(0);
            text.push_str(&String::from_utf8_lossy(all.get(from..).unwrap_or(&all)));
        }
        text
    }
}

/// Whether a program that stands for long has ended, or any was killed; a child that served one
/// letter or session tells its outcome by its exit code.
fn is_death(end: &str) -> bool {
    let Some((who, how)) = end.split_once(": ") else { return false };
    let stands = !who.ends_with(" child") && !["sh", "qmail-pop3d"].contains(&who);
    how.starts_with("SIG") || stands
}

/// Whether the log names the cause of a fault: the error, in our words or the system's; of a death
/// that a child was killed, and by what. A call that moved too little is no error.
fn names(logged: &str, fault: Fault) -> bool {
    match fault {
        Fault::Errno(errno) => {
            let error = std::io::Error::from_raw_os_error(errno);
            let ours = sys::errno::text(&error);
            let theirs = error.to_string();
            let theirs = theirs.split(" (").next().unwrap_or(&theirs);
            [ours, &ours.replace(' ', "_"), theirs].iter().any(|word| logged.contains(word))
        }
        Fault::Kill => logged
            .lines()
            .any(|line| line.contains("child ") && line.contains(" killed by signal 9")),
        Fault::Short => true,
    }
}

/// The last lines of the log that are not about deliveries going well.
fn tail(logged: &str) -> String {
    let dull =
        ["info msg", "starting delivery", "status: local", "success", "end msg", "tcpserver: "];
    let lines = logged
        .lines()
        .filter(|line| !dull.iter().any(|word| line.contains(word)) && !line.contains("new msg"));
    let lines: Vec<&str> = lines.map(|line| line.get(26..).unwrap_or(line)).collect();
    lines.get(lines.len().saturating_sub(4)..).unwrap_or_default().join(" | ")
}
