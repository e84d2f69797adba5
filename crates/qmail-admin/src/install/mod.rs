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
mod starters;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::chroot;
use std::path::{Path, PathBuf};

use clap::Args;
use store::home::{DEFAULT, Home};

use crate::permissions::about;
use crate::print::say;
use crate::{Trouble, setup};
use boot::Boot;
pub(crate) use boot::is_running;
pub(crate) use leave::Uninstall;
pub(crate) use processes::is_of;
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
    /// What starts it with the machine; else what the machine has. What an earlier one set up stays, and
    /// is told of.
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
    pub(crate) fn run(mut self, home: Option<&Path>) -> Result<(), Trouble> {
        if sys::user::euid() != 0 {
            return Err(
                "only root can install it; anybody can try it: qmailctl setup makes a home \
                        of one's own"
                    .into(),
            );
        }
        let source = Source::open(self.from.as_deref())?;
        self.setup.look_for_name()?;
        self.setup.check()?;
        let elsewhere = enter(self.root.as_deref())?;
        let root = self.root.clone().filter(|_| elsewhere);
        self.work(home, &source, elsewhere).map_err(|why| below(root.as_deref(), why))
    }

    /// The same where it is to be done.
    fn work(
        mut self,
        home: Option<&Path>,
        source: &Source,
        elsewhere: bool,
    ) -> Result<(), Trouble> {
        let home = home.unwrap_or(Path::new(DEFAULT));
        is_roots(home)?;
        is_plain(home)?;
        let wishes = plan::Wishes {
            home: home.into(),
            boot: self.boot.or_else(|| Boot::remembered(home)),
            packaged: self.packaged,
            live: !elsewhere,
            life_with_qmail: self.setup.is_life_with_qmail(),
            listening: self.setup.listening()?,
            kept_name: self.setup.keep_name(home),
        };
        let facts = look::facts(&wishes, source)?;
        let steps = plan::steps(&wishes, &facts);
        let done = steps.iter().all(|step| matches!(step, plan::Step::Tell(_)));
        if self.dry_run || done {
            for step in &steps {
                step.tell()?;
            }
            if done {
                say!("{}: everything is there, nothing to do", home.display());
            }
            return Ok(());
        }
        carry::out(&steps, &wishes, source, self.setup)
    }
}

/// What went wrong names files as they are below another root.
fn below(root: Option<&Path>, why: Trouble) -> Trouble {
    match root {
        Some(root) => format!("below {}: {why}", root.display()),
        None => why,
    }
}

/// Root installs into no private home, and takes nothing out of one: what its owner left there could
/// lead root astray, and what root writes there would not be the owner's.
fn is_roots(home: &Path) -> Result<(), Trouble> {
    match Home::at(home) {
        Ok(found) if found.is_private() => Err(format!(
            "{} is not root's: it is somebody's private home, which setup completes, and its owner removes",
            home.display()
        )),
        _ => Ok(()),
    }
}

/// Units, scripts and lines of inittab have the home as a bare word, and each its own way of quoting.
pub(crate) fn is_plain(dir: &Path) -> Result<(), Trouble> {
    match dir.as_os_str().as_bytes().iter().copied().all(is_plain_byte) {
        true => Ok(()),
        false => Err(format!(
            "{}: what starts it could not name this: only letters, digits and . _ / + - may be in it",
            dir.display()
        )),
    }
}

/// What such a word is made of.
const fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'+' | b'-')
}

/// Makes another machine's directory our root, if one was named. What was opened before stays open.
/// False if it is the root already.
fn enter(root: Option<&Path>) -> Result<bool, Trouble> {
    let Some(root) = root else { return Ok(false) };
    let root = about(root, std::fs::canonicalize(root))?;
    if root == Path::new("/") {
        return Ok(false);
    }
    about(&root, chroot(&root).and_then(|()| std::env::set_current_dir("/")))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn a_home_that_a_unit_could_not_name_is_refused() {
        for home in ["/srv/a b", "/srv/100%", "/srv/$x", "/srv/\u{e4}", "/srv/a\nb", "/srv/a\"b"] {
            assert!(is_plain(Path::new(home)).unwrap_err().contains("only letters"), "{home}");
        }
        assert_eq!(is_plain(Path::new("/srv/mail_1.example-2+x")), Ok(()));
    }

    #[test]
    fn somebodys_private_home_is_refused() {
        let dir = Yard::new("install-private");
        if sys::user::euid() == 0 {
            assert_eq!(is_roots(&dir), Ok(()));
            std::os::unix::fs::chown(&dir, Some(47_901), None).unwrap();
        }
        assert!(is_roots(&dir).unwrap_err().contains("private home"));
    }
}
