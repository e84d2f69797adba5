//! Waiting until services are as somebody wants them: woken by every change that supervise writes
//! and by its end, not by asking again and again.

use crate::look;
use base::service::{Facts, Ready};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys::clock::monotonic;
use sys::poll::{self, Interest};
use sys::process::Held;
use sys::watch::Watch;

/// How long a supervise that was killed may take to be back: svscan starts it again.
const GRACE: Duration = Duration::from_secs(5);
/// We look this often even if nothing was heard (a directory on another host's disk),
const SELDOM: Duration = Duration::from_secs(5);
/// and this often where the kernel cannot tell us of changes.
const OFTEN: Duration = Duration::from_millis(100);

/// What to wait for. The letters are those of s6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// `u`: it runs.
    Up,
    /// `U`: it runs and has said that it can be used.
    Ready,
    /// `d`: it does not run.
    Down,
    /// `D`: nor does its `finish`.
    Finished,
    /// `r`: it runs, and was started since.
    Restarted,
    /// `R`: the same, and it has said that it can be used.
    RestartedReady,
}

impl Goal {
    /// The goal of a letter.
    pub(crate) fn of_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'u' => Goal::Up,
            b'U' => Goal::Ready,
            b'd' => Goal::Down,
            b'D' => Goal::Finished,
            b'r' => Goal::Restarted,
            b'R' => Goal::RestartedReady,
            _ => return None,
        })
    }

    /// The goal for a service that never says that it can be used.
    fn without_ready(self) -> Self {
        match self {
            Goal::Ready => Goal::Up,
            Goal::RestartedReady => Goal::Restarted,
            Goal::Up | Goal::Down | Goal::Finished | Goal::Restarted => self,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Goal::Up => "up",
            Goal::Ready => "ready",
            Goal::Down => "down",
            Goal::Finished => "down and finished",
            Goal::Restarted => "restarted",
            Goal::RestartedReady => "restarted and ready",
        })
    }
}

/// How a service stands to a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Reached,
    NotYet,
    /// Its `finish` has said that it must not be started again.
    Failed,
    /// There is no supervise to bring it about.
    Alone,
}

/// Compares a service with what is wanted of it and with what it was before.
fn judge(goal: Goal, before: Option<&Facts>, now: Option<&Facts>, listens: bool) -> Verdict {
    let Some(now) = now else { return Verdict::Alone };
    let up = now.status.pid != 0 && listens;
    let down = now.status.pid == 0;
    let ready = matches!(now.ready, Ready::Since(_));
    let anew = before
        .is_none_or(|before| before.starts < now.starts || before.status.since != now.status.since);
    let reached = match goal {
        Goal::Up => up,
        Goal::Ready => up && ready,
        Goal::Down => down,
        Goal::Finished => down && now.finish == 0,
        Goal::Restarted => up && anew,
        Goal::RestartedReady => up && anew && ready,
    };
    let goes_up = !matches!(goal, Goal::Down | Goal::Finished);
    match (reached, listens) {
        (true, _) => Verdict::Reached,
        (false, false) => Verdict::Alone,
        (false, true) if goes_up && now.failed => Verdict::Failed,
        (false, true) => Verdict::NotYet,
    }
}

/// How a wait ended that did not reach its goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// The time is up; one of those that are not there yet.
    Late(OsString),
    /// This one's `finish` said never again.
    Failed(OsString),
    /// This one's supervise is not running.
    Alone(OsString),
}

/// One service waited for.
struct Target {
    name: OsString,
    path: PathBuf,
    before: Option<Facts>,
    /// Its supervise: readable when that has ended.
    keeper: Option<Held>,
    /// Since when there is none.
    alone: Option<Duration>,
    reached: bool,
}

/// Services that are looked at from now on.
pub(crate) struct Wait {
    targets: Vec<Target>,
    watch: Option<Watch>,
}

