//! A step, done: its command run with a time limit, what it showed brought back.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::compare::Saw;
use super::stage::Stage;
use crate::limit;
use crate::tally::Trouble;

/// How long a step may take, on a machine that is slow and has much else to do.
const PATIENCE: Duration = Duration::from_secs(300);
/// The same once several have taken longer: then it is not the machine.
const IMPATIENCE: Duration = Duration::from_secs(60);
/// So many are several.
const SEVERAL: u32 = 5;

/// Steps that took too long, in the whole run.
static LATE: AtomicU32 = AtomicU32::new(0);

/// How long killed processes may take to go.
const GOING: Duration = Duration::from_secs(30);

/// Bytes of a step's output that are looked at.
const OUTPUT: u64 = 1 << 20;

/// Runs a command with the prelude; what it leaves in the background ends with it.
pub(crate) fn play(stage: &Stage, command: &str) -> Result<Saw, Trouble> {
    let [out, err] = ["out", "err"].map(|name| stage.scratch().with_file_name(name));
    let create = |path: &Path| File::create(path).map_err(|e| format!("{}: {e}", path.display()));
    let mut shell = stage.shell(command);
    shell.process_group(0).stdout(create(&out)?).stderr(create(&err)?);
    let mut child = shell.spawn().map_err(|e| format!("/bin/sh: {e}"))?;
    let ended = wait(&mut child);
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        ended_all(group);
    }
    let late = matches!(ended, Ok(None));
    LATE.fetch_add(late.into(), Ordering::Relaxed);
    let status = match ended.map_err(|e| e.to_string())? {
        Some(status) => status,
        None => child.wait().map_err(|e| e.to_string())?,
    };
    Ok(Saw { out: read(&out)?, err: read(&err)?, code: code(status), late })
}

/// Waits until nobody of a group that was killed holds a lock or a port any more.
fn ended_all(group: i32) {
    let until = Instant::now() + GOING;
    while Instant::now() < until && holds_out(group) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process of the group is not gone yet, but for its exit code.
fn holds_out(group: i32) -> bool {
    fs::read_dir("/proc").into_iter().flatten().flatten().any(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((_, fields)) = stat.rsplit_once(") ") else { return false };
        let mut fields = fields.split(' ');
        let (state, of) = (fields.next(), fields.nth(1));
        state != Some("Z") && of.and_then(|of| of.parse().ok()) == Some(group)
    })
}

/// Waits for it; `None` if it takes too long.
fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let hurry = LATE.load(Ordering::Relaxed) >= SEVERAL;
    let patience = if hurry { IMPATIENCE } else { PATIENCE };
    let until = Instant::now() + patience.min(limit::left());
    let mut pause = Duration::from_millis(1);
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    Ok(None)
}

/// The exit code as a shell tells it.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    let done = File::open(path).and_then(|file| file.take(OUTPUT).read_to_end(&mut bytes));
    done.map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(bytes)
}

/// Ends what was started in this scratch directory's name, or of this stage's own programs, and
/// still runs: a step may have given a process a session of its own. Again, if that started more.
pub(crate) fn sweep(stage: &Stage) {
    let until = Instant::now() + GOING;
    while swept(stage) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One round; whether there was anybody.
fn swept(stage: &Stage) -> bool {
    let mut any = false;
    let mark = format!("T={}", stage.scratch().display());
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let named = fs::read(entry.path().join("environ"))
            .is_ok_and(|text| text.split(|&byte| byte == 0).any(|one| one == mark.as_bytes()));
        let program = fs::read_link(entry.path().join("exe")).unwrap_or_default();
        if named || stage.holds(&program) {
            any = true;
            let _ = sys::signal::kill(pid, sys::signal::Signal::Kill);
        }
    }
    any
}
