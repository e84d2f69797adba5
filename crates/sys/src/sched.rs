//! When the kernel gives this process a processor.

use nix::libc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// [`gather`] changed something, so that programs we become are to be as before.
static GATHERS: AtomicBool = AtomicBool::new(false);

/// From now on this thread, and those and the processes it starts, wait for their turn when
/// something comes for them, instead of taking the processor from whoever sent it (`SCHED_BATCH`,
/// sched(7)). In a chain of processes that tell each other line by line, each line would else cost
/// two switches, and nobody ever finds two of them at once.
///
/// Needs no privilege. An administrator's other choice (`chrt`) is left alone. If the kernel does not
/// let us, we are merely slower: it is no error.
pub fn gather() {
    // SAFETY: asks about the calling thread; no memory is involved.
    let policy = unsafe { libc::sched_getscheduler(0) };
    if policy == libc::SCHED_OTHER && set(libc::SCHED_BATCH) {
        GATHERS.store(true, Relaxed);
    }
}

/// Takes [`gather`] back, before the process becomes a program of somebody else's.
pub(crate) fn let_go() {
    if GATHERS.load(Relaxed) {
        // Behind a fence that does not let this through, the program is a little more patient.
        set(libc::SCHED_OTHER);
    }
}

/// Sets the calling thread's policy; false if the kernel does not let us.
fn set(policy: i32) -> bool {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: changes the calling thread only; the kernel reads `param`, which outlives the call.
    unsafe { libc::sched_setscheduler(0, policy, &raw const param) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spawn::Command;
    use yard::Yard;

    /// Field 41 of `/proc/PID/stat` (proc(5)).
    fn policy(stat: &str) -> &str {
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(38).unwrap()
    }

    #[test]
    fn who_gathers_does_and_a_program_it_starts_does_not() {
        std::thread::spawn(|| {
            let own = || std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let before = policy(&own()).to_owned();
            gather();
            assert_eq!((&*before, policy(&own())), ("0", "3"));
            let yard = Yard::new("sched");
            let file = yard.join("stat");
            let program = format!("cat /proc/self/stat > {}", file.display());
            let pid = Command::new("/bin/sh").args(["-c", &*program]).spawn().unwrap();
            crate::spawn::wait(pid).unwrap();
            let theirs = std::fs::read_to_string(&file).unwrap();
            assert_eq!(policy(&theirs), "0");
        })
        .join()
        .unwrap();
    }
}
