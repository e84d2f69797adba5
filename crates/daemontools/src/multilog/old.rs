//! Finished logs: the name one gets, and which of them go.

use super::pause::Patience;
use super::place::Place;
use super::script::Keep;
use base::tai::{Label, TEXT};
use base::time::Moment;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use sys::dir::Dir;

/// Names read of a log directory.
const NAMES: usize = 1 << 20;
/// A log finished further in the future than so many seconds is not taken for the newest: ten years.
const FUTURE: u64 = 10 * 365 * 86_400;

/// Gives a file its lasting name, `@label.code`, and removes logs beyond what is kept.
pub(super) fn finish(place: &Place, file: &str, code: &str, calm: &Patience) {
    let (dir, name) = (&place.dir, place.name());
    let stat =
        place.insist(calm, &[&"unable to stat ", &name, &"/", &file], || match dir.stat(file) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        });
    let Some(stat) = stat else { return };
    let mut logs = place.insist(calm, &[&"unable to read ", &name], || list(dir));
    // Two names: a crash came between giving the new one and taking the old one.
    if stat.links == 1 {
        let lasting = link(place, file, code, newest(&logs), calm);
        logs.insert(logs.partition_point(|log| age(log) <= age(&lasting)), lasting);
    }
    place.insist(calm, &[&"unable to remove ", &name, &"/", &file], || gone(dir.remove(file)));
    remove_surplus(place, &logs);
}

/// Removes what is beyond what is kept. What cannot be removed is told, and stays.
pub(super) fn prune(place: &Place, calm: &Patience) {
    let what: [&dyn AsRef<OsStr>; 2] = [&"unable to read ", &place.name()];
    remove_surplus(place, &place.insist(calm, &what, || list(&place.dir)));
}

/// Removes the logs of these, the oldest first, that are beyond what is kept.
fn remove_surplus(place: &Place, logs: &[OsString]) {
    let name = place.name();
    let sizes = if place.keep.total.is_some() { sizes(&place.dir, logs) } else { Vec::new() };
    let surplus = surplus(logs, &sizes, &place.keep, sys::clock::now());
    for log in logs.iter().take(surplus) {
        if let Err(error) = gone(place.dir.remove(log)) {
            place.tell(&[&"unable to remove ", &name, &"/", log], Some(&error));
        }
    }
    place.oldest.set(logs.get(surplus).and_then(|log| finished(log)));
}

/// The finished logs, the oldest first.
pub(super) fn list(dir: &Dir) -> io::Result<Vec<OsString>> {
    let mut logs = dir.names(NAMES)?;
    logs.retain(|name| name.as_bytes().starts_with(b"@") && name.len() >= TEXT);
    logs.sort_by(|one, other| age(one).cmp(age(other)));
    Ok(logs)
}

/// How long each is; one that is gone has no length.
fn sizes(dir: &Dir, logs: &[OsString]) -> Vec<u64> {
    logs.iter().map(|log| dir.stat(log).map_or(0, |stat| stat.size)).collect()
}

/// How many of the logs, the oldest first, are beyond what is kept: by number, by age, and by the
/// bytes of all together if `sizes` are known. `current` has its size whatever is in it.
fn surplus(logs: &[OsString], sizes: &[u64], keep: &Keep, now: Moment) -> usize {
    let number = usize::try_from(keep.number.saturating_sub(1)).unwrap_or(usize::MAX);
    let by_number = logs.len().saturating_sub(number);
    let by_age = keep.age.map_or(0, |age| {
        let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        let too_old = |log: &&OsString| finished(log).is_some_and(|at| now.since(at) >= micros);
        logs.iter().take_while(too_old).count()
    });
    let room = keep.total.map_or(u64::MAX, |total| total.saturating_sub(keep.size));
    let mut bytes = 0_u64;
    let fits = |size: &&u64| {
        bytes = bytes.saturating_add(**size);
        bytes <= room
    };
    let by_bytes = sizes.len().saturating_sub(sizes.iter().rev().take_while(fits).count());
    by_number.max(by_age).max(by_bytes)
}

