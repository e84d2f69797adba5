//! A disk that can lose everything that was not synced, in any part and order.
//!
//! Each file has the bytes that readers see and the bytes that are durable; between them lie
//! *pieces*: parts of writes, cut at 512-byte sectors, and changes of length. Each directory entry
//! likewise. A power cut keeps any subset of the pieces ([`Sim::power_cut`]); the sectors
//! themselves never tear. [`Sim::fail_at`] makes the n-th changing call fail. What each call does is in
//! `calls`.

mod calls;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::piece::Piece;

/// What a disk writes whole or not at all.
pub const SECTOR: usize = 512;

/// What a call that is made to fail does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens any more: this call and all later ones fail. Then look at [`Sim::power_cut`].
    Stop,
    /// An I/O error, once. If it was a sync, what was to be synced is forgotten by the disk and yet
    /// seen by readers, and the next sync succeeds: so do Linux file systems.
    Io,
    /// The disk is full, once.
    Full,
    /// The process has no descriptor left, once.
    NoDescriptor,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

/// A change of names that is not durable yet; a rename is one change.
#[derive(Clone, Debug)]
struct Change {
    remove: Option<PathBuf>,
    insert: Option<(PathBuf, Node)>,
}

impl Change {
    fn touches(&self, dir: &Path) -> bool {
        let inserted = self.insert.as_ref().map(|(name, _)| name);
        self.remove.iter().chain(inserted).any(|name| name.parent() == Some(dir))
    }

    fn apply(&self, to: &mut BTreeMap<PathBuf, Node>) {
        if let Some(name) = &self.remove {
            to.remove(name);
        }
        if let Some((name, node)) = &self.insert {
            to.insert(name.clone(), *node);
        }
    }
}

#[derive(Clone, Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    seen: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    changes: Vec<Change>,
    steps: u64,
    fault: Option<(u64, Fault)>,
    stopped: bool,
    full: bool,
    lies: bool,
    forgets_names: bool,
}

impl State {
    /// Frees files that no name leads to any more.
    fn forget_unnamed(&mut self) {
        let pending = self.changes.iter().filter_map(|c| c.insert.as_ref()).map(|(_, node)| *node);
        let named = self.seen.values().chain(self.durable.values()).copied().chain(pending);
        let named: BTreeSet<usize> = named
            .filter_map(|node| match node {
                Node::File(n) => Some(n),
                Node::Dir => None,
            })
            .collect();
        for (n, inode) in self.inodes.iter_mut().enumerate() {
            if !named.contains(&n) {
                *inode = Inode::default();
            }
        }
    }
}

/// The simulated disk; cheap to clone for another try from the same state.
#[derive(Clone, Debug, Default)]
pub struct Sim(RefCell<State>);

/// An open file of a [`Sim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimFile(usize);

impl Sim {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk whose syncs say yes and do nothing: every crash test must find it out.
    pub fn lying() -> Self {
        let sim = Self::default();
        sim.0.borrow_mut().lies = true;
        sim
    }

    /// A disk whose syncs of directories say yes and do nothing.
    pub fn forgetting_names() -> Self {
        let sim = Self::default();
        sim.0.borrow_mut().forgets_names = true;
        sim
    }

    /// Makes the changing call number `step` fail, counted from 0 over the disk's whole life.
    pub fn fail_at(&self, step: u64, fault: Fault) {
        self.0.borrow_mut().fault = Some((step, fault));
    }

    /// From now on no file grows, and none is made, or they do again.
    pub fn set_full(&self, full: bool) {
        self.0.borrow_mut().full = full;
    }

    /// How many changing calls there have been.
    pub fn steps(&self) -> u64 {
        self.0.borrow().steps
    }

    /// Was a [`Fault::Stop`] reached?
    pub fn stopped(&self) -> bool {
        self.0.borrow().stopped
    }

    /// How many pieces and changes a power cut may keep or lose.
    pub fn unsynced(&self) -> usize {
        let state = self.0.borrow();
        state
            .inodes
            .iter()
            .map(|i| i.pieces.len())
            .sum::<usize>()
            .saturating_add(state.changes.len())
    }

    /// The disk after a power cut that keeps what `keep` says of each of [`Sim::unsynced`].
    pub fn power_cut(&self, mut keep: impl FnMut(usize) -> bool) -> Self {
        let state = self.0.borrow();
        let mut names = state.durable.clone();
        let mut unit = 0..;
        let mut kept = || unit.next().is_some_and(&mut keep);
        for change in &state.changes {
            if kept() {
                change.apply(&mut names);
            }
        }
        let mut inodes = Vec::with_capacity(state.inodes.len());
        orphans(&mut names);
        for (n, inode) in state.inodes.iter().enumerate() {
            let named = names.values().any(|node| *node == Node::File(n));
            let mut bytes = inode.durable.clone();
            for piece in &inode.pieces {
                if kept() {
                    piece.apply(&mut bytes);
                }
            }
            // What has no name any more nobody will ever read.
            let inode = Inode { seen: bytes.clone(), durable: bytes, pieces: Vec::new() };
            inodes.push(if named { inode } else { Inode::default() });
        }
        let seen = names.clone();
        Self(RefCell::new(State {
            inodes,
            seen,
            durable: names,
            lies: state.lies,
            forgets_names: state.forgets_names,
            ..State::default()
        }))
    }

