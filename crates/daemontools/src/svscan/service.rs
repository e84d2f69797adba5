//! One service of the directory: its supervise, its log's supervise, the pipe between them.

use super::Refusal;
use super::child::Part;
use super::descriptors;
use super::farewell::{self, Order, Stage};
use super::pipe::Pipe;
use super::post::Post;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys::clock::monotonic;
use sys::dir::Dir;
use sys::spawn::Status;

/// A service. Its number in the directory's file system is its identity (the map's key), so that it
/// stays the same when its link is renamed.
#[derive(Debug)]
pub(super) struct Service {
    /// The name it was last seen under.
    pub(super) name: OsString,
    /// Seen in the last scan.
    pub(super) active: bool,
    own: Post,
    log: Option<Post>,
    pipe: Option<Pipe>,
    /// How far its end is.
    stage: Stage,
    /// It is to end, since this tick.
    leaving: Option<Duration>,
    /// How long it may take to go down.
    patience: Duration,
    /// It goes down when the others are down.
    last: bool,
    place: PathBuf,
}

impl Service {
    /// Takes up a new service; an error: to be tried again at the next scan. Whether it is logged is
    /// decided here, for as long as it is known.
    pub(super) fn discover(dir: &Dir, name: &OsStr) -> Result<Service, Refusal> {
        let logged = match dir.stat(Path::new(name).join("log")) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(Refusal { what: "unable to stat ", suffix: "/log", error }),
        };
        let refuse = |error| Refusal { what: "unable to create pipe for ", suffix: "", error };
        let pipe = || descriptors::some_left().and_then(|()| Pipe::open(name)).map_err(refuse);
        let pipe = if logged { Some(pipe()?) } else { None };
        let place = std::fs::canonicalize(name).unwrap_or_else(|_| PathBuf::from(name));
        Ok(Service {
            name: name.to_os_string(),
            active: false,
            own: Post::new(Part::Service, &place),
            log: logged.then(|| Post::new(Part::Log, &place)),
            pipe,
            stage: Stage::Running,
            leaving: None,
            patience: Duration::ZERO,
            last: false,
            place,
        })
    }

    fn posts(&self) -> impl Iterator<Item = &Post> {
        std::iter::once(&self.own).chain(&self.log)
    }

    fn posts_mut(&mut self) -> impl Iterator<Item = &mut Post> {
        std::iter::once(&mut self.own).chain(&mut self.log)
    }

    /// Starts what does not run but should.
    pub(super) fn keep(&mut self) {
        if self.leaving() {
            return;
        }
        let pipe = self.pipe.as_ref();
        self.own.keep(&self.name, pipe);
        if let Some(log) = &mut self.log {
            log.keep(&self.name, pipe);
        }
    }

    /// A child ended; true if it was one of this service's.
    pub(super) fn ended(&mut self, pid: u32, status: Status, now: Duration) -> bool {
        self.posts_mut().any(|post| post.ended(pid, status, now))
    }

    /// The tick at which something of it is to be started.
    pub(super) fn start_at(&self) -> Option<Duration> {
        if !self.active || self.leaving() {
            return None;
        }
        self.posts().filter_map(|post| post.keeper().start_at()).min()
    }

    /// The tick at which to look after what others started.
    pub(super) fn look_at(&self) -> Option<Duration> {
        self.posts().filter_map(|post| post.keeper().look_at()).min()
    }

    /// What becomes readable when a supervise ends that is not our child.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.posts().filter_map(Post::fd)
    }

    /// Looks after those; `ended` tells which of [`Service::fds`] were readable.
    pub(super) fn look(&mut self, ended: &mut impl Iterator<Item = bool>) {
        for post in self.posts_mut() {
            let ended = post.fd().is_some() && ended.next().unwrap_or(false);
            post.look(ended);
        }
    }

    /// No more waiting before what failed is tried again.
    pub(super) fn hurry(&mut self) {
        self.posts_mut().for_each(Post::hurry);
    }

    /// Whether a supervise of it still lives.
    pub(super) fn lingers(&mut self) -> bool {
        // Both are asked.
        self.posts_mut().filter_map(|post| post.alive().then_some(())).count() > 0
    }

    /// Whether it is on its way out.
    pub(super) fn leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Whether others wait for it to go down.
    pub(super) fn holds_up(&self, now: Duration) -> bool {
        self.leaving() && !self.last && !self.is_down() && !self.overdue(now)
    }

    /// Whether its end has taken longer than that takes at most: it cannot be told, or does not end.
    /// One of those that end last waits for the others first, and so is never.
    pub(super) fn overdue(&self, now: Duration) -> bool {
        let late = |since| now.saturating_sub(since) >= farewell::longest(self.patience);
        !self.last && self.leaving.is_some_and(late)
    }

    /// Whether it has come to its end.
    pub(super) fn gone(&self) -> bool {
        self.stage == Stage::Gone
    }

    /// Whether the service itself is down, if not yet its log.
    pub(super) fn is_down(&self) -> bool {
        !matches!(self.stage, Stage::Running | Stage::Stopping(_) | Stage::Killed(_))
    }

    /// Its supervises that are our children.
    pub(super) fn pids(&self) -> impl Iterator<Item = u32> {
        self.posts().filter_map(|post| post.keeper().pid())
    }

    /// Sets it on its way out; how long that may take at most.
    pub(super) fn leave(&mut self) -> Duration {
        if !self.leaving() {
            self.leaving = Some(monotonic());
            self.patience = farewell::patience(&self.place);
            self.last = farewell::is_last(&self.place);
        }
        farewell::longest(self.patience)
    }

    /// Whether it is one of those that end last, when the others are down.
    pub(super) fn is_last(&self) -> bool {
        self.last
    }

    /// One step towards the end; true when it is reached. Who had to be killed is named.
    pub(super) fn part_with(&mut self) -> (bool, Option<&'static str>) {
        let own = self.own.alive();
        let log = self.log.as_mut().is_some_and(Post::alive);
        let (stage, order) = self.stage.step(own, log, monotonic(), self.patience);
        let say = |bytes: &[u8], post: &Option<Post>| {
            post.as_ref().is_none_or(|post| post.command(bytes))
        };
        let (heard, killed) = match order {
            Some(Order::Service(bytes)) => (self.own.command(bytes), (bytes == b"k").then_some("")),
            Some(Order::Log(bytes)) => (say(bytes, &self.log), (bytes == b"k").then_some("/log")),
            Some(Order::Drain(bytes)) => {
                self.pipe = None;
                (say(bytes, &self.log), None)
            }
            None => (true, None),
        };
        // A supervise just started does not listen yet: say it again next time.
        if heard {
            self.stage = stage;
        }
        (self.stage == Stage::Gone, killed.filter(|_| heard))
    }
}
