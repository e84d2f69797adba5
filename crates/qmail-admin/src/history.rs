//! What svstat says of services, read; and what became of them before, told.

use std::path::{Path, PathBuf};

use base::json::Object;
use base::time::Moment;

/// A service, and what its supervise says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    path: PathBuf,
    state: Result<State, String>,
}

/// What svstat's line says (svstat(8)).
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// The pid; none: it is down.
    pid: Option<u64>,
    /// For how long.
    seconds: u64,
    /// What follows: `normally down`, `paused`, `want up`, …
    words: Vec<String>,
}

/// The lines that svstat has printed of these services.
pub(crate) fn read(services: &[PathBuf], lines: &str) -> Vec<Service> {
    let mut lines = lines.lines();
    let one = |path: &PathBuf| {
        let line = lines.next().unwrap_or_default();
        let said = line.strip_prefix(&*path.to_string_lossy()).and_then(|l| l.strip_prefix(": "));
        let said = said.unwrap_or(line);
        Service { path: path.clone(), state: state(said).ok_or_else(|| said.to_owned()) }
    };
    services.iter().map(one).collect()
}

/// `up (pid P) N seconds` or `down N seconds`, and words after commas.
fn state(said: &str) -> Option<State> {
    let mut parts = said.split(", ");
    let first = parts.next()?;
    let (pid, rest) = match first.strip_prefix("up (pid ") {
        Some(rest) => {
            let (pid, rest) = rest.split_once(") ")?;
            (Some(pid.parse().ok()?), rest)
        }
        None => (None, first.strip_prefix("down ")?),
    };
    let seconds = rest.strip_suffix(" seconds")?.parse().ok()?;
    Some(State { pid, seconds, words: parts.map(str::to_owned).collect() })
}

impl State {
    /// When it last changed, to the second.
    fn since(&self, now: Moment) -> Moment {
        Moment::from_secs(now.secs().saturating_sub(self.seconds))
    }
}

impl Service {
    /// Whether it is a service's logger.
    pub(crate) fn is_log(&self) -> bool {
        self.path.ends_with("log")
    }

    /// Its name: of a logger, with its service's.
    fn name(&self) -> String {
        let last = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
        let name = last(&self.path).unwrap_or_default();
        match self.path.parent().and_then(last) {
            Some(of) if self.is_log() => format!("{of}/{name}"),
            _ => name,
        }
    }

    /// The moments that its story names.
    pub(crate) fn moments(&self, now: Moment) -> Vec<Moment> {
        self.state.iter().map(|state| state.since(now)).collect()
    }

    /// Since when it is as it is; `time` prints a moment.
    pub(crate) fn story(&self, now: Moment, time: impl Fn(&Moment) -> String) -> Option<String> {
        let state = self.state.as_ref().ok()?;
        let what = if state.pid.is_some() { "up" } else { "down" };
        Some(format!("{}: {what} since {}", self.name(), time(&state.since(now))))
    }

    /// All that is known of it, for a program.
    pub(crate) fn json(&self, now: Moment) -> String {
        let path = self.path.to_string_lossy();
        let about = Object::new().text("service", self.name()).text("path", &*path);
        let state = match &self.state {
            Ok(state) => state,
            Err(why) => return about.json("up", "null").text("trouble", why).end(),
        };
        let about = match state.pid {
            Some(pid) => about.truth("up", true).number("pid", pid),
            None => about.truth("up", false),
        };
        let has = |word: &str| state.words.iter().any(|w| w == word);
        let about = about.number("since", state.since(now).secs());
        let about = about.number("seconds", state.seconds).truth("paused", has("paused"));
        // What svstat leaves unsaid is as it is.
        let up = state.pid.is_some();
        let normally = if up { !has("normally down") } else { has("normally up") };
        let about = about.truth("normally_up", normally);
        let want = if up { !has("want down") } else { has("want up") };
        about.truth("want_up", want).end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> String {
        let path = PathBuf::from("/service/x");
        let [service] = &read(&[path], &format!("/service/x: {line}\n"))[..] else { panic!() };
        service.json(Moment::from_secs(1_000))
    }

    #[test]
    fn what_svstat_says_is_read() {
        assert_eq!(
            told("up (pid 30212) 20 seconds, normally down, paused"),
            "{\"service\":\"x\",\"path\":\"/service/x\",\"up\":true,\"pid\":30212,\"since\":980,\
             \"seconds\":20,\"paused\":true,\"normally_up\":false,\"want_up\":true}"
        );
        assert_eq!(
            told("down 1 seconds, normally up"),
            "{\"service\":\"x\",\"path\":\"/service/x\",\"up\":false,\"since\":999,\
             \"seconds\":1,\"paused\":false,\"normally_up\":true,\"want_up\":false}"
        );
        assert_eq!(
            told("supervise not running"),
            "{\"service\":\"x\",\"path\":\"/service/x\",\"up\":null,\
             \"trouble\":\"supervise not running\"}"
        );
    }

    #[test]
    fn a_logger_goes_by_its_services_name() {
        let [log] = &read(&["/service/x/log".into()], "")[..] else { panic!() };
        assert!(log.is_log());
        assert_eq!(log.name(), "x/log");
    }
}
