//! Files with one id: a move that was cut short between its two names is finished, others are told
//! apart.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use super::{Letter, Maildir, Place};
use crate::pop3d::name;

/// Whether other files have the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twin {
    None,
    /// The first of them has the id. It is not renamed, lest it replace another.
    First,
    /// Another has it: this one is known by a hash of its place and name, and not renamed either.
    Later,
}

impl Maildir {
    /// Marks files that have the id of another.
    pub(super) fn find_twins(&mut self) {
        let mut twins = Vec::new();
        let mut timeless: HashMap<&[u8], usize> = HashMap::new();
        let mut first = 0;
        for (index, letter) in self.letters.iter().enumerate() {
            let other = self.letters.get(first).filter(|_| first < index);
            if other.is_some_and(|other| self.are_twins(other, letter)) {
                twins.push((first, index));
                continue;
            }
            first = index;
            // Without a time in their names they need not stand together.
            if name::parse(self.name(letter)).time.is_none() {
                match timeless.get(self.id(letter)) {
                    Some(at) => twins.push((*at, index)),
                    None => drop(timeless.insert(self.id(letter), index)),
                }
            }
        }
        let twins = self.finish_moves(twins);
        for (first, later) in twins {
            for (index, twin) in [(first, Twin::First), (later, Twin::Later)] {
                if let Some(letter) = self.letters.get_mut(index) {
                    letter.twin = if letter.twin == Twin::Later { Twin::Later } else { twin };
                }
            }
        }
    }

    /// Of twins that are one file, seen once and then cut short between its two names, takes the
    /// name in `new` away and the letter off the list. Returns the others.
    fn finish_moves(&mut self, twins: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
        let halves = twins.iter().filter_map(|&(first, later)| {
            let (a, b) = (self.letters.get(first)?, self.letters.get(later)?);
            let (new, cur) = match (a.place, b.place) {
                (Place::New, Place::Cur) => ((first, a), b),
                (Place::Cur, Place::New) => ((later, b), a),
                _ => return None,
            };
            (a.inode == b.inode && self.finish_move(new.1, cur)).then_some(new.0)
        });
        let mut gone: Vec<usize> = halves.collect();
        if gone.is_empty() {
            return twins;
        }
        gone.sort_unstable();
        let stays = |index: &usize| gone.binary_search(index).is_err();
        let place = |index: usize| index - gone.partition_point(|at| *at < index);
        let left = twins.iter().filter(|(a, b)| stays(a) && stays(b));
        let left = left.map(|&(a, b)| (place(a), place(b))).collect();
        let mut index = 0;
        self.letters.retain(|_| {
            index += 1;
            stays(&(index - 1))
        });
        left
    }

    /// Removes the first name of a file that has both; not before the second is sure to last.
    fn finish_move(&self, new: &Letter, cur: &Letter) -> bool {
        let file = |letter| self.path.join(self.file(letter));
        let (Ok(a), Ok(b)) = (file(new).symlink_metadata(), file(cur).symlink_metadata()) else {
            return false;
        };
        sys::file::is_same(&a, &b)
            && a.nlink() > 1
            && sys::file::sync_dir(self.path.join("cur")).is_ok()
            && fs::remove_file(file(new)).is_ok()
    }

    fn are_twins(&self, a: &Letter, b: &Letter) -> bool {
        (a.secs, a.micros) == (b.secs, b.micros) && self.id(a) == self.id(b)
    }
}
