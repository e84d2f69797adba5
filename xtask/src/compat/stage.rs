//! Where a file of steps is played: a home, a scratch directory and what the prelude needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::debian::Debian;
use super::normal::Places;
use super::original::Original;
use super::steps::Script;
use super::{Read, Suite};
use crate::tally::{Trouble, run};
use crate::{build, host};

/// The host of every home.
pub(crate) const HOST: &str = "mx.example.org";

/// Whose programs are played.
#[derive(Clone, Copy)]
pub(crate) enum Whose<'a> {
    /// Ours, from the yard's `bin`.
    Ours,
    /// An original's.
    Original(&'a Original),
    /// Debian's caretakers.
    Debian(&'a Debian),
}

/// The place of one file's steps; gone with it.
pub(crate) struct Stage {
    base: PathBuf,
    /// `$QMAIL`.
    pub home: PathBuf,
    /// Further directories for `$PATH`.
    path: String,
    /// `$OTHER` and `$CDB`, where there are any.
    foreign: Option<(PathBuf, PathBuf)>,
    /// Steps have a network of their own.
    net: bool,
}

impl Stage {
    /// Makes a fresh one below `yard`; `debian` are the programs of the other side.
    pub(crate) fn open(
        yard: &Path,
        file: &Read,
        whose: Whose<'_>,
        debian: Option<&Debian>,
    ) -> Result<Self, Trouble> {
        let side = if matches!(whose, Whose::Debian(_)) { "debian." } else { "" };
        let base = yard.join(format!("{side}{}", file.name.trim_end_matches(".steps")));
        let (home, path) = match whose {
            Whose::Original(original) => (original.home().into(), original.path()),
            _ => (base.join("home"), String::new()),
        };
        let Script { net, both, .. } = file.script;
        let stage = Self { base, home, path, foreign: None, net };
        directory(&stage.base, 0o755)?;
        directory(&stage.scratch(), 0o777)?;
        match whose {
            Whose::Ours => make_home(&stage.home, &yard.join("bin"))?,
            Whose::Original(original) => original.reset()?,
            Whose::Debian(debian) => debian.lend(&stage.home)?,
        }
        stage.write_scripts(file.suite)?;
        if both { stage.with_other(yard, whose, debian) } else { Ok(stage) }
    }

    /// The same with the programs that are not played beside it.
    fn with_other(
        mut self,
        yard: &Path,
        whose: Whose<'_>,
        debian: Option<&Debian>,
    ) -> Result<Self, Trouble> {
        let Some(debian) = debian else { return Ok(self) };
        let other = if matches!(whose, Whose::Ours) {
            debian.bin().to_owned()
        } else {
            let home = self.base.join("other");
            make_home(&home, &yard.join("bin"))?;
            home.join("bin")
        };
        self.foreign = Some((other, debian.tinycdb()));
        Ok(self)
    }

    /// `$T`.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.base.join("t")
    }

    /// Whether this is a file of ours.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.base)
    }

    /// The names of our directories.
    pub(crate) fn places(&self) -> Places {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Places { home: text(&self.home), scratch: text(&self.scratch()) }
    }

    /// A shell command with the prelude before it, in the environment that steps have.
    pub(crate) fn shell(&self, command: &str) -> Command {
        let prelude = quoted(&self.base.join("prelude.sh"));
        let (mut shell, before) = if self.net {
            let mut shell = host::unsignalled("unshare");
            shell.args(["--net", "--", "/bin/sh"]);
            (shell, "ip link set lo up; ")
        } else {
            (host::unsignalled("/bin/sh"), "")
        };
        shell.arg("-c").arg(format!("{before}. {prelude}; eval \"$1\"")).arg("sh").arg(command);
        let path = format!("{}/bin:/usr/bin:/bin{}", self.home.display(), self.path);
        shell.env_clear().env("PATH", path).env("TZ", "UTC").env("LC_ALL", "C");
        shell.env("QMAIL", &self.home).env("T", self.scratch());
        if let Some((other, cdb)) = &self.foreign {
            shell.env("OTHER", other).env("CDB", cdb);
        }
        shell.current_dir(self.scratch()).stdin(Stdio::null());
        shell
    }

    /// The prelude with this stage's paths, and the stand-in for qmail-queue.
    fn write_scripts(&self, suite: Suite) -> Result<(), Trouble> {
        let read = |name: &str| {
            fs::read_to_string(crate::root().join(name)).map_err(|e| format!("{name}: {e}"))
        };
        let queue = self.base.join("queue");
        let (base, common) = (quoted(&self.base), read("tests/compat/prelude.sh")?);
        let own = match suite {
            Suite::Mail => String::new(),
            Suite::Caretakers => read("tests/caretakers/prelude.sh")?,
        };
        let prelude = format!("stage={base}\nqueue={}\n{common}{own}", quoted(&queue));
        write(&self.base.join("prelude.sh"), 0o644, &prelude)?;
        let text = read("tests/compat/queue.sh")?;
        let stand_in = format!("#!/bin/sh\nT={}\n{text}", quoted(&self.scratch()));
        write(&queue, 0o755, &stand_in)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.base);
    }
}

/// A home as `qmailctl setup` makes it, with nothing set but its name.
pub(crate) fn make_home(home: &Path, binaries: &Path) -> Result<(), Trouble> {
    let bin = home.join("bin");
    directory(home, 0o755)?;
    directory(&bin, 0o755)?;
    for binary in build::BINARIES {
        let (from, to) = (binaries.join(binary), bin.join(binary));
        // A hard link, as a program knows its home by its own path.
        fs::hard_link(&from, &to).map_err(|e| format!("{}: {e}", from.display()))?;
    }
    let mut setup = Command::new(bin.join("qmail-admin"));
    setup.args(["qmailctl", "--home"]).arg(home).args(["setup", "--host", HOST]);
    setup.args(["--smtp", "127.0.0.1:1", "--pop3", "127.0.0.1:1"]);
    run(setup.env_remove("QMAILHOME").stdout(Stdio::null()))?;
    clear(&home.join("control"), &["me", "locals"])?;
    clear(&home.join("users"), &["roles"])?;
    clear(&home.join("alias"), &[])?;
    clear(&home.join("mail"), &[])
}

/// Removes what is in a directory but for some names.
pub(crate) fn clear(dir: &Path, but: &[&str]) -> Result<(), Trouble> {
    let entries = fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    for entry in entries.flatten() {
        if but.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let gone = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        gone.map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

/// Makes a directory with exactly this mode.
pub(crate) fn directory(path: &Path, mode: u32) -> Result<(), Trouble> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// Writes a file with exactly this mode.
pub(crate) fn write(path: &Path, mode: u32, text: &str) -> Result<(), Trouble> {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// A path as one word of the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}
