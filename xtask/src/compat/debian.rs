//! Debian's daemontools, ucspi-tcp and tinycdb: fetched, taken apart, not installed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::stage::directory;
use crate::tally::{Trouble, run};
use crate::{build, host, limit};

/// The packages, with what tinycdb stands on.
const PACKAGES: [&str; 4] = ["daemontools", "libcdb1", "tinycdb", "ucspi-tcp"];

/// Their programs, taken apart below a yard.
pub(crate) struct Debian {
    root: PathBuf,
}

impl Debian {
    /// Fetches what was not fetched before, and takes it apart in `yard`.
    ///
    /// # Errors
    /// This is no Debian, or the packages cannot be had.
    pub(crate) fn unpack(yard: &Path) -> Result<Self, Trouble> {
        let packages = fetched()?;
        let root = yard.join("debian");
        directory(&root, 0o755)?;
        for package in packages {
            run(Command::new("dpkg").arg("-x").arg(package).arg(&root))?;
        }
        let debian = Self { root };
        debian.collect()?;
        Ok(debian)
    }

    /// The directory with the programs, and no others.
    pub(crate) fn bin(&self) -> &Path {
        &self.root
    }

    /// The program cdb of tinycdb.
    pub(crate) fn tinycdb(&self) -> PathBuf {
        self.root.join("tinycdb")
    }

    /// Puts the programs where a stage's own would be.
    pub(crate) fn lend(&self, home: &Path) -> Result<(), Trouble> {
        directory(home, 0o755)?;
        let bin = home.join("bin");
        symlink(&self.root, &bin).map_err(|e| format!("{}: {e}", bin.display()))
    }

    /// Programs into one directory. Scripts name each other by where they are installed: that is
    /// put right.
    fn collect(&self) -> Result<(), Trouble> {
        let from = self.root.join("usr/bin");
        let entries = fs::read_dir(&from).map_err(|e| format!("{}: {e}", from.display()))?;
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let to = self.root.join(if name == "cdb" { "cdb.real".into() } else { name });
            let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            match String::from_utf8(bytes) {
                Ok(text) if text.starts_with("#!") => {
                    let here = format!("{}/", self.root.display());
                    put(&to, &text.replace("/usr/bin/", &here))?;
                }
                _ => symlink(&path, &to).map_err(|e| format!("{}: {e}", to.display()))?,
            }
        }
        let lib = library(&self.root.join("usr/lib")).ok_or("libcdb1 brings no library")?;
        let text = format!(
            "#!/bin/sh\nLD_LIBRARY_PATH={lib} exec {}/cdb.real \"$@\"\n",
            self.root.display()
        );
        put(&self.tinycdb(), &text)
    }
}

/// The directory of the one library.
fn library(usr_lib: &Path) -> Option<String> {
    let mut dirs = fs::read_dir(usr_lib).ok()?.flatten().map(|entry| entry.path());
    Some(dirs.find(|dir| dir.is_dir())?.to_string_lossy().into_owned())
}

/// Writes a program.
fn put(path: &Path, text: &str) -> Result<(), Trouble> {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// The packages, kept beside what is built from one run to the next.
fn fetched() -> Result<Vec<PathBuf>, Trouble> {
    let dir = build::target_dir().join("debian");
    directory(&dir, 0o755)?;
    let missing: Vec<&str> = missing(&dir);
    if !missing.is_empty() && !fetch(&dir, &missing) {
        // Lists that are too old, or none.
        if sys::user::euid() == 0 {
            host::apt(&["update"]);
        }
        fetch(&dir, &missing);
    }
    let missing = self::missing(&dir);
    if !missing.is_empty() {
        return Err(format!("{} cannot be had with apt-get", missing.join(", ")));
    }
    Ok(PACKAGES.iter().filter_map(|name| package(&dir, name)).collect())
}

fn missing(dir: &Path) -> Vec<&'static str> {
    PACKAGES.into_iter().filter(|name| package(dir, name).is_none()).collect()
}

/// The file of a package: `NAME_VERSION_ARCHITECTURE.deb`.
fn package(dir: &Path, name: &str) -> Option<PathBuf> {
    let mut files = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    files.find(|path| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.strip_prefix(name).is_some_and(|rest| rest.starts_with('_') && rest.ends_with(".deb"))
    })
}

fn fetch(dir: &Path, packages: &[&str]) -> bool {
    if !host::has("apt-get") || !host::has("dpkg") {
        return false;
    }
    let mut apt = Command::new("apt-get");
    apt.args(["-qq", "-o", "APT::Sandbox::User=root"]).args(host::HASTE).arg("download");
    apt.args(packages).current_dir(dir).stdin(Stdio::null());
    limit::status(&mut apt, host::APT).is_ok_and(|status| status.success())
}
