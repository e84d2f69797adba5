//! Where a file of steps is played: a home, a scratch directory and what the prelude needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::normal::Places;
use super::original::Original;
use crate::build;
use crate::tally::{Trouble, run};

/// The host of every home.
pub(crate) const HOST: &str = "mx.example.org";

/// Whose programs are played.
#[derive(Clone, Copy)]
pub(crate) enum Whose<'a> {
    /// Ours, from the yard's `bin`.
    Ours,
    /// An original's.
    Original(&'a Original),
}

/// The place of one file's steps; gone with it.
pub(crate) struct Stage {
    base: PathBuf,
    /// `$QMAIL`.
    pub home: PathBuf,
    /// Further directories for `$PATH`.
    path: String,
}

impl Stage {
    /// Makes a fresh one below `yard`.
    pub(crate) fn open(yard: &Path, name: &str, whose: Whose<'_>) -> Result<Self, Trouble> {
        let base = yard.join(name);
        let (home, path) = match whose {
            Whose::Ours => (base.join("home"), String::new()),
            Whose::Original(original) => (original.home().into(), original.path()),
        };
        let stage = Self { base, home, path };
        directory(&stage.base, 0o755)?;
        directory(&stage.scratch(), 0o777)?;
        match whose {
            Whose::Ours => stage.make_home(&yard.join("bin"))?,
            Whose::Original(original) => original.reset()?,
        }
        stage.write_scripts()?;
        Ok(stage)
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
        let mut shell = Command::new("/bin/sh");
        let prelude = quoted(&self.base.join("prelude.sh"));
        shell.arg("-c").arg(format!(". {prelude}; eval \"$1\"")).arg("sh").arg(command);
        let path = format!("{}/bin:/usr/bin:/bin{}", self.home.display(), self.path);
        shell.env_clear().env("PATH", path).env("TZ", "UTC").env("LC_ALL", "C");
        shell.env("QMAIL", &self.home).env("T", self.scratch());
        shell.current_dir(self.scratch()).stdin(Stdio::null());
        shell
    }

    /// A home as `qmailctl setup` makes it, with nothing set but its name.
    fn make_home(&self, binaries: &Path) -> Result<(), Trouble> {
        let bin = self.home.join("bin");
        directory(&self.home, 0o755)?;
        directory(&bin, 0o755)?;
        for binary in build::BINARIES {
            let (from, to) = (binaries.join(binary), bin.join(binary));
            // A hard link, as a program knows its home by its own path.
            fs::hard_link(&from, &to).map_err(|e| format!("{}: {e}", from.display()))?;
        }
        let mut setup = Command::new(bin.join("qmail-admin"));
        setup.args(["qmailctl", "--home"]).arg(&self.home).args(["setup", "--host", HOST]);
        setup.args(["--smtp", "127.0.0.1:1", "--pop3", "127.0.0.1:1"]);
        run(setup.env_remove("QMAILHOME").stdout(Stdio::null()))?;
        clear(&self.home.join("control"), &["me", "locals"])?;
        clear(&self.home.join("users"), &["roles"])?;
        clear(&self.home.join("alias"), &[])?;
        clear(&self.home.join("mail"), &[])
    }

    /// The prelude with this stage's paths, and the stand-in for qmail-queue.
    fn write_scripts(&self) -> Result<(), Trouble> {
        let texts = crate::root().join("tests/compat");
        let read =
            |name: &str| fs::read_to_string(texts.join(name)).map_err(|e| format!("{name}: {e}"));
        let queue = self.base.join("queue");
        let prelude = format!(
            "stage={}\nqueue={}\n{}",
            quoted(&self.base),
            quoted(&queue),
            read("prelude.sh")?
        );
        write(&self.base.join("prelude.sh"), 0o644, &prelude)?;
        let stand_in = format!("#!/bin/sh\nT={}\n{}", quoted(&self.scratch()), read("queue.sh")?);
        write(&queue, 0o755, &stand_in)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.base);
    }
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
