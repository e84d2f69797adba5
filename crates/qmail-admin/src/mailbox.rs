//! A virtual account's home and Maildir, and the uid that goes with them.
//!
//! Whoever had the mailbox before may have put anything into it, and may still be at work there. So
//! root changes nothing below a mailbox's home: that is done by a child which is the user by then.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use store::home::Home;
use sys::at::At;
use sys::spawn::{self, Fork};
use sys::user::{self, Ids};

use crate::Trouble;
use crate::assign;
use crate::permissions::{about, enter, give, replace};

/// The first uid given to an account that exists nowhere else.
const FIRST_UID: u32 = 48_000;
/// The uid after the highest that an account was ever given: one that is removed leaves files
/// behind, which must not become the next one's.
const NEXT: &str = "users/next-uid";
/// Mailboxes that are looked at for their owner, at most.
const MAILBOXES: usize = 1 << 20;
/// Uids of the system's own users that are passed over, at most.
const TAKEN: u32 = 1_000;
/// What a mailbox consists of.
const PARTS: [&str; 4] = ["Maildir", "Maildir/tmp", "Maildir/new", "Maildir/cur"];

/// As whom an account's mail is kept, in this directory: the home's owner, or in a system home a uid
/// of its own; that of the mailbox, if it was kept from before and is nobody else's.
pub(crate) fn owner(home: &Home, assign: &str, mail: &Path) -> Result<Ids, Trouble> {
    if home.is_private() {
        return Ok(home.owner_ids());
    }
    let file = home.path(NEXT);
    let next = match std::fs::read_to_string(&file) {
        Ok(text) => text.trim().parse().map_err(|_| format!("{}: is no uid", file.display()))?,
        Err(e) if e.kind() == ErrorKind::NotFound => after(&mailboxes(home, None)?),
        Err(e) => return about(&file, Err(e)),
    };
    let free = free(assign::free_uid(assign, FIRST_UID.max(next)))?;
    // Before anything belongs to it.
    let text = format!("{}\n", free.saturating_add(1));
    replace(&file, 0o644, text.as_bytes())?;
    let uid = match kept(mail)? {
        None => free,
        Some(uid) => {
            let ours = uid >= FIRST_UID && !assign::has_uid(assign, uid);
            if !ours || mailboxes(home, Some(mail))?.contains(&uid) {
                let mail = mail.display();
                return Err(format!(
                    "{mail} is there and belongs to uid {uid}, not to this account alone: move it \
                     away, or give all of it to uid {free}"
                ));
            }
            uid
        }
    };
    Ok(Ids { uid, gid: uid, groups: vec![uid] })
}

/// The first uid from here on that is no user of the system's.
fn free(first: u32) -> Result<u32, Trouble> {
    for uid in first..first.saturating_add(TAKEN) {
        if about(Path::new("/etc/passwd"), user::by_uid(uid))?.is_none() {
            return Ok(uid);
        }
    }
    Err(format!("/etc/passwd: has users of all uids from {first}"))
}

fn after(uids: &[u32]) -> u32 {
    let next = uids.iter().filter(|uid| **uid >= FIRST_UID).max();
    next.map_or(FIRST_UID, |uid| uid.saturating_add(1))
}

/// To whom a mailbox that is there belongs; `None` also of an empty one of root's, as an attempt that
/// was interrupted leaves it.
fn kept(mail: &Path) -> Result<Option<u32>, Trouble> {
    let there = match std::fs::symlink_metadata(mail) {
        Ok(there) => there,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return about(mail, Err(e)),
    };
    if !there.is_dir() {
        return Err(format!("{}: is no directory", mail.display()));
    }
    let empty = there.uid() == 0 && about(mail, std::fs::read_dir(mail))?.next().is_none();
    Ok((!empty).then_some(there.uid()))
}

