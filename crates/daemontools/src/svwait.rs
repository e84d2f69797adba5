//! svwait: wait until supervised services are up, ready, down or restarted.
//!
//! *Runs as* whoever may read `DIR/supervise` · *hears* changes of the files there · *opens* these
//! files · *speaks to* nobody.

use crate::message::{PERMANENT, TEMPORARY, Voice};
use crate::waiting::{Goal, Miss, Wait};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;
use sys::getopt::Opt;

const VOICE: Voice = Voice("svwait");
const USAGE: &str = "svwait [-uUdDrR] [-a | -o] [-t milliseconds] dir ...";
/// Exit code of a wait whose time is up (as s6 has it).
const LATE: i32 = 99;

/// `svwait [-uUdDrR] [-a | -o] [-t milliseconds] dir ...`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let (options, dirs) = match VOICE.getopt(args, "uUdDrRaot:", USAGE) {
        Ok(found) => found,
        Err(code) => return code,
    };
    match Task::of(&options) {
        Some(task) if !dirs.is_empty() => {
            finish(VOICE, Wait::new(dirs.iter()), task.goal, task.any, task.limit)
        }
        _ => VOICE.usage(USAGE),
    }
}

/// What the options ask for.
struct Task {
    goal: Goal,
    any: bool,
    limit: Option<Duration>,
}

impl Task {
    fn of(options: &[Opt]) -> Option<Task> {
        let mut task = Task { goal: Goal::Up, any: false, limit: None };
        for option in options {
            match option.letter {
                b'a' => task.any = false,
                b'o' => task.any = true,
                b't' => task.limit = limit(&option.value)?,
                letter => task.goal = Goal::of_letter(letter)?,
            }
        }
        Some(task)
    }
}

/// The goal that one letter names.
pub(crate) fn goal(word: &OsStr) -> Option<Goal> {
    match word.as_bytes() {
        [letter] => Goal::of_letter(*letter),
        _ => None,
    }
}

/// A number of milliseconds; 0 is no limit. The outer `None`: it is no number.
pub(crate) fn limit(word: &OsStr) -> Option<Option<Duration>> {
    let millis: u32 = word.to_str()?.parse().ok()?;
    Some((millis > 0).then(|| Duration::from_millis(millis.into())))
}

/// Waits, and says what came of it; the exit code.
pub(crate) fn finish(
    voice: Voice,
    mut wait: Wait,
    goal: Goal,
    any: bool,
    limit: Option<Duration>,
) -> i32 {
    for dir in wait.mute(goal) {
        let words = " does not say when it is ready (no notification-fd)";
        voice.warning(&[&dir, &words], None);
    }
    match wait.wait(goal, any, limit) {
        Ok(()) => 0,
        Err(Miss::Late(dir)) => {
            let words = format!(" is not {goal} in time");
            voice.fatal(&[&dir, &words], None);
            LATE
        }
        Err(Miss::Failed(dir)) => {
            voice.fatal(&[&dir, &" will not be started again: its finish said so"], None);
            PERMANENT
        }
        Err(Miss::Alone(dir)) => {
            voice.fatal(&[&dir, &": supervise not running"], None);
            TEMPORARY
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(line: &str) -> Option<(Goal, bool, Option<Duration>)> {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let (options, _) = sys::getopt::getopt(&args, "uUdDrRaot:").ok()?;
        Task::of(&options).map(|task| (task.goal, task.any, task.limit))
    }

    #[test]
    fn the_last_goal_counts_and_a_time_is_milliseconds() {
        assert_eq!(task("svwait d"), Some((Goal::Up, false, None)));
        let limit = Some(Duration::from_millis(1500));
        assert_eq!(task("svwait -dU -ot1500 d"), Some((Goal::Ready, true, limit)));
        assert_eq!(task("svwait -oa -t 0 d"), Some((Goal::Up, false, None)));
        assert_eq!(task("svwait -t soon d"), None);
        assert_eq!(
            (goal(OsStr::new("R")), goal(OsStr::new("uu"))),
            (Some(Goal::RestartedReady), None)
        );
    }
}
