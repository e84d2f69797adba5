//! `cargo xtask faults`: every file system call of the programs, made to fail once: nothing that was
//! acknowledged may be missing afterwards, the programs must be there, and the log must say why.

mod calls;
mod session;
pub(crate) mod tracer;
mod vdso;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;
use sys::dir::Dir;

use self::session::{Outcome, Report, Session};
use self::tracer::{Fault, Point};
use crate::clients::free_address;
use crate::ledger::mail::Site;
use crate::tally::{Ending, Tally, Trouble};
use crate::up::Up;

/// What can happen to a call, and what it is called.
const FAULTS: [(Fault, &str); 5] = [
    (Fault::Errno(5), "EIO"),
    (Fault::Errno(28), "ENOSPC"),
    (Fault::Errno(4), "EINTR"),
    (Fault::Short, "short"),
    (Fault::Kill, "KILL"),
];
/// Runs in `cargo xtask test`.
const BOUNDED: usize = 40;
/// How often a call is waited for again that was not made, and what for: that helpers of the run
/// before have gone home.
const AGAIN: u32 = 2;
const REST: Duration = Duration::from_millis(1_500);
/// Room for the homes of several servers.
const ROOM: u64 = 1 << 30;
/// Times a server is used for before a new one is started.
const RUNS_A_SERVER: u32 = 300;

/// Make every file system call of the programs fail once.
#[derive(Args)]
pub(crate) struct Faults {
    /// Stop after about this many faults, spread evenly; all of them if not given.
    #[arg(long)]
    most: Option<usize>,
    /// Only programs whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Only calls whose name contains this.
    #[arg(long, value_name = "NAME")]
    call: Option<String>,
    /// Also the calls the services make when they start.
    #[arg(long)]
    start: bool,
    /// Servers at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Tell the story of every fault that was noticed.
    #[arg(long)]
    stories: bool,
}

impl Faults {
    /// Records, sweeps, prints the table.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        let mut tally = Tally::default();
        tally.check("faults", || self.sweep());
        tally.verdict()
    }

    fn sweep(&self) -> Ending {
        if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
            return Ending::Skipped("the tracer knows x86-64 Linux only".into());
        }
        match self.tried() {
            Err(why) if why.starts_with("ptrace: ") => Ending::Skipped(why),
            Err(why) => Ending::Failed(why),
            Ok(table) => {
                println!("{table}");
                if table.bad == 0 {
                    Ending::Passed
                } else {
                    Ending::Failed(format!("{} runs went wrong", table.bad))
                }
            }
        }
    }

    fn tried(&self) -> Result<Table, Trouble> {
        let mut session = yard()?;
        let mut points = self.points(session.session.record(false), false);
        if self.start {
            points.extend(self.points(session.session.record(true), true));
        }
        session.end();
        let all = points.len();
        if let Some(most) = self.most.filter(|most| *most < all) {
            let step = all as f64 / most as f64;
            let picks = (0..most).map(|n| (n as f64 * step) as usize);
            points = picks.filter_map(|n| points.get(n).cloned()).collect();
        }
        println!("{} of {all} faults are tried", points.len());
        let (next, table) = (AtomicUsize::new(0), Mutex::new(Table::default()));
        std::thread::scope(|scope| {
            let work = || self.work(&points, &next, &table);
            let workers: Vec<_> = (0..self.jobs.max(1)).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .try_for_each(|w| w.join().unwrap_or_else(|_| Err("a worker broke down".into())))
        })?;
        table.into_inner().map_err(|e| e.to_string())
    }

    /// Everything to be tried: each call that was counted, with each fault that fits it.
    fn points(&self, counts: Vec<((String, &'static str), u32)>, restart: bool) -> Vec<Try> {
        let wanted =
            |text: &str, part: &Option<String>| part.as_ref().is_none_or(|p| text.contains(p));
        let mut all = Vec::new();
        for ((who, call), count) in counts {
            if !wanted(&who, &self.only) || !wanted(call, &self.call) {
                continue;
            }
            for nth in 1..=count {
                let point = Point { who: who.clone(), call, nth };
                let fitting = FAULTS
                    .iter()
                    .filter(|(fault, _)| *fault != Fault::Short || calls::is_counted(call));
                all.extend(fitting.map(|(fault, _)| Try {
                    point: point.clone(),
                    fault: *fault,
                    restart,
                }));
            }
        }
        all
    }

    /// Tries one after another of what is left, in a server of its own.
    fn work(
        &self,
        points: &[Try],
        next: &AtomicUsize,
        table: &Mutex<Table>,
    ) -> Result<(), Trouble> {
        let mut server: Option<Yard> = None;
        let mut runs = 0;
        while let Some(one) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut yard = match server.take() {
                Some(yard) => yard,
                None => yard()?,
            };
            let mut report = yard.session.run(Some((&one.point, one.fault)), one.restart);
            for _ in 0..AGAIN {
                if report.outcome != Outcome::NotReached || !report.wrong.is_empty() {
                    break;
                }
                // What lived on from the last run may have made the call then.
                std::thread::sleep(REST);
                report = yard.session.run(Some((&one.point, one.fault)), one.restart);
            }
            if self.stories && report.outcome > Outcome::Absorbed
                || !report.wrong.is_empty()
                || report.silent
            {
                println!(
                    "{one}: {:?}{}: {}",
                    report.outcome,
                    if report.silent { ", silent" } else { "" },
                    report.story
                );
            }
            for wrong in &report.wrong {
                println!("WRONG {one}: {wrong}");
            }
            runs += 1;
            if report.wrong.is_empty() && runs % RUNS_A_SERVER != 0 {
                server = Some(yard);
            } else {
                yard.end();
            }
            table.lock().map_err(|e| e.to_string())?.add(one, &report);
        }
        if let Some(yard) = server {
            yard.end();
        }
        Ok(())
    }
}