impl Wait {
    /// Begins to listen to the services' changes: what comes after this is not missed.
    pub(crate) fn new<'a>(dirs: impl Iterator<Item = &'a OsString>) -> Self {
        let mut targets: Vec<Target> = dirs
            .map(|name| Target {
                name: name.clone(),
                path: PathBuf::from(name),
                before: None,
                keeper: None,
                alone: None,
                reached: false,
            })
            .collect();
        let kept = targets.iter().map(|target| target.path.join("supervise"));
        let kept: Vec<PathBuf> = kept.filter(|path| path.is_dir()).collect();
        let watch = Watch::on_all(&kept.iter().map(PathBuf::as_path).collect::<Vec<_>>()).ok();
        for target in &mut targets {
            target.before = look::facts(&target.path).ok();
        }
        Wait { targets, watch }
    }

    /// Those whose services do not say when they can be used, if the goal is to hear that.
    pub(crate) fn mute(&self, goal: Goal) -> impl Iterator<Item = &OsStr> {
        let asks = goal != goal.without_ready();
        let mute = move |target: &&Target| asks && !tells(&target.path);
        self.targets.iter().filter(mute).map(|target| target.name.as_os_str())
    }

    /// Leaves one out.
    pub(crate) fn forget(&mut self, name: &OsStr) {
        self.targets.retain(|target| target.name != name);
    }

    /// Waits until all of them have reached the goal, or `any` one has; at most for `limit`.
    pub(crate) fn wait(
        &mut self,
        goal: Goal,
        any: bool,
        limit: Option<Duration>,
    ) -> Result<(), Miss> {
        let until = limit.map(|limit| monotonic().saturating_add(limit));
        loop {
            let mut reached = 0_usize;
            for target in &mut self.targets {
                reached = reached.saturating_add(usize::from(target.look(goal)?));
            }
            if reached == self.targets.len() || (any && reached > 0) {
                return Ok(());
            }
            let now = monotonic();
            if until.is_some_and(|until| now >= until) {
                let late = self.targets.iter().find(|target| !target.reached);
                return Err(Miss::Late(late.map(|late| late.name.clone()).unwrap_or_default()));
            }
            let left = until.map(|until| until.saturating_sub(now));
            self.sleep(left);
        }
    }

    /// Sleeps until something has changed.
    fn sleep(&self, left: Option<Duration>) {
        let alone = self.targets.iter().any(|target| target.alone.is_some());
        let usual = if self.watch.is_none() || alone { OFTEN } else { SELDOM };
        let limit = left.map_or(usual, |left| left.min(usual));
        let waiting = self.targets.iter().filter(|target| !target.reached);
        let mut fds: Vec<_> = self.watch.iter().map(AsFd::as_fd).collect();
        fds.extend(waiting.filter_map(|target| target.keeper.as_ref().map(AsFd::as_fd)));
        if poll::ready(&fds, Interest::READ, Some(limit)).is_err() {
            sys::clock::sleep(OFTEN.min(limit));
        }
        if let Some(watch) = &self.watch {
            watch.drain();
        }
    }
}

impl Target {
    /// Looks at it; true if it has reached the goal, now or before.
    fn look(&mut self, goal: Goal) -> Result<bool, Miss> {
        if self.reached {
            return Ok(true);
        }
        let goal = if tells(&self.path) { goal } else { goal.without_ready() };
        let facts = look::facts(&self.path).ok();
        let listens = look::listens(&self.path).unwrap_or(false);
        if !listens || self.keeper.as_ref().is_some_and(Held::ended) {
            self.keeper = None;
        }
        // While it lives we need not ask who it is more than once.
        if listens && self.keeper.is_none() {
            self.keeper = facts.as_ref().and_then(look::keeper);
        }
        match judge(goal, self.before.as_ref(), facts.as_ref(), listens) {
            Verdict::Reached => self.reached = true,
            Verdict::NotYet => self.alone = None,
            Verdict::Failed => return Err(Miss::Failed(self.name.clone())),
            Verdict::Alone => {
                let since = *self.alone.get_or_insert(monotonic());
                let never = self.before.is_none();
                if never || monotonic().saturating_sub(since) >= GRACE {
                    return Err(Miss::Alone(self.name.clone()));
                }
            }
        }
        Ok(self.reached)
    }
}

