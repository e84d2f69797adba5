//! The release build: four static-pie binaries.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tally::{Trouble, run};

/// The binaries that make up an installation.
pub(crate) const BINARIES: [&str; 4] = ["qmail", "qmail-net", "daemontools", "qmail-admin"];

/// Builds the binaries in release, linked static-pie where this target allows; says where they are.
///
/// A target is always named: cargo then keeps the link flags away from build scripts and macros,
/// which cannot be static. With `QMAIL_BINARIES` nothing is built: they are in that directory.
pub(crate) fn release() -> Result<PathBuf, Trouble> {
    if let Some(ready) = std::env::var_os("QMAIL_BINARIES") {
        return Ok(ready.into());
    }
    let target = target()?;
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace('-', "_"));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(crate::root()).args(["build", "--release", "--locked", "--quiet"]);
    cargo.args(["--target", &target]).env(flags, "-C target-feature=+crt-static");
    for binary in BINARIES {
        cargo.args(["--package", binary]);
    }
    run(&mut cargo)?;
    Ok(target_dir().join(target).join("release"))
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::root().join("target"), PathBuf::from)
}

/// The target triple of this machine, as the compiler names it.
pub(crate) fn target() -> Result<String, Trouble> {
    let out = Command::new("rustc").arg("-vV").output().map_err(|e| format!("rustc: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".into())
}

/// Copies the binaries into `bin`, each put in place by a rename: a running program keeps its own.
pub(crate) fn install(from: &Path, bin: &Path) -> Result<(), Trouble> {
    std::fs::create_dir_all(bin).map_err(|e| format!("{}: {e}", bin.display()))?;
    for binary in BINARIES {
        let fresh = bin.join(format!(".{binary}.new"));
        let copied = std::fs::copy(from.join(binary), &fresh)
            .and_then(|_| std::fs::rename(&fresh, bin.join(binary)));
        copied.map_err(|e| format!("{}: {e}", bin.join(binary).display()))?;
    }
    Ok(())
}
