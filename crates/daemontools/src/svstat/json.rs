//! The state of a service for programs: one JSON object a line.

use super::{Seen, age};
use crate::look;
use base::json::Object;
use base::service::{End, Facts, NO_CODE, Ready};
use base::tai::Label;
use base::time::Moment;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One object: `dir`, and `error` or what is known. Moments are seconds since 1970.
pub(super) fn line(dir: &OsStr, seen: &Result<Seen, String>, now: Moment) -> Vec<u8> {
    let about = Object::new().text("dir", dir.as_bytes());
    let about = match seen {
        Err(trouble) => about.text("error", trouble),
        Ok(seen) => {
            let facts = look::facts(Path::new(".")).unwrap_or(Facts::of_status(seen.status));
            supervised(service(about, seen, &facts, now), &facts)
        }
    };
    let mut line = about.end().into_bytes();
    line.push(b'\n');
    line
}

/// What every supervise tells.
fn service(about: Object, seen: &Seen, facts: &Facts, now: Moment) -> Object {
    let status = &facts.status;
    let up = status.pid != 0;
    let about = about
        .text("state", if up { "up" } else { "down" })
        .json("pid", &or_null(up.then_some(status.pid)))
        .number("seconds", age(status, now))
        .json("since", &moment(status.since))
        .text("want", status.want.word())
        .text("normally", if seen.normally_up { "up" } else { "down" })
        .truth("paused", up && status.paused);
    match facts.ready {
        Ready::Untold => about.json("ready", "null"),
        Ready::NotYet => about.truth("ready", false),
        Ready::Since(label) => about.truth("ready", true).json("ready_since", &moment(label)),
    }
}

/// What only our own tells.
fn supervised(about: Object, facts: &Facts) -> Object {
    let Some(supervise) = &facts.supervise else { return about };
    about
        .number("supervise", supervise.pid.into())
        .truth("finishing", facts.finish != 0)
        .truth("failed", facts.failed)
        .number("starts", facts.starts)
        .json("last_exit", &facts.last.map_or_else(|| "null".to_owned(), last))
}

/// How the last run ended.
fn last((end, at): (End, Label)) -> String {
    Object::new()
        .json("code", &or_null((end.code != NO_CODE).then_some(end.code)))
        .json("signal", &or_null((end.signal != 0).then_some(end.signal)))
        .json("at", &moment(at))
        .end()
}

fn or_null<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

/// Seconds and microseconds.
fn moment(label: Label) -> String {
    let at = label.moment();
    format!("{}.{:06}", at.secs(), at.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::service::{Identity, Status, Want};

    fn seen(status: Status, normally_up: bool) -> Seen {
        Seen { status, normally_up, text: String::new() }
    }

    #[test]
    fn an_unknown_service_has_an_error_and_odd_names_stay_one_string() {
        let trouble = Err("unable to chdir: no".into());
        let said = line(OsStr::new("a\"b\\\n"), &trouble, Moment::default());
        assert_eq!(
            String::from_utf8(said).unwrap(),
            "{\"dir\":\"a\\\"b\\\\\\n\",\"error\":\"unable to chdir: no\"}\n"
        );
    }

    #[test]
    fn everything_that_is_known_is_said() {
        let since = Label::new(100, 500_500);
        let status = Status { since, pid: 7, paused: false, want: Want::Up };
        let facts = Facts {
            supervise: Some(Identity { pid: 5, started: 1, boot: "b".into() }),
            ready: Ready::Since(Label::new(101, 0)),
            starts: 3,
            last: Some((End { code: NO_CODE, signal: 9 }, Label::new(99, 0))),
            ..Facts::of_status(status)
        };
        let now = Moment::from_secs(103);
        let about = service(Object::new(), &seen(status, true), &facts, now);
        assert_eq!(
            supervised(about, &facts).end(),
            "{\"state\":\"up\",\"pid\":7,\"seconds\":3,\"since\":100.000500,\"want\":\"up\",\
             \"normally\":\"up\",\"paused\":false,\"ready\":true,\"ready_since\":101.000000,\
             \"supervise\":5,\"finishing\":false,\"failed\":false,\"starts\":3,\
             \"last_exit\":{\"code\":null,\"signal\":9,\"at\":99.000000}}"
        );
    }

    #[test]
    fn of_another_supervise_only_the_18_bytes_are_told() {
        let since = Label::new(100, 0);
        let status = Status { since, pid: 0, paused: false, want: Want::Down };
        let facts = Facts::of_status(status);
        let about = service(Object::new(), &seen(status, false), &facts, Moment::from_secs(50));
        assert_eq!(
            supervised(about, &facts).end(),
            "{\"state\":\"down\",\"pid\":null,\"seconds\":0,\"since\":100.000000,\"want\":\"down\",\
             \"normally\":\"down\",\"paused\":false,\"ready\":null}"
        );
    }
}