/// The owners of all mailboxes but one.
fn mailboxes(home: &Home, but: Option<&Path>) -> Result<Vec<u32>, Trouble> {
    let mut uids = Vec::new();
    let mail = home.path("mail");
    let domains = match std::fs::read_dir(&mail) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(uids),
        domains => about(&mail, domains)?,
    };
    for domain in domains {
        let domain = about(&mail, domain)?.path();
        let Ok(boxes) = std::fs::read_dir(&domain) else { continue };
        for one in boxes {
            let one = about(&domain, one)?;
            if but.is_some_and(|but| but == one.path()) {
                continue;
            }
            uids.push(about(&one.path(), one.metadata())?.uid());
            if uids.len() > MAILBOXES {
                let file = home.path(NEXT);
                return Err(format!(
                    "{}: write a uid into it that no mailbox has, nor any above; there are too \
                     many to look at",
                    file.display()
                ));
            }
        }
    }
    Ok(uids)
}

/// Makes the home of a mailbox, and its Maildir; what of them is there must be its user's.
///
/// # Errors
/// Also if it is not, or a link, or anything but a directory.
pub(crate) fn make(domain: &Path, mail: &Path, root: &Ids, ids: &Ids) -> Result<(), Trouble> {
    let above = about(domain, enter(domain))?;
    if about(domain, uid(&above))? != root.uid {
        return Err(format!(
            "{} is there and does not belong to the owner of the home",
            domain.display()
        ));
    }
    about(domain, give(&above, 0o755, root))?;
    let name = Path::new(mail.file_name().unwrap_or_default());
    // Nobody else may write in the domain's directory, so what has the name keeps it.
    let made = match above.make_dir(name) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return about(mail, Err(e)),
        made => made.is_ok(),
    };
    let itself = about(mail, above.below(name))?;
    let empty = || itself.names(Path::new("")).map(|names| names.is_empty());
    let there = about(mail, uid(&itself))?;
    if made || there == user::euid() && about(mail, empty())? || there == ids.uid {
        // Others may pass, so that qmail-smtpd can see whether a .qmail file is there; not look.
        about(mail, give(&itself, 0o711, ids))?;
    } else {
        return Err(format!(
            "{} is there and belongs to uid {there}: move it away",
            mail.display()
        ));
    }
    let made = as_user(&itself, ids);
    check(&itself, mail, ids).map_err(|why| match &made {
        Err(e) => format!("{why} (its user could not make what is missing: {e})"),
        Ok(()) => why,
    })?;
    about(&mail.join("Maildir"), made)
}

/// Makes what is missing, as the user.
fn as_user(itself: &At, ids: &Ids) -> io::Result<()> {
    let child = match spawn::fork()? {
        Fork::Parent(child) => child,
        Fork::Child => {
            let made = user::drop_to(ids).and_then(|()| parts(itself));
            let code = made.map_or_else(|e| e.raw_os_error().unwrap_or(255), |()| 0);
            spawn::exit(code)
        }
    };
    match spawn::wait(child)?.code() {
        Some(0) => Ok(()),
        Some(code) if code != 255 => Err(io::Error::from_raw_os_error(code.into())),
        _ => Err(io::Error::other("unable to make it as its user")),
    }
}