/// Whether a service says when it can be used.
fn tells(dir: &Path) -> bool {
    dir.join("notification-fd").exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::service::{Status, Want};
    use base::tai::Label;

    fn facts(pid: u32, second: u64) -> Facts {
        let since = Label::new(second, 500);
        Facts::of_status(Status { since, pid, paused: false, want: Want::Up })
    }

    fn verdict(goal: Goal, now: &Facts) -> Verdict {
        judge(goal, Some(&facts(7, 100)), Some(now), true)
    }

    #[test]
    fn up_and_down_are_what_the_pid_says() {
        assert_eq!(verdict(Goal::Up, &facts(7, 100)), Verdict::Reached);
        assert_eq!(verdict(Goal::Down, &facts(7, 100)), Verdict::NotYet);
        assert_eq!(verdict(Goal::Up, &facts(0, 101)), Verdict::NotYet);
        assert_eq!(verdict(Goal::Down, &facts(0, 101)), Verdict::Reached);
    }

    #[test]
    fn finished_is_down_without_finish() {
        let finishing = Facts { finish: 9, ..facts(0, 101) };
        assert_eq!(verdict(Goal::Down, &finishing), Verdict::Reached);
        assert_eq!(verdict(Goal::Finished, &finishing), Verdict::NotYet);
        assert_eq!(verdict(Goal::Finished, &facts(0, 101)), Verdict::Reached);
    }

    #[test]
    fn ready_is_what_the_service_has_said_in_this_life() {
        let not_yet = Facts { ready: Ready::NotYet, ..facts(8, 102) };
        let ready = Facts { ready: Ready::Since(Label::new(103, 0)), ..facts(8, 102) };
        assert_eq!(verdict(Goal::Ready, &not_yet), Verdict::NotYet);
        assert_eq!(verdict(Goal::Restarted, &not_yet), Verdict::Reached);
        assert_eq!(verdict(Goal::RestartedReady, &not_yet), Verdict::NotYet);
        assert_eq!(verdict(Goal::RestartedReady, &ready), Verdict::Reached);
        let old = Facts { ready: Ready::Since(Label::new(100, 0)), ..facts(7, 100) };
        assert_eq!(verdict(Goal::Ready, &old), Verdict::Reached);
        assert_eq!(verdict(Goal::RestartedReady, &old), Verdict::NotYet);
    }

    #[test]
    fn without_supervise_nothing_comes_up_and_what_is_down_is_down() {
        let alone = |goal, now: &Facts| judge(goal, Some(&facts(7, 100)), Some(now), false);
        assert_eq!(alone(Goal::Up, &facts(7, 100)), Verdict::Alone);
        assert_eq!(alone(Goal::Down, &facts(7, 100)), Verdict::Alone);
        assert_eq!(alone(Goal::Finished, &facts(0, 101)), Verdict::Reached);
        assert_eq!(judge(Goal::Down, None, None, false), Verdict::Alone);
    }

    #[test]
    fn who_must_not_be_started_again_will_not_be_up() {
        let failed = Facts { failed: true, ..facts(0, 101) };
        assert_eq!(verdict(Goal::Up, &failed), Verdict::Failed);
        assert_eq!(verdict(Goal::Down, &failed), Verdict::Reached);
    }

    #[test]
    fn the_letters_are_those_of_s6() {
        let goals: Vec<Goal> = b"uUdDrR".iter().filter_map(|&b| Goal::of_letter(b)).collect();
        assert_eq!(goals.len(), 6);
        assert_eq!(Goal::of_letter(b'x'), None);
        assert_eq!(goals[1].without_ready(), Goal::Up);
    }
}
