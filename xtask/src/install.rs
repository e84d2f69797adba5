//! `cargo xtask install` and `uninstall`: builds, and hands the binaries and the manual to `qmailctl`,
//! which judges what is to be done and does it.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::build;
use crate::tally::{Trouble, run};

/// Build, and put the mail system into this machine (as root).
#[derive(Args)]
pub(crate) struct Install {
    /// Another machine's root directory instead of this machine's.
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Further options of `qmailctl install`: --host NAME, --smtp ADDR:PORT, --boot KIND, …
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    more: Vec<String>,
}

/// Take the mail system out of this machine again; mail and settings stay.
#[derive(Args)]
pub(crate) struct Uninstall {
    /// Options of `qmailctl uninstall`: --dry-run, …
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    more: Vec<String>,
}

impl Install {
    /// Builds, and runs `qmailctl install`.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        let stage = stage(&build::release()?)?;
        let mut install = qmailctl(&stage, "install");
        install.arg("--from").arg(&stage);
        if let Some(prefix) = &self.prefix {
            let prefix = std::path::absolute(prefix).map_err(|e| e.to_string())?;
            install.arg("--root").arg(prefix);
        }
        if self.dry_run {
            install.arg("--dry-run");
        }
        run(install.args(&self.more))
    }
}

impl Uninstall {
    /// Runs `qmailctl uninstall`.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        let stage = stage(&build::release()?)?;
        run(qmailctl(&stage, "uninstall").args(&self.more))
    }
}

fn qmailctl(stage: &Path, command: &str) -> Command {
    let mut qmailctl = Command::new(stage.join("qmail-admin"));
    qmailctl.args(["qmailctl", command]);
    qmailctl
}

/// A directory with the binaries and, below it, the manual.
pub(crate) fn stage(binaries: &Path) -> Result<PathBuf, Trouble> {
    let stage = build::target_dir().join("stage");
    build::install(binaries, &stage)?;
    let (man, pages) = (stage.join("man"), crate::root().join("man"));
    let copied = std::fs::create_dir_all(&man).and_then(|()| {
        for page in std::fs::read_dir(&pages)? {
            let page = page?.path();
            std::fs::copy(&page, man.join(page.file_name().unwrap_or_default()))?;
        }
        Ok(())
    });
    copied.map_err(|e| format!("{}: {e}", man.display()))?;
    Ok(stage)
}
