//! The process that syncs one file system when it is asked to, so that a file system that hangs
//! holds up nobody but it. It runs without privileges and holds one descriptor.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use sys::pass::{self, Kind};
use sys::spawn::{self, Fork};
use sys::user::{self, Ids};
use sys::{fd, file};

use crate::fences;

/// Our end of a syncer.
#[derive(Debug)]
pub(super) struct Syncer(OwnedFd);

impl AsFd for Syncer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Syncer {
    /// Starts one for the file system a directory is on. It ends at once if that is not `device`,
    /// or if the file system cannot be synced as a whole.
    pub(super) fn start(device: u64, dir: &OwnedFd, ids: Option<&Ids>) -> io::Result<Self> {
        let (ours, theirs) = pass::pair(Kind::Seqpacket)?;
        match spawn::fork()? {
            Fork::Parent(_) => {
                fd::set_nonblocking(&ours, true)?;
                Ok(Self(ours))
            }
            Fork::Child => spawn::exit(i32::from(serve(device, dir, &theirs, ids).is_err())),
        }
    }

    /// Begins a sync.
    pub(super) fn ask(&self) -> io::Result<()> {
        pass::send(&self.0, b"s", &[]).map(drop)
    }

    /// How the sync ended: 0, or the number of its error; `None` if it has not ended, an error if
    /// nobody will tell.
    pub(super) fn answer(&self) -> io::Result<Option<i32>> {
        let mut answer = [0; 4];
        match pass::recv(&self.0, &mut answer, 0) {
            Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(Some(i32::from_le_bytes(answer))),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(err) => Err(err),
        }
    }
}

/// The syncer's whole life: it ends with its owner.
fn serve(device: u64, dir: &OwnedFd, owner: &OwnedFd, ids: Option<&Ids>) -> io::Result<()> {
    sys::signal::unblock_all();
    for at in 0..3 {
        fd::place(owner, at)?;
    }
    fd::place(dir, 3)?;
    fd::close_from(4);
    let dir = File::from(fd::take(3));
    if let Some(ids) = ids {
        user::drop_to(ids)?;
    }
    if dir.metadata()?.dev() != device || !file::syncs_as_a_whole(&dir)? {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let _as_far_as_it_can = fences::syncer().close_or_tell();
    let mut word = [0];
    while pass::recv(fd::stdin(), &mut word, 0)?.0 > 0 {
        let error = file::sync_fs(&dir).map_or_else(|err| sys::errno::number(&err), |()| 0);
        pass::send(fd::stdin(), &error.to_le_bytes(), &[])?;
    }
    Ok(())
}