    /// The disk after the program (but not the machine) died: nothing lost, nothing synced.
    pub fn killed(&self) -> Self {
        let mut state = self.0.borrow().clone();
        (state.fault, state.stopped, state.full) = (None, false, false);
        state.forget_unnamed();
        Self(RefCell::new(state))
    }

    /// Changes one durable byte, as a failing medium does; false if there is no such byte.
    pub fn rot(&self, name: &Path, at: usize) -> bool {
        let mut state = self.0.borrow_mut();
        let Some(Node::File(n)) = state.seen.get(name).copied() else { return false };
        let Some(inode) = state.inodes.get_mut(n) else { return false };
        for bytes in [&mut inode.seen, &mut inode.durable] {
            match bytes.get_mut(at) {
                Some(byte) => *byte ^= 0x40,
                None => return false,
            }
        }
        true
    }

    /// Counts a changing call and says whether it happens.
    fn step(&self) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let at = state.steps;
        state.steps = at.saturating_add(1);
        match state.fault {
            _ if state.stopped => Err(io::Error::other("the power is gone")),
            Some((step, fault)) if step == at => match fault {
                Fault::Stop => {
                    state.stopped = true;
                    Err(io::Error::other("the power is gone"))
                }
                Fault::Io => Err(io::Error::from_raw_os_error(5)),
                Fault::Full => Err(io::ErrorKind::StorageFull.into()),
                Fault::NoDescriptor => Err(io::Error::from_raw_os_error(24)),
            },
            _ => Ok(()),
        }
    }

    fn node(&self, name: &Path) -> io::Result<Node> {
        let state = self.0.borrow();
        if name.as_os_str().is_empty() {
            return Ok(Node::Dir);
        }
        state.seen.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&self, change: Change) {
        let mut state = self.0.borrow_mut();
        change.apply(&mut state.seen);
        state.changes.push(change);
    }

    /// Is there no room for a file of `len` bytes (that has `now`)?
    fn check_room(&self, now: usize, len: usize) -> io::Result<()> {
        if self.0.borrow().full && len > now {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// A new name needs a directory to be in and must not be there.
    fn check_new(&self, name: &Path) -> io::Result<()> {
        match name.parent().map(|dir| self.node(dir)) {
            Some(Ok(Node::Dir)) => {}
            _ => return Err(io::ErrorKind::NotFound.into()),
        }
        match self.node(name) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => Ok(()),
        }
    }

    fn with<T>(&self, file: SimFile, act: impl FnOnce(&mut Inode) -> T) -> io::Result<T> {
        let mut state = self.0.borrow_mut();
        if state.stopped {
            return Err(io::Error::other("the power is gone"));
        }
        state.inodes.get_mut(file.0).map(act).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Drops names whose directory did not survive.
fn orphans(names: &mut BTreeMap<PathBuf, Node>) {
    let dirs: BTreeSet<PathBuf> =
        names.iter().filter(|(_, n)| **n == Node::Dir).map(|(name, _)| name.clone()).collect();
    names.retain(|name, _| {
        name.parent().is_none_or(|dir| dir.as_os_str().is_empty() || dirs.contains(dir))
    });
}

impl Inode {
    fn write(&mut self, bytes: &[u8], at: usize) {
        let end = at.saturating_add(bytes.len());
        if self.seen.len() < end {
            self.push(Piece::Length(end));
        }
        let (mut rest, mut at) = (bytes, at);
        while !rest.is_empty() {
            let room = SECTOR.saturating_sub(at % SECTOR).min(rest.len());
            let (now, later) = rest.split_at(room);
            // A write that changes nothing can neither be lost nor tear anything.
            if self.seen.get(at..at.saturating_add(room)) != Some(now) {
                self.push(Piece::Data { at, bytes: now.to_vec() });
            }
            (rest, at) = (later, at.saturating_add(room));
        }
    }

    fn push(&mut self, piece: Piece) {
        piece.apply(&mut self.seen);
        self.pieces.push(piece);
    }

    fn sync(&mut self) {
        for piece in self.pieces.drain(..) {
            piece.apply(&mut self.durable);
        }
    }
}

#[cfg(test)]
mod tests;
