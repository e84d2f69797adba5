//! A child process described first and started then.

use super::search::{Image, c_string};
use super::{Fork, exit, fork, wait};
use crate::signal::{self, Signal};
use crate::user::{self, Ids};
use crate::{errno, fd};
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A descriptor for a child: given away, or lent.
#[derive(Debug)]
pub enum Source<'a> {
    /// Closed on our side when the command is dropped.
    Owned(OwnedFd),
    /// Stays ours.
    Borrowed(BorrowedFd<'a>),
}

impl From<OwnedFd> for Source<'_> {
    fn from(fd: OwnedFd) -> Self {
        Self::Owned(fd)
    }
}

impl<'a> From<BorrowedFd<'a>> for Source<'a> {
    fn from(fd: BorrowedFd<'a>) -> Self {
        Self::Borrowed(fd)
    }
}

impl AsFd for Source<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Owned(fd) => fd.as_fd(),
            Self::Borrowed(fd) => fd.as_fd(),
        }
    }
}

/// A program to start: built up, then spawned. Everything not said is inherited.
#[derive(Debug)]
pub struct Command<'a> {
    /// Its path, or a name sought through our `$PATH`.
    pub program: OsString,
    /// Its whole `argv`, name first.
    pub argv: Vec<OsString>,
    /// Variables to set, or with `None` to remove, in this order.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// Whether the child starts without our variables.
    pub clear_env: bool,
    /// Descriptors and the numbers they get in the child.
    pub fds: Vec<(Source<'a>, RawFd)>,
    /// Where it starts.
    pub dir: Option<PathBuf>,
    /// Who it becomes, after everything else.
    pub ids: Option<Ids>,
    /// Whether it leads a process group of its own.
    pub group: bool,
}

impl<'a> Command<'a> {
    /// A command without arguments, called by its program's name.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref().to_owned();
        Self {
            argv: vec![program.clone()],
            program,
            env: Vec::new(),
            clear_env: false,
            fds: Vec::new(),
            dir: None,
            ids: None,
            group: false,
        }
    }

    /// Appends an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.argv.push(arg.as_ref().to_owned());
        self
    }

    /// Appends arguments.
    #[must_use]
    pub fn args<T: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.argv.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Calls it by another name than its program's.
    #[must_use]
    pub fn argv0(mut self, name: impl AsRef<OsStr>) -> Self {
        if let Some(first) = self.argv.first_mut() {
            *first = name.as_ref().to_owned();
        }
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Removes a variable.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), None));
        self
    }

    /// Starts from no variables at all.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.clear_env = true;
        self
    }

    /// Gives it a descriptor under a number.
    #[must_use]
    pub fn fd(mut self, fd: impl Into<Source<'a>>, at: RawFd) -> Self {
        self.fds.push((fd.into(), at));
        self
    }

    /// Starts it in a directory.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Makes it become `ids`.
    #[must_use]
    pub fn ids(mut self, ids: Ids) -> Self {
        self.ids = Some(ids);
        self
    }

    /// Makes it the leader of a process group of its own.
    #[must_use]
    pub fn group(mut self) -> Self {
        self.group = true;
        self
    }

    /// Starts it and returns its pid. The child blocks no signals and takes SIGPIPE as the system
    /// does. Whatever fails up to the exec, in the child too, is the error here.
    pub fn spawn(&self) -> io::Result<u32> {
        let env = self.environment();
        let image = Image::new(&self.program, &self.argv, Some(&env))?;
        let dir = match &self.dir {
            Some(dir) => Some(c_string(dir.as_os_str().as_bytes())?),
            None => None,
        };
        let mut moved = Vec::with_capacity(self.fds.len());
        let (said, say) = fd::pipe()?;
        match fork()? {
            Fork::Parent(pid) => {
                drop(say);
                answer(&said, pid)
            }
            Fork::Child => self.become_it(&image, dir.as_ref(), &mut moved, &say),
        }
    }

    /// The child's variables: ours unless cleared, with the changes made in order.
    fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut env: Vec<_> =
            if self.clear_env { Vec::new() } else { std::env::vars_os().collect() };
        for (name, value) in &self.env {
            env.retain(|(known, _)| known != name);
            env.extend(value.clone().map(|value| (name.clone(), value)));
        }
        env
    }

    /// The child's half: everything up to the exec, or the error through the pipe.
    fn become_it(
        &self,
        image: &Image,
        dir: Option<&CString>,
        moved: &mut Vec<OwnedFd>,
        say: &OwnedFd,
    ) -> ! {
        let above = self.fds.iter().map(|(_, at)| *at).max().unwrap_or(2).max(2).saturating_add(1);
        let say = rustix::io::fcntl_dupfd_cloexec(say, above);
        let error = match self.prepare(dir, moved, above) {
            Ok(()) => image.exec(),
            Err(error) => error,
        };
        if let Ok(say) = say {
            let _ = fd::write_all(&say, &errno::number(&error).to_le_bytes());
        }
        exit(111)
    }

    fn prepare(
        &self,
        dir: Option<&CString>,
        moved: &mut Vec<OwnedFd>,
        above: RawFd,
    ) -> io::Result<()> {
        signal::unblock_all();
        signal::default(Signal::Pipe);
        if self.group {
            nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0))?;
        }
        // First above every number asked for, so that no placing overwrites a later source.
        for (fd, _) in &self.fds {
            moved.push(rustix::io::fcntl_dupfd_cloexec(fd, above)?);
        }
        for (fd, (_, at)) in moved.iter().zip(&self.fds) {
            fd::place(fd, *at)?;
        }
        if let Some(dir) = dir {
            rustix::process::chdir(dir.as_c_str())?;
        }
        self.ids.as_ref().map_or(Ok(()), user::drop_to)
    }
}