/// Gives a file its lasting name and says which. The clock may have been set back: a newer log still gets a later
/// label, as otherwise it would be the first to go.
fn link(place: &Place, file: &str, code: &str, newest: Option<Label>, calm: &Patience) -> OsString {
    let (dir, name, mut tries) = (&place.dir, place.name(), 0);
    let mut label = after(newest, sys::clock::now());
    loop {
        let text = label.print();
        let lasting = OsString::from_vec([&text, b".".as_slice(), code.as_bytes()].concat());
        match place.attempt(|| named(dir, file, &lasting)) {
            Ok(()) => return lasting,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => label = next(label),
            Err(error) => {
                let what = [&"unable to link to " as &dyn AsRef<OsStr>, &name, &"/", &lasting];
                place.complain(calm, &what, &error, &mut tries);
                label = after(newest, sys::clock::now());
            }
        }
    }
}

/// A second name, or, on a file system where a file has only one, another.
fn named(dir: &Dir, file: &str, lasting: &OsStr) -> io::Result<()> {
    match dir.link(file, lasting) {
        Err(error)
            if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) =>
        {
            dir.rename(file, lasting)
        }
        linked => linked,
    }
}

/// The label of now, or the one behind the newest there is.
fn after(newest: Option<Label>, now: Moment) -> Label {
    let label = Label::at(now);
    let far = now.plus_secs(FUTURE);
    match newest.filter(|newest| *newest >= label && newest.moment() < far) {
        Some(newest) => next(newest),
        None => label,
    }
}

/// A microsecond later.
fn next(label: Label) -> Label {
    Label::at(label.moment().plus_micros(1))
}

/// The label of the newest log that has one.
fn newest(logs: &[OsString]) -> Option<Label> {
    logs.iter().rev().find_map(|log| label(log))
}

fn label(log: &OsStr) -> Option<Label> {
    Label::parse(log.as_bytes()).map(|(label, _)| label)
}

/// When a log was finished, if its name says.
fn finished(log: &OsStr) -> Option<Moment> {
    label(log).map(Label::moment)
}

/// Someone else's removing it is as good.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The label in a log's name.
fn age(name: &OsStr) -> &[u8] {
    name.as_bytes().get(..TEXT).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::script::{Action, Script};
    use super::*;

    const NOW: Moment = Moment::from_secs(1_700_000_000);

    fn keep(words: &str) -> Keep {
        let args: Vec<_> = words.split(' ').chain(["./a"]).map(OsString::from).collect();
        let Some(Action::Log(keep)) = Script::parse(&args).actions.pop() else { panic!("no log") };
        keep
    }

    /// Logs finished so many seconds ago.
    fn logs(ago: &[u64]) -> Vec<OsString> {
        let name =
            |ago: &u64| [&Label::new(NOW.secs() - ago, 500).print(), b".s".as_slice()].concat();
        ago.iter().map(|ago| OsString::from_vec(name(ago))).collect()
    }

    #[test]
    fn beyond_the_number_the_age_or_the_bytes_the_oldest_go() {
        let logs = logs(&[400, 300, 200, 100]);
        let sizes = [4000; 4];
        let goes = |words: &str, sizes: &[u64]| surplus(&logs, sizes, &keep(words), NOW);
        assert_eq!(goes("n10", &[]), 0);
        assert_eq!(goes("n4", &[]), 1);
        assert_eq!(goes("n2", &[]), 3);
        assert_eq!(goes("a300", &[]), 2);
        assert_eq!(goes("a1h", &[]), 0);
        assert_eq!(goes("a1", &[]), 4);
        // `current` counts with the 4096 bytes it may get.
        assert_eq!(goes("s4096 b16096", &sizes), 1);
        assert_eq!(goes("s4096 b16095", &sizes), 2);
        assert_eq!(goes("s4096 b8192", &sizes), 3);
        assert_eq!(goes("b100K n3 a350", &sizes), 2);
    }

    #[test]
    fn what_has_no_label_is_never_too_old() {
        let names = [OsString::from("@zzzzzzzzzzzzzzzzzzzzzzzzzzzzz")];
        assert_eq!(surplus(&names, &[], &keep("a1"), NOW), 0);
        assert_eq!(newest(&names), None);
    }

    #[test]
    fn with_a_clock_set_back_labels_still_rise() {
        let before = Label::new(NOW.secs() + 3600, 999_999_500);
        assert!(after(Some(before), NOW) > before);
        assert_eq!(after(Some(Label::new(5, 0)), NOW), Label::at(NOW));
        assert_eq!(after(None, NOW), Label::at(NOW));
        let absurd = Label::from_bytes([255; base::tai::BYTES]);
        assert_eq!(after(Some(absurd), NOW), Label::at(NOW));
    }
}
