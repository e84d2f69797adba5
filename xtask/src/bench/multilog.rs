//! Ours and Debian's multilog in turns: short lines through a pipe into a log, until all of it is
//! synced. Every line carries a number, and none may be missing.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::beside::{self, Run, Units, Whose};
use crate::tally::Trouble;
use crate::{build, host};

/// Whose multilog it is compared with, and the package that brings it.
const PEER: (&str, &str) = ("multilog", "daemontools");
/// What is behind the number in a line: as long as many a line of qmail-send's.
const TEXT: &[u8] = b" status: local 1/10 rem\n";
/// Bytes of a line: sixteen digits and the text.
const LINE: u64 = 16 + TEXT.len() as u64;
/// Lines handed over in one write.
const BLOCK: u64 = 1_600;
/// How long one run may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// One measurement.
struct Task {
    title: &'static str,
    actions: &'static [&'static str],
    /// Bytes before each line.
    label: usize,
    /// Lines.
    lines: u64,
    /// Each is written by itself, as most services do.
    apart: bool,
    /// What ours must at least be, measured in the peer's; `None` where the disk or the writer
    /// decides.
    wanted: Option<f64>,
}

const TASKS: [Task; 4] = [
    Task {
        title: "lines as they are",
        actions: &["s16777215", "n10000"],
        label: 0,
        lines: 12_800_000,
        apart: false,
        wanted: Some(2.0),
    },
    Task {
        title: "with labels",
        actions: &["t", "s16777215", "n10000"],
        label: 26,
        lines: 12_800_000,
        apart: false,
        wanted: Some(2.0),
    },
    Task {
        title: "with labels, a file every 99,999 bytes",
        actions: &["t", "n10000"],
        label: 26,
        lines: 1_280_000,
        apart: false,
        wanted: None,
    },
    Task {
        title: "with labels, each line written by itself",
        actions: &["t", "s16777215", "n10000"],
        label: 26,
        lines: 1_280_000,
        apart: true,
        wanted: None,
    },
];

/// Of the input.
const UNITS: Units = Units { rate: " MB/s", cpu: "s of processor a gigabyte", digits: 2 };

/// Measures and prints.
pub(super) fn report(dir: &Path, rounds: usize) -> Result<(), Trouble> {
    host::prepare(&[PEER]);
    if !host::has(PEER.0) {
        return Err("Debian's multilog is not here".into());
    }
    std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let ours = build::release()?.join("daemontools");
    println!("\nmultilog: lines of {LINE} bytes through a pipe, to the last sync");
    for task in &TASKS {
        let title = format!("{}, {} million", task.title, task.lines as f64 / 1e6);
        beside::measure(&title, &UNITS, task.wanted, rounds, |whose| match whose {
            Whose::Ours => run(task, Command::new(&ours).arg("multilog"), dir),
            Whose::Debian => run(task, &mut Command::new(PEER.0), dir),
        })?;
    }
    Ok(())
}

/// Feeds one multilog and insists that every line is there.
fn run(task: &Task, multilog: &mut Command, dir: &Path) -> Result<Run, Trouble> {
    let log = dir.join("log");
    let _ = std::fs::remove_dir_all(&log);
    let begun = Instant::now();
    multilog.args(task.actions).arg(&log).stdin(Stdio::piped());
    let mut child = multilog.spawn().map_err(|e| format!("multilog: {e}"))?;
    let fed = child.stdin.take().map_or(Ok(()), |pipe| feed(pipe, task));
    let cpu = ended(&mut child)?;
    let took = begun.elapsed().as_secs_f64();
    fed.map_err(|e| format!("feeding multilog: {e}"))?;
    check(task, &log)?;
    std::fs::remove_dir_all(&log).map_err(|e| format!("{}: {e}", log.display()))?;
    let bytes = (task.lines * LINE) as f64;
    Ok(Run { rate: bytes / 1e6 / took, cpu: cpu / (bytes / 1e9) })
}

/// Writes the lines.
fn feed(mut pipe: ChildStdin, task: &Task) -> std::io::Result<()> {
    let mut block = [[b'0'; 16].as_slice(), TEXT].concat().repeat(BLOCK as usize);
    let mut next = 0;
    while next < task.lines {
        for line in block.chunks_exact_mut(LINE as usize) {
            let mut number = next;
            for digit in line.iter_mut().take(16).rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
                if number == 0 {
                    break;
                }
            }
            next += 1;
        }
        let at_once = if task.apart { LINE as usize } else { block.len() };
        block.chunks(at_once).try_for_each(|lines| pipe.write_all(lines))?;
    }
    Ok(())
}

/// Waits for the end; the processor time it took, in seconds.
fn ended(child: &mut Child) -> Result<f64, Trouble> {
    let (begun, stat) = (Instant::now(), format!("/proc/{}/stat", child.id()));
    let mut cpu = 0.0;
    while begun.elapsed() < PATIENCE {
        // Until it is waited for, the dead has its account.
        let text = std::fs::read_to_string(&stat).unwrap_or_default();
        let fields: Vec<&str> = text.rsplit_once(") ").map_or("", |(_, f)| f).split(' ').collect();
        let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        cpu = (ticks(11) + ticks(12)) / 100.0;
        if fields.first() == Some(&"Z") {
            let status = child.wait().map_err(|e| e.to_string())?;
            return if status.success() { Ok(cpu) } else { Err(format!("multilog: {status}")) };
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill().and_then(|()| child.wait());
    Err(format!("multilog does not end, {cpu} s of processor"))
}

/// Insists that the lines are all there, in order.
fn check(task: &Task, log: &Path) -> Result<(), Trouble> {
    let trouble = |e: std::io::Error| format!("{}: {e}", log.display());
    let mut files: Vec<PathBuf> = std::fs::read_dir(log)
        .map_err(trouble)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name == "current" || name.as_encoded_bytes().starts_with(b"@"))
        })
        .collect();
    // `@…` sorts before `current`.
    files.sort();
    let (mut wanted, mut line) = (0_u64, Vec::new());
    for file in files {
        let mut lines = BufReader::with_capacity(1 << 20, File::open(file).map_err(trouble)?);
        while lines.read_until(b'\n', &mut line).map_err(trouble)? > 0 {
            let number = line.get(task.label..task.label + 16).unwrap_or_default();
            let number = number.iter().fold(0, |sum, d| sum * 10 + u64::from(d.wrapping_sub(b'0')));
            if number != wanted || !line.ends_with(TEXT) {
                return Err(format!("line {wanted} is not there: {}", line.escape_ascii()));
            }
            wanted += 1;
            line.clear();
        }
    }
    if wanted == task.lines { Ok(()) } else { Err(format!("the log ends before line {wanted}")) }
}
