//! One service of the directory: its supervise, its log's supervise, the pipe between them.

use super::child::{self, Part};
use super::farewell::{Order, Stage};
use super::keeper::Keeper;
use super::pipe::Pipe;
use super::refuse;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys::clock::monotonic;
use sys::dir::Dir;
use sys::spawn::Status;

/// A service, known by device and inode: it keeps its identity when its link is renamed.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) identity: (u64, u64),
    /// The name it was last seen under.
    pub(super) name: OsString,
    /// Where it lies, whatever its name in the directory is by now.
    place: PathBuf,
    /// Seen in this scan.
    pub(super) active: bool,
    own: Keeper,
    log: Option<Keeper>,
    pipe: Option<Pipe>,
    stage: Stage,
}

impl Service {
    /// Takes up a new service; `None`, after a warning, to try again at the next scan. Whether it
    /// is logged is decided here, for as long as it is known.
    pub(super) fn discover(dir: &Dir, name: &OsStr, identity: (u64, u64)) -> Option<Service> {
        let logged = match dir.stat(Path::new(name).join("log")) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => {
                refuse("unable to stat ", name, "/log", &error);
                return None;
            }
        };
        let pipe = if logged {
            match Pipe::open(name) {
                Ok(pipe) => Some(pipe),
                Err(error) => {
                    refuse("unable to create pipe for ", name, "", &error);
                    return None;
                }
            }
        } else {
            None
        };
        Some(Service {
            identity,
            name: name.to_os_string(),
            place: std::fs::canonicalize(name).unwrap_or_else(|_| PathBuf::from(name)),
            active: false,
            own: Keeper::NEW,
            log: logged.then_some(Keeper::NEW),
            pipe,
            stage: Stage::Running,
        })
    }

    /// Starts what does not run but should.
    pub(super) fn keep(&mut self, name: &OsStr) {
        self.name = name.to_os_string();
        let pipe = self.pipe.as_ref();
        keep(&mut self.own, name, Part::Service, pipe);
        if let Some(log) = &mut self.log {
            keep(log, name, Part::Log, pipe);
        }
    }

    /// A child ended: perhaps one of ours.
    pub(super) fn ended(&mut self, pid: u32, status: Status, now: Duration) {
        if !self.own.ended(pid, status, now)
            && let Some(log) = &mut self.log
        {
            log.ended(pid, status, now);
        }
    }

    /// The tick at which something is to be done for it.
    pub(super) fn wake(&self) -> Option<Duration> {
        if !self.active {
            return None;
        }
        let log = self.log.and_then(Keeper::wake);
        self.own.wake().into_iter().chain(log).min()
    }

    /// Whether a supervise of it still lives; looks anew at those that are not our children.
    pub(super) fn lingers(&mut self) -> bool {
        let own = alive(&mut self.own, &self.place);
        let place = self.place.join("log");
        let log = self.log.as_mut().is_some_and(|log| alive(log, &place));
        own || log
    }

    /// One step towards the end.
    pub(super) fn part_with(&mut self) -> Stage {
        let own = alive(&mut self.own, &self.place);
        let place = self.place.join("log");
        let log = self.log.as_mut().is_some_and(|log| alive(log, &place));
        let (stage, order) = self.stage.step(own, log, monotonic());
        let heard = match order {
            Some(Order::Service(bytes)) => child::command(&self.place, bytes),
            Some(Order::Log(bytes)) => child::command(&place, bytes),
            Some(Order::Drain(bytes)) => {
                self.pipe = None;
                child::command(&place, bytes)
            }
            None => true,
        };
        // A supervise just started does not listen yet: say it again next time.
        if heard {
            self.stage = stage;
        }
        self.stage
    }
}

/// Starts a supervise that is due, unless another svscan's still runs there.
fn keep(keeper: &mut Keeper, name: &OsStr, part: Part, pipe: Option<&Pipe>) {
    let now = monotonic();
    if !keeper.due(now) {
        return;
    }
    let mut dir = PathBuf::from(name);
    if part == Part::Log {
        dir.push("log");
    }
    if child::held(&dir) {
        keeper.held(now);
    } else {
        match child::start(name, part, pipe) {
            Some(pid) => keeper.started(pid, now),
            None => keeper.failed(now),
        }
    }
}

/// Whether a supervise lives; one that is not our child is asked by its lock.
fn alive(keeper: &mut Keeper, dir: &Path) -> bool {
    if matches!(keeper, Keeper::Others(_)) && !child::held(dir) {
        *keeper = Keeper::NEW;
    }
    keeper.alive()
}