/// What the child said through the pipe: nothing if its exec closed it.
fn answer(said: &OwnedFd, pid: u32) -> io::Result<u32> {
    let mut number = [0; 4];
    if fd::read(said, &mut number)? < number.len() {
        return Ok(pid);
    }
    wait(pid)?;
    Err(io::Error::from_raw_os_error(i32::from_le_bytes(number)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spawn::Status;

    #[test]
    fn a_program_gets_its_arguments_variables_directory_and_descriptors() {
        let (out, end) = fd::pipe().unwrap();
        let script = "echo $0 $1 $WORD $(pwd) >&5";
        let command = Command::new("sh").args(["-c", script, "zero", "one"]);
        let pid = command.env("WORD", "word").dir("/").fd(end, 5).spawn().unwrap();
        assert_eq!(wait(pid).unwrap(), Status::Exited(0));
        assert_eq!(fd::read_to_end(&out, 100).unwrap(), b"zero one word /\n");
    }

    #[test]
    fn descriptors_that_change_places_both_arrive() {
        let (a_out, a) = fd::pipe().unwrap();
        let (b_out, b) = fd::pipe().unwrap();
        use std::os::fd::AsRawFd;
        let (a_at, b_at) = (b.as_raw_fd(), a.as_raw_fd());
        let script = format!("echo a >&{a_at}; echo b >&{b_at}");
        let pid = Command::new("bash").args(["-c", &script]).fd(a, a_at).fd(b, b_at).spawn();
        assert_eq!(wait(pid.unwrap()).unwrap(), Status::Exited(0));
        assert_eq!(fd::read_to_end(&a_out, 9).unwrap(), b"a\n");
        assert_eq!(fd::read_to_end(&b_out, 9).unwrap(), b"b\n");
    }

    #[test]
    fn a_missing_program_or_directory_is_the_spawners_error() {
        let error = Command::new("no-such-program-here").spawn().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = Command::new("true").dir("/no/such/dir").spawn().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
