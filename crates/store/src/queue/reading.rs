//! Looking at letters in the queue: in memory if they came lately, else in their records.

use std::io;

use base::time::Moment;
use base::wire::queue::Envelope;

use super::index::Place;
use super::record::{Bytes, Found, Glance, Letter, Record};
use super::{Queue, Stored, big};
use crate::disk::{Access, Disk};

/// Bytes of a record that are read first where only its beginning is wanted.
const GLANCE: usize = 512;

/// What a follower or a list is told of a letter, besides its progress.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// When it was queued.
    pub birth: Moment,
    /// Its bytes, the `Received` line included.
    pub size: u64,
    /// Who queued it.
    pub uid: u32,
    /// Which process queued it.
    pub pid: u32,
    /// Sender and recipients.
    pub envelope: Envelope<'a>,
}

impl<'a> From<Glance<'a>> for Described<'a> {
    fn from(glance: Glance<'a>) -> Self {
        let Glance { birth, size, uid, pid, envelope, .. } = glance;
        Self { birth, size, uid, pid, envelope }
    }
}

impl<D: Disk> Queue<D> {
    /// The letter's envelope, a text0 block for [`Envelope::new`].
    ///
    /// # Errors
    /// `NotFound`, `InvalidData` if the disk has lost or changed it, or what the disk says.
    pub fn envelope(&self, id: u64) -> io::Result<Vec<u8>> {
        self.with_letter(id, |letter| letter.envelope.as_bytes().to_vec())
    }

    /// Shows what is to be told of a letter. Only the beginning of its record is read, so this
    /// proves nothing about the bytes that follow; that was done at the start.
    ///
    /// # Errors
    /// As [`Queue::envelope`].
    pub fn describe<T>(&self, id: u64, show: impl FnOnce(&Described<'_>) -> T) -> io::Result<T> {
        let place = self.index.get(id).ok_or(io::ErrorKind::NotFound)?.place;
        let whole = place.len as usize;
        let (bytes, _) = self.log.read(place, whole.min(GLANCE))?;
        if let Some(glance) = Glance::at(&bytes) {
            return Ok(show(&glance.into()));
        }
        let (bytes, _) = self.log.read(place, whole)?;
        let glance = Glance::at(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(show(&glance.into()))
    }

    /// The letter's bytes.
    ///
    /// # Errors
    /// As [`Queue::envelope`].
    pub fn content(&self, id: u64) -> io::Result<Stored<D::File>> {
        match self.apart(id)? {
            Some(file) => Ok(Stored::Apart(file)),
            None => self.with_content(id, |bytes| Stored::Inline(bytes.to_vec())),
        }
    }

    /// The file with the letter's bytes, open for reading, if they lie apart.
    ///
    /// # Errors
    /// What the disk says.
    pub fn apart(&self, id: u64) -> io::Result<Option<D::File>> {
        let Some(apart) = self.index.apart(id) else { return Ok(None) };
        self.log.disk.open(&big::path(apart.name), Access::Read).map(Some)
    }

    /// Shows the letter's bytes, unless they lie apart: then none.
    ///
    /// # Errors
    /// As [`Queue::envelope`].
    pub fn with_content<T>(&self, id: u64, show: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        self.with_letter(id, |letter| match letter.bytes {
            Bytes::Here(bytes) => show(bytes),
            Bytes::Apart { .. } => show(&[]),
        })
    }

    /// Shows the letter's bytes if they lie in the log and are at most `most`; else `None`.
    ///
    /// # Errors
    /// As [`Queue::envelope`].
    pub fn with_small<T>(
        &self,
        id: u64,
        most: usize,
        show: impl FnOnce(&[u8]) -> T,
    ) -> io::Result<Option<T>> {
        let place = self.index.get(id).ok_or(io::ErrorKind::NotFound)?.place;
        // With more than this of other things it is not small.
        if place.len as usize > most.saturating_mul(2) {
            return Ok(None);
        }
        self.with_letter(id, |letter| match letter.bytes {
            Bytes::Here(bytes) if bytes.len() <= most => Some(show(bytes)),
            Bytes::Here(_) | Bytes::Apart { .. } => None,
        })
    }

    /// The failure paragraphs of a letter, in the order of its recipients.
    ///
    /// # Errors
    /// As [`Queue::envelope`].
    pub fn paragraphs(&self, id: u64) -> io::Result<Vec<Vec<u8>>> {
        self.index.get(id).ok_or(io::ErrorKind::NotFound)?;
        self.index.paragraphs(id).map(|(_, place)| self.paragraph_at(place)).collect()
    }

    /// The failure paragraph of the first recipient from `index` on that has one.
    ///
    /// # Errors
    /// As [`Queue::envelope`].
    pub fn paragraph_from(&self, id: u64, index: u32) -> io::Result<Option<(u32, Vec<u8>)>> {
        self.index.get(id).ok_or(io::ErrorKind::NotFound)?;
        let Some((index, place)) = self.index.paragraphs_from(id, index).next() else {
            return Ok(None);
        };
        self.paragraph_at(place).map(|paragraph| Some((index, paragraph)))
    }

    fn paragraph_at(&self, place: Place) -> io::Result<Vec<u8>> {
        self.with_record(place, |record| match record {
            Record::Failed { paragraph, .. } => Some(paragraph.to_vec()),
            _ => None,
        })
    }

    fn with_letter<T>(&self, id: u64, act: impl FnOnce(&Letter<'_>) -> T) -> io::Result<T> {
        let place = self.index.get(id).ok_or(io::ErrorKind::NotFound)?.place;
        self.with_record(place, |record| match record {
            Record::Letter(letter) | Record::Carried { letter, .. } => Some(act(&letter)),
            _ => None,
        })
    }

    fn with_record<T>(
        &self,
        place: Place,
        act: impl FnOnce(Record<'_>) -> Option<T>,
    ) -> io::Result<T> {
        let (bytes, ours) = self.log.read(place, place.len as usize)?;
        let body = if ours { Found::unproved_body(&bytes) } else { Found::body(&bytes) };
        body.and_then(Record::decode).and_then(act).ok_or(io::ErrorKind::InvalidData.into())
    }
}
