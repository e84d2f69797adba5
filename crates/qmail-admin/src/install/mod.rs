//! `qmailctl install` and `uninstall`: a home put into a machine, and taken out again.
//!
//! What is to be done is decided first, from what is there ([`plan`]), and can be printed
//! (`--dry-run`); then it is done ([`carry`]). What an administrator has set is never overwritten.

mod accounts;
mod boot;
mod carry;
mod leave;
mod look;
mod plan;
mod processes;
mod source;

use std::os::unix::fs::chroot;
use std::path::{Path, PathBuf};

use clap::Args;
use store::home::DEFAULT;

use crate::permissions::about;
use crate::print::say;
use crate::{Trouble, setup};
use boot::Boot;
pub(crate) use boot::is_running;
pub(crate) use leave::Uninstall;
pub(crate) use source::Source;

/// Put the mail system into this machine, or complete it; run again it changes nothing.
#[derive(Args)]
pub(crate) struct Install {
    /// Where the new binaries are; else where this program lies.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Another machine's root directory: only what is below it is looked at and changed, by the
    /// programs below it.
    #[arg(long, visible_alias = "prefix", value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// What starts it with the machine; else what the machine has.
    #[arg(long, value_enum)]
    boot: Option<Boot>,
    /// Leave sendmail, and whatever else is outside the home, to a package.
    #[arg(long)]
    packaged: bool,
    #[command(flatten)]
    setup: setup::Setup,
}

impl Install {
    /// Plans, and does it.
    pub(crate) fn run(self, home: Option<&Path>) -> Result<(), Trouble> {
        if sys::user::euid() != 0 {
            return Err(
                "only root can install it; anybody can try it: qmailctl setup makes a home \
                        of one's own"
                    .into(),
            );
        }
        let source = Source::open(self.from.as_deref())?;
        let setup = self.setup.named()?;
        let elsewhere = match &self.root {
            Some(root) => enter(root)?,
            None => false,
        };
        let home = home.unwrap_or(Path::new(DEFAULT));
        let wishes = plan::Wishes {
            home: home.into(),
            boot: self.boot,
            packaged: self.packaged,
            live: !elsewhere,
            life_with_qmail: setup.is_life_with_qmail(),
        };
        let facts = look::facts(&wishes, &source)?;
        let steps = plan::steps(&wishes, &facts);
        let done = steps.iter().all(|step| matches!(step, plan::Step::Tell(_)));
        if self.dry_run || done {
            for step in &steps {
                say!("{step}");
            }
            if done {
                say!("{}: everything is there, nothing to do", home.display());
            }
            return Ok(());
        }
        carry::out(&steps, &wishes, &source, setup)
    }
}

/// Makes a directory our root. What was opened before stays open. False if it is the root already.
fn enter(root: &Path) -> Result<bool, Trouble> {
    let root = about(root, std::fs::canonicalize(root))?;
    if root == Path::new("/") {
        return Ok(false);
    }
    about(&root, chroot(&root).and_then(|()| std::env::set_current_dir("/")))?;
    Ok(true)
}
