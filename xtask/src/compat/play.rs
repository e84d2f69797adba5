//! A step, done: its command run with a time limit, what it showed brought back.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::compare::Saw;
use super::stage::Stage;
use crate::tally::Trouble;

/// How long a step may take.
const PATIENCE: Duration = Duration::from_secs(40);

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
    }
    let late = matches!(ended, Ok(None));
    let status = match ended.map_err(|e| e.to_string())? {
        Some(status) => status,
        None => child.wait().map_err(|e| e.to_string())?,
    };
    Ok(Saw { out: read(&out)?, err: read(&err)?, code: code(status), late })
}

/// Waits for it; `None` if it takes too long.
fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let until = Instant::now() + PATIENCE;
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
/// still runs: a step may have given a process a session of its own.
pub(crate) fn sweep(stage: &Stage) {
    let mark = format!("T={}", stage.scratch().display());
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let named = fs::read(entry.path().join("environ"))
            .is_ok_and(|text| text.split(|&byte| byte == 0).any(|one| one == mark.as_bytes()));
        let program = fs::read_link(entry.path().join("exe")).unwrap_or_default();
        if named || stage.holds(&program) {
            let _ = sys::signal::kill(pid, sys::signal::Signal::Kill);
        }
    }
}
