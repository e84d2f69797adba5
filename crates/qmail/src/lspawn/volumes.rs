//! The file systems Maildirs are on, each with the process that syncs it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use store::home::Home;
use sys::user::{self, Ids};
use sys::{clock, log};

use crate::spawn::Desk;

use super::syncer::Syncer;
use super::volume::{Step, Volume};

/// File systems with a process of their own; deliveries to more are synced one by one.
const MOST: usize = 16;
/// How long a file system is done without that cannot be synced as a whole.
const SHUN: Duration = Duration::from_secs(60);
/// How long the process of an idle file system is kept. It keeps it from being unmounted.
const IDLE: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Mounted {
    volume: Volume,
    syncer: Syncer,
    token: u64,
    /// When something was last to be done.
    since: Duration,
}

/// All of them, by device.
#[derive(Debug)]
pub(super) struct Volumes {
    ids: Option<Ids>,
    all: BTreeMap<u64, Mounted>,
    /// Devices whose syncer has ended by itself, and when to try another.
    shunned: BTreeMap<u64, Duration>,
}

impl Volumes {
    /// None yet. Run by root, syncers become qmailp.
    pub(super) fn new(home: &Home) -> Self {
        let roles = home.roles().ok().filter(|_| user::euid() == 0);
        Self {
            ids: roles.map(|roles| roles.qmailp),
            all: BTreeMap::new(),
            shunned: BTreeMap::new(),
        }
    }

    /// A worker delivers into a directory on `device`; `job` is the number of the latest job.
    pub(super) fn enter(&mut self, device: u64, dir: &OwnedFd, job: u64, desk: &mut Desk) {
        let since = clock::monotonic();
        if let Some(mounted) = self.all.get_mut(&device) {
            mounted.since = since;
            return;
        }
        self.shunned.retain(|_, until| since < *until);
        if self.all.len() >= MOST || self.shunned.contains_key(&device) {
            return;
        }
        let Ok(syncer) = Syncer::start(device, dir, self.ids.as_ref()) else { return };
        let Ok(token) = desk.watch(&syncer) else { return };
        self.all.insert(device, Mounted { volume: Volume::new(job), syncer, token, since });
    }

    /// Job number `job` has written its file.
    pub(super) fn staged(&mut self, device: u64, slot: u32, job: u64) -> Option<Step> {
        match self.all.get_mut(&device) {
            Some(mounted) => mounted.volume.staged(slot, job),
            None => Some(Step::Alone(vec![slot])),
        }
    }

    /// A file that was to be shown is, or failed to be. If its file system has lost its syncer
    /// meanwhile, nobody else would ever sync it.
    pub(super) fn shown(&mut self, device: u64, slot: u32, worked: bool) -> Option<Step> {
        match self.all.get_mut(&device) {
            Some(mounted) => mounted.volume.shown(slot, worked),
            None => worked.then(|| Step::Alone(vec![slot])),
        }
    }

    /// Nobody waits for a written or shown file any more.
    pub(super) fn lost(&mut self, device: u64, slot: u32) {
        if let Some(mounted) = self.all.get_mut(&device) {
            mounted.volume.lost(slot);
        }
    }

    /// What a syncer's answer leads to; `None` if the token is none of theirs.
    pub(super) fn ready(&mut self, token: u64, job: u64, desk: &Desk) -> Option<(u64, Vec<Step>)> {
        let (device, mounted) = self.all.iter_mut().find(|(_, of)| of.token == token)?;
        let device = *device;
        let steps = match mounted.syncer.answer() {
            Ok(None) => Vec::new(),
            Ok(Some(0)) => mounted.volume.synced(true, job, clock::monotonic()),
            Ok(Some(errno)) => {
                let why = base::errno::text(errno);
                log::say(format_args!(
                    "warning: unable to sync the file system of device {device}: {why}; what \
                     waited for it is delivered again"
                ));
                mounted.volume.synced(false, job, clock::monotonic())
            }
            Err(_) => {
                if self.shunned.len() < MOST {
                    self.shunned.insert(device, clock::monotonic().saturating_add(SHUN));
                }
                self.unmount(device, desk)
            }
        };
        Some((device, steps))
    }

    /// Does without a syncer; what waited for it is synced one by one.
    fn unmount(&mut self, device: u64, desk: &Desk) -> Vec<Step> {
        let Some(mounted) = self.all.remove(&device) else { return Vec::new() };
        desk.forget(&mounted.syncer);
        vec![Step::Alone(mounted.volume.into_waiting())]
    }

    /// Begins a sync.
    pub(super) fn sync(&mut self, device: u64) {
        if let Some(mounted) = self.all.get_mut(&device) {
            // If it cannot be asked it is gone, and its end is heard.
            let _gone = mounted.syncer.ask();
        }
    }

    /// What there is to do, and after how long there will be more.
    pub(super) fn turn(
        &mut self,
        few: bool,
        now: Duration,
        desk: &Desk,
    ) -> (Vec<(u64, Step)>, Option<Duration>) {
        let (mut steps, mut again): (Vec<(u64, Step)>, Option<Duration>) = (Vec::new(), None);
        let mut idle = Vec::new();
        for (device, mounted) in &mut self.all {
            let (step, after) = mounted.volume.turn(few, now);
            steps.extend(step.map(|step| (*device, step)));
            again = again.into_iter().chain(after).min();
            if !mounted.volume.is_idle() {
                mounted.since = now;
            } else if now.saturating_sub(mounted.since) > IDLE {
                idle.push(*device);
            }
        }
        idle.into_iter().for_each(|device| drop(self.unmount(device, desk)));
        if !self.all.is_empty() {
            again = again.into_iter().chain([IDLE]).min();
        }
        (steps, again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_after_its_syncer_has_gone_is_synced_by_itself() {
        let (ids, all, shunned) = (None, BTreeMap::new(), BTreeMap::new());
        let mut volumes = Volumes { ids, all, shunned };
        assert_eq!(volumes.shown(1, 7, true), Some(Step::Alone(vec![7])));
        assert_eq!(volumes.shown(1, 7, false), None);
    }
}
