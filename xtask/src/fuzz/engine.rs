//! Running the fuzzers: so many at a time, each until its time is up, whatever happens to it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use super::report::{self, Heard};
use crate::tally::Trouble;

/// How often the fuzzers are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How often progress is told.
const TELL: Duration = Duration::from_secs(60);
/// A fuzzer that ends before its time is started again so often.
const RESTARTS: usize = 20;
/// The longest input. All that matters in our formats fits, and short inputs are quick.
const LONGEST: &str = "-max_len=8192";
/// Bounds for one input of that length: seconds, and megabytes in all and at once.
const BOUNDS: [&str; 3] = ["-timeout=10", "-rss_limit_mb=1024", "-malloc_limit_mb=256"];
/// A fuzzer that does not end by itself gets so much longer.
const GRACE: Duration = Duration::from_secs(60);

/// What is to be done.
pub(super) struct Plan {
    /// Where the targets' binaries are.
    pub(super) binaries: PathBuf,
    /// Where corpus, logs and findings are.
    pub(super) keep: PathBuf,
    /// The time of each target.
    pub(super) time: Duration,
    /// How many run at a time.
    pub(super) jobs: usize,
}

/// One target's run.
pub(super) struct Shift {
    /// The target.
    pub(super) name: String,
    /// What its earlier starts did.
    pub(super) before: Heard,
    /// What the last start did.
    pub(super) heard: Heard,
    /// Files with inputs that broke a promise.
    pub(super) findings: Vec<PathBuf>,
    /// How often it was started.
    pub(super) starts: usize,
    /// When the first start was.
    since: Instant,
    /// The same on the clock of files.
    began: SystemTime,
    /// How long it ran.
    pub(super) took: Duration,
    running: Option<Child>,
}

/// Works off all targets.
pub(super) fn work(plan: &Plan, targets: Vec<String>) -> Result<Vec<Shift>, Trouble> {
    let mut waiting = targets.into_iter();
    let (mut running, mut done): (Vec<Shift>, Vec<Shift>) = (Vec::new(), Vec::new());
    let mut told = Instant::now();
    loop {
        while running.len() < plan.jobs {
            let Some(name) = waiting.next() else { break };
            running.push(Shift::begin(plan, name)?);
        }
        if running.is_empty() {
            return Ok(done);
        }
        std::thread::sleep(LOOK);
        let mut still = Vec::new();
        for mut shift in running {
            if shift.goes_on(plan)? {
                still.push(shift);
            } else {
                println!("{}", report::line(&shift));
                done.push(shift);
                summarise(plan, &done)?;
            }
        }
        running = still;
        if told.elapsed() >= TELL {
            told = Instant::now();
            running.iter().for_each(|shift| println!("… {}", report::line(shift)));
        }
    }
}

/// Keeps the summary of what is done, in case the rest never is.
fn summarise(plan: &Plan, done: &[Shift]) -> Result<(), Trouble> {
    let file = plan.keep.join("summary.txt");
    std::fs::write(&file, report::table(done, plan.time))
        .map_err(|e| format!("{}: {e}", file.display()))
}

impl Shift {
    fn begin(plan: &Plan, name: String) -> Result<Self, Trouble> {
        for dir in ["corpus", "findings", "logs"] {
            let dir = plan.keep.join(dir).join(&name);
            std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        }
        let mut shift = Self {
            name,
            before: Heard::default(),
            heard: Heard::default(),
            findings: Vec::new(),
            starts: 0,
            since: Instant::now(),
            began: SystemTime::now(),
            took: Duration::ZERO,
            running: None,
        };
        shift.start(plan)?;
        Ok(shift)
    }

    fn log(&self, plan: &Plan) -> PathBuf {
        plan.keep.join("logs").join(&self.name).join(format!("{}.log", self.starts))
    }

    /// Starts the fuzzer for the time that is left.
    fn start(&mut self, plan: &Plan) -> Result<(), Trouble> {
        self.starts += 1;
        let path = self.log(plan);
        let log = File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let left = plan.time.saturating_sub(self.since.elapsed()).as_secs().max(1);
        let mut fuzzer = Command::new(plan.binaries.join(&self.name));
        fuzzer.arg(plan.keep.join("corpus").join(&self.name));
        fuzzer.arg(crate::root().join("fuzz/seeds").join(&self.name));
        let dictionary = crate::root().join("fuzz/dictionaries").join(&self.name);
        if dictionary.exists() {
            fuzzer.arg(format!("-dict={}", dictionary.display()));
        }
        fuzzer.arg(format!("-artifact_prefix={}/", self.finds(plan).display()));
        fuzzer.arg(format!("-max_total_time={left}")).args(BOUNDS).arg(LONGEST);
        fuzzer.args(["-print_final_stats=1", "-use_value_profile=0", "-reload=0"]);
        fuzzer.current_dir(&plan.keep).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = fuzzer.spawn().map_err(|e| format!("{:?}: {e}", fuzzer.get_program()))?;
        self.running = Some(child);
        Ok(())
    }

    fn finds(&self, plan: &Plan) -> PathBuf {
        plan.keep.join("findings").join(&self.name)
    }

    /// Looks at the fuzzer; false once its time is up. One that has ended early, by a finding or by
    /// somebody's hand, is started again.
    fn goes_on(&mut self, plan: &Plan) -> Result<bool, Trouble> {
        let Some(child) = self.running.as_mut() else { return Ok(false) };
        let ended = child.try_wait().map_err(|e| format!("{}: {e}", self.name))?;
        self.took = self.since.elapsed();
        let stuck = ended.is_none() && self.took > plan.time + GRACE;
        if stuck {
            // It may have ended by itself meanwhile.
            let _ = child.kill();
            child.wait().map_err(|e| format!("{}: {e}", self.name))?;
        }
        self.heard = report::hear(&self.log(plan));
        if ended.is_none() && !stuck {
            return Ok(true);
        }
        self.running = None;
        self.findings = found(&self.finds(plan), self.began);
        let left = plan.time.saturating_sub(self.took);
        if stuck || left < Duration::from_secs(2) || self.starts > RESTARTS {
            return Ok(false);
        }
        self.before = self.before.and(&self.heard);
        self.heard = Heard::default();
        self.start(plan)?;
        Ok(true)
    }
}

/// What was found since: an earlier finding that is found again has been written again.
fn found(dir: &Path, since: SystemTime) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let new = entries.filter(|entry| {
        entry.metadata().and_then(|meta| meta.modified()).is_ok_and(|at| at >= since)
    });
    let mut files: Vec<PathBuf> = new.map(|entry| entry.path()).collect();
    files.sort();
    files
}
