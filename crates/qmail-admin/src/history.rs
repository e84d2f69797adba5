//! What svstat says of services, read; and what became of them before, told.

use std::path::{Path, PathBuf};

use base::service::{End, Facts, LONGEST, NO_CODE};
use base::tai::Label;
use base::time::Moment;

/// A service, and what its supervise says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    path: PathBuf,
    /// None: svstat could not tell.
    state: Option<State>,
    /// What only our own supervise tells.
    facts: Option<Facts>,
}

/// What svstat's line says (svstat(8)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The pid; 0: it is down.
    pub(crate) pid: u32,
    /// For how long.
    seconds: u64,
    /// It is down, and supervise is to start it.
    pub(crate) want_up: bool,
}

/// The lines that svstat has printed of these services.
pub(crate) fn read(services: &[PathBuf], lines: &str) -> Vec<Service> {
    let mut lines = lines.lines();
    let one = |path: &PathBuf| {
        let line = lines.next().unwrap_or_default();
        let state = said(line, path).and_then(state);
        let facts = state.and_then(|state| facts(path).filter(|f| f.status.pid == state.pid));
        Service { path: path.clone(), state, facts }
    };
    services.iter().map(one).collect()
}

/// What a line of svstat's says of this service.
pub(crate) fn said<'a>(line: &'a str, service: &Path) -> Option<&'a str> {
    line.strip_prefix(&*service.to_string_lossy())?.strip_prefix(": ")
}

/// What supervise has written behind the 18 bytes.
fn facts(service: &Path) -> Option<Facts> {
    let file = sys::file::open_read(service.join("supervise/state")).ok()?;
    Facts::parse(&sys::fd::read_to_end(file, LONGEST).ok()?)
}

/// `up (pid P) N seconds` or `down N seconds`, and words after commas.
pub(crate) fn state(said: &str) -> Option<State> {
    let (first, more) = said.split_once(", ").unwrap_or((said, ""));
    let (pid, rest) = match first.strip_prefix("up (pid ") {
        Some(rest) => {
            let (pid, rest) = rest.split_once(") ")?;
            (pid.parse().ok()?, rest)
        }
        None => (0, first.strip_prefix("down ")?),
    };
    let seconds = rest.strip_suffix(" seconds")?.parse().ok()?;
    let want_up = pid == 0 && more.split(", ").any(|word| word == "want up");
    Some(State { pid, seconds, want_up })
}

impl State {
    /// When it last changed, to the second.
    fn since(self, now: Moment) -> Moment {
        Moment::from_secs(now.secs().saturating_sub(self.seconds))
    }
}

impl Service {
    /// Whether it is a service's logger.
    pub(crate) fn is_log(&self) -> bool {
        self.path.ends_with("log")
    }

    /// Its name: of a logger, with its service's.
    pub(crate) fn name(&self) -> String {
        let last = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
        let name = last(&self.path).unwrap_or_default();
        match self.path.parent().and_then(last) {
            Some(of) if self.is_log() => format!("{of}/{name}"),
            _ => name,
        }
    }

    /// How its last run ended.
    fn last(&self) -> Option<(End, Moment)> {
        self.facts.as_ref()?.last.map(|(end, at): (End, Label)| (end, at.moment()))
    }

    /// Whether it has a story: a logger that has always run has none.
    pub(crate) fn is_worth_telling(&self) -> bool {
        !self.is_log() || self.facts.as_ref().is_some_and(|facts| facts.starts > 1)
    }

    /// The moments that its story names.
    pub(crate) fn moments(&self, now: Moment) -> Vec<Moment> {
        let since = self.state.iter().map(|state| state.since(now));
        since.chain(self.last().map(|(_, at)| at)).collect()
    }

    /// Since when it is as it is, how often it was started again, and how it ended before; `time`
    /// prints a moment.
    pub(crate) fn story(&self, now: Moment, time: impl Fn(&Moment) -> String) -> Option<String> {
        let state = self.state?;
        let what = if state.pid == 0 { "down" } else { "up" };
        let mut story = format!("{}: {what} since {}", self.name(), time(&state.since(now)));
        if let Some(facts) = &self.facts {
            let restarts = facts.starts.saturating_sub(1);
            let s = if restarts == 1 { "" } else { "s" };
            story.push_str(&format!(", {restarts} restart{s}"));
        }
        if let Some((end, at)) = self.last() {
            let how = match end {
                End { code: NO_CODE, signal: 0 } => "end, nobody saw how,".to_owned(),
                End { code: NO_CODE, signal } => format!("end by signal {signal}"),
                End { code, .. } => format!("exit {code}"),
            };
            story.push_str(&format!(", last {how} at {}", time(&at)));
        }
        Some(story)
    }
}

#[cfg(test)]
mod tests {
    use base::service::{Status, Want};

    use super::*;

    fn time(moment: &Moment) -> String {
        format!("T{}", moment.secs())
    }

    #[test]
    fn what_svstat_says_is_read() {
        let of = |pid, seconds| Some(State { pid, seconds, want_up: false });
        assert_eq!(state("up (pid 30212) 20 seconds, normally down, paused"), of(30212, 20));
        assert_eq!(state("down 1 seconds, normally up"), of(0, 1));
        assert!(state("down 0 seconds, normally up, want up").is_some_and(|down| down.want_up));
        assert_eq!(state("supervise not running"), None);
    }

    #[test]
    fn a_logger_goes_by_its_services_name() {
        let [log] = &read(&["/service/x/log".into()], "")[..] else { panic!() };
        assert!(log.is_log());
        assert_eq!((log.name(), log.story(Moment::default(), time)), ("x/log".into(), None));
    }

    #[test]
    fn a_story_tells_what_is_known() {
        let status = Status { since: Label::new(980, 0), pid: 7, paused: false, want: Want::Up };
        let told = |starts: Option<u64>, last| {
            let facts = starts.map(|starts| Facts { starts, last, ..Facts::of_status(status) });
            let state = Some(State { pid: 7, seconds: 20, want_up: false });
            let service = Service { path: "/service/x".into(), state, facts };
            service.story(Moment::from_secs(1_000), time).unwrap()
        };
        assert_eq!(told(None, None), "x: up since T980");
        assert_eq!(told(Some(1), None), "x: up since T980, 0 restarts");
        let exit = |code, signal| Some((End { code, signal }, Label::new(979, 0)));
        assert_eq!(
            told(Some(2), exit(111, 0)),
            "x: up since T980, 1 restart, last exit 111 at T979"
        );
        let killed = "x: up since T980, 3 restarts, last end by signal 9 at T979";
        assert_eq!(told(Some(4), exit(NO_CODE, 9)), killed);
    }
}