/// The part that belongs in every test run.
pub(crate) fn bounded(tally: &mut Tally) {
    let some = Faults {
        most: Some(BOUNDED),
        only: None,
        call: None,
        start: false,
        jobs: 2,
        stories: false,
    };
    tally.check("faults", || some.sweep());
}

/// One fault at one call.
#[derive(Clone)]
struct Try {
    point: Point,
    fault: Fault,
    restart: bool,
}

impl std::fmt::Display for Try {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Point { who, call, nth } = &self.point;
        let when = if self.restart { " (starting)" } else { "" };
        write!(f, "{who} {call} #{nth} {}{when}", name(self.fault))
    }
}

fn name(fault: Fault) -> &'static str {
    FAULTS.iter().find(|(known, _)| *known == fault).map_or("?", |(_, name)| name)
}

/// How the runs went, by program, call and fault.
#[derive(Default)]
struct Table {
    rows: BTreeMap<(String, &'static str, Fault), BTreeMap<Outcome, u32>>,
    runs: u32,
    silent: u32,
    bad: u32,
}

impl Table {
    fn add(&mut self, one: &Try, report: &Report) {
        let key = (one.point.who.clone(), one.point.call, one.fault);
        *self.rows.entry(key).or_default().entry(report.outcome).or_insert(0) += 1;
        self.runs += 1;
        self.silent += u32::from(report.silent);
        self.bad += u32::from(!report.wrong.is_empty());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut last = None;
        for ((who, call, fault), outcomes) in &self.rows {
            if last != Some((who, call)) {
                write!(f, "\n{who:22} {call:16}")?;
                last = Some((who, call));
            }
            let counts: Vec<String> =
                outcomes.iter().map(|(o, n)| format!("{n} {o:?}").to_lowercase()).collect();
            write!(f, " {}: {};", name(*fault), counts.join(", "))?;
        }
        let sum = |wanted: Outcome| -> u32 {
            self.rows.values().filter_map(|outcomes| outcomes.get(&wanted)).sum()
        };
        let (absorbed, repeated) = (sum(Outcome::Absorbed), sum(Outcome::Repeated));
        let (restarted, not) = (sum(Outcome::Restarted), sum(Outcome::NotReached));
        write!(
            f,
            "\n{} runs: {absorbed} absorbed, {repeated} repeated, {restarted} restarted, {not} not reached; \
             {} with a log that does not say why, {} wrong",
            self.runs, self.silent, self.bad
        )
    }
}

/// A server in a home of its own; the home goes with it.
struct Yard {
    session: Session,
    _home: yard::Yard,
}

impl Yard {
    fn end(self) {
        self.session.stop();
    }
}

/// A server in a new home. What another worker just starts may hold a program open that was copied
/// here and is about to be run: then again.
fn yard() -> Result<Yard, Trouble> {
    prepared().or_else(|_| prepared()).or_else(|_| prepared())
}

/// Makes a home with the accounts a session needs, and starts the server.
fn prepared() -> Result<Yard, Trouble> {
    // In memory it is quicker, where there is enough of that.
    let shm = Path::new("/dev/shm");
    let roomy = Dir::open(shm).and_then(|dir| dir.free()).is_ok_and(|free| free >= ROOM);
    let name = "qmail-rs-faults";
    let home = if roomy { yard::Yard::made_in(shm, name) } else { yard::Yard::made(name) };
    let home = home.map_err(|e| e.to_string())?;
    let (smtp, pop3) = (free_address()?, free_address()?);
    Up::at(&home, smtp.clone(), pop3.clone()).prepare()?;
    let secret = "nobody guesses this";
    for user in ["inbox", "sender", "broken"] {
        add_account(&home, user, secret)?;
    }
    let host = "mail.example.org".to_owned();
    let broken = home.join("mail").join(&host).join("broken/.qmail");
    std::fs::write(&broken, "|exit 100\n").map_err(|e| e.to_string())?;
    let site = Site { home: home.to_path_buf(), host, smtp, pop3 };
    let session = Session::start(site, secret.into())?;
    Ok(Yard { session, _home: home })
}

/// Adds an account with a password.
pub(crate) fn add_account(home: &Path, user: &str, secret: &str) -> Result<(), Trouble> {
    let mut add = Command::new(home.join("bin/qmailctl"));
    add.args(["user", "add", user, "--password-stdin"]).stdin(Stdio::piped());
    let mut child = add.spawn().map_err(|e| e.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(format!("{secret}\n").as_bytes()).map_err(|e| e.to_string())?;
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("qmailctl user add {user}: {status}")) }
}
