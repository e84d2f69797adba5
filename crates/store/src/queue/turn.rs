//! From one segment to the next: spare files, the next header, files that are free again.

use super::errands::Errand;
use super::log::{Flight, Log, Segment};
use super::segment::{BLOCK, HEADER, Header, RESTATED};
use super::trouble::Trouble;
use super::work::{Job, Lane, Work};
use crate::disk::Disk;

/// Spare segments to have made before they are needed.
const AHEAD: usize = 2;

/// The salt of a segment: another for each, all from one secret (SplitMix64).
const fn salt(secret: u64, number: u64) -> u64 {
    let mut z = secret.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl<D: Disk> Log<D> {
    /// The number of the oldest segment, if it is not also the newest.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.live.front().filter(|_| self.live.len() > 1).map(|s| s.number)
    }

    /// The number of the segment that is being written.
    pub(super) fn newest(&self) -> u64 {
        self.live.back().map_or(0, |s| s.number)
    }

    /// Takes everything older than a segment out of the log.
    pub(super) fn forget_older(&mut self, number: u64) {
        self.release(|n| n >= number);
    }

    /// How many segments the log has, and bytes in all of them but the newest.
    pub(super) fn extent(&self) -> (usize, u64) {
        let older = (self.live.len() as u64).saturating_sub(1);
        (self.live.len(), older.saturating_mul(self.config.segment))
    }

    /// Makes sure that a record of this length can be taken and that a spare segment remains after
    /// it. New letters ask this first, so that on a full disk there is still room to note what
    /// becomes of the old ones.
    ///
    /// # Errors
    /// [`Trouble`]; nothing has changed.
    pub(super) fn reserve(&mut self, len: usize) -> Result<(), Trouble> {
        self.prepare(if self.fits(len) { 1 } else { 2 })
    }

    /// Frees segments at the old end that `needs` does not claim.
    pub(super) fn release(&mut self, needs: impl Fn(u64) -> bool) {
        while self.live.len() > 1 && self.live.front().is_some_and(|s| !needs(s.number)) {
            self.free.extend(self.live.pop_front());
        }
    }

    /// Has spare segments made ahead of need, and removes files that are too many.
    ///
    /// # Errors
    /// [`Trouble`]; `Full` costs nothing.
    pub(super) fn tend(&mut self) -> Result<(), Trouble> {
        self.check()?;
        if self.ready() < self.config.spares.clamp(1, AHEAD) && self.making.is_none() {
            self.begin_making();
        }
        // Those that the newest header still counts will be ready after the next turn: to remove a
        // ready one for them would only have another made in its place.
        while self.ready() > self.config.spares {
            let Some(n) = self.reusable() else { break };
            let Segment { slot, file, .. } = self.free.swap_remove(n);
            // If it comes back after a crash it is still older than what any header names. Until
            // it is known to be gone nothing else may have its name.
            self.leaving.push(slot);
            self.send(Errand::Drop { slot }, Job::Drop { slot, file });
        }
        Ok(())
    }

    /// A file whose segment no header on disk counts as part of the log.
    fn reusable(&self) -> Option<usize> {
        self.free.iter().position(|s| self.is_reusable(s))
    }

    fn is_reusable(&self, segment: &Segment<D::File>) -> bool {
        segment.number < self.named && self.is_whole(segment)
    }

    /// One of another length (damaged, or of another version's size) goes at the next start.
    fn is_whole(&self, segment: &Segment<D::File>) -> bool {
        segment.size == self.config.segment
    }

    /// Has so many spare files ready.
    fn prepare(&mut self, wanted: usize) -> Result<(), Trouble> {
        self.check()?;
        while self.ready() < wanted {
            if self.making.is_none() {
                self.begin_making();
            }
            match self.end_making(true) {
                Ok(_) => {}
                Err(full @ Trouble::Full(_))
                    if self.free.iter().all(|s| self.is_reusable(s) || !self.is_whole(s)) =>
                {
                    return Err(full);
                }
                Err(Trouble::Full(_)) => self.restate()?,
                Err(broken) => return Err(broken),
            }
        }
        Ok(())
    }

    fn ready(&self) -> usize {
        self.free.iter().filter(|s| self.is_reusable(s)).count()
    }

    /// Says the newest header again, in another of its sectors, with what is the oldest segment
    /// now: so that what was freed since can be used again though there is no room to begin
    /// another. What freed it is on disk before.
    fn restate(&mut self) -> Result<(), Trouble> {
        self.commit()?;
        let (Some(front), Some(back)) = (self.live.front(), self.live.back()) else {
            return Ok(());
        };
        let (oldest, number, size, salt) = (front.number, back.number, back.size, back.salt);
        let sector = (self.restated % RESTATED).saturating_add(1);
        let header = Header { number, first: self.first, oldest, size, salt }.encode();
        let at = sector.saturating_mul(HEADER as u64);
        let written = self.disk.write_at(&back.file, &header, at);
        let outcome = written.and_then(|()| self.disk.sync(&back.file));
        self.or_broken(outcome)?;
        self.restated = self.restated.saturating_add(1);
        self.named = oldest;
        Ok(())
    }

    pub(super) fn unused_slot(&self) -> u64 {
        let mut used: Vec<u64> = self.live.iter().chain(&self.free).map(|s| s.slot).collect();
        used.extend(&self.leaving);
        used.sort_unstable();
        let gap = (1..).zip(&used).find(|(slot, used)| slot != *used).map(|(slot, _)| slot);
        gap.unwrap_or_else(|| used.len() as u64 + 1)
    }

    /// Begins the next segment: records go to its place in the buffer at once. All records before
    /// it are on disk before its header is, and the header before its first record.
    ///
    /// # Errors
    /// [`Trouble`]; `Full` costs nothing.
    pub(super) fn turn(&mut self) -> Result<(), Trouble> {
        while self.turning {
            self.land(true)?;
        }
        self.flush()?;
        self.prepare(1)?;
        let Some(n) = self.reusable() else { return Ok(()) };
        let mut segment = self.free.swap_remove(n);
        segment.number = self.live.back().map_or(1, |s| s.number.saturating_add(1));
        (segment.first, segment.salt) = (self.next, salt(self.config.secret, segment.number));
        let oldest = self.live.front().map_or(segment.number, |s| s.number);
        let (number, size, salt) = (segment.number, segment.size, segment.salt);
        let header = Header { number, first: self.next, oldest, size, salt };
        let old = self.live.back().filter(|_| self.dirty).map(|s| s.file.clone());
        let job = Job::Turn { old, new: segment.file.clone(), block: header.block() };
        self.hands.start(&self.disk, Lane::Log, Work(job));
        self.flights.push_back(Flight::Turn { upto: self.written, oldest });
        self.live.push_back(segment);
        (self.turning, self.dirty, self.at) = (true, false, BLOCK);
        (self.first, self.restated) = (self.next, 0);
        Ok(())
    }
}
