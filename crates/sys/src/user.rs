//! Who this process is, who it becomes, and the system's own list of users.
//!
//! `/etc/passwd` and `/etc/group` are read by hand: our binaries are linked statically, where the
//! C library's name services do not work.

use nix::unistd::{Gid, Uid};
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};

/// Longer lines of `/etc/passwd` and `/etc/group` are passed over.
const LINE: usize = 64 << 10;

/// What a process becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Real, effective and saved uid.
    pub uid: u32,
    /// Real, effective and saved gid.
    pub gid: u32,
    /// Further groups, the whole list.
    pub groups: Vec<u32>,
}

/// Becomes `ids` for good, in every thread: groups, then gid, then uid. Then it proves that the
/// way back is closed; if root could be had again, that is an error.
///
/// A process that is not root may only "become" what it is (a private installation): then nothing
/// is changed and the group list stays.
pub fn drop_to(ids: &Ids) -> io::Result<()> {
    if !Uid::effective().is_root() && euid() == ids.uid && egid() == ids.gid {
        return Ok(());
    }
    let groups: Vec<Gid> = ids.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
    nix::unistd::setgroups(&groups)?;
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)?;
    // The kernel does the same, unless `fs.suid_dumpable` tells it not to.
    crate::process::keep_to_itself()?;
    prove(uid)
}

/// Takes one group and no others, for good: the first half of what `tcpserver -g -u` does. A
/// process that is not root may only keep the gid it has.
pub fn set_gid(gid: u32) -> io::Result<()> {
    if !Uid::effective().is_root() && egid() == gid {
        return Ok(());
    }
    let gid = Gid::from_raw(gid);
    nix::unistd::setgroups(&[gid])?;
    Ok(nix::unistd::setresgid(gid, gid, gid)?)
}

/// Takes a uid for good and proves that root cannot be had again; groups stay. A process that is
/// not root may only keep the uid it has.
pub fn set_uid(uid: u32) -> io::Result<()> {
    let uid = Uid::from_raw(uid);
    nix::unistd::setresuid(uid, uid, uid)?;
    prove(uid)
}

/// Fails if a uid that is not root can become root.
fn prove(uid: Uid) -> io::Result<()> {
    if !uid.is_root() && nix::unistd::setuid(Uid::from_raw(0)).is_ok() {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "root can be had again"));
    }
    Ok(())
}

/// The effective uid.
pub fn euid() -> u32 {
    Uid::effective().as_raw()
}

/// The effective gid.
pub fn egid() -> u32 {
    Gid::effective().as_raw()
}

/// The real uid: who ran us.
pub fn uid() -> u32 {
    Uid::current().as_raw()
}

/// The real gid.
pub fn gid() -> u32 {
    Gid::current().as_raw()
}

/// One line of `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passwd {
    /// The login name.
    pub name: Vec<u8>,
    /// The uid.
    pub uid: u32,
    /// The first gid.
    pub gid: u32,
    /// The home directory.
    pub home: Vec<u8>,
    /// The shell, possibly empty.
    pub shell: Vec<u8>,
}

impl Passwd {
    /// Reads `name:password:uid:gid:gecos:home:shell`; `None` if it is anything else.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_vec();
        let uid = number(fields.nth(1)?)?;
        let gid = number(fields.next()?)?;
        let home = fields.nth(1)?.to_vec();
        let shell = fields.next()?.to_vec();
        Some(Self { name, uid, gid, home, shell })
    }
}

/// The system's user of that name.
pub fn by_name(name: &[u8]) -> io::Result<Option<Passwd>> {
    search("/etc/passwd", |line| Passwd::parse(line).filter(|user| user.name == name))
}

/// The system's first user with that uid.
pub fn by_uid(uid: u32) -> io::Result<Option<Passwd>> {
    search("/etc/passwd", |line| Passwd::parse(line).filter(|user| user.uid == uid))
}

/// The gid of the system's group of that name.
pub fn group(name: &[u8]) -> io::Result<Option<u32>> {
    search("/etc/group", |line| gid_of(line, name))
}

/// The gids of the groups whose member list holds `name`; at most 1,024.
pub fn groups_of(name: &[u8]) -> io::Result<Vec<u32>> {
    let mut gids = Vec::new();
    search("/etc/group", |line| {
        gids.extend(member_gid(line, name));
        (gids.len() >= 1_024).then_some(())
    })?;
    Ok(gids)
}

fn gid_of(line: &[u8], name: &[u8]) -> Option<u32> {
    let mut fields = line.split(|&byte| byte == b':');
    if name.is_empty() || fields.next()? != name {
        return None;
    }
    number(fields.nth(1)?)
}

fn member_gid(line: &[u8], name: &[u8]) -> Option<u32> {
    let mut fields = line.split(|&byte| byte == b':');
    let gid = number(fields.nth(2)?)?;
    fields.next()?.split(|&byte| byte == b',').any(|member| member == name).then_some(gid)
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The first line of a file that `judge` takes; a missing file has no lines.
fn search<T>(path: &str, judge: impl FnMut(&[u8]) -> Option<T>) -> io::Result<Option<T>> {
    match File::open(path) {
        Ok(file) => search_lines(BufReader::new(file), judge),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn search_lines<T>(
    mut from: impl BufRead,
    mut judge: impl FnMut(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let piece = from.fill_buf()?;
        if piece.is_empty() {
            return Ok(if too_long { None } else { judge(&line) });
        }
        let end = piece.iter().position(|&byte| byte == b'\n');
        let used = end.unwrap_or(piece.len());
        too_long |= line.len().saturating_add(used) > LINE;
        if !too_long {
            line.extend(piece.iter().take(used));
        }
        from.consume(used.saturating_add(usize::from(end.is_some())));
        if end.is_some() {
            if !too_long && let Some(found) = judge(&line) {
                return Ok(Some(found));
            }
            line.clear();
            too_long = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passwd_line_is_read_whole() {
        let user = Passwd::parse(b"joe:x:1000:100:Joe, Esq.:/home/joe:/bin/sh").unwrap();
        assert_eq!((user.uid, user.gid), (1000, 100));
        assert_eq!((&user.home[..], &user.shell[..]), (&b"/home/joe"[..], &b"/bin/sh"[..]));
    }

    #[test]
    fn lines_that_are_no_users_are_passed_over() {
        for line in [&b""[..], b"#joe:x:1:1", b"joe:x:-1:1:::", b"joe:x:99999999999:1:g:h:s"] {
            assert_eq!(Passwd::parse(line), None);
        }
    }

    #[test]
    fn a_line_too_long_is_passed_over_and_the_next_is_read() {
        let mut file = vec![b'x'; LINE + 1];
        file.extend(b"\nroot:x:0:0:r:/root:/bin/sh");
        let found = search_lines(&file[..], Passwd::parse).unwrap();
        assert_eq!(found.map(|user| user.name), Some(b"root".to_vec()));
    }

    #[test]
    fn groups_are_found_by_name_and_by_member() {
        assert_eq!(gid_of(b"mail:x:8:joe,ann", b"mail"), Some(8));
        assert_eq!(member_gid(b"mail:x:8:joe,ann", b"ann"), Some(8));
        assert_eq!(member_gid(b"mail:x:8:joe,ann", b"an"), None);
    }
}
