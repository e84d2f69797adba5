//! What programs may ask of the pretended disk.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::super::piece::Piece;
use super::super::{Access, Disk};
use super::{Change, Inode, Node, Sim, SimFile, State};

impl Disk for Sim {
    type File = SimFile;

    fn create(&self, name: &Path) -> io::Result<SimFile> {
        self.check_new(name)?;
        self.check_room(0, 1)?;
        self.step()?;
        let n = {
            let mut state = self.0.borrow_mut();
            state.inodes.push(Inode::default());
            state.inodes.len().saturating_sub(1)
        };
        self.change(Change { remove: None, insert: Some((name.into(), Node::File(n))) });
        Ok(SimFile(n))
    }

    fn open(&self, name: &Path, _access: Access) -> io::Result<SimFile> {
        match self.node(name)? {
            Node::File(n) => Ok(SimFile(n)),
            Node::Dir => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn read_at(&self, file: &SimFile, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        self.with(*file, |inode| {
            let rest = inode.seen.get(at..).unwrap_or_default();
            let n = rest.len().min(buf.len());
            if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
                to.copy_from_slice(from);
            }
            n
        })
    }

    fn write_at(&self, file: &SimFile, bytes: &[u8], at: u64) -> io::Result<()> {
        self.step()?;
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let now = self.with(*file, |inode| inode.seen.len())?;
        self.check_room(now, at.saturating_add(bytes.len()))?;
        self.with(*file, |inode| inode.write(bytes, at))
    }

    fn sync(&self, file: &SimFile) -> io::Result<()> {
        let lies = self.0.borrow().lies;
        let outcome = self.step();
        if outcome.as_ref().is_err_and(|e| e.raw_os_error() == Some(5)) {
            self.with(*file, |inode| inode.pieces.clear())?;
        }
        outcome?;
        self.with(*file, |inode| {
            if !lies {
                inode.sync();
            }
        })
    }

    fn settle(&self, file: &SimFile) -> io::Result<()> {
        self.sync(file)?;
        self.with(*file, |inode| {
            if inode.pieces.is_empty() {
                inode.seen.clone_from(&inode.durable);
            }
        })
    }

    fn len(&self, file: &SimFile) -> io::Result<u64> {
        self.with(*file, |inode| inode.seen.len() as u64)
    }

    fn placed(&self, file: &SimFile) -> io::Result<u64> {
        self.len(file)
    }

    fn truncate(&self, file: &SimFile, len: u64) -> io::Result<()> {
        self.step()?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.with(*file, |inode| inode.push(Piece::Length(len)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.node(from)?;
        self.step()?;
        self.change(Change { remove: Some(from.into()), insert: Some((to.into(), node)) });
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.node(from)?;
        self.check_new(to)?;
        self.rename(from, to)
    }

    fn sync_fs(&self) -> io::Result<()> {
        let outcome = self.step();
        let mut state = self.0.borrow_mut();
        if outcome.as_ref().is_err_and(|e| e.raw_os_error() == Some(5)) {
            state.inodes.iter_mut().for_each(|inode| inode.pieces.clear());
        }
        outcome?;
        if state.lies {
            return Ok(());
        }
        state.inodes.iter_mut().for_each(Inode::sync);
        if !state.forgets_names {
            let State { changes, durable, .. } = &mut *state;
            changes.drain(..).for_each(|change| change.apply(durable));
        }
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.node(from)?;
        self.check_new(to)?;
        self.step()?;
        self.change(Change { remove: None, insert: Some((to.into(), node)) });
        Ok(())
    }

    fn unlink(&self, name: &Path) -> io::Result<()> {
        self.node(name)?;
        self.step()?;
        self.change(Change { remove: Some(name.into()), insert: None });
        Ok(())
    }

    fn make_dir(&self, name: &Path) -> io::Result<()> {
        self.check_new(name)?;
        self.step()?;
        self.change(Change { remove: None, insert: Some((name.into(), Node::Dir)) });
        Ok(())
    }

    fn sync_dir(&self, name: &Path) -> io::Result<()> {
        self.node(name)?;
        self.step()?;
        let mut state = self.0.borrow_mut();
        if state.lies || state.forgets_names {
            return Ok(());
        }
        let mut later: Vec<Change> = Vec::new();
        for change in std::mem::take(&mut state.changes) {
            if !change.touches(name) {
                later.push(change);
                continue;
            }
            change.apply(&mut state.durable);
            // A durable removal settles every earlier change that made the name: a file moved on
            // does not come back where it was.
            for earlier in &mut later {
                earlier.insert.take_if(|(made, _)| Some(&*made) == change.remove.as_ref());
            }
        }
        state.changes = later;
        Ok(())
    }

    fn list(&self, name: &Path) -> io::Result<Vec<OsString>> {
        let state = self.0.borrow();
        if state.stopped {
            return Err(io::Error::other("the power is gone"));
        }
        let inside = state.seen.keys().filter(|path| path.parent() == Some(name));
        Ok(inside.filter_map(|path| path.file_name()).map(Into::into).collect())
    }
}
