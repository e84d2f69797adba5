//! The programs by which sites that come from sendmail keep their `.forward` files and
//! `/etc/aliases`: dot-forward, fastforward, and those that make and show its tables and lists.

pub(crate) mod dot_forward;
pub(crate) mod fastforward;
pub(crate) mod maillist;
pub(crate) mod newaliases;
pub(crate) mod newinclude;
pub(crate) mod tables;

mod expand;

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base::limits;
use base::outcome::Outcome;
use letter::rewrite::Rules;
use store::control::Control;
use store::home::Home;
use sys::{fd, file};

use super::Stop;
use crate::inject::site::Site;

/// All that can be read, at most `most` bytes.
fn read_whole(from: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most.saturating_add(1) as u64).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// The text of an alias table, an include file or a `.forward` file.
fn read_text(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    read_whole(file::open_read(path)?, limits::ALIASES)
}

/// Everything on descriptor 0.
fn read_input(most: usize) -> Result<Vec<u8>, Stop> {
    let input = fd::stdin().try_clone_to_owned().map(File::from);
    let read = input.and_then(|input| read_whole(input, most));
    read.map_err(|err| Stop::unable("read input", &err))
}

/// A path as a message shows it.
fn shown(path: &OsStr) -> &[u8] {
    path.as_bytes()
}

/// What is wrong in a file, and where: `WHY (FILE line N)`.
fn wrong_in(file: &[u8], line: usize, why: &impl Display) -> Vec<u8> {
    [why.to_string().as_bytes(), b" (", file, format!(" line {line})").as_bytes()].concat()
}

/// How this host completes addresses: the control files, and the variables over them that
/// `environment` tells of.
fn rules(environment: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<Rules, Stop> {
    let unread = |why: &dyn Display| Stop::later(format!("unable to read controls: {why}"));
    let home = Home::find().map_err(|err| unread(&err))?;
    let site = Site::read(&Control::new(&home), environment);
    let site = site.map_err(|fatal| unread(&String::from_utf8_lossy(&fatal.text)))?;
    site.rules().map_err(|fatal| unread(&String::from_utf8_lossy(&fatal.text).replace('\n', " ")))
}

/// A file that is replaced in one step.
#[derive(Clone, Copy, Debug)]
struct Replaced<'a> {
    /// The file.
    path: &'a OsStr,
    /// Where it is written first; on the same file system.
    tmp: &'a OsStr,
    /// Everybody may read it, whatever the umask says.
    public: bool,
}

impl Replaced<'_> {
    /// Writes `tmp`, syncs it and gives it its name. A mistake leaves the old file in place.
    fn write(&self, bytes: &[u8]) -> Result<(), Stop> {
        let (path, tmp) = (shown(self.path), shown(self.tmp));
        let unable = |doing: &[&[u8]], err: &io::Error| Stop::unable(doing.concat(), err);
        let created = new_file(self.tmp);
        let mut out = created.map_err(|err| unable(&[b"create ", tmp], &err))?;
        let written = out
            .write_all(bytes)
            .and_then(|()| {
                if self.public {
                    out.set_permissions(Permissions::from_mode(0o644))
                } else {
                    Ok(())
                }
            })
            .and_then(|()| out.sync_all());
        written.map_err(|err| unable(&[b"write to ", tmp], &err))?;
        if !is_at(&out, self.tmp) {
            let why = b": somebody else has made it anew meanwhile";
            return Err(Stop::later([b"unable to move ", tmp, b" to ", path, why].concat()));
        }
        let moved = std::fs::rename(self.tmp, self.path);
        let moved = moved.and_then(|()| file::sync_name(self.path));
        moved.map_err(|err| unable(&[b"move ", tmp, b" to ", path], &err))
    }
}

/// A file that nobody else has, in the place of one that may be left over: never through a link.
fn new_file(path: &OsStr) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => file::create_new(path, 0o644),
    }
}

/// Whether a file still has that name.
fn is_at(file: &File, path: &OsStr) -> bool {
    let looks = file.metadata().and_then(|file| Ok((file, std::fs::symlink_metadata(path)?)));
    looks.is_ok_and(|(file, named)| file::is_same(&file, &named))
}

/// A path with an ending.
fn with_ending(path: &OsStr, ending: &str) -> OsString {
    let mut path = path.to_owned();
    path.push(ending);
    path
}

/// Descriptor 0 from its beginning again.
fn rewind() -> Result<(), Stop> {
    let unable = |err| Stop::unable("rewind input", &err);
    let letter = fd::stdin().as_fd().try_clone_to_owned().map_err(unable)?;
    File::from(letter).rewind().map_err(unable)
}

/// What a program's exit code means; it has said itself what there is to say. `Some` is ours.
fn judged(code: i32) -> Option<i32> {
    match u8::try_from(code).map(Outcome::of_program) {
        Ok(Outcome::Done) => None,
        Ok(Outcome::Never) => Some(100),
        Ok(Outcome::Later) | Err(_) => Some(111),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn who_makes_the_same_file_anew_is_noticed() {
        let yard = Yard::new("aliases-tmp");
        let path = yard.join("tmp");
        let mine = new_file(path.as_os_str()).unwrap();
        assert!(is_at(&mine, path.as_os_str()));
        let other = new_file(path.as_os_str()).unwrap();
        assert!(!is_at(&mine, path.as_os_str()) && is_at(&other, path.as_os_str()));
        std::fs::remove_file(&path).unwrap();
        assert!(!is_at(&other, path.as_os_str()));
    }

    #[test]
    fn what_is_longer_than_allowed_is_refused() {
        assert_eq!(read_whole(&b"12345"[..], 5).unwrap(), b"12345");
        assert_eq!(read_whole(&b"123456"[..], 5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