fn parts(itself: &At) -> io::Result<()> {
    for part in PARTS {
        match itself.make_dir(Path::new(part)) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Whether all is there, and the user's.
fn check(itself: &At, mail: &Path, ids: &Ids) -> Result<(), Trouble> {
    let dir = mail.join("Maildir");
    let maildir = ours(itself, "Maildir", &dir, ids)?;
    for part in ["tmp", "new", "cur"] {
        ours(&maildir, part, &dir.join(part), ids)?;
    }
    Ok(())
}

fn ours(above: &At, name: &str, path: &Path, ids: &Ids) -> Result<At, Trouble> {
    let opened = above.below(Path::new(name)).and_then(|at| Ok((uid(&at)?, at)));
    match opened {
        Ok((uid, at)) if uid == ids.uid => Ok(at),
        Ok((uid, _)) => {
            Err(format!("{} belongs to uid {uid}, not to {}: remove it", path.display(), ids.uid))
        }
        Err(e) => Err(format!("{} is no directory of its user's: {e}", path.display())),
    }
}

fn uid(at: &At) -> io::Result<u32> {
    Ok(File::from(at.as_fd().try_clone_to_owned()?).metadata()?.uid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{chown, symlink};
    use yard::Yard;

    fn scratch(name: &str) -> Yard {
        Yard::new(&format!("mailbox-{name}"))
    }

    fn me() -> Ids {
        let there = std::fs::metadata("/proc/self").unwrap();
        Ids { uid: there.uid(), gid: there.gid(), groups: vec![there.gid()] }
    }

    fn account() -> Ids {
        match me() {
            Ids { uid: 0, .. } => Ids { uid: 48_007, gid: 48_007, groups: vec![48_007] },
            me => me,
        }
    }

    #[test]
    fn a_mailbox_is_its_users_and_made_twice_the_same() {
        let (dir, ids) = (scratch("made"), account());
        let (domain, mail) = (dir.join("example.org"), dir.join("example.org/bob"));
        make(&domain, &mail, &me(), &ids).unwrap();
        std::fs::remove_dir(mail.join("Maildir/cur")).unwrap();
        make(&domain, &mail, &me(), &ids).unwrap();
        let looks = |path: &Path| {
            let there = std::fs::symlink_metadata(path).unwrap();
            (there.is_dir(), there.uid(), there.gid(), there.mode() & 0o7777)
        };
        assert_eq!(looks(&domain), (true, me().uid, me().gid, 0o755));
        assert_eq!(looks(&mail), (true, ids.uid, ids.gid, 0o711));
        for part in PARTS {
            assert_eq!(looks(&mail.join(part)), (true, ids.uid, ids.gid, 0o700), "{part}");
        }
    }

    #[test]
    fn a_link_in_a_kept_mailbox_leads_nowhere() {
        let (dir, ids) = (scratch("link"), account());
        let (domain, mail) = (dir.join("example.org"), dir.join("example.org/bob"));
        make(&domain, &mail, &me(), &ids).unwrap();
        let victim = dir.join("victim");
        std::fs::create_dir(&victim).unwrap();
        for part in ["Maildir/new", "Maildir"] {
            std::fs::rename(mail.join(part), mail.join("old")).unwrap();
            symlink(&victim, mail.join(part)).unwrap();
            let why = make(&domain, &mail, &me(), &ids).unwrap_err();
            assert!(why.contains("bob/Maildir") && why.contains("is no directory of"), "{why}");
            std::fs::remove_file(mail.join(part)).unwrap();
            std::fs::rename(mail.join("old"), mail.join(part)).unwrap();
        }
        std::fs::rename(&mail, domain.join("old")).unwrap();
        symlink(&victim, &mail).unwrap();
        assert!(make(&domain, &mail, &me(), &ids).is_err());
        assert_eq!(std::fs::metadata(&victim).unwrap().uid(), me().uid);
        assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0);
    }

    #[test]
    fn what_is_somebody_elses_is_refused_by_name() {
        if me().uid != 0 {
            return;
        }
        let (dir, ids) = (scratch("other"), account());
        let (domain, mail) = (dir.join("example.org"), dir.join("example.org/bob"));
        make(&domain, &mail, &me(), &ids).unwrap();
        // A directory of root's that its user has put in the place: renamed within the mailbox.
        for (path, owner) in [(mail.join("Maildir/tmp"), 0), (mail.join("Maildir"), 48_008)] {
            chown(&path, Some(owner), None).unwrap();
            let why = make(&domain, &mail, &me(), &ids).unwrap_err();
            assert!(why.contains(&format!("belongs to uid {owner}")), "{why}");
            assert_eq!(std::fs::metadata(&path).unwrap().uid(), owner);
            chown(&path, Some(ids.uid), None).unwrap();
        }
        chown(&mail, Some(48_008), None).unwrap();
        let why = make(&domain, &mail, &me(), &ids).unwrap_err();
        assert!(why.contains("bob is there and belongs to uid 48008"), "{why}");
    }
}
