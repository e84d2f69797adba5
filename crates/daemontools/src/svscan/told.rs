//! Trouble with a name of the directory is told once: again only when it is another trouble, or has
//! been over in between.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;

/// Names remembered; with more than these in trouble the rest is only counted.
const NAMES: usize = 1000;

/// What has been told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Each name's trouble: what, the error's number, the round in which it was met last.
    names: BTreeMap<OsString, (&'static str, i32, u64)>,
    round: u64,
    /// Names in trouble beyond those remembered, in this round and in the one before.
    beyond: (usize, usize),
}

impl Told {
    /// Whether this is news.
    pub(super) fn news(&mut self, name: &OsStr, what: &'static str, error: &io::Error) -> bool {
        let number = sys::errno::number(error);
        if let Some((known, then, round)) = self.names.get_mut(name) {
            let same = (*known, *then) == (what, number);
            (*known, *then, *round) = (what, number, self.round);
            return !same;
        }
        if self.names.len() >= NAMES {
            self.beyond.0 = self.beyond.0.saturating_add(1);
            return false;
        }
        self.names.insert(name.to_owned(), (what, number, self.round));
        true
    }

    /// Every name has been looked at: forgets what is over. Says how many more are in trouble, once
    /// until there are none.
    pub(super) fn round(&mut self) -> Option<usize> {
        let now = self.round;
        self.names.retain(|_, (_, _, round)| *round == now);
        self.round = now.wrapping_add(1);
        let (count, before) = std::mem::take(&mut self.beyond);
        self.beyond.1 = count;
        (count > 0 && before == 0).then_some(count)
    }
}

/// What has been told of directories for whose services there is no room: one by its name and how
/// many there are, each once until all have room.
#[derive(Debug, Default)]
pub(super) struct Beyond {
    named: bool,
    counted: bool,
}

impl Beyond {
    /// One more was met; whether to name it.
    pub(super) fn first(&mut self) -> bool {
        !std::mem::replace(&mut self.named, true)
    }

    /// Every directory has been looked at, and so many had no room; how many to tell of.
    pub(super) fn round(&mut self, count: usize) -> Option<usize> {
        match count {
            0 => *self = Beyond::default(),
            2.. if !std::mem::replace(&mut self.counted, true) => return Some(count),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(told: &mut Told, name: &str, errno: i32) -> bool {
        told.news(OsStr::new(name), "unable to stat ", &io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn a_names_trouble_is_told_once_until_it_is_over() {
        let mut told = Told::default();
        assert!(news(&mut told, "a", 2) && news(&mut told, "b", 2));
        assert_eq!(told.round(), None);
        assert!(!news(&mut told, "a", 2));
        assert_eq!(told.round(), None);
        assert!(!news(&mut told, "a", 2) && news(&mut told, "b", 2), "b was over");
        assert!(news(&mut told, "a", 13), "another trouble");
    }

    #[test]
    fn more_names_than_are_remembered_are_counted_and_the_count_is_told_once_until_that_is_over() {
        let mut told = Told::default();
        let rounds = [NAMES + 5, NAMES + 7, NAMES, NAMES + 2].map(|names| {
            let told_now = (0..names).filter(|n| news(&mut told, &n.to_string(), 2)).count();
            (told_now, told.round())
        });
        assert_eq!(rounds, [(NAMES, Some(5)), (0, None), (0, None), (0, Some(2))]);
    }

    #[test]
    fn directories_without_room_are_told_of_once_however_their_number_changes() {
        let mut beyond = Beyond::default();
        let told = [1, 9, 8, 1, 2, 0, 3].map(|count| {
            let named = (0..count).filter(|_| beyond.first()).count();
            (named, beyond.round(count))
        });
        let over = (0, None);
        assert_eq!(told, [(1, None), (0, Some(9)), over, over, over, over, (1, Some(3))]);
    }
}
